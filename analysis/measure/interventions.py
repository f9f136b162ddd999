"""Interventions on one checkpoint: the in-time accuracy of its newest head after each change.

In-time protocol (section 5, appendix L): random bits with p = 0.5, 100 steps of warm-up, then 1000 steps that are
counted, in 10 sequences. Each `measure_*` function applies an intervention of `tsrnn` and then this protocol, from a
checkpoint to rows.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from analysis.measure.cost import extrapolated
from analysis.measure.jobs import Analysis
from analysis.measure.requirements import require_head, require_unit_steps
from analysis.measure.values import accuracy_columns, finite
from analysis.options import InterventionKind
from tsrnn.interventions import ablate, by_tau, perturb_taus, perturb_weights, scale_inhibition, tau_in_effect
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.schemas import ABLATION, HEADS_RETRAINING, INHIBITION, PERTURBATION, Row, Table
from tsrnn.networks import Population, population
from tsrnn.randomness import Streams
from tsrnn.tasks import Task
from tsrnn.training import logistic
from tsrnn.training.evaluation import Accuracy, first_answer, in_time_accuracy
from tsrnn.training.sampling import Address, initial_states

Rows = dict[Table, list[Row]]

WEIGHT_STRENGTHS: Final = tuple(float(x) for x in np.logspace(-2, 1, 10))
"""Strengths of perturbations of the weights (figure 7c, Table 1)."""

TAU_STRENGTHS: Final = tuple(float(x) for x in np.logspace(-3, 1, 13))
"""Strengths of perturbations of the taus (figure 7d; Table 2 has the first 11)."""

CHANGES: Final = tuple(round(c / 100, 2) for c in range(-10, 11))
"""Changes of the inhibitory weights (figure S19)."""

ABLATED_SHARE: Final = 0.04
"""The share of neurons in each of the two removed sets: 20 of 500 (appendix L)."""

# The largest number of recurrent weights of perturbed copies that are simulated together.
_HELD: Final = 1 << 18


# The cost is estimated from runs with these numbers of steps, and with every n-th strength of a perturbation.
_PIECES: Final = (20, 150)
_EVERY: Final = 5


@dataclass(frozen=True, kw_only=True)
class InTime:
    """The in-time protocol.

    Attributes:
        warm_up: number of steps before the first counted answer; at least N are used.
        steps: number of counted answers per sequence.
        trials: number of sequences per network.
    """

    warm_up: int = 100
    steps: int = 1000
    trials: int = 10


def measure_ablation(checkpoint: Checkpoint, n: int, *, protocol: InTime) -> Rows:
    """Remove the neurons with the longest and the shortest taus: one at a time, and each set together (figures 7a, 7b).

    All copies receive the same sequences, so they differ only in the removed neurons. Neurons with equal taus are
    ordered by their index: lower indices count as shorter.
    """
    networks = newest_head(checkpoint, n)
    (order,) = by_tau(networks)
    count = max(1, round(ABLATED_SHARE * len(order)))
    sets: list[tuple[str, int, list[int]]] = [("none", -1, [])]
    for removed, neurons in (("longest", order[::-1][:count]), ("shortest", order[:count])):
        sets += [(removed, neuron, [neuron]) for neuron in neurons] + [(removed, -1, neurons)]
    copies = ablate(networks, [neurons for _, _, neurons in sets])
    found = in_time(copies, checkpoint, n, "ablation", [0] * len(sets), protocol)
    (tau,) = tau_in_effect(networks)
    rows: list[Row] = [
        {"removed": removed, "neuron": neuron, "tau": float(tau[neurons].mean()) if neurons else None}
        for removed, neuron, neurons in sets
    ]
    return {ABLATION: _with_accuracy(rows, found, found[0].accuracy)}


def measure_perturbation(
    checkpoint: Checkpoint,
    n: int,
    *,
    perturbed: Literal["weights", "taus"],
    strengths: Sequence[float],
    draws: int,
    common: bool,
    protocol: InTime,
) -> Rows:
    """Perturb W or tau in random directions (figures 7c, 7d).

    The unchanged network counts as strength 0, with the same number of trials. Trial d of every strength receives the
    same sequences, and other trials receive other sequences.
    """
    networks = newest_head(checkpoint, n)
    perturb = {"weights": perturb_weights, "taus": perturb_taus}[perturbed]
    whole, found = (0.0, *strengths), list[Accuracy]()
    # The number of strengths at a time is limited to save memory.
    together = max(1, _HELD // (draws * networks.network.hidden**2))
    for start in range(0, len(whole), together):
        some = whole[start : start + together]
        copies = perturb(networks, some, draws, [checkpoint.config.seed], common=common)
        found += in_time(copies, checkpoint, n, f"perturb {perturbed}", [*range(draws)] * len(some), protocol)
    rows: list[Row] = [
        {"perturbed": perturbed, "perturbation": strength, "trial": trial}
        for strength in whole
        for trial in range(draws)
    ]
    baseline = float(np.mean([accuracy.accuracy for accuracy in found[:draws]]))
    return {PERTURBATION: _with_accuracy(rows, found, baseline)}


def measure_inhibition(checkpoint: Checkpoint, n: int, *, changes: Sequence[float], protocol: InTime) -> Rows:
    """Scale the inhibitory weights, and measure the range of activity (figure S19), all with the same sequences."""
    networks = newest_head(checkpoint, n)
    whole = (0.0, *(change for change in changes if change != 0))
    copies = scale_inhibition(networks, whole)
    activity = _Activity()
    found = in_time(copies, checkpoint, n, "inhibition", [0] * len(whole), protocol, activity)
    rows = _with_accuracy([{"change": change} for change in whole], found, found[0].accuracy)
    return {INHIBITION: [row | extremes for row, extremes in zip(rows, activity.rows(), strict=True)]}


def measure_heads_retraining(
    checkpoint: Checkpoint, n: int, *, heads: Sequence[int] | None, sequences: int, protocol: InTime
) -> Rows:
    """Retrain only the readout on each N', with everything else frozen (appendix H, figure S17).

    On fixed states, this is a logistic regression, which is one convex problem per head. It is fitted to the states of
    `sequences` separate sequences, and tested on those of the protocol.

    Args:
        checkpoint: the network.
        n: the N that it solved.
        heads: the N' to retrain on; by default 2 to the larger of 20 and n + 5.
        sequences: number of sequences for the fit, each with `protocol.steps` answers.
        protocol: how accuracy is measured.
    """
    networks, task = newest_head(checkpoint, n), checkpoint.config.task.balanced()
    ns = list(heads or range(2, max(20, n + 5) + 1))
    found, iterations = refitted(
        networks, task, ns, checkpoint.config.seed, "heads retraining", sequences=sequences, protocol=protocol
    )
    rows: list[Row] = [
        # Heads whose fit has not converged are also tested on new sequences.
        {"head": head, **accuracy_columns(accuracy), "iterations": count}
        for head, accuracy, count in zip(ns, found, iterations, strict=True)
    ]
    return {HEADS_RETRAINING: rows}


def refitted(
    networks: Population,
    task: Task,
    heads: Sequence[int],
    seed: int,
    purpose: str,
    *,
    sequences: int,
    protocol: InTime,
) -> tuple[list[Accuracy], list[int]]:
    """Fit new heads to the states of one network, and test them on other sequences.

    Args:
        networks: a population of one.
        task: the task.
        heads: the N of the heads.
        seed: the seed of the network.
        purpose: the name of the streams of sequences.
        sequences: number of sequences for the fit, each with `protocol.steps` answers.
        protocol: how accuracy is measured.

    Returns:
        The accuracy of each head, and the number of Newton steps of its fit.

    Raises:
        ValueError: if a state is not finite.
    """
    draws = {(seed, purpose, i): b for i, b in enumerate((sequences, protocol.trials))}
    seen, fresh = _states_and_labels(networks, task, heads, draws, protocol)
    fitted = logistic.fit(seen.states, seen.labels)
    right = (fitted.answers(fresh.states) == fresh.labels).view(len(heads), -1, protocol.trials).double().mean(1)
    error = right.std(1) / protocol.trials**0.5 if protocol.trials > 1 else torch.full_like(right[:, 0], torch.nan)
    found = [Accuracy(*pair) for pair in zip(right.mean(1).tolist(), error.tolist(), strict=True)]
    return found, fitted.iterations.tolist()


def cost(
    checkpoint: Checkpoint, n: int, *, measure: Callable[..., Rows], protocol: InTime, settings: Mapping[str, Any]
) -> float:
    """Estimate the seconds of one core of a `measure_*` function, from runs with fewer steps and strengths.

    Args:
        checkpoint: the network.
        n: the N it solved.
        measure: the function.
        protocol: its protocol.
        settings: its other arguments.
    """
    factor = 1.0
    if strengths := settings.get("strengths"):
        some = strengths[::_EVERY]
        factor = (1 + len(strengths)) / (1 + len(some))
        settings = {**settings, "strengths": some}

    def piece(steps: int) -> Rows:
        return measure(checkpoint, n, protocol=dataclasses.replace(protocol, steps=steps), **settings)

    short, longer = _PIECES
    return factor * extrapolated(piece, short, longer, protocol.steps)


def newest_head(checkpoint: Checkpoint, n: int) -> Population:
    """Return the network as a population of one that has only its head for N.

    Raises:
        ValueError: if it has no such head, or was trained with bits that are held for several time steps.
    """
    require_unit_steps(checkpoint.config)
    require_head(checkpoint, n)
    return population(checkpoint.config.network, [checkpoint.network], [(n,)])


def accuracy_in_time(checkpoint: Checkpoint, n: int, protocol: InTime) -> Accuracy:
    """Return the in-time accuracy of a checkpoint's head for N."""
    (found,) = in_time(newest_head(checkpoint, n), checkpoint, n, "in time", [0], protocol)
    return found


def in_time(
    copies: Population,
    checkpoint: Checkpoint,
    n: int,
    purpose: str,
    trials: Sequence[int],
    protocol: InTime,
    watch: Callable[[Tensor], None] | None = None,
) -> list[Accuracy]:
    """Return the in-time accuracy of each copy of a checkpoint's network.

    Args:
        copies: R networks that have only the head for N.
        checkpoint: the original network.
        n: N.
        purpose: the name of the streams of sequences.
        trials: [R] copies with the same number receive the same sequences.
        protocol: how accuracy is measured.
        watch: see `tsrnn.training.evaluation.in_time_accuracy`.
    """
    found = in_time_accuracy(
        copies,
        checkpoint.config.task.balanced(),
        [(checkpoint.config.seed, f"{purpose} {n}", trial) for trial in trials],
        warm_up=protocol.warm_up,
        steps=protocol.steps,
        trials=protocol.trials,
        watch=watch,
    )
    return [heads[n] for heads in found]


def _with_accuracy(rows: Sequence[Row], found: Sequence[Accuracy], baseline: float) -> list[Row]:
    return [row | accuracy_columns(accuracy, baseline) for row, accuracy in zip(rows, found, strict=True)]


class _Activity:
    """The range of activity of each network, and the number of sequences that left the range of floats."""

    def __init__(self) -> None:
        self._lows: list[Tensor] = []
        self._highs: list[Tensor] = []

    def __call__(self, states: Tensor) -> None:
        """Update with a block [T, R, B, H]."""
        self._lows.append(states.amin((0, 2, 3)).double())
        self._highs.append(states.amax((0, 2, 3)).double())
        # Activity that is not finite once remains so, so the last step of the last block is sufficient.
        self._exploded = (~states[-1].isfinite().all(2)).sum(1)

    def rows(self) -> list[Row]:
        """Return each network's columns of `inhibition`."""
        low, high = torch.stack(self._lows).amin(0).tolist(), torch.stack(self._highs).amax(0).tolist()
        return [
            {"activity_low": finite(least), "activity_high": finite(greatest), "exploded": exploded}
            for least, greatest, exploded in zip(low, high, self._exploded.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class _Samples:
    """States [S B, H] of one network at S steps of B sequences, and the labels [K, S B] of K heads there."""

    states: Tensor
    labels: Tensor


def _states_and_labels(
    networks: Population, task: Task, heads: Sequence[int], draws: Mapping[Address, int], protocol: InTime
) -> list[_Samples]:
    """Simulate one network in time, and return its states and labels at all counted steps, for each stream."""
    warm_up = first_answer(protocol.warm_up, heads)

    def streams(address: Address, purpose: str) -> Streams:
        return Streams.named([(*address, purpose)], networks.device)

    bits = [task.draw_inputs([warm_up + protocol.steps], b, streams(draw, "bits")) for draw, b in draws.items()]
    initial = [initial_states(networks, streams(draw, "state"), b) for draw, b in draws.items()]
    # All sequences are simulated together.
    states = networks.activity(networks.all_states(torch.cat(bits, 2), torch.cat(initial, 1))[warm_up:])[:, 0]
    asked = [task.targets(drawn, torch.tensor([list(heads)]), range(warm_up, len(drawn)))[:, 0] for drawn in bits]
    return [
        _Samples(own.flatten(0, 1), labels.transpose(0, 1).flatten(1))
        for own, labels in zip(torch.split(states, list(draws.values()), dim=1), asked, strict=True)
    ]


def analyses(
    kinds: Sequence[InterventionKind], *, protocol: InTime, draws: int, common: bool, heads: Sequence[int] | None
) -> list[Analysis]:
    """Return the analyses of `python -m analysis interventions`, for `analysis.measure.jobs.run`.

    Args:
        kinds: the interventions.
        protocol: how accuracy is measured.
        draws: random directions for each strength of a perturbation.
        common: use the same directions at every strength.
        heads: the N' on which the readout is retrained; see `measure_heads_retraining`.
    """
    settings = dataclasses.asdict(protocol)
    result = []
    for kind in dict.fromkeys(kinds):
        measure: Callable[..., Rows]
        own: dict[str, Any]
        match kind:
            case "ablation":
                measure, own, table = measure_ablation, {}, ABLATION
            case "perturb-weights" | "perturb-taus":
                measure, table = measure_perturbation, PERTURBATION
                perturbed = kind.removeprefix("perturb-")
                strengths = {"weights": WEIGHT_STRENGTHS, "taus": TAU_STRENGTHS}[perturbed]
                own = {"perturbed": perturbed, "strengths": strengths, "draws": draws, "common": common}
            case "inhibition":
                measure, own, table = measure_inhibition, {"changes": CHANGES}, INHIBITION
            case "heads-retraining":
                measure, own, table = measure_heads_retraining, {"heads": heads, "sequences": 20}, HEADS_RETRAINING
        result.append(
            Analysis(
                name=kind,
                measure=partial(measure, protocol=protocol, **own),
                tables=(table,),
                settings=settings | own,
                shares_tables=table is PERTURBATION,
                cost=partial(cost, measure=measure, protocol=protocol, settings=own),
            )
        )
    return result
