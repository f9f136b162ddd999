"""Tests of networks with time steps that were not used in training (figure S5)."""

import pandas as pd

from analysis.quantities.base import TIME_STEPS_COMMAND, quantity


@quantity("accuracy with bits of k steps of 1/k", "accuracy", needs=TIME_STEPS_COMMAND)
def accuracy_by_k(time_steps: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of the head for N by the k of the test; further column: `asked_k`."""
    asked = time_steps.rename(columns={"k": "asked_k"})
    return asked[["network_id", "n", "asked_k"]].assign(value=asked["accuracy"].astype(float))
