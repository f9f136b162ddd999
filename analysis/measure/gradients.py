"""Gradients and curvature of trained networks, from a checkpoint to rows; see `tsrnn.dynamics.gradients`.

For each loss of a network there is a copy with the heads in its sum, and one copy for each single head. The copies form
one population and receive the same sequences. Everything is computed in float64.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from torch import Tensor

from analysis.measure.cost import extrapolated
from analysis.measure.jobs import Analysis
from analysis.measure.requirements import require_head, require_unit_steps
from analysis.measure.values import finite
from tsrnn.dynamics.gradients import cosines, double, mean_gradients, norms_by_delay, posed, sharpness
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.schemas import CURVATURE, GRADIENT_COSINES, GRADIENTS, Row, Table
from tsrnn.kinds import STRICT, Count
from tsrnn.networks import NetworkState, population
from tsrnn.networks.leaky import TAU, WEIGHT, LeakyPopulation
from tsrnn.randomness import Streams
from tsrnn.tasks import BitTask
from tsrnn.training.carrying import advanced
from tsrnn.training.optimizers import gradient_norms, initial_state
from tsrnn.training.sampling import TaskBatch, batches, draw_batch, initial_states, spread

OLDER: Final = -1
"""The `other` head in rows about the sum of the losses of all smaller heads that were trained."""

# Batches of the short measurements from which the cost is estimated.
_PIECES: Final = (1, 3)


@checked_dataclass(frozen=True, kw_only=True, config=STRICT)
class Protocol:
    """The sequences that networks receive.

    Attributes:
        batches: number of batches of sequences as in training, with lengths that are spread over the possible ones.
        batch_size: number of sequences per batch.
        delays: the longest delay of gradients at past states, in time steps; None for N. Sequences for these gradients
            have the longest length in training.
    """

    batches: Count = 4
    batch_size: Count = 64
    delays: Annotated[int, Field(ge=1)] | None = None


def measure(checkpoint: Checkpoint, n: int, *, protocol: Protocol) -> dict[Table, list[Row]]:
    """Measure one network.

    Args:
        checkpoint: the network.
        n: the N that it solved, which is part of the name of the stream of sequences.
        protocol: the sequences.

    Returns:
        rows of `gradients`, `gradient_cosines` and `curvature`, without `network_id` and `n`.

    Raises:
        TypeError: if the network is not a leaky one.
        ValueError: if it has no head for N, its task is not about bits, bits are held for several time steps, or
            sequences are shorter than the delays.
    """
    config, heads = checkpoint.config, tuple(head for head in checkpoint.progress.heads if head <= n)
    require_head(checkpoint, n)
    if not isinstance(checkpoint.population(), LeakyPopulation):
        raise TypeError(f"a {config.network.kind} has no W; gradients can only be measured in leaky networks")
    if not isinstance(config.task, BitTask):
        raise ValueError(f"task = {config.task.kind}: it is read out at every step; allowed are parity and dms")
    require_unit_steps(config)
    torch.set_flush_denormal(True)
    following = _next(checkpoint, n)
    losses: dict[str, tuple[NetworkState, tuple[int, ...]]] = {"newest": (checkpoint.network, (n,))}
    if len(heads) > 1:
        losses["trained"] = checkpoint.network, heads
    if following is not None:
        losses["next"] = following.network, following.progress.heads[-1:]
    copies = _stack(checkpoint, list(losses.values()))
    return {
        GRADIENTS: _by_delay(checkpoint, n, copies, list(losses), protocol),
        GRADIENT_COSINES: _between_heads(checkpoint, n, heads, following, protocol),
        CURVATURE: _curvature(checkpoint, n, copies, list(losses), protocol),
    }


def _next(checkpoint: Checkpoint, n: int) -> Checkpoint | None:
    """Return the network after the next step of its curriculum, untrained; None if there is no next step."""
    step = checkpoint.config.curriculum.advance(checkpoint.progress.curriculum.solving((n,)))
    if step is None:
        return None
    # A checkpoint of a solved N has only the weights.
    fresh = initial_state(checkpoint.config.training.optimizer, checkpoint.network)
    return advanced(dataclasses.replace(checkpoint, optimizer=fresh), step)


def _stack(checkpoint: Checkpoint, networks: Sequence[tuple[NetworkState, Sequence[int]]]) -> LeakyPopulation:
    """Return networks, each with some of its heads, as one population in float64."""
    stacked = double(
        population(checkpoint.config.network, [state for state, _ in networks], [heads for _, heads in networks])
    )
    assert isinstance(stacked, LeakyPopulation)
    return stacked


def _as_in_training(checkpoint: Checkpoint, n: int, protocol: Protocol) -> list[tuple[TaskBatch, Tensor]]:
    """Draw batches of one network as in training at N."""
    one = _stack(checkpoint, [(checkpoint.network, (n,))])
    address = (checkpoint.config.seed, "gradients", n)
    return list(batches(checkpoint.config.task, one, [address], protocol.batches, protocol.batch_size, schedule=spread))


def _by_delay(
    checkpoint: Checkpoint, n: int, copies: LeakyPopulation, losses: Sequence[str], protocol: Protocol
) -> list[Row]:
    task, one = checkpoint.config.task, copies.only(0)
    _, longest = task.lengths_for(n)
    delays = n if protocol.delays is None else protocol.delays

    def streams(purpose: str) -> Streams:
        return Streams.named([(checkpoint.config.seed, "gradients by delay", n, purpose)], copies.device)

    bits, starts = streams("bits"), streams("state")
    total = torch.zeros(())
    for _ in range(protocol.batches):
        batch = draw_batch(task, one.head_table, [longest], protocol.batch_size, bits)
        initial = initial_states(one, starts, protocol.batch_size)
        total = total + norms_by_delay(copies, task, *posed(batch, initial, copies, task), delays)
    return [
        {"loss": loss, "delay": delay, "norm": finite(norm / protocol.batches)}
        for loss, norms in zip(losses, total.tolist(), strict=True)
        for delay, norm in enumerate(norms)
    ]


def _between_heads(
    checkpoint: Checkpoint, n: int, heads: Sequence[int], following: Checkpoint | None, protocol: Protocol
) -> list[Row]:
    """Compare all pairs of heads, and each head with the sum of the smaller trained heads."""
    alone = [(checkpoint.network, head) for head in heads]
    if following is not None and following.progress.heads[-1] not in heads:
        alone.append((following.network, following.progress.heads[-1]))
    if len(alone) < 2:
        return []
    copies = _stack(checkpoint, [(state, (head,)) for state, head in alone])
    task = checkpoint.config.task
    asked = [posed(*one, copies, task) for one in _as_in_training(checkpoint, n, protocol)]
    _, gradients = mean_gradients(copies, task, asked, [name for name in (WEIGHT, TAU) if name in copies.trained])
    flat = {
        column: gradients[name].flatten(1)
        for column, name in (("cosine_weights", WEIGHT), ("cosine_taus", TAU))
        if name in gradients
    }
    rows: list[Row] = []
    for i in range(1, len(alone)):
        others = {head: [j] for j, (_, head) in enumerate(alone[:i])} | {OLDER: [*range(i)]}
        for other, places in others.items():
            row: Row = {"head": alone[i][1], "other": other, "cosine_weights": None, "cosine_taus": None}
            for column, vectors in flat.items():
                pair = torch.stack([vectors[i], vectors[places].sum(0)])
                row[column] = finite(float(cosines(pair)[0, 1]))
            rows.append(row)
    return rows


def _curvature(
    checkpoint: Checkpoint, n: int, copies: LeakyPopulation, losses: Sequence[str], protocol: Protocol
) -> list[Row]:
    task, drawn = checkpoint.config.task, _as_in_training(checkpoint, n, protocol)
    values, gradients = mean_gradients(copies, task, [posed(*one, copies, task) for one in drawn])
    found = zip(
        losses,
        values.sum(1).tolist(),
        gradient_norms(gradients).tolist(),
        sharpness(copies, task, drawn),
        strict=True,
    )
    return [
        {"loss": loss, "value": finite(value), "gradient_norm": finite(norm), "sharpness": finite(bend)}
        for loss, value, norm, bend in found
    ]


def cost(checkpoint: Checkpoint, n: int, *, protocol: Protocol) -> float:
    """Estimate the seconds of one core that `measure` takes, which grows with the number of batches."""
    short, longer = _PIECES
    return extrapolated(
        lambda count: measure(checkpoint, n, protocol=dataclasses.replace(protocol, batches=count)),
        short,
        longer,
        protocol.batches,
    )


def analysis(protocol: Protocol) -> Analysis:
    """Return the analysis of `python -m analysis gradients`, for `analysis.measure.jobs.run`."""
    return Analysis(
        name="gradients",
        measure=partial(measure, protocol=protocol),
        tables=(GRADIENTS, GRADIENT_COSINES, CURVATURE),
        settings=dataclasses.asdict(protocol),
        cost=partial(cost, protocol=protocol),
    )
