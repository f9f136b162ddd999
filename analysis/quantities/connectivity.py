"""Recurrent weights and the dimensionality of activity (figures 6a, 6b, S19c, S19d, S20)."""

from typing import Final

import pandas as pd

from analysis.quantities.base import TIMESCALES_COMMAND, Where, quantity

POOLED: dict[str, tuple[Where, ...]] = {"dimensionality": (("trial", "==", -1),)}
"""The rows for all trials together."""

KNEE: Final = 20
"""The paper fits one line to the dimensionality of N-DMS networks up to this N, and another beyond it (figure S20)."""


@quantity("mean incoming weight", "mean incoming weight", needs=TIMESCALES_COMMAND)
def weight_mean(connectivity: pd.DataFrame) -> pd.DataFrame:
    """Return the mean incoming recurrent weight over the neurons of a network (figure 6a)."""
    return connectivity[["network_id", "n"]].assign(value=connectivity["weight_mean"].astype(float))


@quantity("positive part of the mean incoming weight", "positive part", needs=TIMESCALES_COMMAND)
def weight_positive(connectivity: pd.DataFrame) -> pd.DataFrame:
    """Return the contribution of positive weights to the mean incoming weight (figure S19c)."""
    return connectivity[["network_id", "n"]].assign(value=connectivity["weight_positive"].astype(float))


@quantity("negative part of the mean incoming weight", "negative part", needs=TIMESCALES_COMMAND)
def weight_negative(connectivity: pd.DataFrame) -> pd.DataFrame:
    """Return the contribution of negative weights to the mean incoming weight, at most 0 (figure S19c)."""
    return connectivity[["network_id", "n"]].assign(value=connectivity["weight_negative"].astype(float))


@quantity("mean incoming weight relative to the mean absolute weight", "balance of weights", needs=TIMESCALES_COMMAND)
def balance(connectivity: pd.DataFrame) -> pd.DataFrame:
    """Return the mean incoming weight relative to the mean absolute weight: 0 if excitation and inhibition balance."""
    absolute = connectivity["weight_positive"] - connectivity["weight_negative"]
    return connectivity[["network_id", "n"]].assign(value=connectivity["weight_mean"] / absolute)


@quantity(
    "correlation over neurons of mean incoming weight and tau",
    "correlation of mean\nincoming weight and τ",
    needs=TIMESCALES_COMMAND,
)
def tau_correlation(connectivity: pd.DataFrame) -> pd.DataFrame:
    """Return the Pearson correlation over neurons between mean incoming weight and tau (figure S19d)."""
    return connectivity[["network_id", "n"]].assign(value=connectivity["tau_correlation"].astype(float))


@quantity(
    "components for 90 % of the variance", "components for 90 % of variance", needs=TIMESCALES_COMMAND, where=POOLED
)
def components(dimensionality: pd.DataFrame) -> pd.DataFrame:
    """Return the number of principal components that explain 90 % of the variance of activity (figures 6b, S20)."""
    return dimensionality[["network_id", "n"]].assign(value=dimensionality["components"].astype(float))


@quantity("participation ratio", "participation ratio", needs=TIMESCALES_COMMAND, where=POOLED)
def participation_ratio(dimensionality: pd.DataFrame) -> pd.DataFrame:
    """Return the participation ratio of the variances of activity."""
    return dimensionality[["network_id", "n"]].assign(value=dimensionality["participation_ratio"].astype(float))
