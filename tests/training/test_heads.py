"""Which heads are trained, with which weights, moments and gradients."""

import dataclasses

import pytest
import torch

from tests.oracles import plain
from tests.training.runs import (
    OPTIMIZERS,
    SOLVES_ALWAYS,
    SOLVES_NEVER,
    TINY,
    assert_same,
    assert_same_runs,
    start,
)
from tsrnn.config import (
    Adam,
    AllHeads,
    EndRules,
    MultiHead,
    SingleHead,
    SlidingWindow,
)
from tsrnn.io.checkpoint import new
from tsrnn.networks import initial_head, population
from tsrnn.training.carrying import evaluated_weights
from tsrnn.training.evaluation import end_accuracy
from tsrnn.training.loop import Trainer, train
from tsrnn.training.sampling import batches


class TestHeads:
    def test_the_weights_of_a_solved_n_may_leave_out_heads_that_were_solved_before(self):
        """A curriculum of the user may evaluate some of the solved heads only."""
        (report,) = Trainer([new(dataclasses.replace(SOLVES_ALWAYS, curriculum=MultiHead()))]).run_epoch()
        progress = dataclasses.replace(report.checkpoint.progress, heads=(2, 3), solved=(2, 3))
        found = evaluated_weights(SOLVES_ALWAYS, progress, report.checkpoint.network, (3,))
        assert (found.progress.heads, found.progress.solved) == ((3,), (3,))
        assert {name for name in found.network if name.startswith("heads.")} == {"heads.3.weight", "heads.3.bias"}

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


AS_SINGLE = [
    (SlidingWindow(width=1, begins="grown"), SingleHead()),
    (SlidingWindow(width=1, begins="full"), SingleHead()),
    (SlidingWindow(width=1, begins="grown", start=4), SingleHead(start=4)),
]
AS_MULTI = [
    (SlidingWindow(width=12, begins="grown"), MultiHead()),
    (SlidingWindow(width=12, begins="grown", shift=5, start=4), MultiHead(start=4)),
]


class TestSlidingWindow:
    @pytest.mark.parametrize(
        ("optimizer", "window", "same"),
        [(name, *alike[i % len(alike)]) for i, name in enumerate(OPTIMIZERS) for alike in (AS_SINGLE, AS_MULTI)],
        indirect=["optimizer"],
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
