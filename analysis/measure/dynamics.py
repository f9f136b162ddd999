"""The dynamics of a trained network that is driven by random bits: timescales, dimensionality, and weights.

Timescale protocol (section 4.2): independent bits, 500 steps of burn-in, 10 trials of 10^5 steps. The autocorrelation
of each neuron and of the summed activity is averaged over trials and fitted at lags 0 to 30. `measure` does this, from
a checkpoint to rows, and `analysis.measure.dynamics_summary` summarises the resulting tables.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, get_args

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from scipy import stats
from torch import Tensor

from analysis.measure.cost import of_steps
from analysis.measure.jobs import Analysis
from analysis.measure.requirements import require_unit_steps
from analysis.options import TimescaleMethod
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

Rows = dict[Table, list[Row]]
Values = np.ndarray[Any, np.dtype[np.float64]]

METHODS: Final[tuple[TimescaleMethod, ...]] = get_args(TimescaleMethod)
TABLES: Final = (NEURONS, AUTOCORRELATIONS, TIMESCALES, DIMENSIONALITY, CONNECTIVITY)

POPULATION: Final = -1
"""The `neuron` of rows about the summed activity."""

POOLED: Final = -1
"""The `trial` of rows about all trials together."""


# Series that vary by less than this, relative to their size, count as constant: this is the rounding of float32.
_CONSTANT: Final = 8 * float(np.finfo(np.float32).eps)
# Steps of the short simulations from which the cost is estimated.
_PIECES: Final = (500, 3000)


@checked_dataclass(frozen=True, kw_only=True, config=STRICT)
class Protocol:
    """The timescale protocol.

    Attributes:
        steps: number of recorded steps per trial.
        trials: number of trials, each with its own inputs.
        burn_in: number of steps before the recorded ones.
        input_probability: P(bit = 1); with "uniform", p ~ U(0, 1) is drawn for each trial. If the task is not about
            bits, its own inputs are used instead.
        lags: number of lags of autocorrelations, beginning with 0.
    """

    steps: Count = 100_000
    trials: Count = 10
    burn_in: Annotated[int, Field(ge=0)] = BURN_IN
    input_probability: Probability | Literal["uniform"] = 0.5
    lags: Count = LAGS


def measure(
    checkpoint: Checkpoint, n: int, *, protocol: Protocol, methods: Sequence[TimescaleMethod] = METHODS
) -> Rows:
    """Measure one network.

    If something cannot be measured (activity that explodes, is silent or constant; fewer steps than lags), the `status`
    of its row says so. Denormal numbers, to which silent networks decay, are set to zero in the calling thread.

    Args:
        checkpoint: the network.
        n: the N that it solved, which is part of the name of the stream of inputs.
        protocol: how it is driven.
        methods: how its timescales are fitted.

    Returns:
        rows of `TABLES`, without `network_id` and `n`; there are none of `connectivity` if a network has no W.

    Raises:
        ValueError: if the network was trained with bits that are held for several time steps, or there is no method.
    """
    require_unit_steps(checkpoint.config)
    if not methods or not set(methods) <= set(METHODS):
        raise ValueError(f"methods = {tuple(methods)}: allowed are {', '.join(METHODS)}, at least one")
    torch.set_flush_denormal(True)
    population, task = checkpoint.population(), checkpoint.config.task
    autocovariance, covariance = Autocovariance(protocol.lags), Covariance()
    observe(
        population,
        [(checkpoint.config.seed, "timescales", n)],
        [autocovariance, covariance],
        steps=protocol.steps,
        trials=protocol.trials,
        burn_in=protocol.burn_in,
        inputs=protocol.input_probability if isinstance(task, BitTask) else task,
    )
    moments = autocovariance.moments()
    return {
        NEURONS: _neurons(population, moments),
        AUTOCORRELATIONS: _autocorrelations(moments),
        TIMESCALES: [row for method in dict.fromkeys(methods) for row in _timescales(moments, method)],
        DIMENSIONALITY: _dimensionality(covariance),
        CONNECTIVITY: _connectivity(population),
    }


def statuses(moments: Moments) -> list[str]:
    """Return why each series of the first network has no timescale, or "" if it can be fitted, [H + 1].

    It is "not_finite" or "constant" if this is true in any trial, and "too_short" if there are no more steps than lags.
    """
    mean, covariance = moments.mean[0], moments.autocovariance[0]
    size = mean.abs()
    # The rounding of a sum is relative to its terms.
    size[:, -1] = size[:, :-1].sum(1)
    finite = mean.isfinite().all(0) & covariance[..., 0].isfinite().all(0)
    constant = (covariance[..., 0].clamp(min=0).sqrt() <= _CONSTANT * size).any(0)
    short = moments.steps <= covariance.shape[-1]
    return [
        "not_finite" if not is_finite else "constant" if is_constant else "too_short" if short else ""
        for is_finite, is_constant in zip(finite.tolist(), constant.tolist(), strict=True)
    ]


def _timescales(moments: Moments, method: TimescaleMethod) -> list[Row]:
    found = statuses(moments)
    empty = dict.fromkeys((*timescales.NUMBERS, "lags"))
    rows: list[Row] = [
        {"neuron": neuron, "method": method} | empty | {"status": status}
        for neuron, status in zip(_series(moments), found, strict=True)
    ]
    measurable = [place for place, status in enumerate(found) if not status]
    if measurable:
        fits = _fits(moments, method, measurable)
        columns = {name: _known(getattr(fits, name)) for name in timescales.NUMBERS}
        for i, place in enumerate(measurable):
            rows[place] |= {"status": str(fits.status[i]), "lags": fits.lags}
            rows[place] |= {name: values[i] for name, values in columns.items()}
    return rows


def _fits(moments: Moments, method: TimescaleMethod, series: list[int]) -> timescales.Fits:
    match method:
        case "paper":
            return timescales.paper(moments.autocorrelation[0, series].cpu())
        case "robust":
            return timescales.robust(moments.autocovariance[0][:, series].cpu(), moments.steps)


def _series(moments: Moments) -> list[int]:
    """Return the `neuron` of each of the H + 1 series."""
    return [*range(moments.mean.shape[-1] - 1), POPULATION]


def _known(values: Values) -> list[float | None]:
    """Return numbers as in a table, with None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def _finite(values: Tensor) -> list[float | None]:
    """Return numbers as in a table, with None for numbers that are not finite."""
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


def _neurons(population: Population, moments: Moments) -> list[Row]:
    neurons = moments.neurons
    mean = neurons.mean[0].mean(0)
    variance = neurons.autocovariance[0, ..., 0].mean(0) + neurons.mean[0].var(0, correction=0)
    columns = {"tau": _tau(population)} | _weights(population)
    columns |= {"activity_mean": _finite(mean), "activity_sd": _finite(variance.clamp(min=0).sqrt())}
    return [
        {"neuron": i} | {name: values[i] for name, values in columns.items()} for i in range(population.network.hidden)
    ]


def _tau(population: Population) -> list[float | None]:
    """Return the taus in effect; None if the architecture has none."""
    if isinstance(population, LeakyPopulation):
        return _finite(tau_in_effect(population)[0])
    return [None] * population.network.hidden


def _has_weights(population: Population) -> bool:
    return isinstance(population, LeakyPopulation) and population.network.hidden > 1


def _weights(population: Population) -> dict[str, list[float | None]]:
    """Return the mean incoming weight of each neuron and its two parts; None if there is no W."""
    if not _has_weights(population):
        nothing: list[float | None] = [None] * population.network.hidden
        return {"weight_mean": nothing, "weight_positive": nothing, "weight_negative": nothing}
    weights = incoming_weights(population)
    return {
        "weight_mean": _finite(weights.mean[0]),
        "weight_positive": _finite(weights.positive[0]),
        "weight_negative": _finite(weights.negative[0]),
    }


def _connectivity(population: Population) -> list[Row]:
    if not _has_weights(population):
        return []
    weights = incoming_weights(population)
    means, tau = (values[0].double().cpu().numpy() for values in (weights.mean, tau_in_effect(population)))
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
    """Return the Pearson correlation, or None if one of the variables is constant (figure S19d)."""
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


def analysis(protocol: Protocol, methods: Sequence[TimescaleMethod] = METHODS) -> Analysis:
    """Return the analysis of `python -m analysis timescales`, for `analysis.measure.jobs.run`."""
    chosen = [method for method in METHODS if method in methods]
    own = partial(measure, methods=chosen)
    return Analysis(
        name="timescales",
        measure=partial(own, protocol=protocol),
        tables=TABLES,
        settings=dataclasses.asdict(protocol) | {"methods": chosen},
        cost=partial(of_steps, own, _PIECES, protocol=protocol),
    )
