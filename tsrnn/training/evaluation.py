"""Evaluation: the accuracy of every head, on sequences as in training or at every step of long sequences.

The accuracy is the mean of the task's score: the share of correct answers, or R^2; see `tsrnn.tasks`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsrnn.config import Time
from tsrnn.dynamics.simulation import block_steps, states_in_blocks
from tsrnn.kinds import Generator
from tsrnn.networks import Population
from tsrnn.randomness import Streams
from tsrnn.tasks import Task
from tsrnn.training.sampling import Address, Schedule, TaskBatch, batches, drawn, initial_states, over_steps

# Time steps simulated at once: the answers of many heads take more memory than the states they read.
_BLOCK = 100


@dataclass(frozen=True)
class Accuracy:
    """An accuracy, at most 1, with its standard error over batches (protocol end) or trials (in-time)."""

    accuracy: float
    standard_error: float


@torch.no_grad()
def end_accuracy(
    population: Population,
    task: Task,
    addresses: Sequence[Address],
    count: int,
    batch: int,
    time: Time = Time(),  # noqa: B008
    generator: Generator = "pcg64",
) -> list[dict[int, Accuracy]]:
    """Test every head on sequences that are drawn and read out as in training, with one length for each batch.

    Args:
        population: R networks.
        task: draws the sequences and judges the answers.
        addresses: [R] where each network's test sequences come from.
        count: batches.
        batch: sequences a batch.
        time: how long an input is held; it need not be what the networks were trained with.
        generator: draws on a CPU; see `RunConfig`.

    Returns:
        [R] accuracies by the head's N, each over `count` x `batch` sequences.
    """
    tested = _scores(population, task, batches(task, population, addresses, count, batch, time, generator))
    return _accuracies(
        population, torch.stack([over_steps(score.mean(3), readout_steps) for score, readout_steps in tested])
    )


@torch.no_grad()
def end_scores(
    population: Population,
    task: Task,
    addresses: Sequence[Address],
    count: int,
    batch: int,
    time: Time = Time(),  # noqa: B008
    generator: Generator = "pcg64",
    schedule: Schedule = drawn,
) -> Tensor:
    """Score every head on each of some sequences, which are drawn and read out as in `end_accuracy`.

    Args:
        population: R networks.
        task: draws the sequences and judges the answers.
        addresses: [R] where each network's sequences come from.
        count: batches.
        batch: sequences a batch.
        time: how long an input is held.
        generator: draws on a CPU; see `RunConfig`.
        schedule: chooses each batch's length and for how long its inputs are held.

    Returns:
        [R, K, `count` x `batch`], float64, each the mean over the steps that a network is read out at; what stands at
        places without a head means nothing.
    """
    drawn_batches = batches(task, population, addresses, count, batch, time, generator, schedule)
    found = []
    for score, readout_steps in _scores(population, task, drawn_batches):
        found.append(over_steps(score.flatten(2), readout_steps).view(score.shape[1:]))
    return torch.cat(found, dim=2)


def _scores(
    population: Population, task: Task, tested: Iterable[tuple[TaskBatch, Tensor]]
) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield for each batch the scores [S, R, K, B] of its sequences, and at how many steps networks are read out."""
    for batch, initial in tested:
        answers = population.with_steps(batch.dt).answers(batch.inputs, batch.lengths, initial, batch.readout_steps)
        yield task.score(answers, batch.targets, population.head_table).double(), batch.readout_steps


def first_answer(warm_up: int, heads: Iterable[int]) -> int:
    """Return the step, counted from 0, from which on answers count: `warm_up`, or later if a head needs more bits.

    The first target of the head for N is at step N - 1.
    """
    return max(warm_up, *(n - 1 for n in heads))


@torch.no_grad()
def in_time_accuracy(
    population: Population,
    task: Task,
    addresses: Sequence[Address],
    *,
    warm_up: int = 100,
    steps: int = 1000,
    trials: int = 10,
    watch: Callable[[Tensor], None] | None = None,
) -> list[dict[int, Accuracy]]:
    """Test every head at every step of long sequences (section 5, appendix L).

    Args:
        population: R networks.
        task: draws the inputs; for interventions it should be `task.balanced()`.
        addresses: [R] where each network's sequences come from.
        warm_up: steps before the first answer that is counted; more if the largest N needs them (`first_answer`).
        steps: answers that are counted, for each trial.
        trials: sequences for each network.
        watch: called with the states [T, R, trials, H] after the steps that count, a block of them at a time.

    Returns:
        [R] accuracies by the head's N, each over `trials` x `steps` answers.
    """
    warm_up = first_answer(warm_up, [int(population.head_table.max())])
    bits = Streams.named([(*address, "bits") for address in addresses], population.device)
    states = Streams.named([(*address, "state") for address in addresses], population.device)
    state = initial_states(population, states, trials)
    inputs = task.draw_inputs([warm_up + steps] * population.replicates, trials, bits)
    total = torch.zeros(trials, *population.head_table.shape, dtype=torch.float64, device=population.device)
    start = 0
    for block in states_in_blocks(population, torch.split(inputs, block_steps(state, _BLOCK)), state):
        counted = range(max(start, warm_up), start + len(block))
        if counted:
            counting = block[counted.start - start :]
            if watch is not None:
                watch(counting)
            answers = population.logits_of(counting)
            targets = task.targets(inputs, population.head_table, counted)
            total += task.score(answers, targets, population.head_table).sum(0, dtype=torch.float64).permute(2, 0, 1)
        start += len(block)
    return _accuracies(population, total / steps)


def _accuracies(population: Population, samples: Tensor) -> list[dict[int, Accuracy]]:
    """Average [S, R, K] accuracies of S batches or trials; their spread gives the standard error."""
    mean = samples.mean(0).tolist()
    spread = samples.std(0, correction=1) if len(samples) > 1 else torch.full_like(samples[0], float("nan"))
    error = (spread / len(samples) ** 0.5).tolist()
    return [
        {n: Accuracy(mean[r][k], error[r][k]) for k, n in enumerate(heads)} for r, heads in enumerate(population.heads)
    ]
