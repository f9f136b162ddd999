import dataclasses
import json
import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.claims.catalogue import CLAIMS, judge_all
from analysis.claims.criteria import Exceeds, Lies
from analysis.claims.effects import Interest, interests
from analysis.claims.evidence import Evidence, Measure, Sample, joined
from analysis.claims.rules import Correlation, Difference, Group, Growth, Mean, Ratio, Share
from analysis.claims.verdicts import MEANINGS, Claim, judge
from analysis.data.cell import Cell
from analysis.data.networks import once
from analysis.data.study import Study
from analysis.quantities import connectivity, taus
from tests.handmade import SMALL, HandMade, config, solved
from tests.simulated import CELLS, Simulated
from tsrnn.config import EndRules, Tanh, Training
from tsrnn.io.schemas import RETRAINING

NOTHING = Evidence(Simulated(True, cells=[]))

MORE = {"S19-weight-tau-multi"}
"""What six networks of each kind cannot show, and how many it takes stands in `planned`."""


def judged(study, *ids):
    """The verdicts on these claims alone, which takes a small part of the time of all."""
    return judge_all(study, [claim for claim in CLAIMS if claim.id in ids]).set_index("id")


@pytest.fixture(scope="module")
def true_study():
    return judge_all(Simulated(True)).set_index("id")


@pytest.fixture(scope="module")
def false_study():
    return judge_all(Simulated(False)).set_index("id")


class TestClaims:
    def test_ids_are_unique_and_every_effect_size_is_used(self):
        assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
        assert {claim.interest for claim in CLAIMS} == set(interests())

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
    def test_reproduced_where_it_is_true(self, true_study, claim):
        row = true_study.loc[claim.id]
        assert row["verdict"] == ("inconclusive" if claim.id in MORE else "reproduced"), row["why"]
        assert "H = 500" in row["part"]
        assert row["n"]
        assert row["ours"]

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
    def test_contradicted_where_it_is_false(self, false_study, claim):
        row = false_study.loc[claim.id]
        assert row["verdict"] == "contradicted", row["why"]

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
    def test_every_claim_says_its_rule_and_what_it_takes(self, claim):
        assert claim.words
        assert claim.size.why
        assert "Measure" not in claim.words
        if not isinstance(claim.rule.criterion, Lies) or not math.isinf(claim.rule.criterion.gap):
            assert claim.planned is not None
            assert 3 <= claim.planned < 1000

    @pytest.mark.parametrize("true", [True, False])
    def test_what_is_cut_short_by_a_small_budget_decides_nothing_either_way(self, true):
        """Networks of 40 epochs that get to N = 7: an order of what the budget allowed is no order."""
        study = Simulated(true, scale="quick", hidden=64, max_epochs=40, farthest=7, analysed=False)
        claims = ("3b-order", "4a-single-1", "4a-multi-one", "4a-multi-2", "S6-max-single")
        frame = judged(study, *claims)
        for claim in claims:
            row = frame.loc[claim]
            assert row["verdict"] == "inconclusive", claim
            assert "might have reached a larger N (a budget of 40 of the paper's 1000 epochs)" in row["takes"]

    def test_the_budget_counts_sequences_not_epochs(self):
        """2250 epochs of 20 steps of 32 sequences are fewer sequences than the paper's 1000 of 600 of 256."""
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")], analysed=False)
        whole = judged(study, "3b-order")
        short = study.networks.assign(sequences=2250 * 20 * 32 / (600 * 256))
        study = Frames(study, short)
        assert whole.loc["3b-order", "verdict"] == "reproduced"
        assert judged(study, "3b-order").loc["3b-order", "verdict"] == "inconclusive"

    @pytest.mark.parametrize("true", [True, False])
    def test_one_network_of_each_kind_is_too_few(self, true):
        frame = judge_all(Simulated(true, replicates=1))
        # Some claims pool several kinds of networks.
        pooled = {"S13-fails", "S18-order", "S1-parity", "S1-dms", "S2-parity", "S2-dms"}
        assert set(frame.loc[~frame["id"].isin(pooled), "verdict"]) == {"inconclusive"}

    def test_without_results_none_is_run_and_the_command_is_named(self):
        frame = judge_all(Simulated(True, cells=[]))
        assert set(frame["verdict"]) == {"not run"}
        one_cell = judged(Simulated(True, cells=[Cell()], analysed=False), "5b-single", "4a-single-1")
        assert "python -m analysis timescales" in one_cell.loc["5b-single", "why"]
        assert "python sweeps/fixed_tau.py" in one_cell.loc["4a-single-1", "why"]

    @pytest.mark.parametrize("count", [1, 12])
    def test_partial_results_are_judged(self, count):
        frame = judge_all(Simulated(True, cells=CELLS[::-1][:count], replicates=1))
        assert set(frame["id"]) == {claim.id for claim in CLAIMS}

    def test_running_networks_block_both_directions(self):
        for true in (True, False):
            study = Simulated(true, cells=[Cell(), Cell(curriculum="multi")])
            study.rows["outcomes"] = study.rows["outcomes"][2:]
            row = judged(study, "3b-order").loc["3b-order"]
            assert (row["verdict"], row["n"]) == ("inconclusive", "4 and 6")
            assert row["why"] == "2 of 6 networks have not ended"

    def test_running_networks_without_a_curriculum_block_both_directions(self):
        for true in (True, False):
            study = Simulated(true, cells=[Cell(), Cell(curriculum="multi"), Cell(curriculum="none-20")])
            alone = set(study.networks.loc[study.networks["curriculum"] == "none-20", "network_id"].iloc[:2])
            study = Simulated(true, cells=[Cell(), Cell(curriculum="multi"), Cell(curriculum="none-20")])
            study.rows["outcomes"] = [row for row in study.rows["outcomes"] if row["network_id"] not in alone]
            row = judged(study, "S15-leaky").loc["S15-leaky"]
            assert row["verdict"] == "inconclusive"
            assert row["why"] == "2 of 6 networks have not ended"

    def test_a_network_without_a_value_at_its_largest_n_is_not_taken_at_a_smaller_one(self):
        """As one whose activity explodes there: its tau_net is not known."""
        study = Simulated(True, cells=[Cell()])
        last = max(row["n"] for row in study.rows["timescales"])
        (one, *_) = {row["network_id"] for row in study.rows["timescales"]}
        for row in study.rows["timescales"]:
            if (row["network_id"], row["n"]) == (one, last):
                row |= {"tau_net": math.nan, "status": "not_finite"}
        row = judged(study, "5b-single").loc["5b-single"]
        assert row["verdict"] == "inconclusive"
        assert row["why"] == "1 of 6 networks have no value at their largest N"

    def test_two_quantities_are_correlated_at_the_same_n(self):
        study = Simulated(True, cells=[Cell(curriculum="multi")])
        study.rows["connectivity"] = [row for row in study.rows["connectivity"] if row["n"] <= 20]
        n = max(row["n"] for row in study.rows["connectivity"])
        row = judged(study, "S19-weight-tau-multi").loc["S19-weight-tau-multi"]
        assert row["at"] == f"N = {n}"
        weight, tau = (
            quantity.rows(study).query(f"n == {n}").set_index("network_id")["value"]
            for quantity in (connectivity.weight_mean, taus.tau_mean)
        )
        assert row["estimate"] == pytest.approx(weight.corr(tau))

    def test_two_n_make_no_trend(self):
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")])
        for table in ("timescales", "connectivity", "dimensionality"):
            study.rows[table] = [row for row in study.rows[table] if row["n"] in (5, 40)]
        frame = judge_all(study).set_index("id")
        for claim in ("6a-single-negative", "6b-grows-single", "6b-line-multi", "5b-saturates"):
            assert frame.loc[claim, "verdict"] == "inconclusive"
            assert "`--every 1` measures every solved N" in frame.loc[claim, "why"]
            assert frame.loc[claim, "ours"] == "unknown"

    def test_a_quantity_that_does_not_change_costs_no_other_claim(self):
        """Relative slopes of constant dimensionality are not known; they once ended all claims in a division by 0."""
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")])
        for row in study.rows["dimensionality"]:
            row["components"] = 40
        frame = judge_all(study).set_index("id")
        assert frame.loc["6b-line-multi", ["verdict", "ours"]].tolist() == ["inconclusive", "unknown"]
        assert frame.loc["3b-order", "verdict"] == "reproduced"

    @pytest.mark.parametrize(
        ("at", "other", "why"),
        [
            (12, 12, "measured at N = 12; the claim is about N = 5"),
            (12, 15, "not measured at a common N"),
        ],
    )
    def test_a_value_says_at_which_n_it_was_measured(self, at, other, why):
        """The accuracy at N = 12 once stood, without its N, as the evidence of a claim about N = 5."""
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")])
        multi = set(study.networks.query("curriculum == 'multi'")["network_id"])
        rows = study.rows["ablation"]
        kept = [row | {"n": other if row["network_id"] in multi else at} for row in rows if row["n"] == 5]
        study.rows["ablation"] = kept
        row = judged(study, "7a-small-longest").loc["7a-small-longest"]
        assert (row["verdict"], row["at"], row["why"]) == ("inconclusive", f"N = {at}", why)
        assert row["takes"] == "measurements at N = 5"

    @pytest.mark.parametrize("end", [5, 40])
    def test_networks_whose_timescale_is_0_are_not_left_out(self, end):
        """Networks whose tau_pop fell to 0 were once left out, and the growth in the others was "reproduced"."""
        study = Simulated(True, cells=[Cell()])
        ids = sorted(study.networks["network_id"])
        for row in study.rows["timescales"]:
            if row["neuron"] == -1 and row["network_id"] in ids[:2] and row["n"] == end:
                row["tau_net"] = 0.0
        row = judged(study, "S4-single").loc["S4-single"]
        assert (row["verdict"], row["ours"], row["n"]) == ("inconclusive", "unknown", str(len(ids)))
        assert row["why"] == (
            f"2 of {len(ids)} networks have no value (tau_pop, the timescale of the summed activity: 0 at the "
            "smallest or the largest N, where no ratio exists)"
        )

    def test_values_of_0_have_no_ratio_to_those_of_other_networks(self):
        """Their logarithms were once compared: p was significant, and there was no interval."""
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")])
        ids = sorted(study.networks["network_id"])
        for row in study.rows["timescales"]:
            if row["neuron"] == -1 and row["network_id"] in ids[:2]:
                row["tau_net"] = 0.0
        row = judged(study, "S4-comparable").loc["S4-comparable"]
        assert (row["verdict"], row["ours"]) == ("inconclusive", "unknown")
        assert row["why"] == f"2 of {len(ids)} networks have a value of 0, with which no ratio exists"
        assert math.isnan(row["p"])

    def test_a_value_that_does_not_exist_makes_no_other_claim_significant(self):
        ids = ("S4-single", "5b-single", "5c-single")
        before = judged(Simulated(True, cells=[Cell()]), *ids)
        study = Simulated(True, cells=[Cell()])
        for row in study.rows["timescales"]:
            if row["neuron"] == -1:
                row["tau_net"] = 0.0
        after = judged(study, *ids)
        assert math.isnan(after.loc["S4-single", "p_holm"])
        assert after.loc["5b-single", "p"] == before.loc["5b-single", "p"]
        assert after["p_holm"].min() == pytest.approx(3 * after["p"].min())

    def test_where_no_n_is_large_enough_more_measurements_do_not_help(self):
        study = Simulated(True, cells=[Cell()])
        study.rows["dimensionality"] = [row for row in study.rows["dimensionality"] if row["n"] <= 15]
        row = judged(study, "6b-line-single").loc["6b-line-single"]
        assert row["why"] == "one network has reached only N = 15; the claim is judged from N = 25 on"
        assert row["takes"] == "networks that have solved N = 25"

    def test_a_change_says_up_to_which_n_it_was_measured(self):
        study = Simulated(True, cells=[Cell()], analysed=False)
        first = study.networks["network_id"].min()
        farthest = int(study.networks["max_n"].max())
        rows = study.rows["solved"]
        study.rows["solved"] = [row for row in rows if row["network_id"] != first or row["n"] <= 12]
        row = judged(study, "4b-single-mean").loc["4b-single-mean"]
        assert row["at"] == f"N = 2 to the largest of each network, 12 to {farthest}"
        assert row["below"] == "the paper shows it at N = 35"

    def test_small_networks_cannot_show_the_effect_of_one_neuron(self):
        """Larger N would not help them, though the verdict once said so."""
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")], hidden=128)
        row = judged(study, "7a-single-long").loc["7a-single-long"]
        assert row["why"] == "one neuron of 128 matters more than one of 500"
        assert row["takes"] == "networks of 500 neurons"
        study.rows["ablation"] = [row for row in study.rows["ablation"] if row["n"] != 5]
        row = judged(study, "7a-small-longest").loc["7a-small-longest"]
        assert row["takes"] == "measurements at N = 5 in networks of 500 neurons"

    def test_no_explosion_before_balance_was_tried_is_not_an_explosion(self):
        """Networks that never exploded once counted as exploding with the weakest inhibition tried, before balance."""

        def judged_with(negative):
            study = Simulated(True, cells=[Cell()])
            for row in study.rows["inhibition"]:
                row["activity_high"], row["activity_low"], row["exploded"] = 1.0, -1.0, 0
            for row in study.rows["connectivity"]:
                row["weight_positive"], row["weight_negative"] = 0.03, negative
            return judged(study, "S19-before").loc["S19-before"]

        row = judged_with(-0.04)
        assert (row["verdict"], row["ours"]) == ("inconclusive", "unknown")
        assert "neither explosion nor balance with the weakest inhibition that was tried" in row["why"]
        assert row["takes"] == "inhibition that is up to 25 % weaker"
        assert judged_with(-0.031)["verdict"] == "contradicted"

    def test_weights_that_were_not_measured_are_said(self):
        study = Simulated(True, cells=[Cell()])
        first = study.networks["network_id"].min()
        study.rows["connectivity"] = [row for row in study.rows["connectivity"] if row["network_id"] != first]
        row = judged(study, "S19-before").loc["S19-before"]
        assert row["verdict"] == "inconclusive"
        assert "1 of 6 networks lack measured weights at this N" in row["why"]

    @pytest.mark.parametrize("status", ["diverged", "stalled"])
    def test_networks_that_failed_early_are_below_the_papers_budget(self, tmp_path, status):
        """The rule counts their largest N as final, which the paper's budget might not have confirmed."""
        sweep = HandMade(tmp_path / "sweep", "overnight")
        base = dataclasses.replace(config("multi"), end=EndRules(max_n=31))
        for seed in range(4):
            sweep.add(config("multi", seed=seed, base=base), [solved(31, 5)], status="solved_all")
            sweep.add(config("single", seed=seed, base=base), [solved(9 + seed, 5)], status=status)
        row = judged(Study(sweep.folder), "3b-order").loc["3b-order"]
        assert row["verdict"] == "reproduced"
        assert "4 networks stalled or diverged in " in row["below"]
        assert "training ended at N = 31, the paper's at 101" in row["below"]

    def test_a_reason_that_both_groups_have_stands_once(self):
        assert joined("a budget; a limit", "", "a budget") == "a budget; a limit"

    def test_networks_that_failed_need_others_and_not_more_training(self, tmp_path):
        sweep = HandMade(tmp_path / "sweep", "overnight")
        for seed in range(8):
            epochs = 5 + 3 * (seed % 4)
            sweep.add(config("multi", seed=seed), [solved(6, epochs)], status="stalled")
            failed = seed == 0
            own = [solved(2, 3) if failed else solved(6, 14 - epochs // 2 + 2 * (seed % 3))]
            sweep.add(config("single", seed=seed), own, status="stalled")
        row = judged(Study(sweep.folder), "3c-parity").loc["3c-parity"]
        assert row["verdict"] == "inconclusive"
        assert row["takes"].endswith(" networks of each kind")

    def test_each_size_is_judged_by_itself_and_none_hides_another(self):
        small, large = (
            Simulated(True, hidden=128),
            Simulated(False, cells=[Cell(), Cell(curriculum="multi")], replicates=1),
        )
        order = judged(Both(small, large), "3b-order")
        assert list(order["verdict"]) == ["inconclusive", "reproduced"]
        assert ["H = 500" in part for part in order["part"]] == [True, False]

    def test_other_training_is_not_pooled(self):
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")], analysed=False)
        other = study.networks.assign(learning_rate=[0.02 if seed < 3 else 0.05 for seed in study.networks["seed"]])
        assert list(judged(Frames(study, other), "3b-order")["n"]) == ["3 and 3", "3 and 3"]

    def test_a_network_under_two_end_rules_counts_once(self):
        """The sweeps no_curriculum and architectures train the same networks on N = 10 with other end rules."""
        study = Simulated(True, cells=[Cell(curriculum="none-10"), Cell(curriculum="none-20")], analysed=False)
        again = Simulated(True, cells=[Cell(curriculum="none-10")], analysed=False, max_epochs=30)
        assert set(study.networks["network_id"]).isdisjoint(again.networks["network_id"])
        assert judged(Both(study, again), "3a-slow").loc["3a-slow", "n"] == "6 and 6"

    def test_of_two_equally_long_runs_that_with_measurements_counts(self):
        """That of the sweep architectures, which was not measured, once stood for four networks of S3."""
        runs = {"network_id": ["a", "b", "c"], "replicate": ["x"] * 3, "epochs": [5, 5, 3], "measured": [0, 2, 4]}
        assert once(pd.DataFrame(runs))["network_id"].tolist() == ["b"]

    def test_p_is_corrected_for_the_claims_judged(self, true_study):
        tested = true_study["p"].dropna()
        smallest = tested.idxmin()
        assert true_study.loc[smallest, "p_holm"] == pytest.approx(min(1, tested[smallest] * len(tested)))
        lost = true_study[(true_study["verdict"] == "reproduced") & (true_study["p_holm"] >= 0.05)]
        assert len(lost)
        assert not lost["survives"].any()


class TestCeilings:
    @pytest.mark.parametrize(("limit", "verdict"), [(31, "inconclusive"), (101, "reproduced")])
    def test_networks_that_solved_all_of_a_shorter_run_might_have_got_further(self, tmp_path, limit, verdict):
        """They once contradicted the claim that networks get to N = 100."""
        sweep = HandMade(tmp_path / "sweep", "overnight")
        base = dataclasses.replace(config("multi"), end=EndRules(max_n=limit))
        for seed in range(6):
            sweep.add(config("multi", seed=seed, base=base), [solved(limit, 5)], status="solved_all")
        row = judged(Study(sweep.folder), "3b-parity-multi").loc["3b-parity-multi"]
        assert row["verdict"] == verdict
        assert ("the paper's at 101" in row["below"]) == (limit < 101)


PAPERS = dataclasses.replace(SMALL, training=Training(), end=EndRules())
"""Small networks whose epochs are the paper's."""


class TestWithoutCurriculum:
    """Networks of different N are not alike: that N = 2 is easy says nothing of N = 10."""

    @staticmethod
    def trained(folder, task, epochs):
        """The results of five networks for each N, with the epochs that the first took."""
        sweep = HandMade(folder / "sweep", "overnight")
        for n, first in epochs.items():
            for seed in range(5):
                own = first + seed % 2
                run = config(f"none-{n}", seed=seed, task=task, base=PAPERS)
                sweep.add(run, [solved(n, own)], epochs=own, status="solved_all")
        return Study(sweep.folder)

    def test_training_in_proportion_to_n_is_not_slow_beyond_10(self, tmp_path):
        """The mean of N = 15 and 25 was once compared with that of N = 2, 5 and 10, which exceeds it for any growth."""
        study = self.trained(tmp_path, "parity", {2: 8, 5: 20, 10: 40, 15: 60, 25: 100})
        row = judged(study, "3a-slow").loc["3a-slow"]
        assert (row["verdict"], row["n"], row["at"]) == ("contradicted", "5 and 5", "N = 10; N = 15")
        assert row["estimate"] == pytest.approx(1.5, rel=0.01)
        assert row["below"] == "the paper's is at N = 20"

    def test_n_up_to_10_is_easy_if_10_is(self, tmp_path):
        row = judged(self.trained(tmp_path, "dms", {2: 1, 5: 1, 10: 4}), "S13-easy").loc["S13-easy"]
        assert (row["verdict"], row["n"], row["at"], row["below"]) == ("contradicted", "5", "N = 10", "")
        assert row["estimate"] == pytest.approx(4.4)

    def test_the_paper_trained_on_both_of_these_n(self, true_study):
        assert set(true_study.loc[["S3-tau-5", "S3-net-5", "S3-tau-10"], "below"]) == {""}


class TestAllHeads:
    @staticmethod
    def judged_by_order(folder, orders):
        sweep = HandMade(folder / "sweep")
        for seed, order in enumerate(orders):
            rows = [solved(n, 5 * epoch) for epoch, n in enumerate(order, 1)]
            sweep.add(config("all-20", seed=seed), rows, epochs=9)
        return judged(Study(sweep.folder), "S18-order").loc["S18-order"]

    def test_smaller_n_that_are_never_solved_are_not_solved_first(self, tmp_path):
        """The order was once that of the solved N alone."""
        row = self.judged_by_order(tmp_path, [(18, 19, 20), (17, 19, 20), (18, 20), (16, 19)])
        assert row["verdict"] == "contradicted"
        assert row["estimate"] < -0.8

    def test_larger_n_that_are_not_solved_yet_come_later(self, tmp_path):
        row = self.judged_by_order(tmp_path, [(3, 2, 4), (2, 4, 3), (3, 2), (2,)])
        assert row["verdict"] == "reproduced"
        # 19 N: of 3 pairs of solved N, 2 are in order, and so are all 48 pairs of one that is and one that is not.
        one = self.judged_by_order(tmp_path / "one", [(3, 2, 4)])
        assert one["estimate"] == pytest.approx((2 + 48 - 1) / 51)

    @pytest.mark.parametrize("lacking", [(), None])
    def test_networks_without_an_order_are_not_left_out(self, tmp_path, lacking):
        sweep = HandMade(tmp_path / "sweep")
        for seed in range(6):
            sweep.add(config("all-10", seed=seed), [solved(n, n) for n in range(2, 8)], epochs=9)
        same = [solved(n, 5) for n in range(2, 11)]
        sweep.add(config("all-10", seed=6), same if lacking is None else [], epochs=9)
        row = judged(Study(sweep.folder), "S18-order").loc["S18-order"]
        assert (row["verdict"], row["ours"], row["n"]) == ("inconclusive", "unknown", "7")
        assert row["why"] == "1 of 7 networks have solved no N, or all in one epoch"

    def test_the_same_n_is_judged_in_the_same_way_with_more_heads(self, tmp_path):
        """N = 10 is the newest of 2 to 10, and is solved only if the mean over all heads exceeds the threshold too."""
        sweep = HandMade(tmp_path / "sweep")
        for seed in range(6):
            for m, newest in ((10, 60), (20, 21)):
                rows = [solved(9, 20 + seed % 3), solved(10, newest + seed % 3)]
                sweep.add(config(f"all-{m}", seed=seed), rows, epochs=70)
        row = judged(Study(sweep.folder), "S18-more").loc["S18-more"]
        assert (row["verdict"], row["at"]) == ("contradicted", "N = 9")
        assert row["estimate"] == pytest.approx(1)


def test_what_is_below_the_papers_n_or_budget_is_said(tmp_path, true_study):
    assert true_study.loc["S15-gru", "below"] == "the paper shows it at N = 20"
    assert true_study.loc["7e-retrain", "below"] == ""
    sweep = HandMade(tmp_path / "sweep", "overnight")
    base = dataclasses.replace(PAPERS, training=Training(batch_size=64, steps_per_epoch=200))
    for curriculum, seed in product(("single", "multi"), range(4)):
        key = sweep.add(config(curriculum, seed=seed, base=base), [solved(16, 5)])
        better = 0.2 * (curriculum == "multi")
        rows = [
            {"n": 16, "retrained_n": n, "epochs": 20, "accuracy": 0.7, "relative_accuracy": 0.5 + better + 0.01 * seed}
            for n in range(17, 33)
        ]
        sweep.write(RETRAINING, key, rows)
    row = judged(Study(sweep.folder), "7e-retrain").loc["7e-retrain"]
    assert (row["verdict"], row["at"]) == ("reproduced", "N = 16")
    assert row["below"] == "retrained for at most 1.67 of the paper's 20 epochs"


@pytest.mark.parametrize(("idle", "verdict"), [(0, "reproduced"), (2, "inconclusive")])
def test_networks_that_solve_no_n_are_not_left_out(tmp_path, idle, verdict):
    """A network that had reached N = 9 once left these claims open, and one that had solved nothing did not."""
    sweep = HandMade(tmp_path / "sweep")
    how = {"nonlinearity": Tanh(), "self_interaction": "outside"}
    for seed in range(8):
        rows = [] if seed < idle else [solved(2, 1), solved(12, 5, tau=2 + 0.1 * (seed % 3))]
        sweep.add(config("single", seed=seed, **how), rows)
    row = judged(Study(sweep.folder), "S8-tanh-single").loc["S8-tanh-single"]
    assert row["verdict"] == verdict
    assert row["why"].startswith("2 of 8 networks have no value, since they have solved no N") == (idle > 0)


class Frames:
    """Results whose networks are given."""

    def __init__(self, study, networks):
        self.study, self.networks = study, networks

    def load(self, table, columns=None, where=None):
        return self.study.load(table, columns, where)


class Both:
    """The results of two studies together."""

    def __init__(self, *parts):
        self.parts = parts

    def load(self, table, columns=None, where=None):
        return pd.concat([part.load(table, columns, where) for part in self.parts], ignore_index=True)

    @property
    def networks(self):
        return pd.concat([part.networks for part in self.parts], ignore_index=True)


def claim_of(rule, *values, interest="further", **sample):
    measures = tuple(
        Measure(
            "the value",
            "a command",
            lambda evidence, own=own: Sample(
                pd.Series(own, index=[f"n{i}" for i in range(len(own))], dtype="float64"), **sample
            ),
        )
        for own in values
    )
    return Claim("id", "1", "It is so.", "much", interest, rule, measures)


def verdict_of(rule, *values, **sample):
    return judge(claim_of(rule, *values, **sample), NOTHING)


class TestCriteria:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ((2.0, 2.1, 1.9, 2.2), "reproduced"),
            ((-2.0, -2.1, -1.9, -2.2), "contradicted"),
            ((0.1, 0.2, 0.15, 0.12), "contradicted"),  # an effect, but smaller than any of interest
            ((-1.0, 3.0, 0.5, 2.0), "inconclusive"),
            ((0.4, 1.2, 0.7, 0.9), "reproduced"),
        ],
    )
    def test_an_effect_is_held_against_none_and_the_smallest_of_interest(self, values, expected):
        assert verdict_of(Mean(Exceeds(0, 1)), values).verdict == expected
        mirrored = tuple(-value for value in values)
        assert verdict_of(Mean(Exceeds(0, -1)), mirrored).verdict == expected

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ((9, 10, 11), "reproduced"),
            ((29, 30, 31), "contradicted"),
            ((4, 5, 6), "inconclusive"),
            ((9, 10), "inconclusive"),
            ((10, 10, 10), "inconclusive"),  # three equal values are no evidence that others are equal
            ((10, 10, 10, 10, 10, 10), "reproduced"),
        ],
    )
    def test_a_range(self, values, expected):
        assert verdict_of(Mean(Lies(5, 15)), values).verdict == expected

    def test_two_groups_are_compared_by_the_exact_permutation_test(self):
        verdict = verdict_of(Difference(Exceeds(0, 1)), (1, 2, 3, 4), (5, 6, 7, 8))
        assert verdict.verdict == "reproduced"
        # Of the 70 ways to split 8 networks 2 are as extreme.
        assert verdict.p == pytest.approx(2 / 70)
        assert (verdict.estimate, verdict.n) == (4.0, "4 and 4")
        reverse = verdict_of(Difference(Exceeds(0, 1)), (5, 6, 7, 8), (1, 2, 3, 4))
        assert reverse.verdict == "contradicted"
        small = verdict_of(Difference(Exceeds(0, 8.5)), (1, 2, 3, 4), (5, 6, 7, 8))
        assert (small.verdict, small.p) == ("contradicted", pytest.approx(2 / 70))

    def test_three_against_three_decide_nothing(self):
        verdict = verdict_of(Difference(Exceeds(0, 1)), (1, 2, 3), (5, 6, 7))
        assert (verdict.verdict, verdict.low, verdict.high) == ("inconclusive", -math.inf, math.inf)
        assert verdict.takes == "about 17 networks of each kind"

    def test_a_reason_not_to_decide_blocks_both_directions(self):
        for values in (((1, 2, 3, 4), (5, 6, 7, 8)), ((5, 6, 7, 8), (1, 2, 3, 4))):
            verdict = verdict_of(Difference(Exceeds(0, 1)), *values, blocked="measured at N = 5", takes="N = 30")
            assert (verdict.verdict, verdict.why, verdict.takes) == ("inconclusive", "measured at N = 5", "N = 30")
            assert math.isnan(verdict.p)

    def test_a_share_has_the_exact_interval(self):
        none_of_three = verdict_of(Share(Lies(high=0.1)), (0, 0, 0), interest="alone-fails")
        assert none_of_three.verdict == "inconclusive"
        assert none_of_three.high == pytest.approx(stats.binomtest(0, 3).proportion_ci().high)
        assert none_of_three.takes == "about 36 networks"
        assert verdict_of(Share(Lies(high=0.1)), (0,) * 36, interest="alone-fails").verdict == "reproduced"
        assert verdict_of(Share(Lies(high=0.1)), (1,) * 3, interest="alone-fails").verdict == "contradicted"

    def test_lower_bounds_are_not_values(self):
        ceiling = pd.Series(True, index=[f"n{i}" for i in range(4)])
        rule = Ratio(Lies(math.log(0.8), math.log(1.25)))
        # All networks at N = 101 under both: neither an order nor an equality is seen.
        alike = verdict_of(rule, (101,) * 4, (101,) * 4, censored=ceiling)
        assert (alike.verdict, alike.low, alike.high) == ("inconclusive", 0.0, math.inf)
        assert alike.takes.startswith("more training for 8 of the 8 networks")
        assert alike.ours == "median beyond 101 against median beyond 101; ratio unknown"
        assert alike.why == "lower bounds leave the 95 % interval open"
        assert math.isnan(alike.estimate)
        order = Ratio(Exceeds(0, math.log(1.5)))
        assert verdict_of(order, (101,) * 4, (101,) * 4, censored=ceiling).verdict == "inconclusive"

    def test_a_mean_of_lower_bounds_excludes_nothing_above_it(self):
        bounds = pd.Series(True, index=[f"n{i}" for i in range(4)])
        low = verdict_of(Mean(Lies(26, 44)), (5, 6, 5, 6), censored=bounds, interest="far-35")
        assert (low.verdict, low.high, low.p) == ("inconclusive", math.inf, 1.0)
        high = verdict_of(Mean(Lies(26, 44)), (65, 66, 65, 66), censored=bounds, interest="far-35")
        assert high.verdict == "contradicted"

    def test_a_group_at_the_ceiling_is_above_one_that_is_not(self):
        rule = Ratio(Exceeds(0, math.log(1.5)))
        low, high = Group(np.array([30.0, 35, 33, 36])), Group(np.full(4, 101.0), np.ones(4, bool))
        assert rule.decide(low, high) == 1
        assert rule.decide(high, low) == -1
        assert math.exp(rule.effect(low, high).low) > 2.5
        assert math.isinf(rule.effect(low, high).high)

    def test_a_ratio_without_an_upper_limit_has_no_estimate_below_it(self):
        """It was once e times the largest ratio of two values, whatever they were."""
        ends = [
            Sample(pd.Series(values, index=list("abcd")), pd.Series([bound] * 4, index=list("abcd")))
            for values, bound in (((10.0, 11, 12, 13), False), ((20.0,) * 4, True))
        ]
        measures = [Measure("the value", "a command", lambda evidence, one=one: one) for one in ends]
        rule = Ratio(Exceeds(0, math.log(1.5)))
        claim = Claim("id", "1", "It is so.", "much", "further", rule, tuple(measures))
        found = judge(claim, NOTHING)
        assert (found.verdict, found.estimate) == ("reproduced", math.inf)
        assert found.ours == "median beyond 20 against median 11; ratio above 1.54 (95 %)"
        reverse = judge(dataclasses.replace(claim, measures=tuple(measures[::-1])), NOTHING)
        assert (reverse.verdict, reverse.estimate) == ("contradicted", 0.0)
        assert reverse.ours == "median 11 against median beyond 20; ratio below 0.65 (95 %)"
        # Far above a range, the nearer end is the upper one.
        effect = rule.effect(*(Group(np.array(s.values), np.array(s.censored)) for s in ends))
        assert Lies(-1, 1).hypothesis(effect, 0) == 1

    @pytest.mark.parametrize(
        ("criterion", "values", "why"),
        [
            (Exceeds(0, 1), (2.0, 2.1, 1.9), "the 95 % interval excludes the opposite"),
            (Exceeds(0, 1), (-2.0, -2.1, -1.9), "the 95 % interval lies in the opposite direction"),
            (Exceeds(0, -1), (2.0, 2.1, 1.9), "the 95 % interval lies in the opposite direction"),
            (Exceeds(0, 1), (-0.01, 0, 0.01), "the 95 % interval excludes every effect of interest"),
            (
                Exceeds(0, 1),
                (0.4, 0.41, 0.42),
                "the direction is the claim's, but the 95 % interval excludes every effect of interest",
            ),
            (Exceeds(0, 1), (-1, 3, 2), "the 95 % interval contains both a zero effect and effects of interest"),
            (Exceeds(0, 1), (2.0, 2.1), "the networks are too few for a 95 % interval"),
            (Lies(5, 15), (9, 10, 11), "the whole 95 % interval lies in the range"),
            (Lies(low=5), (3, 3.1, 3.2), "no part of the 95 % interval lies in the range"),
            (Lies(5, 15), (4, 5, 6), "the 95 % interval lies partly in the range"),
        ],
    )
    def test_the_reason_is_that_of_the_criterion(self, criterion, values, why):
        assert verdict_of(Mean(criterion), values).why == why

    def test_near_the_end_of_a_range_more_networks_are_needed(self):
        """Ten networks were once said to decide whether 0.1 is at most 0.1."""
        takes = [
            verdict_of(Mean(Lies(-0.1, 0.1)), [centre + x for x in (-0.04, -0.02, 0, 0.02, 0.04)]).takes
            for centre in (0.09, 0.1)
        ]
        assert takes == ["about 107 networks", "more than 1,000 networks"]
        one_end = verdict_of(Mean(Lies(low=0.95)), (0.9, 0.95, 0.97), interest="near-perfect")
        assert one_end.takes.startswith("about ")

    @pytest.mark.parametrize("seed", range(20))
    def test_verdicts_on_lower_bounds_are_those_of_the_interval(self, seed):
        rng = np.random.default_rng(seed)
        groups = [
            Group(np.floor(20 * np.exp(shift + 0.3 * rng.standard_normal(6))), rng.random(6) < 0.3)
            for shift in (0.0, rng.uniform(-0.8, 0.8))
        ]
        for criterion in (Exceeds(0, 0.3), Exceeds(0, -0.3), Lies(-0.5, 0.5)):
            rule = Ratio(criterion)
            assert rule.decide(*groups) == criterion.decide(rule.effect(*groups))

    def test_correlation(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal(30)
        rule = Correlation(Exceeds(0, -0.3))
        falling = Group(np.stack([x, -x + 0.5 * rng.standard_normal(30)], -1), np.zeros(30, bool))
        assert rule.decide(falling) == 1
        assert rule.decide(Group(falling.values * [1, -1], falling.censored)) == -1
        oracle = stats.pearsonr(*falling.values.T)
        assert float(rule.effect(falling).low) == pytest.approx(oracle.confidence_interval().low)

    @pytest.mark.parametrize("wrong", [lambda: Exceeds(0, 0), lambda: Lies(2, 1), lambda: Lies()])
    def test_a_criterion_that_decides_nothing_is_refused(self, wrong):
        with pytest.raises(ValueError, match="allowed"):
            wrong()

    def test_ratios_are_said_as_ratios(self):
        rule = Growth(Exceeds(0, math.log(1.2)))
        verdict = verdict_of(rule, tuple(math.log(value) for value in (1.5, 1.6, 1.4, 1.55)), interest="grows")
        assert verdict.verdict == "reproduced"
        assert verdict.estimate == pytest.approx(1.51, abs=0.01)
        assert "ratio above 1; the smallest effect of interest is 1.2" in rule.words

    def test_the_networks_that_it_takes_follow_from_the_spread(self):
        rule = Difference(Exceeds(0, 1))
        # Two groups, 5 % two-sided and a power of 80 %: 2 (1.96 + 0.84)^2 / 1 = 15.7 networks, and one more.
        assert rule.networks_for(1.0) == 17
        assert rule.networks_for(0.01) == 4
        assert rule.networks_for(math.nan) is None

    @pytest.mark.parametrize("share", [0.05, 0.09, 0.3])
    def test_the_networks_that_a_share_takes_decide_four_of_five_studies(self, share):
        rule = Share(Lies(high=0.1))
        n = rule.networks_for(math.nan, share)
        assert n < (1000 if share == 0.05 else 10_001)
        if n < 1000:
            found = np.random.default_rng(0).random((4000, n)) < share
            decided = (rule.decide(Group(found.astype(float))) != 0).mean()
            assert decided == pytest.approx(0.8, abs=0.06)
        assert rule.networks_for(math.nan) == 36

    @pytest.mark.parametrize(("truth", "criterion"), [(0.738, Lies(-0.5, 0.5)), (-0.7, Exceeds(0, -0.3))])
    def test_the_networks_that_a_correlation_takes_decide_four_of_five_studies(self, truth, criterion):
        rule = Correlation(criterion)
        n = rule.networks_for(1.0, truth)
        x, noise = np.random.default_rng(0).standard_normal((2, 4000, n))
        y = truth * x + math.sqrt(1 - truth**2) * noise
        decided = (rule.decide(Group(np.stack([x, y], -1), np.zeros((4000, n), bool))) != 0).mean()
        assert decided >= 0.78

    @pytest.mark.parametrize(
        ("smallest", "first", "second"),
        [
            (1.5, (11, 6, 10, 8, 5, 3, 12, 8), (11, 5, 7, 3, 4, 9, 3, 12)),
            (1 / 1.5, (7, 8, 9, 8, 12, 12, 10, 12), (8, 9, 8, 11, 11, 11, 8, 12)),
        ],
    )
    def test_the_reason_is_that_of_the_verdict_where_an_interval_ends_on_a_limit(self, smallest, first, second):
        """Ratios of whole N are often exactly 1.5, where the interval of lower bounds is rounded."""
        rule, values = Ratio(Exceeds(0, math.log(smallest))), [np.array(v, dtype=float) for v in (first, second)]
        samples = [Sample(pd.Series(v), pd.Series(v == 12)) for v in values]
        assert rule.criterion.decide(rule.effect(*(Group(v, v == 12) for v in values))) == -1
        measures = tuple(Measure("the value", "a command", lambda evidence, one=one: one) for one in samples)
        found = judge(Claim("id", "1", "It is so.", "much", "further", rule, measures), NOTHING)
        assert found.verdict == "inconclusive"
        assert found.why == "the 95 % interval contains both a zero effect and effects of interest"
        assert found.p > 0.05

    def test_effect_sizes_are_checked(self):
        with pytest.raises(ValueError, match="allowed is smallest, or low or high"):
            Interest(why="", n=1, least=1, spread=0.1)


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path):
        cells = [Cell(), Cell(curriculum="multi")]
        return Simulated(True, cells=cells).write(tmp_path / "results" / "curricula")

    def test_a_sweep_that_was_stopped_before_anything_was_solved(self, tmp_path, capsys):
        """Warnings of numpy's are errors in tests: there is no logarithm of 0."""
        made = HandMade(tmp_path / "fixed_tau")
        for curriculum, seed, settings in product(("single", "multi"), range(4), ({}, {"tau": 1.0})):
            made.add(config(curriculum, seed=seed, **settings), [])
        assert main(["claims", str(made.folder), "--json"]) == 0
        counts = json.loads(capsys.readouterr().out)["counts"]
        assert (counts["reproduced"], counts["contradicted"]) == (0, 0)

    def test_json(self, folder, capsys):
        assert main(["claims", str(folder), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        rows = {row["id"]: row for row in printed["claims"]}
        assert list(rows) == [claim.id for claim in CLAIMS]
        assert sum(printed["counts"].values()) == len(CLAIMS)
        assert rows["3b-order"]["verdict"] == "reproduced"
        assert rows["3b-order"]["estimate"] == pytest.approx(98 / 35, rel=0.01)
        assert rows["S18-order"]["verdict"] == "not run"
        assert rows["S18-order"]["estimate"] is None
        in_memory = judge_all(Simulated(True, cells=[Cell(), Cell(curriculum="multi")]))
        assert [row["verdict"] for row in printed["claims"]] == in_memory["verdict"].tolist()

    def test_a_storage_folder_in_words(self, folder, capsys):
        assert main(["claims", str(folder.parent)]) == 0
        printed = capsys.readouterr().out
        assert "3b: In parity, multi-head networks solve a larger N than single-head networks." in printed
        assert "REPRODUCED: the 95 % interval excludes the opposite" in printed
        assert "paper: about 100 against 35" in printed
        assert "corrected for the claims judged (Holm)" in printed
        assert "6 and 6 networks; H = 500, sgd 0.05, momentum 0.1, batch 256, 600 steps an epoch" in printed
        assert f"{len(CLAIMS)} claims: " in printed
        for line in MEANINGS:
            assert line in printed

    def test_no_results(self, tmp_path, capsys):
        assert main(["claims", str(tmp_path)]) == 1
        assert "has no tables" in capsys.readouterr().err
