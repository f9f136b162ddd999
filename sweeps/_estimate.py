"""What a sweep will cost, before it runs: useful operations, and time on this machine."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sweeps._errors import SweepError
from tsrnn import curriculum, networks
from tsrnn.checkpoint import new
from tsrnn.config import RunConfig, SingleHead
from tsrnn.optimizers import step_operations
from tsrnn.training import Trainer

# Seconds until Ray runs, the trials' processes have started, and the table is made.
_STARTUP = 15.0


@dataclass(frozen=True)
class Estimate:
    """Floating-point operations of the matrix products, and seconds of one core."""

    operations: float
    core_seconds: float

    def seconds(self, workers: int) -> float:
        """Return how long it takes on `workers` cores, starting Ray included."""
        return _STARTUP + self.core_seconds / workers


def operations(config: RunConfig, typical_n: int) -> float:
    """Estimate the operations of one network's whole epoch budget if it spends it around N = `typical_n`.

    A curriculum of one step spends it at its largest N. Networks that end early take less.
    """
    n, training = _largest_n(config, typical_n), config.training
    trained, tested = (
        sequences * config.time.mean_k * sum(task.lengths_for(n)) / 2  # time steps of a batch
        for task, sequences in (
            (config.training_task, training.batch_size),
            (config.task, training.sequences_tested),
        )
    )
    tests = training.screening_batches or training.test_batches
    updates = training.steps_per_epoch * step_operations(training.optimizer, networks.shapes(config.network, (), 1))
    return config.end.max_epochs * (
        networks.operations(config.network, training.steps_per_epoch * trained, tests * tested) + updates
    )


def _largest_n(config: RunConfig, typical_n: int) -> int:
    state = curriculum.start(config.curriculum)
    return state.newest if curriculum.advance(config.curriculum, state) is None else typical_n


def estimate(groups: Sequence[Sequence[RunConfig]], typical_n: int) -> Estimate:
    """Estimate a sweep's cost on this machine.

    The time comes from a few training steps of throw-away networks, shaped like those of the group that costs most.

    Raises:
        SweepError: if they do not fit this machine.
    """
    total = sum(operations(config, typical_n) for group in groups for config in group)
    if not groups:
        return Estimate(0.0, 0.0)
    try:
        rate = _rate(max(groups, key=lambda group: len(group) * operations(group[0], typical_n)), typical_n)
    except (MemoryError, RuntimeError) as error:
        hidden = groups[0][0].network.hidden
        raise SweepError(f"hidden = {hidden}: such networks cannot be tried on this machine ({error})") from None
    limit = sum(config.end.max_seconds for group in groups for config in group)
    return Estimate(total, min(total / rate, limit))


def _rate(group: Sequence[RunConfig], typical_n: int) -> float:
    """Measure useful operations a second of training on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    n = _largest_n(group[0], typical_n)
    trials = [
        dataclasses.replace(
            config,
            curriculum=SingleHead(start=n),
            source="",
            training=dataclasses.replace(config.training, steps_per_epoch=2, test_batches=1),
            end=dataclasses.replace(config.end, max_n=n + 1),
        )
        for config in group
    ]
    trainer = Trainer([new(config) for config in trials])
    trainer.run_epoch()
    began = time.perf_counter()
    reports = trainer.run_epoch()
    elapsed = time.perf_counter() - began
    torch.set_num_threads(threads)
    return sum(report.checkpoint.progress.operations for report in reports) / 2 / elapsed
