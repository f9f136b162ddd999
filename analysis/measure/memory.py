"""Memory capacities of trained networks for products of past bits, from a checkpoint to rows.

The protocol is a shorter version of that for timescales: independent bits with p = 0.5 after 500 steps of burn-in. See
`tsrnn.dynamics.memory`.
"""

import dataclasses
from functools import partial
from typing import Annotated, Final

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from analysis.measure.cost import of_steps
from analysis.measure.jobs import Analysis
from analysis.measure.requirements import require_unit_steps
from analysis.measure.values import finite
from tsrnn.dynamics.memory import Memory, Target, delays, pairs, parities
from tsrnn.dynamics.simulation import BURN_IN, simulate_with_inputs
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.schemas import MEMORY, Row, Table
from tsrnn.kinds import STRICT, Count
from tsrnn.tasks import BitTask

# Steps of the short simulations from which the cost is estimated.
_PIECES: Final = (500, 2000)


@checked_dataclass(frozen=True, kw_only=True, config=STRICT)
class Protocol:
    """How networks are driven, and for which products the capacity is measured.

    Attributes:
        steps: number of counted steps per trial.
        trials: number of trials, each with its own inputs; readouts are fitted to one half and tested on the other.
        burn_in: number of steps before the counted ones.
        longest: the longest delay of single bits, and the largest number of bits of a parity, in time steps.
        pairs: the number of delays for products of two bits; there are pairs (pairs - 1) / 2 such products.
    """

    steps: Count = 20_000
    trials: Annotated[int, Field(ge=2)] = 10
    burn_in: Annotated[int, Field(ge=0)] = BURN_IN
    longest: Annotated[int, Field(ge=2)] = 64
    pairs: Annotated[int, Field(ge=2)] = 16

    @property
    def targets(self) -> list[Target]:
        """The products, each once: the pair (0, 1) is the parity of two bits."""
        return list(dict.fromkeys([*delays(self.longest), *pairs(self.pairs), *parities(self.longest)]))


def measure(checkpoint: Checkpoint, n: int, *, protocol: Protocol) -> dict[Table, list[Row]]:
    """Measure one network.

    Args:
        checkpoint: the network.
        n: the N that it solved, which is part of the name of the stream of inputs.
        protocol: the inputs and the products.

    Returns:
        rows of `memory`, without `network_id` and `n`.

    Raises:
        ValueError: its task is not about bits, they are held for several time steps, or there are too few steps.
    """
    if not isinstance(checkpoint.config.task, BitTask):
        raise ValueError(
            f"task = {checkpoint.config.task.kind}: memory capacities are defined for bits; allowed are parity and dms"
        )
    require_unit_steps(checkpoint.config)
    torch.set_flush_denormal(True)
    memory = Memory(protocol.targets)
    driven = simulate_with_inputs(
        checkpoint.population(),
        [(checkpoint.config.seed, "memory", n)],
        steps=protocol.steps,
        trials=protocol.trials,
        burn_in=protocol.burn_in,
    )
    for inputs, activity in driven:
        memory(inputs, activity)
    rows: list[Row] = []
    for target, capacity in zip(memory.targets, memory.capacity()[0].tolist(), strict=True):
        row = {"bits": len(target), "nearest": min(target), "farthest": max(target)}
        rows.append(row | {"capacity": finite(capacity)})
    return {MEMORY: rows}


def analysis(protocol: Protocol) -> Analysis:
    """Return the analysis of `python -m analysis memory`, for `analysis.measure.jobs.run`."""
    return Analysis(
        name="memory",
        measure=partial(measure, protocol=protocol),
        tables=(MEMORY,),
        settings=dataclasses.asdict(protocol),
        cost=partial(of_steps, measure, _PIECES, protocol=protocol),
    )
