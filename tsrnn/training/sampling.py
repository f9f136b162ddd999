"""The batches and initial states for training and tests, drawn from each network's own random streams."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tsrnn.config import Time, Training
from tsrnn.kinds import Generator
from tsrnn.networks import Population
from tsrnn.randomness import Streams, host_stream
from tsrnn.tasks import Task

Address = tuple[int, str, int]
"""(seed, purpose, epoch): where in a network's randomness its batches come from."""

Schedule = Callable[[Task, int, Time, int, Address], list[tuple[int, int]]]
"""Returns for each of `count` batches the sequences' length and for how many steps an input is held, from the task, the
largest N, how long inputs are held, `count` and the address: `drawn` or `spread`."""


@dataclass(frozen=True)
class TaskBatch:
    """Sequences for R networks, aligned at their end, with targets.

    Attributes:
        inputs: [T, R, B]; 0 before a sequence starts.
        lengths: [R] steps of each network's sequences; T is the longest.
        targets: [S, R, K, B] the targets of every head after each of the last S steps.
        readout_steps: [R] the number of last steps at which each network is read out; S is the largest.
        dt: [R] the length of a time step of each network; empty if it is 1.
    """

    inputs: Tensor
    lengths: tuple[int, ...]
    targets: Tensor
    readout_steps: tuple[int, ...]
    dt: tuple[float, ...] = ()


def over_steps(values: Tensor, readout_steps: Sequence[int]) -> Tensor:
    """Average over the steps at which each network is read out.

    Args:
        values: [S, R, K].
        readout_steps: [R] the number of last steps at which each network is read out.

    Returns:
        [R, K].
    """
    steps = len(values)
    if all(own == steps for own in readout_steps):
        return values[0] if steps == 1 else values.mean(0)
    own = torch.tensor(readout_steps, device=values.device)
    counts = torch.arange(steps, 0, -1, device=values.device)[:, None] <= own
    return (values * counts[..., None]).sum(0) / own[:, None]


def to_steps(grad: Tensor, readout_steps: Sequence[int]) -> Tensor:
    """Return the gradient at what `over_steps` averages, [S, R, K], from that at the average, [R, K]."""
    steps = max(readout_steps)
    if all(own == steps for own in readout_steps):
        return grad[None] if steps == 1 else (grad / steps).expand(steps, *grad.shape)
    own = torch.tensor(readout_steps, device=grad.device)
    counts = torch.arange(steps, 0, -1, device=grad.device)[:, None] <= own
    return (grad / own[:, None]) * counts[..., None]


def held(batch: TaskBatch, k: Sequence[int], dt: Sequence[float]) -> TaskBatch:
    """Return a batch in which every input is held for k steps of dt each.

    Args:
        batch: what the networks are shown, one input a step.
        k: [R] time steps an input.
        dt: [R] how long a time step is.
    """
    if all(steps == 1 for steps in k):
        return replace(batch, dt=tuple(dt))
    lengths = [steps * length for steps, length in zip(k, batch.lengths, strict=True)]
    inputs = batch.inputs.new_zeros(max(lengths), *batch.inputs.shape[1:])
    for r, (steps, length) in enumerate(zip(k, batch.lengths, strict=True)):
        own = batch.inputs[len(batch.inputs) - length :, r]
        inputs[len(inputs) - steps * length :, r] = own.repeat_interleave(steps, 0)
    return replace(batch, inputs=inputs, lengths=tuple(lengths), dt=tuple(dt))


def draw_lengths(task: Task, n: int, count: int, seed: int, *name: str | int) -> list[int]:
    """Draw the sequence lengths of `count` batches from the stream (seed, *name).

    Args:
        task: holds the rule; see `Task.lengths_for`.
        n: the largest N in training.
        count: batches.
        seed: the network's seed.
        name: the stream's name.

    Returns:
        [count] lengths in time steps.
    """
    shortest, longest = task.lengths_for(n)
    draws: np.ndarray = host_stream(seed, *name).integers(shortest, longest, size=count, endpoint=True)
    return [int(length) for length in draws]


def drawn(task: Task, n: int, time: Time, count: int, address: Address) -> list[tuple[int, int]]:
    """Draw the length and k of every batch independently, as in training; see `Schedule`."""
    lengths = draw_lengths(task, n, count, *address, "length")
    choices = host_stream(*address, "k").integers(len(time.k), size=count)
    return [(length, time.k[choice]) for length, choice in zip(lengths, choices, strict=True)]


def spread(task: Task, n: int, time: Time, count: int, address: Address) -> list[tuple[int, int]]:
    """Spread the lengths and k of batches evenly over their range, from a random start; see `Schedule`.

    Lengths ascend from the first batch to the last. A batch chosen at random is distributed as in `drawn`. Together,
    the batches have nearly the mean accuracy over all lengths and k, on which accuracies depend.
    """
    stream = host_stream(*address, "spread")
    shortest, longest = task.lengths_for(n)
    places = (np.arange(count) + stream.random()) / count
    lengths = np.minimum(shortest + (places * (longest - shortest + 1)).astype(int), longest)
    choices = stream.permutation((np.arange(count) + stream.integers(len(time.k))) % len(time.k))
    return [(int(length), time.k[choice]) for length, choice in zip(lengths, choices, strict=True)]


def draw_batch(task: Task, heads: Tensor, lengths: Sequence[int], batch: int, streams: Streams) -> TaskBatch:
    """Draw one batch for every network.

    Args:
        task: draws the inputs and says what is right.
        heads: [R, K] each head's N, 0 where unused.
        lengths: [R] time steps.
        batch: sequences a network, B.
        streams: one stream a network.
    """
    inputs = task.draw_inputs(lengths, batch, streams)
    largest = heads.amax(1).tolist()
    readout_steps = tuple(task.readout_steps_of(length, n) for length, n in zip(lengths, largest, strict=True))
    # One network's first step may lack the bits of another's largest N, which is not asked there: any bits will do.
    missing = max(0, max(largest) - 1 - (len(inputs) - max(readout_steps))) if task.readout_steps == "all" else 0
    bits = F.pad(inputs, (0, 0, 0, 0, missing, 0)) if missing else inputs
    targets = task.targets(bits, heads, range(len(bits) - max(readout_steps), len(bits)))
    return TaskBatch(inputs=inputs, lengths=tuple(lengths), targets=targets, readout_steps=readout_steps)


def batches(
    task: Task,
    population: Population,
    addresses: Sequence[Address],
    count: int,
    batch: int,
    time: Time = Time(),  # noqa: B008
    generator: Generator = "pcg64",
    schedule: Schedule = drawn,
) -> Iterator[tuple[TaskBatch, Tensor]]:
    """Draw `count` batches and initial states for every network.

    Args:
        task: what networks are trained or tested on.
        population: the networks whose heads give targets, and whose initial states are drawn.
        addresses: [R] one for each network.
        count: batches.
        batch: sequences a network and batch, B.
        time: how long an input is held; one k is drawn for each batch and network.
        generator: draws on a CPU; see `RunConfig`.
        schedule: chooses each batch's length and k.

    Yields:
        the batch, and initial states [R, B, S]; see `initial_states`.
    """
    device = population.device
    schedules = [
        schedule(task, max(heads), time, count, address)
        for heads, address in zip(population.heads, addresses, strict=True)
    ]
    bits = Streams.named([(*address, "bits") for address in addresses], device, generator)
    states = Streams.named([(*address, "state") for address in addresses], device, generator)
    for own in zip(*schedules, strict=True):
        shown = draw_batch(task, population.head_table, [length for length, _ in own], batch, bits)
        k = [steps for _, steps in own]
        yield held(shown, k, [time.step(steps) for steps in k]), initial_states(population, states, batch)


def parts(
    task: Task,
    population: Population,
    addresses: Sequence[Address],
    count: int,
    batch: int,
    steps: int,
    generator: Generator = "pcg64",
) -> Iterator[tuple[TaskBatch, Tensor]]:
    """Draw long sequences for every network, and go through them in `count` parts of `steps` time steps each.

    Each network first runs on the N - 1 steps before the first part, where N is the largest of its heads, so that
    every step of every part has N bits. The state before a part is computed when the part is asked for, with the
    networks as they are then.

    Args:
        task: what networks are trained on.
        population: the networks whose heads give targets, and whose states are carried from part to part.
        addresses: [R] one for each network.
        count: parts.
        batch: sequences a network, B.
        steps: time steps of a part.
        generator: draws on a CPU; see `RunConfig`.

    Yields:
        the part as a batch that is read out at every step, and the states before it, [R, B, S].
    """
    device = population.device
    before = tuple(max(heads) - 1 for heads in population.heads)
    bits = Streams.named([(*address, "bits") for address in addresses], device, generator)
    states = Streams.named([(*address, "state") for address in addresses], device, generator)
    inputs = task.draw_inputs([own + count * steps for own in before], batch, bits)
    whole = (steps,) * population.replicates
    state, run = initial_states(population, states, batch), (inputs[: max(before)], before)
    for start in range(max(before), len(inputs), steps):
        state = population.last_states(*run, state)
        own = inputs[start : start + steps]
        targets = task.targets(inputs[: start + steps], population.head_table, range(start, start + steps))
        yield TaskBatch(inputs=own, lengths=whole, targets=targets, readout_steps=whole), state
        run = (own, whole)


def untrained_steps(training: Training, n: int) -> int:
    """Return the time steps of an epoch that a network runs on without training, in `parts`; 0 if not truncated.

    Args:
        training: the settings of the epoch.
        n: the largest N in training.
    """
    if training.truncation is None:
        return 0
    return n - 1 + (training.steps_per_epoch - 1) * training.truncation


def initial_states(population: Population, streams: Streams, batch: int) -> Tensor:
    """Draw initial states [R, B, S], each network's from its own stream.

    Activities are U(0, network.initial_state); all other parts of a state (the cell state of an LSTM) are 0.
    """
    network = population.network
    activity = streams.uniform(batch, network.hidden).mul_(network.initial_state).to(population.dtype)
    more = population.state_size - network.hidden
    return F.pad(activity, (0, more)) if more else activity
