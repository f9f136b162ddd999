"""Interventions: pure functions from a population of trained networks to a larger population of changed copies.

The result contains the copies of network 0 first, then those of network 1, and so on. The given population is not
changed. Copies that keep their W (ablation, longer taus) are a `LeakyCopies`, which simulates them together. All other
copies are a stack, which can be trained.

    population = tsrnn.load(path).population()
    ablated = ablate(population, [[neuron] for neuron in by_tau(population)[0][-20:]])
    accuracies = in_time_accuracy(ablated, task, [(seed, "ablation", 0)] * ablated.replicates)
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from tsrnn.networks import Population
from tsrnn.networks.base import READOUT_BIAS, READOUT_WEIGHT, NetworkState, Stack, stack
from tsrnn.networks.copies import LeakyCopies
from tsrnn.networks.leaky import BIAS, INPUT_BIAS, INPUT_WEIGHT, TAU, WEIGHT, LeakyPopulation
from tsrnn.randomness import key

Part = Literal["readout", "weights", "taus"]
Modes = Literal["singular values", "Schur modes"]

PARTS: Final[Mapping[Part, tuple[str, ...]]] = {
    "readout": (READOUT_WEIGHT, READOUT_BIAS),
    "weights": (WEIGHT, BIAS, INPUT_WEIGHT, INPUT_BIAS),
    "taus": (TAU,),
}
"""The parameters of a leaky network, in three parts: weights are W, the input weights and their biases."""


def tau_in_effect(population: Population) -> Tensor:
    """Return the taus that the recurrence uses, [R, H] in units of time; see `LeakyPopulation.tau_in_effect`.

    Raises:
        TypeError: if the population has no tau.
    """
    return _leaky(population).tau_in_effect().detach()


def by_tau(population: Population) -> list[list[int]]:
    """Return each network's neurons sorted by tau in effect, shortest first; ties are sorted by the neuron's index.

    Returns:
        [R] lists of H neurons.

    Raises:
        TypeError: if the population has no tau.
    """
    return [torch.argsort(row, stable=True).tolist() for row in tau_in_effect(population)]


def ablate(population: Population, sets: Sequence[Collection[int]]) -> LeakyCopies:
    """Remove neurons: all their weights and biases, including those in every head. An empty set removes none.

    Args:
        population: R leaky networks.
        sets: the neurons to remove together, one set for each copy.

    Returns:
        R x len(sets) networks: each network with each set.

    Raises:
        TypeError: if the networks are not leaky ones.
        ValueError: if there is no set, or a neuron does not exist.

    Source: appendix L; figures 7a, 7b, S9.
    """
    leaky = _leaky(population)
    hidden = leaky.network.hidden
    silent = torch.zeros(len(sets), hidden, dtype=torch.bool, device=leaky.device)
    for row, neurons in zip(silent, sets, strict=True):
        if unknown := [neuron for neuron in neurons if not 0 <= neuron < hidden]:
            raise ValueError(f"sets: there is no neuron {unknown[0]}; allowed are 0 to {hidden - 1}")
        row[list(neurons)] = True
    return _copies(leaky, len(sets), silent.repeat(leaky.replicates, 1))


def perturb_weights(
    population: Population, strengths: Sequence[float], draws: int, seeds: Sequence[int], *, common: bool = False
) -> Population:
    """Perturb W by a random matrix: W + strength |W| D / |D|, D ~ N(0, 1) off the diagonal, 0 on it, Frobenius norms.

    Args:
        population: R leaky networks.
        strengths: of the perturbation, relative to the norm of W; 0 changes nothing.
        draws: directions D for each strength.
        seeds: [R] the directions come from each network's stream (seed, "perturb weights", ...).
        common: use the same directions at every strength instead of new ones.

    Returns:
        R x len(strengths) x draws networks, for each network strength by strength.

    Raises:
        TypeError: if the networks are not leaky ones.
        ValueError: if a strength is negative, or there is none, or no draw.

    Source: section 5, figure 7c, Table 1.
    """
    leaky = _leaky(population)
    states, heads = [], []
    for state, ns, seed in zip(leaky.states(), leaky.heads, seeds, strict=True):
        weight = state[WEIGHT]
        for strength, direction in _directions("perturb weights", weight, strengths, draws, seed, common):
            direction.fill_diagonal_(0.0)
            states.append(state | {WEIGHT: _moved(weight, strength, direction)})
            heads.append(ns)
    return _stacked(leaky, states, heads)


def perturb_taus(
    population: Population, strengths: Sequence[float], draws: int, seeds: Sequence[int], *, common: bool = False
) -> LeakyCopies:
    """Lengthen the taus: tau + strength |tau| |d| / |d|, d ~ N(0, 1): a positive direction of Euclidean norm 1.

    Args:
        population: R leaky networks.
        strengths: of the perturbation, relative to the norm of the taus in effect; 0 changes nothing.
        draws: directions d for each strength.
        seeds: [R] the directions come from each network's stream (seed, "perturb taus", ...).
        common: use the same directions at every strength instead of new ones.

    Returns:
        R x len(strengths) x draws networks, for each network strength by strength.

    Raises:
        TypeError: if the networks have no tau.
        ValueError: if a strength is negative, or there is none, or no draw.

    Source: section 5, figure 7d, Table 2.
    """
    leaky = _leaky(population)
    taus = [
        _moved(tau, strength, direction.abs_())
        for tau, seed in zip(tau_in_effect(leaky), seeds, strict=True)
        for strength, direction in _directions("perturb taus", tau, strengths, draws, seed, common)
    ]
    copies = _copies(leaky, len(strengths) * draws, None)
    copies.parameters[TAU] = torch.stack(taus)
    return copies


def scale_inhibition(population: Population, changes: Sequence[float]) -> Population:
    """Scale the inhibitory recurrent weights: each W_ij < 0 becomes (1 + change) W_ij.

    Args:
        population: R leaky networks.
        changes: relative changes; 0 changes nothing, -0.1 weakens inhibition by a tenth.

    Returns:
        R x len(changes) networks: each network with each change.

    Raises:
        TypeError: if the networks are not leaky ones.
        ValueError: if there is no change, or one is below -1, which would make inhibition excitatory.

    Source: appendix J, figure S19.
    """
    leaky = _leaky(population)
    if wrong := [change for change in changes if not change >= -1]:
        raise ValueError(f"changes = {wrong[0]}: allowed are numbers from -1 (no inhibition) on")
    states = [
        state | {WEIGHT: torch.where(state[WEIGHT] < 0, state[WEIGHT] * (1 + change), state[WEIGHT])}
        for state in leaky.states()
        for change in changes
    ]
    return _stacked(leaky, states, [ns for ns in leaky.heads for _ in changes])


def set_taus(population: Population, tau: float) -> LeakyPopulation:
    """Give every neuron the same tau; with tau = 1, a single neuron has no memory.

    Args:
        population: R leaky networks.
        tau: in time steps, at least 1.

    Returns:
        R networks.

    Raises:
        TypeError: if the networks have no tau.
        ValueError: if `tau` is below 1 or infinite.
    """
    leaky = _leaky(population)
    if not 1 <= tau < float("inf"):
        raise ValueError(f"tau = {tau}: allowed are finite numbers of at least 1")
    states = [state | {TAU: torch.full_like(state[TAU], tau)} for state in leaky.states()]
    return _stacked(leaky, states, leaky.heads)


def shuffle_taus(population: Population, draws: int, seeds: Sequence[int]) -> LeakyPopulation:
    """Permute the taus in effect among the neurons of each network, at random: their distribution remains the same.

    Args:
        population: R leaky networks.
        draws: random orders for each network.
        seeds: [R] the orders come from each network's stream (seed, "shuffle taus", draw).

    Returns:
        R x draws networks.

    Raises:
        TypeError: if the networks have no tau.
        ValueError: if there is no draw.
    """
    leaky = _leaky(population)
    states, heads = [], []
    for state, ns, tau, seed in zip(leaky.states(), leaky.heads, tau_in_effect(leaky), seeds, strict=True):
        for draw in range(draws):
            generator = torch.Generator()
            generator.manual_seed(key(seed, "shuffle taus", draw))
            order = torch.randperm(len(tau), generator=generator).to(tau.device)
            states.append(state | {TAU: tau[order]})
            heads.append(ns)
    return _stacked(leaky, states, heads)


def exchange(population: Population, others: Population, parts: Collection[Part]) -> LeakyPopulation:
    """Replace parts of each network by those of another network of the same size; neurons are matched by index.

    Args:
        population: R leaky networks.
        others: R leaky networks, whose parts are used. Taus are those in effect.
        parts: weights, taus or both; readouts depend on the task, and are kept.

    Returns:
        R networks.

    Raises:
        TypeError: if the networks are not leaky ones.
        ValueError: if the number or the size of the others differs, or a part cannot be exchanged.
    """
    leaky, given = _leaky(population), _leaky(others)
    if not parts or not set(parts) <= {"weights", "taus"}:
        raise ValueError(f"parts = {', '.join(parts) or 'none'}: allowed are weights, taus or both")
    shapes = [(one.replicates, one.network.hidden) for one in (leaky, given)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"others: {shapes[1][0]} networks of {shapes[1][1]} neurons; allowed are {shapes[0][0]} of {shapes[0][1]}"
        )
    names = [name for part in PARTS if part in parts for name in PARTS[part]]
    states = [
        own | {name: (tau if name == TAU else other[name]).to(own[name]) for name in names}
        for own, other, tau in zip(leaky.states(), given.states(), tau_in_effect(given), strict=True)
    ]
    return _stacked(leaky, states, leaky.heads)


def truncate(population: Population, kept: Sequence[int], modes: Modes) -> LeakyPopulation:
    """Reduce W to its leading modes; self-connections remain 0.

    With singular values, the k largest remain, which gives the nearest matrix of rank k. With Schur modes, the k
    eigenvalues with the largest absolute values remain, together with what W does among their Schur vectors. A
    conjugate pair is kept or dropped as a whole, so one more may remain. Either matrix has a small diagonal, which is
    set to 0: with all H modes, W is unchanged.

    Args:
        population: R leaky networks.
        kept: k, one or several numbers of modes.
        modes: which.

    Returns:
        R x len(kept) networks: each network with each k.

    Raises:
        TypeError: if the networks are not leaky ones.
        ValueError: if there is no k, or one is not from 1 to H.

    Source: the real Schur form orders modes by what drives what; see `tsrnn.dynamics.nonnormality`.
    """
    leaky = _leaky(population)
    hidden = leaky.network.hidden
    if wrong := [k for k in kept if not 1 <= k <= hidden]:
        raise ValueError(f"kept = {wrong[0]}: allowed are 1 to {hidden}, the number of neurons")
    leading = {"singular values": _leading_singular_values, "Schur modes": _leading_schur_modes}[modes]
    states = []
    for state in leaky.states():
        weight = state[WEIGHT].double().cpu().numpy()
        for k in kept:
            states.append(state | {WEIGHT: torch.from_numpy(leading(weight, k)).to(state[WEIGHT]).fill_diagonal_(0.0)})
    return _stacked(leaky, states, [ns for ns in leaky.heads for _ in kept])


def _leading_singular_values(matrix: np.ndarray, count: int) -> np.ndarray:
    left, values, right = np.linalg.svd(matrix)
    result: np.ndarray = (left[:, :count] * values[:count]) @ right[:count]
    return result


def _leading_schur_modes(matrix: np.ndarray, count: int) -> np.ndarray:
    sizes = np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1]
    # The two of a pair, and the same eigenvalue computed twice, differ by rounding.
    least = sizes[count - 1] * (1 - 1e-9)
    triangle, vectors, found = scipy.linalg.schur(matrix, sort=lambda real, imag: math.hypot(real, imag) >= least)
    vectors = vectors[:, :found]
    result: np.ndarray = vectors @ triangle[:found, :found] @ vectors.T
    return result


def _leaky(population: Population) -> LeakyPopulation:
    if not isinstance(population, LeakyPopulation):
        raise TypeError(f"population: of {population.network.kind} networks; interventions are defined for leaky ones")
    return population


def _directions(
    name: str, like: Tensor, strengths: Sequence[float], draws: int, seed: int, common: bool
) -> list[tuple[float, Tensor]]:
    """Draw a direction ~ N(0, 1), float64 and shaped like a tensor, for each strength and draw."""
    if not strengths or draws < 1:
        raise ValueError(f"{len(strengths)} strengths, {draws} draws: allowed is at least one of each")
    if wrong := [strength for strength in strengths if not 0 <= strength < float("inf")]:
        raise ValueError(f"strengths = {wrong[0]}: allowed are finite numbers of at least 0")
    result = []
    for strength in strengths:
        for draw in range(draws):
            address = (name, draw) if common else (name, f"{strength:.12g}", draw)
            generator = torch.Generator(device=like.device)
            generator.manual_seed(key(seed, *address))
            drawn = torch.empty(like.shape, dtype=torch.float64, device=like.device).normal_(generator=generator)
            result.append((strength, drawn))
    return result


def _moved(tensor: Tensor, strength: float, direction: Tensor) -> Tensor:
    """Return tensor + strength |tensor| direction / |direction|, computed in float64."""
    size = torch.linalg.vector_norm(direction)
    if strength == 0 or size == 0:
        return tensor.clone()
    whole = tensor.double()
    moved: Tensor = whole + direction * (strength * torch.linalg.vector_norm(whole) / size)
    return moved.to(tensor.dtype)


def _copies(population: LeakyPopulation, count: int, silent: Tensor | None) -> LeakyCopies:
    """Return `count` copies of each network that share its W."""
    if count < 1:
        raise ValueError("an empty population; allowed is at least one copy of each network")
    parameters: Stack = stack(population.states(), population.heads)
    parameters = {
        name: tensor if name == WEIGHT else tensor.repeat_interleave(count, 0) for name, tensor in parameters.items()
    }
    heads = [ns for ns in population.heads for _ in range(count)]
    return LeakyCopies(population.network, parameters, heads, population.products, silent=silent)


def _stacked(
    population: LeakyPopulation, states: Sequence[NetworkState], heads: Sequence[Sequence[int]]
) -> LeakyPopulation:
    if not states:
        raise ValueError("an empty population; allowed is at least one copy of each network")
    return LeakyPopulation.from_states(population.network, states, heads, population.products)
