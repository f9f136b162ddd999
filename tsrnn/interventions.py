"""What happens to a trained network when it is hurt: pure functions from a population to a larger one.

Each returns the copies of network 0 first, then those of network 1, and so on; the population given is left as it
is. What can be done to copies that keep their W (ablation, other taus) gives a `LeakyCopies`, which simulates them
together; changed weights give a stack.

    population = tsrnn.load(path).population()
    hurt = ablate(population, [[neuron] for neuron in by_tau(population)[0][-20:]])
    accuracies = in_time_accuracy(hurt, task, [(seed, "ablation", 0)] * hurt.replicates)
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from tsrnn.config import TrainedTau
from tsrnn.networks import Population
from tsrnn.networks.base import NetworkState, Stack, stack
from tsrnn.networks.copies import LeakyCopies
from tsrnn.networks.leaky import TAU, WEIGHT, LeakyPopulation
from tsrnn.randomness import key


def tau_in_effect(population: Population) -> Tensor:
    """Return the taus the neurons run with, [R, H] in time steps: 1 where the authors' networks store less.

    Raises:
        TypeError: if the population has no tau.
    """
    leaky = _leaky(population)
    tau, rule = leaky.parameters[TAU].detach(), leaky.network.tau
    return tau.clamp(min=rule.least) if isinstance(rule, TrainedTau) and rule.constraint == "clamp_forward" else tau


def by_tau(population: Population) -> list[list[int]]:
    """Return each network's neurons in the order of the tau in effect, shortest first; ties by the neuron's number.

    Returns:
        [R] lists of H neurons.

    Raises:
        TypeError: if the population has no tau.
    """
    return [torch.argsort(row, stable=True).tolist() for row in tau_in_effect(population)]


def ablate(population: Population, sets: Sequence[Collection[int]]) -> LeakyCopies:
    """Remove neurons: every weight and bias of theirs, in every head. An empty set removes none.

    Args:
        population: R leaky networks.
        sets: the neurons to remove together, one set a copy.

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
    """Add a random matrix to W: W + strength |W| D / |D|, D ~ N(0, 1) off the diagonal and 0 on it, Frobenius norms.

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
        changes: relative; 0 changes nothing, -0.1 weakens inhibition by a tenth.

    Returns:
        R x len(changes) networks: each network with each change.

    Raises:
        TypeError: if the networks are not leaky ones.
        ValueError: if there is no change, or one is below -1: that would excite.

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
