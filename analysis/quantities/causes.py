"""The accuracy of a network after its taus or its W are changed, and after a part of it is retrained."""

import pandas as pd

from analysis.quantities.base import CAUSES_COMMAND, quantity


@quantity("relative accuracy after a change of tau or W", "relative accuracy", needs=CAUSES_COMMAND)
def changed_accuracy(causes: pd.DataFrame) -> pd.DataFrame:
    """Return relative accuracy (mean over random orders) by the change and by the part that was retrained after it.

    Further columns: `change`, `share` (of the modes of W that are kept) and `retrained`.
    """
    keys = ["network_id", "n", "change", "share", "retrained"]
    return causes.groupby(keys)["relative_accuracy"].mean().rename("value").reset_index()
