"""Runs end when they should."""

import dataclasses

import pytest
import torch

from tests.training.runs import (
    CURRICULA,
    SOLVES_ALWAYS,
    SOLVES_NEVER,
    TINY,
    assert_close,
    assert_same_runs,
    of,
    run,
    start,
    starts,
)
from tsrnn.config import (
    AllHeads,
    EndRules,
    MultiHead,
    NoCurriculum,
)
from tsrnn.io.checkpoint import Checkpoint, Progress
from tsrnn.io.rows import solved_rows
from tsrnn.networks import initial_network
from tsrnn.training.loop import Trainer, train
from tsrnn.training.reports import Outcome, ended


class TestEnds:
    def test_the_rules_in_order(self):
        config = dataclasses.replace(TINY, end=EndRules(max_n=5, max_epochs=10, max_seconds=100))
        before = Progress(heads=(5,), max_n=4, epoch=9, wall_s=99.0)
        assert ended(config, before) is None
        late = dataclasses.replace(before, wall_s=100.0)
        assert (ended(config, late).status, ended(config, late).reason) == ("time", "100 s of computing were used")
        late = dataclasses.replace(late, epoch=10)
        assert (ended(config, late).status, ended(config, late).reason) == ("epochs", "10 epochs were trained")
        config = dataclasses.replace(config, end=dataclasses.replace(config.end, max_steps_without_solving=40))
        assert ended(config, dataclasses.replace(late, steps_since_solved=39)).status == "epochs"
        late = dataclasses.replace(late, steps_since_solved=40)
        assert (ended(config, late).status, ended(config, late).reason) == ("stalled", "40 steps solved no further N")
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

    @pytest.mark.parametrize("patience", [5, 8])
    def test_a_network_stalls_by_its_own_steps(self, curriculum, patience: int):
        """Held against a run without the rule, whose epochs of 4 steps say what each network should have ended with."""
        free = dataclasses.replace(TINY, curriculum=curriculum, end=EndRules(max_epochs=8))
        config = dataclasses.replace(free, end=dataclasses.replace(free.end, max_steps_without_solving=patience))
        reports, stalled = list(train(config.replicates(6))), 0
        others = list(train(free.replicates(6)))
        for one, other in zip(config.replicates(6), free.replicates(6), strict=True):
            own, full = of(reports, one), of(others, other)
            fruitless = 0
            for last, report in enumerate(full):  # noqa: B007
                fruitless = 0 if report.newly_solved else fruitless + 1
                if fruitless == 2:
                    break
            assert len(own) == last + 1
            assert own[-1].outcome.status == ("stalled" if fruitless == 2 else "epochs")
            assert [a.accuracies for a in own] == [pytest.approx(a.accuracies) for a in full[: last + 1]]
            stalled += fruitless == 2
        assert stalled > 0

    def test_any_n_of_all_heads_is_progress(self):
        end = EndRules(max_n=7, max_epochs=200, max_steps_without_solving=40)
        training = dataclasses.replace(TINY.training, solved_accuracy=0.7)
        reports = list(train(dataclasses.replace(TINY, curriculum=AllHeads(n=7), training=training, end=end)))
        solving = [report.epoch for report in reports if report.newly_solved]
        assert any(report.newly_solved and 7 not in report.newly_solved for report in reports)
        assert reports[-1].outcome.status == "stalled"
        assert reports[-1].epoch == solving[-1] + 10

    def test_one_that_ends_leaves_the_others_as_they_are(self):
        alike = starts(TINY)  # they have trained 0, 1, 2 and 3 of 6 epochs
        trainer = Trainer(alike)
        sizes = []
        while trainer.networks:
            sizes.append(len(trainer.run_epoch()))
        assert sizes == [4, 4, 4, 3, 2, 1]
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


class TestOneStep:
    def test_no_curriculum_ends_when_its_n_is_solved(self):
        config = dataclasses.replace(SOLVES_ALWAYS, curriculum=NoCurriculum(n=6))
        (report,) = train(config)
        assert report.checkpoint.progress.heads == report.newly_solved == (6,)
        assert report.checkpoint.progress.max_n == 6
        assert (report.outcome.status, report.outcome.reason) == ("solved_all", "N = 6 was solved")

    def test_no_curriculum_ends_out_of_epochs(self):
        reports = list(train(dataclasses.replace(SOLVES_NEVER, curriculum=NoCurriculum(n=6))))
        assert [report.n for report in reports] == [6] * 6
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
