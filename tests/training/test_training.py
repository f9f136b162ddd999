"""The training loop: networks do not touch each other, interruptions leave no trace, runs end when they should."""

import copy
import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.oracles import plain
from tests.tolerances import TOLERANCES, distance
from tsrnn.config import (
    DMS,
    GRU,
    LSTM,
    SGD,
    Adam,
    AdamW,
    AllHeads,
    Curriculum,
    EndRules,
    FixedTau,
    GradientClip,
    Leaky,
    Lengths,
    MultiHead,
    Muon,
    Network,
    NoCurriculum,
    Optimizer,
    Parity,
    RateDecay,
    RunConfig,
    SingleHead,
    SlidingWindow,
    TrainedTau,
    Training,
)
from tsrnn.config.presets import with_preset
from tsrnn.io.checkpoint import Checkpoint, Progress, load, new, save
from tsrnn.io.rows import solved_rows
from tsrnn.networks import NetworkState, initial_head, initial_network, population
from tsrnn.training.evaluation import end_accuracy
from tsrnn.training.loop import EpochReport, Outcome, Trainer, ended, train
from tsrnn.training.optimizers import OptimizerState
from tsrnn.training.sampling import batches

TINY = RunConfig(
    network=Leaky(hidden=9),
    # With an accuracy of about one half, the curriculum steps in some epochs and in others not.
    training=Training(batch_size=6, steps_per_epoch=4, test_batches=3, solved_accuracy=0.5, precision="float64"),
    end=EndRules(max_epochs=8),
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
    "adam with decay": Adam(learning_rate=0.02, beta1=0.5, beta2=0.9, weight_decay=0.1),
    "adamw": AdamW(learning_rate=0.02, beta1=0.5, beta2=0.9, weight_decay=0.5),
}


EACH_ONCE = [*((one, "adam") for one in CURRICULA), *(("multi", one) for one in OPTIMIZERS if one != "adam")]
"""Pairs of a curriculum and an optimiser in which every one of both is."""


@pytest.fixture(params=CURRICULA)
def curriculum(request):
    return CURRICULA[request.param]


@pytest.fixture(params=OPTIMIZERS)
def optimizer(request):
    return OPTIMIZERS[request.param]


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


def assert_close(some: NetworkState, others: NetworkState) -> None:
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        assert distance(tensor, others[name]) < TOLERANCES[torch.float64].training, name


def without_time(report: EpochReport) -> dict[str, object]:
    """Return a report's numbers and texts, the wall clock apart; the tensors are compared on their own."""
    numbers = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    del numbers["checkpoint"], numbers["solved"]
    return numbers | {
        "config": report.config,
        "progress": dataclasses.replace(report.checkpoint.progress, wall_s=0.0),
        "solved": report.solved is not None,
    }


class TestPopulations:
    @pytest.mark.parametrize(
        "config",
        [TINY, dataclasses.replace(TINY, task=DMS()), with_preset(TINY, "authors")],
        ids=["parity", "dms", "authors"],
    )
    def test_twenty_steps_are_those_of_single_networks(self, config, curriculum):
        alike = starts(dataclasses.replace(config, curriculum=curriculum))
        together = Trainer(alike)
        losses, norms, time_steps = together.train_steps(20)
        for r, one in enumerate(alike):
            alone = Trainer([one])
            loss, norm, steps = alone.train_steps(20)
            assert losses[r] == pytest.approx(loss[0], rel=TOLERANCES[torch.float64].training)
            assert norms[r] == pytest.approx(norm[0], rel=TOLERANCES[torch.float64].training)
            assert time_steps[r] == steps[0]
            assert_close(together.population.states()[r], alone.population.states()[0])

    @pytest.mark.parametrize("tau", [TrainedTau(), TrainedTau(constraint="clamp_forward"), FixedTau(tau=2)])
    @pytest.mark.parametrize("clip", [None, GradientClip(max_norm=0.3), GradientClip(counts="parameters_and_diagonal")])
    def test_twenty_steps_are_the_oracles(self, tau, clip, optimizer):
        training = dataclasses.replace(TINY.training, clip=clip, optimizer=optimizer)
        config = dataclasses.replace(TINY, network=dataclasses.replace(TINY.network, tau=tau), training=training)
        alike = starts(config)
        trainer = Trainer(alike)
        addresses = [(one.config.seed, "train", one.progress.epoch + 1) for one in alike]
        drawn = list(batches(config.task, trainer.population, addresses, 20, training.batch_size))
        losses, norms, _ = trainer.train_steps(20)
        for r, one in enumerate(alike):
            own = [
                (
                    batch.inputs[len(batch.inputs) - batch.lengths[r] :, r].double(),
                    initial[r],
                    {n: batch.targets[:, r, k] for k, n in enumerate(one.progress.heads)},
                )
                for batch, initial in drawn
            ]
            expected, oracle_losses, oracle_norms = plain.train(config, one.network, own)
            assert losses[r] == pytest.approx(np.mean(oracle_losses), rel=TOLERANCES[torch.float64].training)
            assert norms[r] == pytest.approx(np.mean(oracle_norms), rel=TOLERANCES[torch.float64].training)
            assert_close(trainer.population.states()[r], expected)

    def test_whole_runs_are_those_of_single_networks(self, curriculum, optimizer):
        self.same_alone(TINY.network, curriculum, optimizer)

    # Optimisers and curricula meet in the heads, which are those of leaky networks: their pairs are tested above.
    @pytest.mark.parametrize("network", [GRU(hidden=9), LSTM(hidden=9)], ids=lambda one: one.kind)
    @pytest.mark.parametrize(("curriculum", "optimizer"), EACH_ONCE, indirect=True)
    def test_whole_runs_of_gated_networks_too(self, curriculum, optimizer, network):
        self.same_alone(network, curriculum, optimizer)

    @staticmethod
    def same_alone(network: Network, curriculum: Curriculum, optimizer: Optimizer) -> None:
        training = dataclasses.replace(TINY.training, optimizer=optimizer)
        alike = starts(dataclasses.replace(TINY, curriculum=curriculum, network=network, training=training))
        together = uninterrupted(alike[0].config)
        assert len({report.n for report in together}) > 3
        for one in alike:
            own = run(Trainer([one]))
            assert len(of(together, one.config)) == len(own) == 8 - one.progress.epoch
            for a, b in zip(of(together, one.config), own, strict=True):
                assert (a.epoch, a.accuracies, a.outcome) == (b.epoch, b.accuracies, b.outcome)
                assert a.loss == pytest.approx(b.loss, rel=TOLERANCES[torch.float64].training)
                assert_close(a.checkpoint.network, b.checkpoint.network)
                assert a.checkpoint.optimizer.keys() == b.checkpoint.optimizer.keys()
                for part, state in a.checkpoint.optimizer.items():
                    assert_close(state, b.checkpoint.optimizer[part])

    def test_fixed_taus_may_differ(self):
        configs = [
            dataclasses.replace(TINY, network=dataclasses.replace(TINY.network, tau=FixedTau(tau=tau)))
            for tau in (1, 2, 3)
        ]
        together = list(train(configs))
        assert [report.tau_mean for report in together[:3]] == [1.0, 2.0, 3.0]
        assert {report.tau_sd for report in together} == {0.0}
        for config in configs:
            last, alone = of(together, config)[-1], list(train(config))[-1]
            assert_close(last.checkpoint.network, alone.checkpoint.network)

    def test_what_cannot_be_stacked_is_an_error(self):
        with pytest.raises(ValueError, match="at least one network"):
            Trainer([])
        with pytest.raises(ValueError, match="seed and in a fixed tau's value only"):
            Trainer([new(TINY), new(dataclasses.replace(TINY, task=DMS()))])


class TestInterruption:
    @pytest.mark.parametrize("epochs", [1, 3, 5])
    def test_a_run_in_two_parts_is_the_run_bit_for_bit(self, curriculum, optimizer, tmp_path: Path, epochs: int):
        training = dataclasses.replace(TINY.training, optimizer=optimizer)
        alike = starts(dataclasses.replace(TINY, curriculum=curriculum, training=training))
        whole = uninterrupted(alike[0].config)
        assert sum(report.solved is not None for report in whole) > 4  # the curricula step
        assert any(report.solved is None for report in whole)

        first, latest = Trainer(alike), {}
        parts = []
        for _ in range(epochs):
            parts += first.run_epoch()
        for i, config in enumerate(first.networks):
            save(of(parts, config)[-1].checkpoint, tmp_path / str(i))
            latest[config] = load(tmp_path / str(i))
        parts += run(Trainer(list(latest.values())))

        assert len(parts) == len(whole)
        for a, b in zip(parts, whole, strict=True):
            assert without_time(a) == without_time(b)
            assert_same(a.checkpoint.network, b.checkpoint.network)
            assert_same_states(a.checkpoint.optimizer, b.checkpoint.optimizer)

    def test_solved_checkpoints_can_be_saved(self, tmp_path: Path):
        for report in train(SOLVES_ALWAYS):
            save(report.solved, tmp_path / "file")
            assert_same(load(tmp_path / "file").network, report.solved.network)


class TestEnds:
    def test_the_rules_in_order(self):
        config = dataclasses.replace(TINY, end=EndRules(max_n=5, max_epochs=10, max_seconds=100))
        before = Progress(heads=(5,), max_n=4, epoch=9, wall_s=99.0)
        assert ended(config, before) is None
        late = dataclasses.replace(before, wall_s=100.0)
        assert (ended(config, late).status, ended(config, late).reason) == ("time", "100 s of computing were used")
        late = dataclasses.replace(late, epoch=10)
        assert (ended(config, late).status, ended(config, late).reason) == ("epochs", "10 epochs were trained")
        late = dataclasses.replace(late, max_n=5)
        assert (ended(config, late).status, ended(config, late).reason) == ("solved_all", "N = 5 was solved")

    def test_solved_all(self, curriculum):
        config = dataclasses.replace(SOLVES_ALWAYS, curriculum=curriculum, end=EndRules(max_n=4))
        reports = list(train(config))
        assert [report.outcome and report.outcome.status for report in reports] == [None] * (len(reports) - 1) + [
            "solved_all"
        ]
        assert reports[-1].outcome.reason == "N = 4 was solved"
        assert [n for report in reports for n in report.newly_solved] == [2, 3, 4]
        assert [report.solved.progress.max_n for report in reports] == [report.n for report in reports]
        assert {report.epochs_taken for report in reports} == {1}
        # The last checkpoint stays with the N that was solved.
        heads = [report.checkpoint.progress.heads for report in reports]
        assert (
            heads
            == {
                CURRICULA["single"]: [(3,), (4,), (4,)],
                CURRICULA["multi"]: [(2, 3), (2, 3, 4), (2, 3, 4)],
                CURRICULA["sliding"]: [(2, 3), (3, 4), (3, 4)],
                CURRICULA["sliding by 2"]: [(2, 3, 4)],
            }[curriculum]
        )
        solved = [report.checkpoint.progress.solved for report in reports]
        assert solved == [
            ns if report.outcome else tuple(n for n in ns if n <= report.n)
            for ns, report in zip(heads, reports, strict=True)
        ]

    def test_epochs(self):
        config = dataclasses.replace(SOLVES_NEVER, end=EndRules(max_epochs=3))
        reports = list(train(config))
        assert [report.epoch for report in reports] == [1, 2, 3]
        assert [report.epochs_taken for report in reports] == [1, 2, 3]
        assert [report.outcome and report.outcome.status for report in reports] == [None, None, "epochs"]
        assert {report.solved for report in reports} == {None}
        assert reports[-1].checkpoint.progress.max_n == 0
        assert reports[-1].checkpoint.progress.steps == 12

    def test_time_is_the_networks_own(self):
        config = dataclasses.replace(SOLVES_NEVER, end=EndRules(max_seconds=1000))
        old, young = start(config, (2,), wall_s=1000.0), start(dataclasses.replace(config, seed=1), (2,))
        trainer = Trainer([old, young])
        first, second = trainer.run_epoch()
        assert first.outcome.status == "time"
        assert second.outcome is None
        assert trainer.networks == (young.config,)
        assert first.checkpoint.progress.wall_s > 1000
        assert 0 < second.checkpoint.progress.wall_s < 1000

    def test_one_that_ends_leaves_the_others_as_they_are(self):
        alike = starts(TINY)  # they have trained 0, 1, 2 and 3 of 8 epochs
        trainer = Trainer(alike)
        sizes = []
        while trainer.networks:
            sizes.append(len(trainer.run_epoch()))
        assert sizes == [4, 4, 4, 4, 4, 3, 2, 1]
        with pytest.raises(ValueError, match="all have ended"):
            trainer.run_epoch()

    @pytest.mark.parametrize("sick", [0, 1, 3])
    def test_a_diverged_network_ends_and_harms_no_other(self, sick: int):
        alike = starts(TINY)
        healthy = run(Trainer(alike))
        alike[sick].network["recurrent.bias"][0] = torch.nan
        reports = run(Trainer(alike))
        (last,) = of(reports, alike[sick].config)
        assert last.outcome.status == "diverged"
        assert last.outcome.reason == f"the loss became nan in epoch {sick + 1}"
        for i, one in enumerate(alike):
            if i != sick:
                for a, b in zip(of(reports, one.config), of(healthy, one.config), strict=True):
                    assert (a.accuracies, a.outcome) == (b.accuracies, b.outcome)
                    assert_close(a.checkpoint.network, b.checkpoint.network)

    def test_a_diverged_network_has_solved_nothing(self):
        # Without finite answers it says "no" everywhere, which is right about half the time.
        one = start(SOLVES_ALWAYS, (2,))
        one.network["recurrent.bias"].fill_(torch.nan)
        (report,) = Trainer([one]).run_epoch()
        assert report.outcome.status == "diverged"
        assert report.solved is None
        assert report.checkpoint.progress.max_n == 0


class TestShown:
    SHORT = Parity(lengths=Lengths(shortest_beyond=3, longest_factor=2, longest_beyond=1), input_probability=0.9)

    def test_training_draws_from_it_and_tests_do_not(self):
        (report,) = Trainer([new(dataclasses.replace(SOLVES_NEVER, training_task=self.SHORT))]).run_epoch()
        other = Trainer([new(dataclasses.replace(SOLVES_NEVER, task=self.SHORT))])
        losses, norms, (steps,) = other.train_steps(4)
        assert ([report.loss], [report.grad_norm]) == (losses, norms)
        assert_same(report.checkpoint.network, other.population.states()[0])
        tested = end_accuracy(other.population, SOLVES_NEVER.task, [(0, "test", 1)], 3, 6)
        assert report.accuracies == {2: tested[0][2].accuracy}
        # Three tests of the mean length of [N + 2, 4 N], N = 2.
        assert report.checkpoint.progress.operations == (6 * steps + 2 * 3 * 6) * 6 * 9**2


class TestTestBatches:
    def test_may_be_larger_than_those_of_training(self):
        training = dataclasses.replace(SOLVES_NEVER.training, test_batch_size=11)
        trainer = Trainer([new(dataclasses.replace(SOLVES_NEVER, training=training))])
        (report,) = trainer.run_epoch()
        (steps,) = Trainer([new(SOLVES_NEVER)]).train_steps(4)[2]
        found = end_accuracy(trainer.population, SOLVES_NEVER.task, [(0, "test", 1)], 3, 11)
        assert report.accuracies == {2: found[0][2].accuracy}
        # Three tests of 11 sequences of the mean length of [N + 2, 4 N], N = 2.
        assert report.checkpoint.progress.operations == (6 * 6 * steps + 2 * 11 * 3 * 6) * 9**2


class TestScreening:
    def test_who_solves_nothing_on_it_is_not_tested_further(self):
        training = dataclasses.replace(TINY.training, screening_batches=2)
        alike = starts(dataclasses.replace(TINY, training=training))
        screened, spent = {"passed": 0, "failed": 0}, [0.0] * 4
        trainer, before = Trainer(alike), Trainer(alike)
        for _ in range(3):
            _, _, steps = before.train_steps(4)
            reports = trainer.run_epoch()
            for r, report in enumerate(reports):
                seed, epoch, people = report.config.seed, report.epoch, before.population
                alone = population(report.config.network, [people.states()[r]], [people.heads[r]])
                found = end_accuracy(alone, TINY.task, [(seed, "screen", epoch)], 2, 6)[0]
                solves = found[report.n].accuracy > 0.5 and np.mean([a.accuracy for a in found.values()]) > 0.5
                if solves:
                    found = end_accuracy(alone, TINY.task, [(seed, "test", epoch)], 3, 6)[0]
                assert report.accuracies == {n: head.accuracy for n, head in found.items()}
                screened["passed" if solves else "failed"] += 1
                tested = (5 if solves else 2) * (report.n + 2 + 4 * report.n) / 2
                spent[r] += (6 * steps[r] + 2 * tested) * 6 * 9**2
                assert report.checkpoint.progress.operations == spent[r]
            before = Trainer([report.checkpoint for report in reports])
        assert min(screened.values()) > 1


class TestHeadsAhead:
    CONFIG = dataclasses.replace(SOLVES_ALWAYS, curriculum=MultiHead(ahead=3), end=EndRules(max_n=5))

    def test_trained_in_advance_and_judged_in_turn(self):
        reports = list(train(self.CONFIG))
        assert [report.newly_solved for report in reports] == [(2, 3, 4), (5,)]
        assert [report.n for report in reports] == [4, 5]
        assert [tuple(report.accuracies) for report in reports] == [(2, 3, 4), (2, 3, 4, 5)]
        assert [report.checkpoint.progress.heads for report in reports] == [tuple(range(2, 8))] * 2
        assert [report.solved.progress.heads for report in reports] == [(2, 3, 4), (2, 3, 4, 5)]
        assert "heads.6.weight" not in reports[-1].solved.network
        assert reports[-1].outcome.status == "solved_all"

    @pytest.mark.parametrize("screening", [None, 2])
    def test_every_n_is_judged_as_with_one_head_at_a_time(self, screening: int | None):
        """On sequences for that N, by the heads up to it; the next as soon as it is solved."""
        training = dataclasses.replace(self.CONFIG.training, screening_batches=screening)
        (report,) = Trainer([new(dataclasses.replace(self.CONFIG, training=training))]).run_epoch()
        states = {name: t for name, t in report.solved.network.items() if not name.startswith("heads.")}
        expected, steps = {}, 0.0
        for again, n in enumerate((2, 3, 4)):
            heads = tuple(range(2, n + 1))
            own = {
                f"heads.{m}.{part}": report.solved.network[f"heads.{m}.{part}"]
                for m in heads
                for part in ("weight", "bias")
            }
            alone = population(self.CONFIG.network, [states | own], [heads])
            (found,) = end_accuracy(alone, self.CONFIG.task, [(0, f"test-{again}" if again else "test", 1)], 3, 6)
            expected[n] = found[n].accuracy
            steps += (3 + (screening or 0)) * (n + 2 + 4 * n) / 2
        assert report.accuracies == expected
        (trained,) = Trainer([new(self.CONFIG)]).train_steps(4)[2]
        assert report.checkpoint.progress.operations == (6 * trained + 2 * steps) * 6 * 9**2

    def test_what_is_beyond_the_first_unsolved_n_is_not_judged(self):
        never = dataclasses.replace(SOLVES_NEVER, curriculum=MultiHead(ahead=3))
        (report,) = Trainer([new(never)]).run_epoch()
        assert (report.newly_solved, tuple(report.accuracies)) == ((), (2,))

    def test_a_network_that_goes_on_does_not_wait_for_one_that_does_not(self):
        """Stacked networks are tested as alone."""
        half = dataclasses.replace(self.CONFIG.training, solved_accuracy=0.5)
        configs = dataclasses.replace(self.CONFIG, training=half).replicates(8)
        together = Trainer([new(one) for one in configs]).run_epoch()
        for one, found in zip(configs, together, strict=True):
            (alone,) = Trainer([new(one)]).run_epoch()
            assert (alone.newly_solved, alone.accuracies) == (found.newly_solved, found.accuracies)
        assert len({found.newly_solved for found in together}) > 2

    def test_trains_as_many_heads_as_one_step_of_full_windows(self):
        ahead = dataclasses.replace(SOLVES_NEVER, curriculum=MultiHead(ahead=4))
        every = dataclasses.replace(SOLVES_NEVER, curriculum=AllHeads(n=5))
        for one, other in zip(train(ahead), train(every), strict=True):
            assert_same(one.checkpoint.network, other.checkpoint.network)


class TestRateDecay:
    @pytest.mark.parametrize(
        "optimizer",
        [SGD(learning_rate=0.2, momentum=0.5, weight_decay=0.1), AdamW(learning_rate=0.02, weight_decay=0.1)],
    )
    def test_each_network_trains_at_the_rate_of_its_n(self, optimizer: Optimizer):
        decay = RateDecay(n=3, power=2.0)
        training = dataclasses.replace(TINY.training, optimizer=optimizer, rate_decay=decay)
        runs = dataclasses.replace(TINY, training=training).replicates(3)
        heads = [(2,), (2, 3), (2, 3, 4, 5, 6)]
        trainer = Trainer([start(run, ns) for run, ns in zip(runs, heads, strict=True)])
        trainer.train_steps(4)
        for run, ns, found, factor in zip(runs, heads, trainer.population.states(), (1.0, 1.0, 0.25), strict=True):
            slower = dataclasses.replace(optimizer, learning_rate=optimizer.learning_rate * factor)
            constant = dataclasses.replace(run.training, optimizer=slower, rate_decay=None)
            alone = Trainer([start(dataclasses.replace(run, training=constant), ns)])
            alone.train_steps(4)
            (expected,) = alone.population.states()
            assert max(distance(found[name], expected[name]) for name in expected) < 1e-12

    def test_it_falls_with_the_smallest_unsolved_n(self):
        training = dataclasses.replace(SOLVES_ALWAYS.training, rate_decay=RateDecay(n=2, power=1.0))
        trainer = Trainer([new(dataclasses.replace(SOLVES_ALWAYS, training=training, curriculum=MultiHead(ahead=2)))])
        factors = [trainer._optimizer.rates.item()]
        for _ in range(2):
            trainer.run_epoch()
            factors.append(trainer._optimizer.rates.item())
        assert factors == [1.0, 0.5, pytest.approx(1 / 3)]


class TestSolvedWeight:
    @pytest.mark.parametrize("weight", [0.0, 0.25])
    def test_the_gradient_is_that_of_weighted_heads(self, weight: float):
        training = dataclasses.replace(TINY.training, solved_weight=weight, clip=None)
        heads = (2, 3, 4)
        one = start(dataclasses.replace(TINY, training=training), heads)
        trainer = Trainer([one])
        ((batch, initial),) = batches(TINY.task, trainer.population, [(0, "train", 1)], 1, 6)
        losses, norms = trainer.step(batch, initial)
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in one.network.items()}
        states = plain.states(TINY.network, leaves, batch.inputs[:, 0].double(), initial[0])
        each = [plain.head_loss(TINY.task, leaves, n, states, batch.targets[:, 0, k]) for k, n in enumerate(heads)]
        assert losses[0].item() == pytest.approx(sum(each).item())
        weighted = weight * (each[0] + each[1]) + each[2]
        gradients = torch.autograd.grad(weighted, list(leaves.values()))
        by_name = dict(zip(leaves, gradients, strict=True))
        by_name["recurrent.weight"].fill_diagonal_(0.0)
        assert norms[0].item() == pytest.approx(torch.cat([g.flatten() for g in gradients]).norm().item())

    def test_weights_follow_what_is_solved(self):
        training = dataclasses.replace(SOLVES_ALWAYS.training, solved_weight=0.5)
        trainer = Trainer([new(dataclasses.replace(SOLVES_ALWAYS, training=training, curriculum=AllHeads(n=4)))])
        found = [trainer._weights.tolist()]
        trainer.run_epoch()
        assert found == [[[1.0, 1.0, 1.0]]]
        assert not trainer.networks  # all of them were solved at once


class TestHeads:
    def test_a_new_head_is_drawn_from_its_own_stream(self):
        config = dataclasses.replace(SOLVES_ALWAYS, curriculum=MultiHead(), seed=5)
        trainer = Trainer([new(config)])
        for n in (3, 4, 5):
            (report,) = trainer.run_epoch()
            expected = {name: tensor.double() for name, tensor in initial_head(9, n, 5).items()}
            assert_same({name: report.checkpoint.network[name] for name in expected}, expected)
            assert trainer.population.heads == (tuple(range(2, n + 1)),)
            assert_same(trainer.population.states()[0], report.checkpoint.network)
            assert f"heads.{n}.weight" not in report.solved.network

    def test_a_new_head_has_no_momentum_and_the_others_keep_theirs(self):
        config = dataclasses.replace(SOLVES_ALWAYS, curriculum=MultiHead())
        trainer = Trainer([new(config)])
        (report,) = trainer.run_epoch()
        momentum = report.checkpoint.optimizer["momentum"]
        assert not any(momentum[name].any() for name in momentum if name.startswith("heads.3."))
        assert all(momentum[name].any() for name in momentum if not name.startswith("heads.3."))

    def test_a_single_head_is_handed_on_with_its_momentum(self):
        config = dataclasses.replace(SOLVES_ALWAYS, curriculum=SingleHead())
        trainer = Trainer([new(config)])
        (report,) = trainer.run_epoch()
        following = report.checkpoint
        assert following.progress.heads == (3,)
        assert torch.equal(following.network["heads.3.weight"], report.solved.network["heads.2.weight"])
        assert torch.equal(following.network["heads.3.bias"], report.solved.network["heads.2.bias"])
        assert following.optimizer["momentum"]["heads.3.weight"].any()
        assert "heads.2.weight" not in following.network
        assert "heads.2.weight" not in following.optimizer["momentum"]
        assert_same(trainer.population.states()[0], following.network)

    def test_an_unsolved_epoch_changes_no_heads(self):
        reports = list(train(SOLVES_NEVER))
        assert {report.checkpoint.progress.heads for report in reports} == {(2,)}


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


class TestSlidingWindow:
    @pytest.mark.parametrize(
        ("window", "same"),
        [
            (SlidingWindow(width=1, begins="grown"), SingleHead()),
            (SlidingWindow(width=1, begins="full"), SingleHead()),
            (SlidingWindow(width=1, begins="grown", start=4), SingleHead(start=4)),
            (SlidingWindow(width=12, begins="grown"), MultiHead()),
            (SlidingWindow(width=12, begins="grown", shift=5, start=4), MultiHead(start=4)),
        ],
        ids=["one is single", "one, full", "one from 4", "twelve is multi", "twelve from 4"],
    )
    def test_its_limits_are_single_and_multi_head_bit_for_bit(self, window, same, optimizer):
        training = dataclasses.replace(TINY.training, optimizer=optimizer)
        config = dataclasses.replace(TINY, training=training, end=EndRules(max_epochs=10))
        runs = [list(train(dataclasses.replace(config, curriculum=c).replicates(3))) for c in (window, same)]
        assert len({report.n for report in runs[0]}) > 3
        assert any(report.solved is None for report in runs[0])
        assert_same_runs(*runs)

    def test_the_dropped_head_goes_on_as_the_new_one_with_its_moments_and_steps(self):
        training = dataclasses.replace(SOLVES_ALWAYS.training, optimizer=Adam())
        config = dataclasses.replace(
            SOLVES_ALWAYS, training=training, curriculum=SlidingWindow(width=2, begins="grown")
        )
        trainer = Trainer([new(config)])
        first, second = trainer.run_epoch()[0], trainer.run_epoch()[0]
        steps = first.checkpoint.optimizer["steps"]
        assert (steps["heads.2.weight"], steps["heads.3.weight"], steps["tau"]) == (4, 0, 4)
        assert second.checkpoint.progress.heads == (3, 4)
        assert torch.equal(second.checkpoint.network["heads.4.weight"], second.solved.network["heads.2.weight"])
        assert torch.equal(second.checkpoint.network["heads.3.bias"], second.solved.network["heads.3.bias"])
        steps = second.checkpoint.optimizer["steps"]
        assert (steps["heads.4.weight"], steps["heads.3.weight"], steps["tau"]) == (8, 4, 8)
        assert not any("heads.2." in name for name in steps)


class TestOneStep:
    def test_no_curriculum_ends_when_its_n_is_solved(self):
        config = dataclasses.replace(SOLVES_ALWAYS, curriculum=NoCurriculum(n=6))
        (report,) = train(config)
        assert report.checkpoint.progress.heads == report.newly_solved == (6,)
        assert report.checkpoint.progress.max_n == 6
        assert (report.outcome.status, report.outcome.reason) == ("solved_all", "N = 6 was solved")

    def test_no_curriculum_ends_out_of_epochs(self):
        reports = list(train(dataclasses.replace(SOLVES_NEVER, curriculum=NoCurriculum(n=6))))
        assert [report.n for report in reports] == [6] * 8
        assert reports[-1].outcome.status == "epochs"
        assert reports[-1].checkpoint.progress.max_n == 0

    def test_all_heads_train_as_multi_heads_do(self):
        every = dataclasses.replace(SOLVES_NEVER, curriculum=AllHeads(n=5))
        multi = dataclasses.replace(SOLVES_NEVER, curriculum=MultiHead())
        late = Checkpoint(multi, Progress(heads=(2, 3, 4, 5)), initial_network(multi, (2, 3, 4, 5)))
        assert_same_runs(list(train(every)), run(Trainer([late])))

    def test_each_of_all_heads_is_solved_once_by_its_own_accuracy(self):
        config = dataclasses.replace(
            TINY,
            curriculum=AllHeads(n=7),
            training=dataclasses.replace(TINY.training, solved_accuracy=0.6),
            end=EndRules(max_n=7, max_epochs=60),
        )
        reports = list(train(config))
        epoch_of = {n: report.epoch for report in reports for n in report.newly_solved}
        first = {}
        for report in reports:
            for n, accuracy in report.accuracies.items():
                if accuracy > 0.6 and (n < 7 or report.accuracy_mean > 0.6):
                    first.setdefault(n, report.epoch)
        assert epoch_of == first
        assert sum(len(report.newly_solved) for report in reports) == len(epoch_of)
        assert len(set(epoch_of.values())) > 1
        for report in reports:
            assert report.checkpoint.progress.heads == (2, 3, 4, 5, 6, 7)
            assert report.checkpoint.progress.max_n == max(
                (n for n, epoch in epoch_of.items() if epoch <= report.epoch), default=0
            )
            assert (report.solved is not None) == bool(report.newly_solved)
        assert reports[-1].outcome.status == ("solved_all" if len(epoch_of) == 6 else "epochs")
        rows = [row for report in reports for row in solved_rows(report, {n: f"{n}" for n in report.newly_solved})]
        assert {row["n"]: row["epoch"] for row in rows} == epoch_of
        assert all(row["accuracy"] > 0.6 and row["checkpoint"] == str(row["n"]) for row in rows)

    def test_all_heads_end_when_all_are_solved(self):
        reports = list(train(dataclasses.replace(SOLVES_ALWAYS, curriculum=AllHeads(n=5), end=EndRules(max_n=5))))
        assert [report.newly_solved for report in reports] == [(2, 3, 4, 5)]
        assert reports[-1].outcome == Outcome("solved_all", "all of N = 2 to 5 were solved")

    def test_the_largest_n_alone_does_not_end_all_heads(self):
        config = dataclasses.replace(SOLVES_NEVER, curriculum=AllHeads(n=4), end=EndRules(max_n=4))
        missing = Progress(heads=(2, 3, 4), solved=(2, 4), max_n=4)
        assert ended(config, missing) is None
        assert ended(config, dataclasses.replace(missing, solved=(2, 3, 4))).status == "solved_all"


class TestReports:
    def test_an_epoch_is_its_steps(self):
        alike = starts(TINY)
        losses, norms, time_steps = Trainer(alike).train_steps(4)
        reports = Trainer(alike).run_epoch()
        assert [report.loss for report in reports] == losses
        assert [report.grad_norm for report in reports] == norms
        assert [report.checkpoint.progress.steps for report in reports] == [4] * 4
        for report, one, steps in zip(reports, alike, time_steps, strict=True):
            assert report.epoch == one.progress.epoch + 1
            assert tuple(report.accuracies) == one.progress.heads
            assert report.n == max(one.progress.heads)
            assert report.accuracy == report.accuracies[report.n]
            assert report.accuracy_mean == pytest.approx(np.mean(list(report.accuracies.values())))
            # A product of [B, H] and [H, H] is 2 B H^2 operations: three for each step, one for each tested.
            tested = 3 * (report.n + 2 + 4 * report.n) / 2
            assert report.checkpoint.progress.operations == (6 * steps + 2 * tested) * 6 * 9**2

    @pytest.mark.parametrize(("network", "times"), [(GRU(hidden=9), 3), (LSTM(hidden=9), 4)])
    def test_a_gated_network_takes_a_leaky_ones_operations_a_gate(self, network, times):
        gated, leaky = (
            next(train(dataclasses.replace(SOLVES_NEVER, network=one))) for one in (network, SOLVES_NEVER.network)
        )
        assert gated.checkpoint.progress.operations == times * leaky.checkpoint.progress.operations
        assert (gated.tau_mean, gated.tau_sd) == (None, None)

    def test_tau_is_that_of_the_epochs_end(self):
        (report,) = Trainer([new(SOLVES_NEVER)]).run_epoch()
        tau = report.checkpoint.network["tau"].numpy()
        assert report.tau_mean == pytest.approx(tau.mean())
        assert report.tau_sd == pytest.approx(tau.std())

    def test_solved_holds_the_weights_that_were_tested(self):
        trainer = Trainer([new(SOLVES_ALWAYS)])
        (report,) = trainer.run_epoch()
        body = {name: t for name, t in report.checkpoint.network.items() if not name.startswith("heads.3.")}
        assert_same(report.solved.network, body)
        assert report.solved.progress.heads == (2,)
        assert not report.solved.optimizer

    def test_reports_are_not_changed_by_later_training(self):
        trainer = Trainer([new(SOLVES_NEVER)])
        (report,) = trainer.run_epoch()
        before = {name: tensor.clone() for name, tensor in report.checkpoint.network.items()}
        optimizer = copy.deepcopy(report.checkpoint.optimizer)
        trainer.run_epoch()
        assert_same(report.checkpoint.network, before)
        assert_same_states(report.checkpoint.optimizer, optimizer)

    def test_a_start_is_not_changed_by_training(self):
        one = new(TINY)
        Trainer([one]).run_epoch()
        assert_same(one.network, new(TINY).network)


def test_a_small_network_learns():
    config = RunConfig(
        task=Parity(input_probability=0.5),
        network=Leaky(hidden=24),
        training=Training(
            batch_size=32, steps_per_epoch=300, test_batches=8, optimizer=SGD(learning_rate=0.1, momentum=0.5)
        ),
        end=EndRules(max_n=2, max_epochs=6),
    )
    reports = list(train(config.replicates(2)))
    assert all(of(reports, one)[-1].outcome.status == "solved_all" for one in config.replicates(2))
    assert reports[-1].accuracy > 0.98


def test_global_random_states_are_left_alone():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()
    list(train(SOLVES_ALWAYS))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_before, strict=True))


def test_global_random_states_change_nothing():
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            results.append(list(train(SOLVES_ALWAYS))[-1].checkpoint.network)
    assert_same(*results)
