"""Timescales of activity: tau_net of neurons and tau_pop of networks, by the paper's method (figures 5, S1 to S4).

Statistics of tau_net are over the neurons whose tau_net exceeds one time step, as in the paper (section 4.2), because
the activity of the others decays within a step. `tau_net_share` is the share of the former.
"""

import numpy as np
import pandas as pd

from analysis.quantities.base import TIMESCALES_COMMAND, Where, quantity

NEURONS: dict[str, tuple[Where, ...]] = {"timescales": (("method", "==", "paper"), ("neuron", ">=", 0))}
"""The rows of neurons."""

POPULATION: dict[str, tuple[Where, ...]] = {"timescales": (("method", "==", "paper"), ("neuron", "==", -1))}
"""The rows of the summed activity."""


@quantity(
    "mean of tau_net over neurons with tau_net > 1",
    "mean τ_net (time steps)",
    needs=TIMESCALES_COMMAND,
    where=NEURONS,
)
def tau_net_mean(timescales: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of tau_net over the neurons with tau_net > 1, of each network at each N, in time steps."""
    known = timescales.assign(value=timescales["tau_net"].where(timescales["tau_net"] > 1))
    return known.groupby(["network_id", "n"])["value"].mean().reset_index()


@quantity(
    "standard deviation of tau_net over neurons with tau_net > 1",
    "SD of τ_net (time steps)",
    needs=TIMESCALES_COMMAND,
    where=NEURONS,
)
def tau_net_sd(timescales: pd.DataFrame) -> pd.DataFrame:
    """Return the standard deviation of tau_net over the neurons with tau_net > 1, in time steps."""
    known = timescales.assign(value=timescales["tau_net"].where(timescales["tau_net"] > 1))
    return known.groupby(["network_id", "n"])["value"].std(ddof=0).reset_index()


@quantity("share of neurons with tau_net > 1", "share with τ_net > 1", needs=TIMESCALES_COMMAND, where=NEURONS)
def tau_net_share(timescales: pd.DataFrame) -> pd.DataFrame:
    """Return the share of neurons with tau_net > 1; it is unknown if no neuron has a tau_net."""
    networks = timescales.assign(above=(timescales["tau_net"] > 1).astype(float)).groupby(["network_id", "n"])
    return networks["above"].mean().where(networks["tau_net"].count() > 0).rename("value").reset_index()


@quantity(
    "tau_pop, the timescale of the summed activity",
    "τ_pop (time steps)",
    needs=TIMESCALES_COMMAND,
    where=POPULATION,
)
def tau_pop(timescales: pd.DataFrame) -> pd.DataFrame:
    """Return the timescale of the summed activity of all neurons, in time steps (figure S4)."""
    return timescales[["network_id", "n"]].assign(value=timescales["tau_net"].astype(float))


@quantity(
    "share of neurons where AIC and BIC choose the same model",
    "share with the same model",
    needs=TIMESCALES_COMMAND,
    where=NEURONS,
)
def agreement(timescales: pd.DataFrame) -> pd.DataFrame:
    """Return the share of neurons for which AIC and BIC choose the same number of exponentials (figure S1).

    The single exponential is chosen if its criterion is not larger. Neurons without both fits do not count.
    """
    fits = timescales.dropna(subset=["aic_single", "aic_double", "lags"])
    aic = fits["aic_double"] - fits["aic_single"]
    # For each parameter, of which two exponentials have two more, AIC adds 2 and BIC the logarithm of the lags.
    bic = aic + 2 * (np.log(fits["lags"]) - 2)
    same = (aic >= 0) == (bic >= 0)
    agreed = fits.assign(same=same.astype(float))
    return agreed.groupby(["network_id", "n"])["same"].mean().rename("value").reset_index()


@quantity("median R² of the fits of neurons with tau_net > 1", "median R²", needs=TIMESCALES_COMMAND, where=NEURONS)
def r_squared(timescales: pd.DataFrame) -> pd.DataFrame:
    """Return the median R² of the fits over the neurons with tau_net > 1 (figure S2)."""
    known = timescales[timescales["tau_net"] > 1]
    return known.groupby(["network_id", "n"])["r_squared"].median().rename("value").reset_index()


@quantity("tau_net of a neuron", "τ_net (time steps)", needs=TIMESCALES_COMMAND, where=NEURONS)
def tau_net(timescales: pd.DataFrame) -> pd.DataFrame:
    """Return tau_net of every neuron with tau_net > 1, in time steps (figure 5d)."""
    known = timescales[timescales["tau_net"] > 1]
    return known[["network_id", "n", "neuron"]].assign(value=known["tau_net"])


@quantity("autocorrelation of a neuron", "autocorrelation", needs=TIMESCALES_COMMAND)
def autocorrelation(autocorrelations: pd.DataFrame) -> pd.DataFrame:
    """Return the autocorrelation of every neuron (mean over trials; figure 5a); further columns: neuron, lag."""
    keys = ["network_id", "n", "neuron", "lag"]
    return autocorrelations[keys].assign(value=autocorrelations["autocorrelation"].astype(float))
