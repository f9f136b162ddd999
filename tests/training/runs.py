"""Small runs that the tests of training share, and how two of them are compared."""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from typing import TypeVar

import torch

from tests.tolerances import TOLERANCES, distance
from tsrnn.config import (
    SGD,
    SOAP,
    Adam,
    AdamW,
    EndRules,
    Leaky,
    MultiHead,
    Muon,
    RunConfig,
    SingleHead,
    SlidingWindow,
    Training,
)
from tsrnn.io.checkpoint import Checkpoint, Progress
from tsrnn.networks import NetworkState, initial_network
from tsrnn.training.loop import Trainer
from tsrnn.training.optimizers import OptimizerState
from tsrnn.training.reports import EpochReport

T, U, V = TypeVar("T"), TypeVar("U"), TypeVar("V")

TINY = RunConfig(
    network=Leaky(hidden=9),
    # With an accuracy of about one half, the curriculum steps in some epochs and in others not.
    training=Training(batch_size=6, steps_per_epoch=4, test_batches=3, solved_accuracy=0.5, precision="float64"),
    end=EndRules(max_epochs=6),
)
SOLVES_ALWAYS = dataclasses.replace(TINY, training=dataclasses.replace(TINY.training, solved_accuracy=1e-9))
SOLVES_NEVER = dataclasses.replace(TINY, training=dataclasses.replace(TINY.training, solved_accuracy=1 - 1e-9))

CURRICULA = {
    "single": SingleHead(),
    "multi": MultiHead(),
    "sliding": SlidingWindow(width=2, begins="grown"),
    "sliding by 2": SlidingWindow(width=3, shift=2, begins="full"),
}


OPTIMIZERS = {
    "sgd": SGD(learning_rate=0.3, momentum=0.6),
    "sgd with decay": SGD(learning_rate=0.3, momentum=0.6, weight_decay=0.02),
    "adam": Adam(learning_rate=0.02),
    "muon": Muon(learning_rate=0.02, recurrent_rate=0.1),
    # With this epsilon, steps are small in the weakest directions, where eigenvectors depend on rounding.
    "soap": SOAP(learning_rate=0.02, recurrent_rate=0.02, frequency=3, epsilon=1e-2),
    "adam with decay": Adam(learning_rate=0.02, beta1=0.5, beta2=0.9, weight_decay=0.1),
    "adamw": AdamW(learning_rate=0.02, beta1=0.5, beta2=0.9, weight_decay=0.5),
}


EACH_ONCE = [*((one, "adam") for one in CURRICULA), *(("multi", one) for one in OPTIMIZERS if one != "adam")]
"""Pairs of a curriculum and an optimiser in which every one of both is."""


def curriculum(request):
    return CURRICULA[request.param]


def optimizer(request):
    return OPTIMIZERS[request.param]


def in_pairs(some: Iterable[T], others: Iterable[U], third: Sequence[V]) -> list[tuple[T, U, V]]:
    """Return triples that have every pair of two of their values; the first two have as many values as the third."""
    pairs = product(enumerate(some), enumerate(others))
    return [(one, other, third[(i + j) % len(third)]) for (i, one), (j, other) in pairs]


def start(config: RunConfig, heads: tuple[int, ...], **progress) -> Checkpoint:
    solved = heads[:-1]
    return Checkpoint(config, Progress(heads=heads, solved=solved, **progress), initial_network(config, heads))


def starts(config: RunConfig) -> list[Checkpoint]:
    """Four networks, each at another place of the curriculum."""
    match config.curriculum:
        case SingleHead():
            heads = [(2,), (7,), (3,), (3,)]
        case MultiHead():
            heads = [(2,), (2, 3, 4), (2, 3, 4, 5, 6), (2, 3)]
        case SlidingWindow(width=2):
            heads = [(2,), (2, 3), (6, 7), (3, 4)]
        case SlidingWindow():
            heads = [(2, 3, 4), (4, 5, 6), (8, 9, 10), (4, 5, 6)]
    return [start(c, ns, epoch=i) for i, (c, ns) in enumerate(zip(config.replicates(4), heads, strict=True))]


def run(trainer: Trainer) -> list[EpochReport]:
    reports = []
    while trainer.networks:
        reports += trainer.run_epoch()
    return reports


@cache
def uninterrupted(config: RunConfig) -> list[EpochReport]:
    """Return the run of four networks that nothing stops: several tests hold others against it, none changes it."""
    return run(Trainer(starts(config)))


def of(reports: Sequence[EpochReport], config: RunConfig) -> list[EpochReport]:
    return [report for report in reports if report.config == config]


def assert_same(some: NetworkState, others: NetworkState) -> None:
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        assert torch.equal(tensor, others[name]), name


def assert_same_states(some: OptimizerState, others: OptimizerState) -> None:
    assert some.keys() == others.keys()
    for part, state in some.items():
        assert_same(state, others[part])


def assert_close(
    some: NetworkState, others: NetworkState, tolerance: float = TOLERANCES[torch.float64].training
) -> None:
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        assert distance(tensor, others[name]) < tolerance, name


def without_time(report: EpochReport) -> dict[str, object]:
    """Return a report's numbers and texts, the wall clock apart; the tensors are compared on their own."""
    numbers = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    del numbers["checkpoint"], numbers["solved"]
    return numbers | {
        "config": report.config,
        "progress": dataclasses.replace(report.checkpoint.progress, wall_s=0.0),
        "solved": report.solved is not None,
    }


def assert_same_runs(some: list[EpochReport], others: list[EpochReport]) -> None:
    """Compare two runs bit for bit; all but their configurations and the wall clock."""
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        assert without_time(a) | {"config": None} == without_time(b) | {"config": None}
        assert_same(a.checkpoint.network, b.checkpoint.network)
        assert_same_states(a.checkpoint.optimizer, b.checkpoint.optimizer)
        assert (a.solved is None) == (b.solved is None)
        if a.solved:
            assert_same(a.solved.network, b.solved.network)
