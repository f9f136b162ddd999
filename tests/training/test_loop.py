"""The training loop: what an epoch draws, tests and reports."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from tests.tolerances import distance
from tests.training.runs import (
    SOLVES_ALWAYS,
    SOLVES_NEVER,
    TINY,
    assert_same,
    assert_same_states,
    of,
    start,
    starts,
)
from tsrnn.config import (
    GRU,
    LSTM,
    SGD,
    AdamW,
    EndRules,
    Leaky,
    Lengths,
    MultiHead,
    Optimizer,
    Parity,
    RateDecay,
    RunConfig,
    Training,
)
from tsrnn.io.checkpoint import new
from tsrnn.networks import population
from tsrnn.training.evaluation import end_accuracy
from tsrnn.training.loop import Trainer, train


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


@pytest.mark.parametrize("configs", ["paper", None, [Leaky()]])
def test_what_are_no_configurations_is_refused(configs):
    with pytest.raises(TypeError, match=r"^configs = .*: allowed are a RunConfig and a sequence of them$"):
        list(train(configs))


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


class TestOnly:
    @pytest.mark.parametrize(
        "names", [("recurrent.weight",), ("tau",), ("readout.weight", "readout.bias")], ids=lambda names: names[0]
    )
    def test_steps_change_what_is_named_and_nothing_else(self, names):
        alike = starts(TINY)
        trainer = Trainer(alike, only=names)
        trainer.train_steps(4)
        before = population(TINY.network, [one.network for one in alike], [one.progress.heads for one in alike])
        for name, tensor in trainer.population.parameters.items():
            assert torch.equal(tensor, before.parameters[name]) == (name not in names), name

    def test_a_step_is_that_of_all_parameters_where_the_rest_has_no_gradient(self):
        """Without clipping, each parameter's first step depends on its own gradient alone."""
        free = dataclasses.replace(TINY, training=dataclasses.replace(TINY.training, clip=None))
        some, every = (Trainer(starts(free), only=only) for only in (("tau",), None))
        for trainer in (some, every):
            trainer.train_steps(1)
        assert distance(some.population.parameters["tau"], every.population.parameters["tau"]) < 1e-12

    @pytest.mark.parametrize("names", [(), ("tau", "tua")])
    def test_a_name_that_is_none_is_refused(self, names):
        with pytest.raises(ValueError, match=r"only = .*allowed are one or more of those trained: recurrent\.weight"):
            Trainer(starts(TINY), only=names)
