"""How the state of a network forgets a small change: Lyapunov exponents, and eigenvalues of the mean Jacobian.

Source: Benettin et al. (1980) for exponents by repeated QR decompositions; Kaplan and Yorke (1979) for the dimension.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from tsrnn.dynamics.simulation import BURN_IN, Inputs, simulate
from tsrnn.networks.leaky import LeakyPopulation

Tangent = Callable[[Tensor], Tensor]
"""Maps changes of the state before a time step, [R, H, K], to those after it."""


def driven_slopes(
    population: LeakyPopulation,
    addresses: Sequence[tuple[str | int, ...]],
    *,
    steps: int = 2000,
    burn_in: int = BURN_IN,
    inputs: Inputs = 0.5,
) -> Iterator[Tensor]:
    """Drive R networks and yield phi'(z) of every neuron, the only part of their Jacobians that changes.

    Args:
        population: R leaky networks.
        addresses: [R] where each network's randomness comes from; see `tsrnn.dynamics.simulation.simulate`.
        steps: T, steps that are yielded.
        burn_in: steps before them.
        inputs: see `tsrnn.dynamics.simulation.simulate`.

    Yields:
        [t, R, H] of consecutive steps, T in total.

    Raises:
        ValueError: see `tsrnn.dynamics.simulation.simulate`.
    """
    before: Tensor | None = None
    for block in simulate(population, addresses, steps=steps + 1, trials=1, burn_in=burn_in, inputs=inputs):
        # A block may be overwritten by the next one.
        states = block.clone() if before is None else torch.cat([before, block])
        before = states[-1:].clone()
        yield population.slopes(states[:-1], states[1:])[:, :, 0]


def tangents(population: LeakyPopulation, slopes: Iterable[Tensor]) -> Iterator[Tangent]:
    """Yield, for each step, a function that multiplies changes of the states of R networks by their Jacobians.

    Args:
        population: R leaky networks.
        slopes: blocks [t, R, H], such as `driven_slopes` yields.
    """
    for block in slopes:
        for now in block:
            yield partial(population.tangent, now)


def lyapunov_exponents(tangents: Iterable[Tangent], start: Tensor, settle: int = 100) -> Tensor:
    """Return the K largest Lyapunov exponents of R systems, in 1 / time steps.

    After every step, the changes are made orthonormal again by a QR decomposition. Its diagonal contains the factors by
    which they have grown.

    Args:
        tangents: of T + `settle` steps.
        start: [R, H, K] changes to begin from, of full rank, such as the first K columns of the identity.
        settle: steps in which the changes turn to the directions of largest growth; these are not counted.

    Returns:
        [R, K] mean logarithms of growth per step, largest first; -inf where a change vanishes, NaN where it is not
        finite.

    Raises:
        ValueError: there are no steps beyond `settle`.
    """
    directions, total, steps = torch.linalg.qr(start.double())[0], torch.zeros(start.shape[0], start.shape[2]), 0
    total = total.to(directions)
    for i, tangent in enumerate(tangents):
        grown = tangent(directions)
        finite = grown.isfinite().all(-1).all(-1)
        directions, triangle = torch.linalg.qr(torch.where(finite[:, None, None], grown, directions))
        if i >= settle:
            growth = triangle.diagonal(dim1=-2, dim2=-1).abs().log()
            total += torch.where(finite[:, None], growth, torch.nan)
            steps += 1
    if not steps:
        raise ValueError(f"tangents: no step after the {settle} in which changes settle; allowed are more than that")
    return (total / steps).sort(dim=1, descending=True).values


def mean_slopes(slopes: Iterable[Tensor]) -> Tensor:
    """Return the mean of phi'(z) over time, [R, H] in float64.

    `LeakyPopulation.tangent` computes the mean Jacobian from it, because Jacobians are linear in phi'(z).

    Args:
        slopes: blocks [t, R, H], such as `driven_slopes` yields.

    Raises:
        ValueError: there are no steps.
    """
    total, steps = torch.zeros(()), 0
    for block in slopes:
        total = total + block.double().sum(0)
        steps += len(block)
    if not steps:
        raise ValueError("slopes: of no step; allowed is at least one")
    return total / steps


def eigenvalue_timescales(matrix: Tensor) -> Tensor:
    """Return the timescales of linear dynamics h(t) = A h(t-1): -1 / ln |lambda| for each eigenvalue, in time steps.

    Args:
        matrix: A, [R, H, H].

    Returns:
        [R, H] longest first: infinite where |lambda| >= 1, 0 where lambda = 0, NaN where A is not finite.

    Source: a mode decays as |lambda|^t = exp(-t / tau).
    """
    finite = matrix.isfinite().all(-1).all(-1)
    sizes = torch.linalg.eigvals(torch.where(finite[:, None, None], matrix, 0.0)).abs()
    found = torch.where(sizes < 1, -1 / sizes.log(), torch.inf)
    return torch.where(finite[:, None], found, torch.nan).sort(dim=1, descending=True).values
