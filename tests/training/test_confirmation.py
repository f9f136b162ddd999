"""What a small test passed is confirmed with the error rates that are stated: computed, simulated, and in training."""

import dataclasses
import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from tests.training.runs import TINY, assert_same, assert_same_runs, of, run, starts
from tsrnn.config import AllHeads, Confirmation, EndRules, Leaky, MultiHead, RunConfig, SingleHead, Time, Training
from tsrnn.curricula import CurriculumState
from tsrnn.io.checkpoint import load, new, save
from tsrnn.io.rows import epochs_row, outcomes_row
from tsrnn.tasks import Parity, Task
from tsrnn.training.confirmation import Claims, log_ratios
from tsrnn.training.evaluation import end_accuracy, end_scores
from tsrnn.training.loop import Trainer, train
from tsrnn.training.sampling import drawn, spread

RULE = Confirmation()
THRESHOLD = 0.98
PARITY = Parity()


@cache
def ratio(low: float = 0.976, high: float = 0.984) -> tuple[float, float]:
    """What a right and a wrong answer add to the logarithm of the likelihood ratio, from scipy's Bernoulli."""
    return tuple(float(binom.logpmf(x, 1, high) - binom.logpmf(x, 1, low)) for x in (1, 0))


def exactly(accuracy: float, rule: Confirmation = RULE) -> tuple[float, float, float]:
    """Return P(confirmed), P(turned down) and the mean number of sequences, of answers that are right independently."""
    right, wrong = ratio()
    errors_of_a_stage = binom.pmf(np.arange(rule.stage + 1), rule.stage, 1 - accuracy)
    going_on, confirmed, turned_down, sequences = np.ones(1), 0.0, 0.0, 0.0
    for stage in range(1, rule.max_stages + 1):
        sequences += rule.stage * going_on.sum()
        going_on = np.convolve(going_on, errors_of_a_stage)
        errors = np.arange(len(going_on))
        evidence = (stage * rule.stage - errors) * right + errors * wrong
        yes, no = evidence >= -math.log(rule.false_rate), evidence <= math.log(rule.miss_rate)
        confirmed, turned_down = confirmed + going_on[yes].sum(), turned_down + going_on[no].sum()
        going_on[yes | no] = 0
    return confirmed, turned_down, sequences


def decide(scores: dict[int, np.ndarray], state: CurriculumState, claimed: tuple[int, ...]) -> tuple[int, ...]:
    """Give sequences to the test under test, a stage at a time, and return the N that it confirms."""
    claims = Claims(RULE, THRESHOLD, state, claimed)
    for stage in range(RULE.max_stages):
        if not claims.open:
            break
        part = slice(stage * RULE.stage, (stage + 1) * RULE.stage)
        claims.add({n: torch.from_numpy(own[part]) for n, own in scores.items()})
    return claims.confirmed


class TestErrorRates:
    def test_the_bounds_are_about_the_threshold(self):
        assert RULE.bounds(0.98) == pytest.approx((0.976, 0.984))
        for threshold in (1e-9, 0.3, 0.5, 0.999):
            low, high = RULE.bounds(threshold)
            assert 0 < low < threshold < high < 1

    def test_exact_rates_and_costs_are_those_that_are_stated(self):
        assert exactly(0.976)[0] == pytest.approx(4.69e-5, rel=0.01)
        assert exactly(0.976)[0] < RULE.false_rate
        assert exactly(0.984)[0] == pytest.approx(0.968, abs=0.001)
        assert exactly(0.984)[1] < RULE.miss_rate
        assert exactly(0.98)[0] == pytest.approx(0.085, abs=0.001)
        assert exactly(0.99)[0] > 0.999999
        means = {0.995: 1820, 0.99: 2620, 0.98: 9150, 0.976: 3280}
        assert [exactly(accuracy)[2] for accuracy in means] == pytest.approx(list(means.values()), rel=0.005)
        assert RULE.stage * RULE.max_stages == 12_672 < 12_800

    def test_it_is_that_test(self):
        """Hold the implementation's verdicts against the likelihood ratio's, sequence by sequence."""
        rng, (right, wrong), state = np.random.default_rng(0), ratio(), CurriculumState((2,))
        found = {True: 0, False: 0}
        for accuracy in (0.976, 0.979, 0.982, 0.984, 0.99):
            for _ in range(20):
                scores = (rng.random(RULE.stage * RULE.max_stages) < accuracy).astype(float)
                evidence = np.cumsum(np.where(scores == 1, right, wrong))[RULE.stage - 1 :: RULE.stage]
                yes = np.nonzero(evidence >= math.log(1e4))[0]
                no = np.nonzero(evidence <= math.log(0.01))[0]
                expected = len(yes) > 0 and (len(no) == 0 or yes[0] < no[0])
                assert decide({2: scores}, state, (2,)) == ((2,) if expected else ())
                found[expected] += 1
        assert min(found.values()) > 20

    def test_a_plateau_below_the_threshold_is_hardly_ever_called_solved(self):
        """Simulate 600 steps at 97.6 %, a look every 20: 256 sequences, then 2560, as the preset tuned tests."""
        rng, studies, looks = np.random.default_rng(1), 20_000, 30
        accuracy = 0.976
        passed = (rng.binomial(256, accuracy, (studies, looks)) > 0.98 * 256) & (
            rng.binomial(2560, accuracy, (studies, looks)) > 0.98 * 2560
        )
        assert 0.55 < passed.any(1).mean() < 0.75  # without confirmation
        right, wrong = ratio()
        count = int(passed.sum())
        wrongs = rng.binomial(RULE.stage, 1 - accuracy, (count, RULE.max_stages)).cumsum(1)
        evidence = np.arange(1, RULE.max_stages + 1) * RULE.stage * right + wrongs * (wrong - right)
        yes, no = evidence >= math.log(1e4), evidence <= math.log(0.01)
        confirmed = yes.any(1) & (~no.any(1) | (yes.argmax(1) < no.argmax(1)))
        solved = np.zeros_like(passed)
        solved[passed] = confirmed
        assert solved.any(1).mean() < 5e-4

    def test_heads_that_err_together_do_not_fool_the_mean(self):
        """Five heads with a mean accuracy of 97.6 %, wrong in the same sequences or in different ones."""
        rng, state, count = np.random.default_rng(2), CurriculumState((2, 3, 4, 5, 6), solved=(2, 3, 4, 5)), 0
        accuracies = (0.965, 0.965, 0.965, 0.99, 0.995)
        assert np.mean(accuracies) == pytest.approx(0.976)
        for i in range(400):
            common = rng.random(RULE.stage * RULE.max_stages)
            own = {n: common if i % 2 else rng.random(len(common)) for n in state.heads}
            scores = {n: (own[n] < p).astype(float) for n, p in zip(state.heads, accuracies, strict=True)}
            count += bool(decide(scores, state, (6,)))
        assert count == 0

    def test_good_heads_pass_alone_and_on_average(self):
        rng, state, count = np.random.default_rng(3), CurriculumState((2, 3, 4), solved=(2, 3)), 0
        for _ in range(200):
            scores = {n: (rng.random(RULE.stage * RULE.max_stages) < 0.99).astype(float) for n in state.heads}
            count += bool(decide(scores, state, (4,)))
        assert count == 200

    @given(
        st.lists(st.floats(0, 1), min_size=1, max_size=6),
        st.floats(0.05, 0.95),
        st.sampled_from([1e-9, 0.02, 0.5, 0.98, 0.999]),
    )
    def test_neither_side_gains_by_chance(self, scores: list[float], weight: float, threshold: float):
        """At an accuracy of `low` the ratio does not grow on average, at `high` its inverse does not: any scores."""
        low, high = RULE.bounds(threshold)
        values, chances = np.array([*scores, 0.0, 1.0]), np.full(len(scores), 1.0 / len(scores))
        for accuracy, sign in ((low, 1), (high, -1)):
            # Mix the scores with right or wrong answers so that their mean is the accuracy.
            mean = float(np.mean(scores))
            share = min(weight, accuracy / mean if mean > accuracy else (1 - accuracy) / (1 - mean) if mean < 1 else 1)
            ones = (accuracy - share * mean) / (1 - share) if share < 1 else 0.0
            mixed = np.array([*(share * chances), (1 - share) * (1 - ones), (1 - share) * ones])
            if not (0 <= ones <= 1):
                continue
            assert float(mixed @ values) == pytest.approx(accuracy)
            factors = torch.exp(sign * log_ratios(torch.from_numpy(values), low, high)).numpy()
            assert float(mixed @ factors) <= 1 + 1e-9

    def test_a_score_far_below_zero_turns_down(self):
        assert log_ratios(torch.tensor([-1e6]), 0.976, 0.984).item() == -math.inf


class TestClaims:
    STATE = CurriculumState((2, 3, 4))

    def claims(self, claimed: tuple[int, ...], **accuracy: float) -> Claims:
        claims = Claims(RULE, THRESHOLD, self.STATE, claimed)
        scores = {n: torch.full((RULE.stage,), accuracy.get(f"n{n}", 1.0)) for n in self.STATE.heads}
        for _ in range(4):
            claims.add(scores)
        return claims

    def test_each_n_by_its_own_head(self):
        assert self.claims((2, 3), n2=0.9).confirmed == (3,)
        assert self.claims((2, 3), n4=0.1).confirmed == (2, 3)

    def test_the_newest_by_the_mean_too(self):
        assert self.claims((4,)).confirmed == (4,)
        assert self.claims((4,), n4=0.9).confirmed == ()
        assert self.claims((4,), n2=0.9).confirmed == ()
        assert self.claims((2, 4), n3=0.9).confirmed == (2,)

    def test_without_a_decision_it_is_not_confirmed(self):
        claims = Claims(RULE, THRESHOLD, self.STATE, (3,))
        assert (claims.open, claims.confirmed) == (True, ())
        claims.add({n: torch.full((RULE.stage,), 1.0) for n in self.STATE.heads})
        assert (claims.open, claims.confirmed) == (True, ())
        claims.add({n: torch.full((RULE.stage,), 1.0) for n in self.STATE.heads})
        assert (claims.open, claims.confirmed) == (False, (3,))


class TestSequences:
    @pytest.mark.parametrize("n", [2, 7, 40])
    def test_spread_lengths_are_distributed_as_drawn_ones(self, n: int):
        time = Time(k=(1, 2, 4))
        found = [spread(PARITY, n, time, 18, (seed, "confirm", 1)) for seed in range(3000)]
        shortest, longest = PARITY.lengths_for(n)
        lengths = np.array([[length for length, _ in stage] for stage in found])
        assert (lengths.min(), lengths.max()) == (shortest, longest)
        counts = np.bincount(lengths.ravel(), minlength=longest + 1)[shortest:]
        expected = lengths.size / (longest - shortest + 1)
        assert counts == pytest.approx(np.full(len(counts), expected), abs=5 * math.sqrt(expected))
        # Their mean varies far less than that of lengths that are drawn one by one.
        independent = [np.mean([m for m, _ in drawn(PARITY, n, time, 18, (s, "test", 1))]) for s in range(300)]
        assert lengths.mean(1).std() < 0.25 * np.std(independent)
        for stage in found[:100]:
            assert sorted(k for _, k in stage) == [1] * 6 + [2] * 6 + [4] * 6

    @pytest.mark.parametrize(("schedule", "at_most"), [(spread, 2e-4), (drawn, 1.0)], ids=["spread", "drawn"])
    def test_an_accuracy_that_depends_on_the_length_keeps_the_error_rates(self, schedule, at_most: float):
        """At N = 40 from 99.9 % in the shortest sequences to 95.3 % in the longest: 97.6 % on average."""
        rng, n, studies = np.random.default_rng(4), 40, 20_000
        shortest, longest = PARITY.lengths_for(n)
        by_length = np.linspace(0.999, 0.953, longest - shortest + 1)
        assert by_length.mean() == pytest.approx(0.976)
        stages = np.array(
            [[m for m, _ in schedule(PARITY, n, Time(), RULE.batches, (s, "confirm", 1))] for s in range(4000)]
        )
        right, wrong = ratio()
        evidence = np.zeros(studies)
        confirmed = np.zeros(studies, dtype=bool)
        turned_down = np.zeros(studies, dtype=bool)
        for _ in range(RULE.max_stages):
            lengths = stages[rng.integers(len(stages), size=studies)]
            wrongs = rng.binomial(RULE.batch_size, 1 - by_length[lengths - shortest]).sum(1)
            evidence += RULE.stage * right + wrongs * (wrong - right)
            confirmed |= ~turned_down & (evidence >= math.log(1e4))
            turned_down |= ~confirmed & (evidence <= math.log(0.01))
        assert confirmed.mean() <= at_most
        if schedule is drawn:
            assert confirmed.mean() > 2e-4  # which is why they are spread

    def test_scores_are_those_whose_mean_is_the_accuracy(self):
        trainer = Trainer(starts(dataclasses.replace(TINY, curriculum=MultiHead())))
        networks, addresses = trainer.population, [(r, "test", 1) for r in range(4)]
        scores = end_scores(networks, PARITY, addresses, 3, 5)
        found = end_accuracy(networks, PARITY, addresses, 3, 5)
        assert scores.shape == (4, 5, 15)
        for r, heads in enumerate(networks.heads):
            for k, n in enumerate(heads):
                assert scores[r, k].mean().item() == pytest.approx(found[r][n].accuracy, abs=1e-12)

    def test_scores_of_several_steps(self):
        asked = Parity(readout_steps=2)
        trainer = Trainer(starts(dataclasses.replace(TINY, task=asked, curriculum=MultiHead())))
        networks, addresses = trainer.population, [(r, "test", 1) for r in range(4)]
        scores = end_scores(networks, asked, addresses, 3, 5)
        found = end_accuracy(networks, asked, addresses, 3, 5)
        assert scores[1, 0].mean().item() == pytest.approx(found[1][2].accuracy, abs=1e-12)
        assert set(scores[1, 0].tolist()) <= {0.0, 0.5, 1.0}


CONFIRMING = dataclasses.replace(
    TINY,
    training=dataclasses.replace(
        TINY.training, confirm=Confirmation(margin=0.05, false_rate=0.2, miss_rate=0.2, batches=4, batch_size=5)
    ),
    end=EndRules(max_epochs=6, max_steps_without_solving=20),
)


class TestTraining:
    @pytest.mark.parametrize("curriculum", [SingleHead(), MultiHead(), MultiHead(ahead=3), AllHeads(n=5)])
    def test_fresh_sequences_decide(self, curriculum):
        """Nothing but what a test has solved is confirmed, and training itself is left as it is."""
        config = dataclasses.replace(CONFIRMING, curriculum=curriculum, end=EndRules(max_epochs=12))
        off = dataclasses.replace(config.training, confirm=None)
        claimed = kept = 0
        for report in train(config.replicates(4)):
            progress = report.checkpoint.progress
            for n in report.newly_solved:
                assert report.accuracies[n] > 0.5
            kept += len(report.newly_solved)
            claimed += progress.confirm_operations > 0
        (first,) = Trainer([new(config)]).run_epoch()
        (without,) = Trainer([new(dataclasses.replace(config, training=off))]).run_epoch()
        assert set(first.newly_solved) <= set(without.newly_solved)
        assert_same(
            {name: t for name, t in first.checkpoint.network.items() if not name.startswith("heads.")},
            {name: t for name, t in without.checkpoint.network.items() if not name.startswith("heads.")},
        )
        assert without.checkpoint.progress.confirm_operations == 0
        assert kept
        assert claimed

    @pytest.mark.parametrize("curriculum", [SingleHead(), MultiHead(), MultiHead(ahead=3), AllHeads(n=5)])
    @pytest.mark.parametrize("screening", [None, 2])
    def test_a_run_in_two_parts_is_the_run_bit_for_bit(self, curriculum, screening, tmp_path):
        training = dataclasses.replace(CONFIRMING.training, screening_batches=screening)
        configs = dataclasses.replace(CONFIRMING, curriculum=curriculum, training=training).replicates(4)
        whole = list(train(configs))
        assert {report.outcome.status for report in whole if report.outcome} & {"stalled", "epochs"}
        for epochs in (1, 3):
            stopped = [report for report in whole if report.epoch == epochs and not report.outcome]
            for i, report in enumerate(stopped):
                save(report.checkpoint, tmp_path / str(i))
            rest = run(Trainer([load(tmp_path / str(i)) for i in range(len(stopped))]))
            remaining = [report for report in whole if report.epoch > epochs]
            assert [report.config for report in rest] == [report.config for report in remaining]
            assert_same_runs(rest, remaining)

    @pytest.mark.parametrize(("accuracy", "confirm"), [(0.976, None), (0.976, RULE), (0.99, RULE)])
    def test_training_at_a_plateau(self, monkeypatch: pytest.MonkeyPatch, accuracy: float, confirm):
        """Networks whose every answer is right with a fixed probability, whatever they learn, over 30 tests."""
        generator = torch.Generator().manual_seed(6)

        def score(self: Task, outputs: Tensor, targets: Tensor, heads: Tensor) -> Tensor:
            return (torch.rand(targets.shape, generator=generator) < accuracy).float()

        monkeypatch.setattr(Parity, "score", score)
        config = RunConfig(
            network=Leaky(hidden=3),
            curriculum=SingleHead(),
            training=Training(
                batch_size=2, steps_per_epoch=1, test_batches=10, test_batch_size=256, screening_batches=1,
                confirm=confirm,
            ),
            end=EndRules(max_n=2, max_epochs=30),
        )  # fmt: skip
        networks = config.replicates(60)
        reports = list(train(networks))
        solved = sum(len(report.newly_solved) for report in reports)
        if confirm is None:
            assert 0.5 < solved / len(networks) < 0.8
        elif accuracy < THRESHOLD:
            assert solved == 0
        else:
            assert solved == len(networks)
            confirming = sum(report.checkpoint.progress.confirm_operations for report in reports if report.outcome)
            sequences = confirming / len(networks) / (2 * 3**2) / 6  # of 4 to 8 steps
            assert sequences == pytest.approx(exactly(accuracy)[2], rel=0.15)

    def test_stacked_networks_are_confirmed_as_alone(self):
        configs = dataclasses.replace(CONFIRMING, curriculum=MultiHead(ahead=2)).replicates(4)
        together = list(train(configs))
        for config in configs:
            for a, b in zip(of(together, config), train(config), strict=True):
                assert (a.newly_solved, a.accuracies) == (b.newly_solved, b.accuracies)
                confirming = [one.checkpoint.progress.confirm_operations for one in (a, b)]
                assert confirming[0] == confirming[1]

    def test_its_operations_have_a_column_of_their_own(self):
        always = dataclasses.replace(CONFIRMING.training, solved_accuracy=1e-9)
        config = dataclasses.replace(CONFIRMING, curriculum=SingleHead(), training=always, end=EndRules(max_n=2))
        (report,) = train(config)
        (plain,) = train(dataclasses.replace(config, training=dataclasses.replace(always, confirm=None)))
        assert report.newly_solved == (2,)
        row, progress = epochs_row(report), report.checkpoint.progress
        # A stage of 4 x 5 sequences decides: 2 N^2 a time step, (4 + 8) / 2 time steps a sequence on average.
        assert row["confirm_operations"] % (2 * 9**2 * 20 * 6) == 0
        assert row["confirm_operations"] == progress.confirm_operations > 0
        assert row["operations"] == epochs_row(plain)["operations"]
        assert outcomes_row(config, report.outcome, progress)["confirm_operations"] == progress.confirm_operations
        assert outcomes_row(config, report.outcome)["confirm_operations"] is None
