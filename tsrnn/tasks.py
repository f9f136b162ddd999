"""The tasks: random bit sequences and, for every head's N, the label at the last step (section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from torch import Tensor

from tsrnn.config import DMS, Parity, Task
from tsrnn.randomness import Streams, host_stream


@dataclass(frozen=True)
class TaskBatch:
    """Sequences for R networks, aligned at their end.

    Attributes:
        inputs: [T, R, B] bits as 0.0 and 1.0; 0 before a sequence starts.
        lengths: [R] steps of each network's sequences; T is the longest.
        labels: [R, K, B] True where the answer of the head is "yes".
    """

    inputs: Tensor
    lengths: tuple[int, ...]
    labels: Tensor


def draw_lengths(task: Task, n: int, count: int, seed: int, *name: str | int) -> list[int]:
    """Draw the sequence lengths of `count` batches from the stream (seed, *name).

    Args:
        task: holds the rule; see `tsrnn.config.Lengths`.
        n: the largest N in training.
        count: batches.
        seed: the network's seed.
        name: the stream's name.

    Returns:
        [count] lengths in time steps.
    """
    shortest, longest = task.lengths.range_for(n)
    draws: np.ndarray = host_stream(seed, *name).integers(shortest, longest, size=count, endpoint=True)
    return [int(length) for length in draws]


def draw_bits(task: Task, lengths: Sequence[int], batch: int, streams: Streams) -> Tensor:
    """Draw input bits with the task's input probability.

    Args:
        task: holds `input_probability`.
        lengths: [R] time steps.
        batch: sequences a network.
        streams: one stream a network.

    Returns:
        [T, R, B] bits as 0.0 and 1.0, aligned at their end.
    """
    probability = streams.uniform(batch) if task.input_probability == "uniform" else task.input_probability
    # Uniform draws lie below 1, so what stands before the start is 0 at every probability.
    return (streams.uniform_at_end(lengths, batch, before=1.0) < probability).float()


def final_labels(task: Task, inputs: Tensor, heads: Tensor) -> Tensor:
    """Return every head's label at the last step.

    Args:
        task: parity or DMS.
        inputs: [T, R, B] bits as 0.0 and 1.0.
        heads: [R, K] each head's N; 0 marks an unused place, whose labels mean nothing.

    Returns:
        [R, K, B] bool.

    Raises:
        ValueError: if a head's N exceeds T.
    """
    return running_labels(task, inputs, inputs.shape[0] - 1, heads)


def running_labels(task: Task, inputs: Tensor, t: int, heads: Tensor) -> Tensor:
    """Return every head's label at step `t` of the inputs, counted from 0; see `final_labels`.

    Raises:
        ValueError: if a head's N exceeds t + 1: it asks for bits before the first.
    """
    largest = int(heads.max())
    if largest > t + 1:
        raise ValueError(f"heads: N = {largest} needs sequences of at least {largest} steps, got {t + 1}")
    latest_first = inputs[t + 1 - largest : t + 1].flip(0)
    match task:
        case Parity():
            by_n = latest_first.cumsum(0) % 2 == 1
        case DMS():
            by_n = latest_first == latest_first[:1]
        case _:
            assert_never(task)
    index = (heads.clamp(min=1) - 1)[:, :, None].expand(-1, -1, inputs.shape[2])
    return by_n.transpose(0, 1).gather(1, index)


def draw_batch(task: Task, heads: Tensor, lengths: Sequence[int], batch: int, streams: Streams) -> TaskBatch:
    """Draw one batch for every network.

    Args:
        task: parity or DMS.
        heads: [R, K] each head's N, 0 where unused.
        lengths: [R] time steps.
        batch: sequences a network, B.
        streams: one stream a network.
    """
    inputs = draw_bits(task, lengths, batch, streams)
    return TaskBatch(inputs=inputs, lengths=tuple(lengths), labels=final_labels(task, inputs, heads))
