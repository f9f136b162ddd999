"""How well a population answers: accuracy of every head at the end of test sequences."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tsrnn.config import Task
from tsrnn.networks import Population
from tsrnn.sampling import Address, batches


def answers(logits: Tensor) -> Tensor:
    """Return which heads say "yes": [R, K, B] bool from logits [R, B, K, 2]; a tie is a "no"."""
    return (logits[..., 1] > logits[..., 0]).transpose(1, 2)


@torch.no_grad()
def end_accuracy(
    population: Population, task: Task, addresses: Sequence[Address], count: int, batch: int
) -> list[dict[int, float]]:
    """Test every head at the end of sequences drawn as in training.

    Args:
        population: R networks.
        task: draws the sequences and judges the answers.
        addresses: [R] where each network's test sequences come from.
        count: batches.
        batch: sequences a batch.

    Returns:
        [R] accuracies in 0..1, by the head's N, each over `count` x `batch` sequences.
    """
    right = torch.zeros(population.head_table.shape, dtype=torch.int64, device=population.device)
    for drawn, initial in batches(task, population, addresses, count, batch):
        state = population.last_states(drawn.inputs, drawn.lengths, initial)
        right += (answers(population.logits(state)) == drawn.labels).sum(2)
    fractions = (right.double() / (count * batch)).tolist()
    return [dict(zip(heads, row, strict=False)) for heads, row in zip(population.heads, fractions, strict=True)]
