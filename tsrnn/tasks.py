"""The tasks: random bit sequences and, for every head's N, the label at the last step (section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
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


def labels(task: Task, inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
    """Return every head's label at each of some steps.

    Args:
        task: parity or DMS.
        inputs: [T, R, B] bits as 0.0 and 1.0.
        heads: [R, K] each head's N; 0 marks an unused place, whose labels mean nothing.
        steps: S consecutive steps, counted from 0.

    Returns:
        [S, R, K, B] bool.

    Raises:
        ValueError: if a head's N exceeds the bits there are at the first step.
    """
    largest, first, batch = int(heads.max()), steps.start, inputs.shape[2]
    if largest > first + 1:
        raise ValueError(f"heads: N = {largest} needs sequences of at least {largest} steps, got {first + 1}")
    # What no head at these steps looks back to is left out; `ends` counts the bits up to each step, itself included.
    window = inputs[first + 1 - largest : steps.stop]
    ends = torch.arange(largest, largest + len(steps), device=inputs.device)
    starts = ends[:, None, None] - heads.clamp(min=1)
    match task:
        case Parity():
            counts = F.pad(window.cumsum(0), (0, 0, 0, 0, 1, 0))
            return (counts[ends][:, :, None] - _at(counts, starts, batch)) % 2 == 1
        case DMS():
            return window[ends - 1][:, :, None] == _at(window, starts, batch)
        case _:
            assert_never(task)


def _at(values: Tensor, steps: Tensor, batch: int) -> Tensor:
    """Look up [T, R, B] values at steps [S, R, K]; return [S, R, K, B]."""
    S, R, K = steps.shape
    index = steps.transpose(1, 2).reshape(S * K, R, 1).expand(-1, -1, batch)
    return values.gather(0, index).view(S, K, R, batch).transpose(1, 2)


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
    last = range(len(inputs) - 1, len(inputs))
    return TaskBatch(inputs=inputs, lengths=tuple(lengths), labels=labels(task, inputs, heads, last)[0])
