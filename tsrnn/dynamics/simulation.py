"""Simulation: drives a population with random inputs for any number of steps, and streams its states.

States come in blocks, so that the memory does not grow with the number of steps. The caller chooses what is recorded:
every observer is called with every block.

    autocovariance = Autocovariance(lags=31)
    observe(population, [(seed, "timescales 5")], [autocovariance], steps=100_000)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from tsrnn.networks import Population
from tsrnn.randomness import Streams
from tsrnn.tasks import Task
from tsrnn.training.sampling import initial_states

Observer = Callable[[Tensor], object]
"""A function that is called with the activities [t, R, B, H] of the next t steps; t may vary between calls."""

Inputs = float | Literal["uniform"] | Task
"""The inputs of a population; see `simulate`."""

BURN_IN = 500
"""Number of steps before the first recorded step in the paper's timescale protocol."""

# Time steps simulated at once: enough that the fixed cost of a block is small, and few enough (in bytes of states) that
# the allocator reuses the memory, since new pages cost more than the computation.
_BLOCK, _STATES = 500, 1 << 24


@torch.no_grad()
def states_in_blocks(population: Population, inputs: Iterable[Tensor], initial: Tensor) -> Iterator[Tensor]:
    """Run a population over inputs that come in blocks.

    Args:
        population: R networks.
        inputs: blocks [t, R, B] of consecutive steps.
        initial: [R, B, S] states before the first step.

    Yields:
        [t, R, B, S] the states after each step of a block.
    """
    state = initial
    for block in inputs:
        states = population.all_states(block, state)
        state = states[-1].clone()
        yield states


def block_steps(state: Tensor, most: int) -> int:
    """Return the number of steps to simulate at once: `most`, or as many as fit into 16 MB of states like `state`."""
    return max(1, min(most, _STATES // (state.numel() * state.element_size())))


def simulate(
    population: Population,
    addresses: Sequence[tuple[str | int, ...]],
    *,
    steps: int = 100_000,
    trials: int = 10,
    burn_in: int = BURN_IN,
    inputs: Inputs = 0.5,
) -> Iterator[Tensor]:
    """Drive R networks, each with its own random inputs in every trial, and yield their activities.

    The inputs and the initial state of a trial come from their own streams. They are the same however many trials,
    steps and other networks there are.

    Args:
        population: R networks.
        addresses: [R] where each network's randomness comes from: (seed, *name).
        steps: T, the steps of each trial that are yielded.
        trials: B.
        burn_in: steps before them.
        inputs: P(bit = 1) of independent bits; "uniform" for a p ~ U(0, 1) that is drawn for each trial; or a task,
            whose inputs are drawn for all steps at once.

    Yields:
        activities [t, R, B, H] of consecutive steps, T in total; a block may be overwritten by the next one.

    Raises:
        ValueError: if a number is out of range, or the number of addresses is not R.

    Source: timescale protocol, section 4.2: Bernoulli bits, 10^5 steps after 500 of burn-in, 10 trials.
    """
    driven = simulate_with_inputs(population, addresses, steps=steps, trials=trials, burn_in=burn_in, inputs=inputs)
    return (activity for _, activity in driven)


def simulate_with_inputs(
    population: Population,
    addresses: Sequence[tuple[str | int, ...]],
    *,
    steps: int = 100_000,
    trials: int = 10,
    burn_in: int = BURN_IN,
    inputs: Inputs = 0.5,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Drive R networks as `simulate` does, and yield their inputs together with their activities.

    Args:
        population: R networks.
        addresses: see `simulate`.
        steps: see `simulate`.
        trials: B.
        burn_in: see `simulate`.
        inputs: see `simulate`.

    Yields:
        inputs [t, R, B] and activities [t, R, B, H] of the same steps.

    Raises:
        ValueError: see `simulate`.
    """
    for name, value, least in (("steps", steps, 1), ("trials", trials, 1), ("burn_in", burn_in, 0)):
        if value < least:
            raise ValueError(f"{name} = {value}: allowed are numbers of at least {least}")
    if isinstance(inputs, float | int) and not 0 <= inputs <= 1:
        raise ValueError(f"inputs = {inputs}: allowed are a probability, 0 to 1, 'uniform', and a task")
    if len(addresses) != population.replicates:
        raise ValueError(
            f"addresses: {len(addresses)} of them; allowed are {population.replicates}, one for each network"
        )
    return _driven(population, addresses, steps, trials, burn_in, inputs)


def _driven(
    population: Population,
    addresses: Sequence[tuple[str | int, ...]],
    steps: int,
    trials: int,
    burn_in: int,
    inputs: Inputs,
) -> Iterator[tuple[Tensor, Tensor]]:
    def streams(purpose: str) -> Streams:
        return Streams.named(
            [(*address, purpose, trial) for address in addresses for trial in range(trials)], population.device
        )

    shape = (population.replicates, trials)
    initial = initial_states(population, streams("state"), 1).view(*shape, population.state_size)
    blocks = _inputs(inputs, streams("bits"), shape, burn_in + steps, block_steps(initial, _BLOCK))
    state, before = initial, burn_in
    for block in blocks:
        (states,) = states_in_blocks(population, [block], state)
        state = states[-1].clone()
        recorded, shown = states[before:], block[before:]
        before = max(0, before - len(states))
        if len(recorded):
            yield shown, population.activity(recorded)


def _inputs(inputs: Inputs, streams: Streams, shape: tuple[int, int], steps: int, span: int) -> Iterator[Tensor]:
    """Yield blocks [t, R, B] of at most `span` of the steps, from R B streams."""
    if isinstance(inputs, Task):
        # The inputs of a task may depend on the step, so they cannot be drawn block by block.
        yield from torch.split(inputs.draw_inputs([steps] * len(streams), 1, streams).view(steps, *shape), span)
        return
    probability = streams.uniform(1) if inputs == "uniform" else inputs
    for start in range(0, steps, span):
        drawn = streams.uniform(min(span, steps - start))
        yield (drawn < probability).float().view(*shape, -1).permute(2, 0, 1)


def observe(
    population: Population,
    addresses: Sequence[tuple[str | int, ...]],
    observers: Sequence[Observer],
    *,
    steps: int = 100_000,
    trials: int = 10,
    burn_in: int = BURN_IN,
    inputs: Inputs = 0.5,
) -> None:
    """Drive R networks, and call every observer with every block of their activities; see `simulate`."""
    for block in simulate(population, addresses, steps=steps, trials=trials, burn_in=burn_in, inputs=inputs):
        for observer in observers:
            observer(block)
