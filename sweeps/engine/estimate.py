"""Estimates of a sweep's cost before it runs: useful operations, and time on this machine.

The operations are counted. The time is their number divided by a rate, which is measured in a moment on small pieces of
training. It is meant to be right within a factor of 1.5 for networks that use their whole budget, on processors that
are otherwise idle.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analysis.measure.cost import one_thread
from sweeps.engine.errors import SweepError
from sweeps.engine.grid import with_training
from tsrnn import networks
from tsrnn.config import EndRules, RunConfig, SingleHead
from tsrnn.io.checkpoint import new
from tsrnn.networks.choice import bfloat16_is_faster
from tsrnn.training.loop import Trainer
from tsrnn.training.optimizers import step_operations
from tsrnn.training.sampling import TaskBatch, batches, untrained_steps

# Seconds for starting Ray and the processes of the trials, and for the table at the end.
_STARTUP: Final = 15.0
# Seconds of one core for writing the rows and the checkpoint of one network after an epoch.
_KEEPING: Final = 0.015
# The measured piece of training has about this number of operations, which take some hundredths of a second; at least
# this number of time steps, unless one network alone needs more operations; and at most this number of networks with
# at most this number of neurons. Beyond that size, the rate no longer depends on them.
_OPERATIONS: Final = 2e9
_TIME_STEPS: Final = 8
_NETWORKS: Final = 64
_HIDDEN: Final = 1024
# Steps are repeated for this time, up to this number; their lengths are drawn as in training.
_SECONDS: Final = 0.06
_MOST_STEPS: Final = 30


@dataclass(frozen=True)
class Estimate:
    """The floating-point operations of the matrix products, and the seconds that they take on one core."""

    operations: float
    core_seconds: float

    def seconds(self, workers: int) -> float:
        """Return how long it takes on `workers` cores, starting Ray included."""
        return _STARTUP + self.core_seconds / workers


def operations(config: RunConfig, typical_n: int) -> float:
    """Estimate the operations of one network that uses its whole budget of epochs around N = `typical_n`.

    A curriculum with one step uses it at its largest N. Networks that end early need fewer operations.
    """
    n, training = _largest_n(config, typical_n), config.training
    trained, tested = (
        sequences * config.time.mean_k * sum(task.lengths_for(n)) / 2  # time steps per batch
        for task, sequences in (
            (config.task_in_training, training.batch_size),
            (config.task, training.sequences_tested),
        )
    )
    tests, steps = training.screening_batches or training.test_batches, training.steps_per_epoch
    run = tests * tested + training.batch_size * untrained_steps(training, n)
    if training.truncation is not None:
        trained = training.batch_size * training.truncation
    updates = steps * step_operations(training.optimizer, networks.shapes(config.network, (), 1))
    return config.end.max_epochs * (networks.operations(config.network, steps * trained, run) + updates)


def _largest_n(config: RunConfig, typical_n: int) -> int:
    state = config.curriculum.first_state
    return state.newest if config.curriculum.advance(state) is None else min(typical_n, config.end.max_n)


def estimate(groups: Sequence[Sequence[RunConfig]], typical_n: int) -> Estimate:
    """Estimate a sweep's cost on this machine.

    Raises:
        SweepError: if its networks cannot be run on this machine.
    """
    total, seconds = 0.0, 0.0
    for group in groups:
        own = sum(operations(config, typical_n) for config in group)
        try:
            rate = _rate(group, typical_n)
        except (MemoryError, RuntimeError) as error:
            hidden = group[0].network.hidden
            raise SweepError(
                f"hidden = {hidden}: networks of this size cannot be run on this machine to estimate the time ({error})"
            ) from None
        keeping = _KEEPING * sum(config.end.max_epochs for config in group)
        total += own
        seconds += min(own / rate + keeping, sum(config.end.max_seconds for config in group))
    return Estimate(total, seconds)


_RATES: Final[dict[tuple[object, ...], float]] = {}
"""Measured rates, by the settings on which they depend most; sweeps share many of them."""


def _rate(group: Sequence[RunConfig], typical_n: int) -> float:
    """Return the useful operations per second of training networks like these on one thread."""
    config, training = group[0], group[0].training
    like = (type(config.network), config.network.hidden, type(config.task_in_training), config.time.k, len(group))
    trained = (training.batch_size, training.precision, type(training.optimizer), typical_n)
    if (*like, *trained) not in _RATES:
        with one_thread():
            _RATES[*like, *trained] = _measured(config, len(group), typical_n)
    return _RATES[*like, *trained]


def _measured(config: RunConfig, replicates: int, n: int) -> float:
    """Measure useful operations per second: optimiser steps over the last time steps of sequences for N = `n`.

    Processor time is measured, since other programs on this machine have little effect on it.
    """
    task, training = config.task_in_training, config.training
    small = config.with_hidden(min(config.network.hidden, _HIDDEN))
    time_step = networks.operations(small.network, training.batch_size, 0)  # of one network, as is the next
    update = step_operations(training.optimizer, networks.shapes(small.network, (), 1))
    count = max(1, min(replicates, _NETWORKS, int(_OPERATIONS / (_TIME_STEPS * time_step + update))))
    steps = max(2, int(_OPERATIONS / (count * time_step)))
    if training.precision == "bfloat16" and not bfloat16_is_faster():
        # Such a sweep is meant for another machine; the time of float32 is the best estimate here.
        small = with_training(small, precision="float32")
    alone = dataclasses.replace(small, curriculum=SingleHead(start=n), end=EndRules(max_n=n), source="")
    trainer = Trainer([new(one) for one in alone.replicates(count)])
    population = trainer.population
    addresses = [(r, "estimate", 0) for r in range(count)]
    done, spent = 0.0, 0.0
    began = time.process_time()
    for i, (whole, initial) in enumerate(
        batches(task, population, addresses, 1 + _MOST_STEPS, training.batch_size, config.time, config.generator)
    ):
        batch = _end(whole, steps)
        trainer.step(batch, initial)
        ended = time.process_time()
        if i > 0:  # the first step also allocates what later steps reuse
            done += networks.operations(small.network, training.batch_size * sum(batch.lengths), 0)
            done += count * update
            spent += ended - began
        if spent >= _SECONDS:
            break
        began = ended
    return done / spent


def _end(batch: TaskBatch, steps: int) -> TaskBatch:
    """Return the last time steps of a batch, up to a number."""
    lengths, readout_steps = (
        tuple(min(own, steps) for own in all_own) for all_own in (batch.lengths, batch.readout_steps)
    )
    return dataclasses.replace(
        batch,
        inputs=batch.inputs[len(batch.inputs) - max(lengths) :],
        lengths=lengths,
        targets=batch.targets[len(batch.targets) - max(readout_steps) :],
        readout_steps=readout_steps,
    )
