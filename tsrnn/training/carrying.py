"""The tensors of a network from one set of heads to the next, and the weights that solved an N."""

import dataclasses
from collections.abc import Mapping, Sequence

from tsrnn.config import RunConfig
from tsrnn.curricula import Advance
from tsrnn.io.checkpoint import Checkpoint, Progress
from tsrnn.networks import NetworkState, initial_head
from tsrnn.training.optimizers import initial_state


def evaluated_weights(
    config: RunConfig, progress: Progress, network: NetworkState, heads: tuple[int, ...]
) -> Checkpoint:
    """Return the weights that solved an N, with the heads that were evaluated, which may be some of those solved."""
    solved = tuple(n for n in progress.solved if n in heads)
    evaluated = dataclasses.replace(progress, heads=heads, solved=solved)
    return Checkpoint(config, evaluated, _carried(network, heads, {}))


def advanced(current: Checkpoint, step: Advance) -> Checkpoint:
    """Return a network after a step of its curriculum: with heads that were kept, reused, dropped or created."""
    heads = step.state.heads
    network = _carried(current.network, heads, step.inherits)
    optimizer = {part: _carried(state, heads, step.inherits) for part, state in current.optimizer.items()}
    example = next(iter(network.values()))
    for n in heads:
        if f"heads.{n}.weight" not in network:
            config = current.config
            head = initial_head(config.network.hidden, n, config.seed, config.task.head_width)
            head = {name: tensor.to(example) for name, tensor in head.items()}
            network |= head
            for part, state in initial_state(config.training.optimizer, head).items():
                optimizer[part] |= state
    progress = dataclasses.replace(current.progress, heads=heads, solved=step.state.solved, epochs_on_newest=0)
    return dataclasses.replace(current, progress=progress, network=network, optimizer=optimizer)


def _carried(state: NetworkState, heads: Sequence[int], inherits: Mapping[int, int]) -> NetworkState:
    """Return a network's tensors with the heads that a step of the curriculum keeps or hands on."""
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("heads.")}
    for n in heads:
        old = inherits.get(n, n)
        for part in ("weight", "bias"):
            if f"heads.{old}.{part}" in state:
                rest[f"heads.{n}.{part}"] = state[f"heads.{old}.{part}"]
    return rest
