"""What a trained network does when it is driven by random bits: timescales, dimensionality, and its weights.

Timescale protocol (section 4.2): independent bits, 500 steps of burn-in, 10 trials of 10^5 steps; the autocorrelation
of each neuron and of the summed activity is averaged over trials and fitted at lags 0 to 30. `measure` is that, from
a checkpoint to rows; `by_network` and `by_curriculum` sum its tables up. Frames in, frames out.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal

import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from scipy import stats
from torch import Tensor

from analysis.measure.jobs import Analysis
from tsrnn.config import Time
from tsrnn.dynamics import timescales
from tsrnn.dynamics.autocorrelation import LAGS, Autocovariance, Moments
from tsrnn.dynamics.dimensionality import Covariance, dimensionality, incoming_weights
from tsrnn.dynamics.simulation import BURN_IN, observe
from tsrnn.interventions import tau_in_effect
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.schemas import AUTOCORRELATIONS, CONNECTIVITY, DIMENSIONALITY, NEURONS, TIMESCALES, Row, Table
from tsrnn.kinds import STRICT, Count, Probability
from tsrnn.networks import Population
from tsrnn.networks.leaky import LeakyPopulation
from tsrnn.tasks import BitTask

Method = Literal["paper", "robust"]
Rows = dict[Table, list[Row]]
Values = np.ndarray[Any, np.dtype[np.float64]]

METHODS: Final[tuple[Method, ...]] = ("paper", "robust")
TABLES: Final = (NEURONS, AUTOCORRELATIONS, TIMESCALES, DIMENSIONALITY, CONNECTIVITY)

POPULATION: Final = -1
"""The `neuron` of rows that are about the summed activity."""

POOLED: Final = -1
"""The `trial` of rows that are about all trials."""

SPLIT: Final = 20
"""The largest N of the first of two lines (figure S20)."""

# A series that varies by less than this, relative to its size, is constant up to the rounding of float32.
_CONSTANT: Final = 8 * float(np.finfo(np.float32).eps)
_FITTED: Final = tuple(field.name for field in dataclasses.fields(timescales.Fits))
# The columns of `by_network` that come from timescales, and those that `by_curriculum` averages.
_SUMMED: Final = (
    *("neurons", "fitted", "fraction_above_1", "mean_above_1", "median_above_1", "mean_all", "median_all"),
    *("tau_pop", "tau_pop_status"),
)
_AVERAGED: Final = (
    *("fraction_above_1", "mean_above_1", "median_above_1", "mean_all", "median_all", "tau_pop", "tau"),
    *("components", "participation_ratio", "weight_mean", "tau_correlation"),
)


@checked_dataclass(frozen=True, kw_only=True, config=STRICT)
class Protocol:
    """The timescale protocol.

    Attributes:
        steps: recorded, a trial.
        trials: with inputs of their own.
        burn_in: steps before them.
        input_probability: P(bit = 1). A task that is not about bits is driven by its own inputs instead.
        lags: of autocorrelations, from 0 on.
    """

    steps: Count = 100_000
    trials: Count = 10
    burn_in: Annotated[int, Field(ge=0)] = BURN_IN
    input_probability: Probability = 0.5
    lags: Count = LAGS


def measure(checkpoint: Checkpoint, n: int, *, protocol: Protocol, methods: Sequence[Method] = METHODS) -> Rows:
    """Measure one network.

    What cannot be measured (activity that explodes, is silent or constant, fewer steps than lags) is a row whose
    `status` says so. Denormal numbers, which silent networks decay to, are flushed to zero in the calling thread.

    Args:
        checkpoint: the network.
        n: the N it solved; names the stream of the inputs.
        protocol: how it is driven.
        methods: how its timescales are fitted.

    Returns:
        rows of `TABLES`, without `network_id` and `n`; none of `connectivity` where a network has no W.

    Raises:
        ValueError: if the network was trained with bits that are held for several time steps, or there is no method.
    """
    if checkpoint.config.time != Time():
        raise ValueError(f"time.k = {checkpoint.config.time.k}: every step is a new bit here; allowed is (1,)")
    if not methods or not set(methods) <= set(METHODS):
        raise ValueError(f"methods = {tuple(methods)}: allowed are {', '.join(METHODS)}, at least one")
    torch.set_flush_denormal(True)
    people, task = checkpoint.population(), checkpoint.config.task
    autocovariance, covariance = Autocovariance(protocol.lags), Covariance()
    observe(
        people,
        [(checkpoint.config.seed, "timescales", n)],
        [autocovariance, covariance],
        steps=protocol.steps,
        trials=protocol.trials,
        burn_in=protocol.burn_in,
        inputs=protocol.input_probability if isinstance(task, BitTask) else task,
    )
    moments = autocovariance.moments()
    return {
        NEURONS: _neurons(people, moments),
        AUTOCORRELATIONS: _autocorrelations(moments),
        TIMESCALES: [row for method in dict.fromkeys(methods) for row in _timescales(moments, method)],
        DIMENSIONALITY: _dimensionality(covariance),
        CONNECTIVITY: _connectivity(people),
    }


def statuses(moments: Moments) -> list[str]:
    """Return why each series of the first network has no timescale, or "" where it can be fitted, [H + 1].

    "not_finite" or "constant" where it is that in any trial, "too_short" where there are no more steps than lags.
    """
    mean, covariance = moments.mean[0], moments.autocovariance[0]
    size = mean.abs()
    # Rounding of a sum is relative to what is summed.
    size[:, -1] = size[:, :-1].sum(1)
    finite = mean.isfinite().all(0) & covariance[..., 0].isfinite().all(0)
    constant = (covariance[..., 0].clamp(min=0).sqrt() <= _CONSTANT * size).any(0)
    short = moments.steps <= covariance.shape[-1]
    return [
        "not_finite" if not is_finite else "constant" if is_constant else "too_short" if short else ""
        for is_finite, is_constant in zip(finite.tolist(), constant.tolist(), strict=True)
    ]


def _timescales(moments: Moments, method: Method) -> list[Row]:
    found = statuses(moments)
    empty = dict.fromkeys(_FITTED)
    rows: list[Row] = [
        {"neuron": neuron, "method": method} | empty | {"status": status}
        for neuron, status in zip(_series(moments), found, strict=True)
    ]
    measurable = [place for place, status in enumerate(found) if not status]
    if measurable:
        fits = _fits(moments, method, measurable)
        columns = {name: _known(getattr(fits, name)) for name in _FITTED if name != "status"}
        for i, place in enumerate(measurable):
            rows[place] |= {"status": str(fits.status[i])} | {name: values[i] for name, values in columns.items()}
    return rows


def _fits(moments: Moments, method: Method, series: list[int]) -> timescales.Fits:
    match method:
        case "paper":
            return timescales.paper(moments.autocorrelation[0, series].cpu())
        case "robust":
            return timescales.robust(moments.autocovariance[0][:, series].cpu(), moments.steps)


def _series(moments: Moments) -> list[int]:
    """Return the `neuron` of each of the H + 1 series."""
    return [*range(moments.mean.shape[-1] - 1), POPULATION]


def _known(values: Values) -> list[float | None]:
    """Return numbers as a table has them: None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def _finite(values: Tensor) -> list[float | None]:
    """Return numbers as a table has them: None for what is not finite."""
    return [float(value) if np.isfinite(value) else None for value in values.double().cpu().numpy()]


def _autocorrelations(moments: Moments) -> list[Row]:
    autocorrelation = moments.autocorrelation[0].clone()
    unknown = [status in ("not_finite", "constant") for status in statuses(moments)]
    autocorrelation[torch.tensor(unknown, device=autocorrelation.device)] = torch.nan
    return [
        {"neuron": neuron, "lag": lag, "autocorrelation": value}
        for neuron, values in zip(_series(moments), autocorrelation, strict=True)
        for lag, value in enumerate(_finite(values))
    ]


def _neurons(people: Population, moments: Moments) -> list[Row]:
    neurons = moments.neurons
    mean = neurons.mean[0].mean(0)
    variance = neurons.autocovariance[0, ..., 0].mean(0) + neurons.mean[0].var(0, correction=0)
    columns = {"tau": _tau(people)} | _weights(people)
    columns |= {"activity_mean": _finite(mean), "activity_sd": _finite(variance.clamp(min=0).sqrt())}
    return [{"neuron": i} | {name: values[i] for name, values in columns.items()} for i in range(people.network.hidden)]


def _tau(people: Population) -> list[float | None]:
    """Return the taus in effect; None where the architecture has none."""
    if isinstance(people, LeakyPopulation):
        return _finite(tau_in_effect(people)[0])
    return [None] * people.network.hidden


def _has_weights(people: Population) -> bool:
    return isinstance(people, LeakyPopulation) and people.network.hidden > 1


def _weights(people: Population) -> dict[str, list[float | None]]:
    """Return each neuron's mean incoming weight and its two parts; None where there is no W."""
    if not _has_weights(people):
        nothing: list[float | None] = [None] * people.network.hidden
        return {"weight_mean": nothing, "weight_positive": nothing, "weight_negative": nothing}
    weights = incoming_weights(people)
    return {
        "weight_mean": _finite(weights.mean[0]),
        "weight_positive": _finite(weights.positive[0]),
        "weight_negative": _finite(weights.negative[0]),
    }


def _connectivity(people: Population) -> list[Row]:
    if not _has_weights(people):
        return []
    weights = incoming_weights(people)
    means, tau = (values[0].double().cpu().numpy() for values in (weights.mean, tau_in_effect(people)))
    return [
        {
            "weight_mean": float(means.mean()),
            "weight_positive": float(weights.positive[0].mean()),
            "weight_negative": float(weights.negative[0].mean()),
            "weight_mean_sd": float(means.std()),
            "tau_correlation": correlation(means, tau),
        }
    ]


def correlation(x: Values, y: Values) -> float | None:
    """Return Pearson's r, or None where one of the two does not vary (figure S19d)."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(stats.pearsonr(x, y).statistic)


def _dimensionality(covariance: Covariance) -> list[Row]:
    rows: list[Row] = []
    for trial, of_trial in [*enumerate(covariance.of_trials()[0]), (POOLED, covariance.pooled()[0])]:
        found = dimensionality(of_trial)
        ratio = found.participation_ratio
        rows.append(
            {
                "trial": trial,
                "components": found.components if found.components >= 0 else None,
                "participation_ratio": None if np.isnan(ratio) else ratio,
            }
        )
    return rows


def analysis(protocol: Protocol, methods: Sequence[Method] = METHODS) -> Analysis:
    """Return what `python -m analysis timescales` measures, for `analysis.measure.jobs.run`."""
    chosen = [method for method in METHODS if method in methods]
    return Analysis(
        name="timescales",
        measure=partial(measure, protocol=protocol, methods=chosen),
        tables=TABLES,
        settings=dataclasses.asdict(protocol) | {"methods": chosen},
    )


def choose(solved: pd.DataFrame, every: int) -> pd.DataFrame:
    """Choose the solved N to measure: the multiples of `every`, and each network's smallest and largest.

    Args:
        solved: the table `solved`.
        every: 1 takes all.

    Returns:
        the rows that are chosen: network_id and n.
    """
    of_network = solved.groupby("network_id")["n"]
    n = solved["n"]
    kept = (n % every == 0) | (n == of_network.transform("min")) | (n == of_network.transform("max"))
    return solved.loc[kept, ["network_id", "n"]].sort_values(["network_id", "n"], ignore_index=True)


def by_network(tables: Mapping[Table, pd.DataFrame], chosen: pd.DataFrame) -> pd.DataFrame:
    """Sum up each network at each N.

    Args:
        tables: the frames of `timescales`, `neurons`, `dimensionality` and `connectivity`.
        chosen: network_id and n of the checkpoints.

    Returns:
        One row a network, N and method. `neurons`: H; `fitted`: how many have a tau_net; `fraction_above_1`: the share
        of the H neurons whose tau_net exceeds 1; `mean_above_1`, `median_above_1`: of tau_net over those alone, as
        the paper has it; `mean_all`, `median_all`: over all that are fitted; `tau_pop`, and `tau_pop_status`; `tau`:
        the mean of tau; `components` and `participation_ratio`, the mean over trials; `weight_mean` and
        `tau_correlation`. NaN where there is nothing to average.
    """
    keys = ["network_id", "n"]
    frames = {table: frame.merge(chosen, on=keys) for table, frame in tables.items()}
    fits = frames[TIMESCALES]
    rows = []
    for (network_id, n, method), group in fits.groupby([*keys, "method"], sort=True):
        population, neurons = group[group["neuron"] == POPULATION].iloc[0], group[group["neuron"] != POPULATION]
        tau_net = neurons["tau_net"].dropna()
        above = tau_net[tau_net > 1]
        rows.append(
            {
                "network_id": network_id,
                "n": n,
                "method": method,
                "neurons": len(neurons),
                "fitted": len(tau_net),
                "fraction_above_1": len(above) / len(neurons),
                "mean_above_1": above.mean(),
                "median_above_1": above.median(),
                "mean_all": tau_net.mean(),
                "median_all": tau_net.median(),
                "tau_pop": population["tau_net"],
                "tau_pop_status": population["status"],
            }
        )
    result = pd.DataFrame(rows, columns=[*keys, "method", *_SUMMED])
    trials = frames[DIMENSIONALITY]
    others = (
        frames[NEURONS].groupby(keys)["tau"].mean(),
        trials[trials["trial"] != POOLED].groupby(keys)[["components", "participation_ratio"]].mean(),
        frames[CONNECTIVITY].set_index(keys)[["weight_mean", "tau_correlation"]],
    )
    for frame in others:
        result = result.merge(frame, on=keys, how="left")
    return result


def by_curriculum(networks: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Average what `by_network` returns over the networks that differ in their seed alone.

    Args:
        networks: what `by_network` returns.
        groups: network_id, and `group` and `curriculum` in words.

    Returns:
        One row a group, curriculum, method and N: `networks`, and the mean over those that have a value.
    """
    keys = ["group", "curriculum", "method", "n"]
    rows = networks.merge(groups, on="network_id").groupby(keys, sort=False)
    means = rows[list(_AVERAGED)].mean()
    means.insert(0, "networks", rows["network_id"].nunique())
    return means.reset_index().sort_values(keys, ignore_index=True)


@dataclass(frozen=True)
class TwoLines:
    """Dimensionality against N: one line, or one up to some N and another beyond (figure S20).

    Attributes:
        slope: of one line through all, per unit of N.
        low: slope up to the split.
        high: slope beyond it.
        p_value: of an F-test (Chow's) that the two lines are one; values at different N are taken as independent,
            which those of one network are not.
        change: mean over networks of their own change of slope, beyond minus up to the split.
        change_low: lower end of its 95 % interval, by t over networks; NaN with one network.
        change_high: upper end.
        networks: how many networks have both slopes.
    """

    slope: float
    low: float
    high: float
    p_value: float
    change: float
    change_low: float
    change_high: float
    networks: int


def two_lines(frame: pd.DataFrame, split: int = SPLIT) -> TwoLines:
    """Compare one line through dimensionality against N with two that meet nowhere in particular.

    Args:
        frame: columns network_id, n and components, one row a network and N; rows without components are left out.
        split: the largest N of the first line.

    Raises:
        ValueError: if there are fewer than three points on either side, or fewer than two different N.

    Source: figure S20: for parity one line holds, for DMS the lines for N <= 20 and N > 20 differ.
    """
    points = frame.dropna(subset="components")
    beyond = points["n"] > split
    for name, part in ((f"N <= {split}", points[~beyond]), (f"N > {split}", points[beyond])):
        if len(part) < 3 or part["n"].nunique() < 2:
            raise ValueError(f"{name}: {len(part)} points at {part['n'].nunique()} N; needed are three at two")
    n, y = points["n"].to_numpy(dtype=float), points["components"].to_numpy(dtype=float)
    one = sm.OLS(y, np.stack([np.ones_like(n), n], 1)).fit()
    sides = [beyond.to_numpy() == side for side in (False, True)]
    two = sm.OLS(y, np.stack([column * side for side in sides for column in (np.ones_like(n), n)], 1)).fit()
    _, p_value, _ = two.compare_f_test(one)
    changes = np.array(
        [change for _, own in points.groupby("network_id") if (change := _change(own, split)) is not None], dtype=float
    )
    ends = (float("nan"), float("nan"))
    if len(changes) > 1:
        error = stats.sem(changes)
        ends = tuple(changes.mean() + error * stats.t.ppf(level, len(changes) - 1) for level in (0.025, 0.975))
    return TwoLines(
        slope=float(one.params[1]),
        low=float(two.params[1]),
        high=float(two.params[3]),
        p_value=float(p_value),
        change=float(changes.mean()) if len(changes) else float("nan"),
        change_low=float(ends[0]),
        change_high=float(ends[1]),
        networks=len(changes),
    )


def _change(points: pd.DataFrame, split: int) -> float | None:
    """Return how much steeper one network's line is beyond the split; None where it has no two lines."""
    parts = [points[points["n"] <= split], points[points["n"] > split]]
    if any(part["n"].nunique() < 2 for part in parts):
        return None
    low, high = (float(np.polyfit(part["n"], part["components"], 1)[0]) for part in parts)
    return high - low
