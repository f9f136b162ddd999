"""How networks forget: Lyapunov exponents, eigenvalues and non-normality of their Jacobians."""

from typing import Final

import pandas as pd

from analysis.quantities.base import SPECTRA_COMMAND, quantity


@quantity("largest Lyapunov exponent", "largest Lyapunov\nexponent (1 / time steps)", needs=SPECTRA_COMMAND)
def lyapunov(spectra: pd.DataFrame) -> pd.DataFrame:
    """Return the mean rate at which a small change of the state grows, or shrinks if it is below 0."""
    return spectra[["network_id", "n"]].assign(value=spectra["lyapunov"].astype(float))


@quantity(
    "slowest timescale of the mean Jacobian",
    "slowest timescale of the\nmean Jacobian (time steps)",
    needs=SPECTRA_COMMAND,
)
def timescale_slowest(spectra: pd.DataFrame) -> pd.DataFrame:
    """Return -1 / ln |lambda| of the largest eigenvalue of the mean Jacobian, in time steps."""
    return spectra[["network_id", "n"]].assign(value=spectra["timescale_slowest"].astype(float))


@quantity("departure of the mean Jacobian from normality", "departure from\nnormality", needs=SPECTRA_COMMAND)
def departure(spectra: pd.DataFrame) -> pd.DataFrame:
    """Return Henrici's departure of the mean Jacobian from normality: 0 if it is normal, 1 if it is a delay line."""
    return spectra[["network_id", "n"]].assign(value=spectra["departure"].astype(float))


@quantity(
    "Fisher memory relative to a normal network's",
    "Fisher memory over that\nof a normal network",
    needs=SPECTRA_COMMAND,
)
def fisher_memory(spectra: pd.DataFrame) -> pd.DataFrame:
    """Return the sum of the Fisher memory curve relative to a normal network; above 1, there are hidden chains."""
    return spectra[["network_id", "n"]].assign(value=spectra["fisher_memory"].astype(float))


SPECTRA: Final = (lyapunov, timescale_slowest, departure, fisher_memory)
"""The quantities that the command summarises and figure M2 shows."""
