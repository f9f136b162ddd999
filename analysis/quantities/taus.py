"""The neurons' own timescales tau when a network solved N (figure 4b)."""

import pandas as pd

from analysis.quantities.base import quantity


@quantity("mean of tau over neurons", "mean τ (time steps)")
def tau_mean(solved: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of tau over the neurons of each network at each N it solved, in time steps."""
    return solved[["network_id", "n"]].assign(value=solved["tau_mean"].astype(float))


@quantity("standard deviation of tau over neurons", "SD of τ (time steps)")
def tau_sd(solved: pd.DataFrame) -> pd.DataFrame:
    """Return the standard deviation of tau over the neurons of each network at each N it solved, in time steps."""
    return solved[["network_id", "n"]].assign(value=solved["tau_sd"].astype(float))
