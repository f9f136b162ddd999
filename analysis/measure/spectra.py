"""How trained networks forget a change of their state: from a checkpoint to one row; see `tsrnn.dynamics.spectra`."""

import dataclasses
import math
from functools import partial
from typing import Annotated, Final

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from analysis.measure.cost import of_steps
from analysis.measure.jobs import Analysis
from analysis.measure.requirements import require_unit_steps
from analysis.measure.values import finite
from tsrnn.dynamics.nonnormality import departure, fisher_memory
from tsrnn.dynamics.simulation import BURN_IN
from tsrnn.dynamics.spectra import (
    driven_slopes,
    eigenvalue_timescales,
    lyapunov_exponents,
    mean_slopes,
    tangents,
)
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.schemas import SPECTRA, Row, Table
from tsrnn.kinds import STRICT, Count
from tsrnn.networks.leaky import LeakyPopulation
from tsrnn.tasks import BitTask

SLOW: Final = 2.0
"""Eigenvalues with a longer timescale than this, in time steps, count as slow."""

# Number of changes whose growth is followed; more than one, since the largest two exponents may be nearly equal.
_DIRECTIONS: Final = 4
_SETTLE: Final = 100
_DELAYS: Final = 200
# Steps of the short simulations from which the cost is estimated.
_PIECES: Final = (200, 600)


@checked_dataclass(frozen=True, kw_only=True, config=STRICT)
class Protocol:
    """How networks are driven.

    Attributes:
        steps: number of counted steps in one sequence of independent bits with p = 0.5, after 100 steps in which the
            directions of changes settle.
        burn_in: number of steps before these.
    """

    steps: Count = 5000
    burn_in: Annotated[int, Field(ge=0)] = BURN_IN


def measure(checkpoint: Checkpoint, n: int, *, protocol: Protocol) -> dict[Table, list[Row]]:
    """Measure one network.

    Args:
        checkpoint: the network.
        n: the N that it solved, which is part of the name of the stream of inputs.
        protocol: how it is driven.

    Returns:
        one row of `spectra`, without `network_id` and `n`.

    Raises:
        TypeError: if the network is not a leaky one.
        ValueError: if bits are held for several time steps.
    """
    population, task = checkpoint.population(), checkpoint.config.task
    if not isinstance(population, LeakyPopulation):
        raise TypeError(f"a {checkpoint.config.network.kind} has no W; spectra can only be measured in leaky networks")
    require_unit_steps(checkpoint.config)
    torch.set_flush_denormal(True)
    hidden = checkpoint.config.network.hidden
    # Simulated twice, which takes less memory than to store the slopes of all steps.
    slopes = partial(
        driven_slopes,
        population,
        [(checkpoint.config.seed, "spectra", n)],
        steps=_SETTLE + protocol.steps,
        burn_in=protocol.burn_in,
        inputs=0.5 if isinstance(task, BitTask) else task,
    )
    start = torch.eye(hidden)[None, :, :_DIRECTIONS]
    exponents = lyapunov_exponents(tangents(population, slopes()), start, _SETTLE)
    mean = mean_slopes(slopes())
    jacobian = population.tangent(mean, torch.eye(hidden, dtype=torch.float64)[None])[0]
    gain = population.input_gain(mean)[0].detach().double().numpy()
    if not jacobian.isfinite().all():
        return {SPECTRA: [dict.fromkeys(column.name for column in SPECTRA.columns if not column.key)]}
    matrix = jacobian.detach().numpy()
    timescales = eigenvalue_timescales(jacobian[None])[0]
    curve = fisher_memory(matrix, gain, _DELAYS)
    radius = float(np.abs(np.linalg.eigvals(matrix)).max())
    row = {
        "lyapunov": float(exponents[0, 0]),
        "spectral_radius": radius,
        "timescale_slowest": float(timescales[0]),
        "modes_slow": int((timescales > SLOW).sum()),
        "departure": departure(matrix),
        "fisher_memory": float(curve.sum() / (gain @ gain)) if gain.any() else math.nan,
        "fisher_delay": float(curve @ np.arange(_DELAYS) / curve.sum()) if gain.any() else math.nan,
    }
    return {SPECTRA: [{name: finite(value) for name, value in row.items()}]}


def analysis(protocol: Protocol) -> Analysis:
    """Return the analysis of `python -m analysis spectra`, for `analysis.measure.jobs.run`."""
    return Analysis(
        name="spectra",
        measure=partial(measure, protocol=protocol),
        tables=(SPECTRA,),
        settings=dataclasses.asdict(protocol),
        cost=partial(of_steps, measure, _PIECES, protocol=protocol),
    )
