"""The output of `python -m analysis timescales`: quantities of networks against N, and their means over networks."""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from analysis.measure.dynamics import POOLED, POPULATION
from analysis.quantities import connectivity, timescales
from tsrnn.io.schemas import CONNECTIVITY, DIMENSIONALITY, NEURONS, TIMESCALES, Table

_SUMMED: Final = (
    *("neurons", "fitted", "fraction_above_1", "mean_above_1", "median_above_1", "mean_all", "median_all"),
    *("tau_pop", "tau_pop_status"),
)

_AVERAGED: Final = (
    *("fraction_above_1", "mean_above_1", "median_above_1", "mean_all", "median_all", "tau_pop", "tau"),
    *("components", "participation_ratio", "weight_mean", "tau_correlation"),
)


def by_network(tables: Mapping[Table, pd.DataFrame], chosen: pd.DataFrame) -> pd.DataFrame:
    """Summarise each network at each N.

    Args:
        tables: the frames of `timescales`, `neurons`, `dimensionality` and `connectivity`.
        chosen: network_id and n of the checkpoints.

    Returns:
        One row for each network, N and method. `neurons`: H; `fitted`: how many have a tau_net; `fraction_above_1`: the
        share of the H neurons with tau_net > 1; `mean_above_1`, `median_above_1`: mean and median of tau_net over these
        neurons, as in the paper; `mean_all`, `median_all`: over all neurons with a tau_net; `tau_pop` and
        `tau_pop_status`; `tau`: the mean of tau; `components` and `participation_ratio`: for all trials together;
        `weight_mean` and `tau_correlation`. Values are NaN if there is nothing to average.
    """
    keys = ["network_id", "n"]
    frames = {table: frame.merge(chosen, on=keys) for table, frame in tables.items()}
    parts = [
        _of_method(rows).assign(method=str(method)) for method, rows in frames[TIMESCALES].groupby("method", sort=True)
    ]
    result = pd.concat(parts) if parts else pd.DataFrame(columns=[*keys, "method", *_SUMMED])
    pooled = frames[DIMENSIONALITY][frames[DIMENSIONALITY]["trial"] == POOLED]
    others = {
        "tau": frames[NEURONS].groupby(keys)["tau"].mean().rename("value").reset_index(),
        "components": connectivity.components(pooled),
        "participation_ratio": connectivity.participation_ratio(pooled),
        "weight_mean": connectivity.weight_mean(frames[CONNECTIVITY]),
        "tau_correlation": connectivity.tau_correlation(frames[CONNECTIVITY]),
    }
    for name, rows in others.items():
        result = result.merge(rows.rename(columns={"value": name}), on=keys, how="left")
    columns = [*keys, "method", *_SUMMED, *others]
    return result[columns].sort_values([*keys, "method"], ignore_index=True)


def _of_method(fits: pd.DataFrame) -> pd.DataFrame:
    """Summarise the fits of one method over the neurons of each network at each N."""
    keys = ["network_id", "n"]
    neurons, summed = fits[fits["neuron"] != POPULATION], fits[fits["neuron"] == POPULATION]
    every, above = neurons.groupby(keys)["tau_net"], neurons[neurons["tau_net"] > 1].groupby(keys)["tau_net"]
    columns = {
        "neurons": every.size(),
        "fitted": every.count(),
        "fraction_above_1": timescales.tau_net_share(neurons).set_index(keys)["value"],
        "mean_above_1": timescales.tau_net_mean(neurons).set_index(keys)["value"],
        "median_above_1": above.median(),
        "mean_all": every.mean(),
        "median_all": every.median(),
        "tau_pop": timescales.tau_pop(summed).set_index(keys)["value"],
        "tau_pop_status": summed.set_index(keys)["status"],
    }
    return pd.DataFrame(columns).reset_index()


def by_curriculum(networks: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Average the result of `by_network` over networks that differ only in their seed.

    Args:
        networks: the result of `by_network`.
        groups: network_id, and `group` and `curriculum` in words.

    Returns:
        One row for each group, curriculum, method and N: `networks`, and the mean over those that have a value.
    """
    keys = ["group", "curriculum", "method", "n"]
    rows = networks.merge(groups, on="network_id").groupby(keys, sort=False)
    means = rows[list(_AVERAGED)].mean()
    means.insert(0, "networks", rows["network_id"].nunique())
    return means.reset_index().sort_values(keys, ignore_index=True)
