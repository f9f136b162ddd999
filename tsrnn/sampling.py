"""What a population is trained and tested on: batches and initial states, each network's from its own streams."""

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

from tsrnn.config import Time
from tsrnn.networks import Population
from tsrnn.randomness import Streams, host_stream
from tsrnn.tasks import Task, TaskBatch, draw_batch, draw_lengths, held

Address = tuple[int, str, int]
"""(seed, purpose, epoch): where in a network's randomness its batches come from."""


def batches(
    task: Task,
    population: Population,
    addresses: Sequence[Address],
    count: int,
    batch: int,
    time: Time = Time(),  # noqa: B008
) -> Iterator[tuple[TaskBatch, Tensor]]:
    """Draw `count` batches and initial states for every network.

    Args:
        task: what is shown and asked.
        population: whose heads are asked, and whose initial states are drawn.
        addresses: [R] one a network.
        count: batches.
        batch: sequences a network and batch, B.
        time: how long an input is held; one k is drawn for each batch and network.

    Yields:
        the batch, and initial states [R, B, S]; see `initial_states`.
    """
    device = population.device
    lengths = [
        draw_lengths(task, max(heads), count, *address, "length")
        for heads, address in zip(population.heads, addresses, strict=True)
    ]
    bits = Streams.named([(*address, "bits") for address in addresses], device)
    states = Streams.named([(*address, "state") for address in addresses], device)
    choices = [host_stream(*address, "k").integers(len(time.k), size=count) for address in addresses]
    for i in range(count):
        drawn = draw_batch(task, population.head_table, [m[i] for m in lengths], batch, bits)
        k = [time.k[choice[i]] for choice in choices]
        yield held(drawn, k, [time.step(steps) for steps in k]), initial_states(population, states, batch)


def initial_states(population: Population, streams: Streams, batch: int) -> Tensor:
    """Draw initial states [R, B, S], each network's from its own stream.

    Activities are U(0, network.initial_state); what else a state holds (an LSTM's cell state) is 0.
    """
    network = population.network
    activity = streams.uniform(batch, network.hidden).mul_(network.initial_state).to(population.dtype)
    return F.pad(activity, (0, population.state_size - network.hidden))
