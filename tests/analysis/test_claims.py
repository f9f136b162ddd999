import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.claims.catalogue import CLAIMS, judge_all
from analysis.claims.evidence import Cell, Evidence, Quantity, Sample
from analysis.claims.rules import Above, All, Differs, Same, Within, t_interval, welch
from tests.simulated import CELLS, Simulated

NOTHING = Evidence(Simulated(True, cells=[]))


@pytest.fixture(scope="module")
def true_study():
    return judge_all(Simulated(True)).set_index("id")


@pytest.fixture(scope="module")
def false_study():
    return judge_all(Simulated(False)).set_index("id")


class TestClaims:
    def test_there_are_enough_and_ids_are_unique(self):
        assert len(CLAIMS) >= 24
        assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
    def test_reproduced_where_it_is_true(self, true_study, claim):
        row = true_study.loc[claim.id]
        assert row["verdict"] == "reproduced", row["why"]
        assert row["scale"] == "paper, H = 500"
        assert row["n"]
        assert row["ours"]

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
    def test_not_reproduced_where_it_is_false(self, false_study, claim):
        row = false_study.loc[claim.id]
        assert row["verdict"] == "not reproduced", row["why"]

    def test_nothing_is_ruled_out_by_a_small_budget(self):
        """Networks of 40 epochs that get to N = 7: what they do not show may come with more training."""
        frame = judge_all(Simulated(False, scale="quick", hidden=64, max_epochs=40, farthest=7, analysed=False))
        assert not len(frame[frame["verdict"].eq("not reproduced") & frame["figure"].isin(["3b", "4a", "S10", "S6"])])
        why = frame.set_index("id").loc["4a-single", "why"]
        assert "out of budget after 40 epochs; the paper's networks had 1000" in why

    @pytest.mark.parametrize("true", [True, False])
    def test_one_network_of_each_kind_is_too_few(self, true):
        frame = judge_all(Simulated(true, replicates=1))
        assert set(frame["verdict"]) == {"underpowered"}

    def test_without_results_none_is_run_and_the_command_is_named(self):
        frame = judge_all(Simulated(True, cells=[]))
        assert set(frame["verdict"]) == {"not run"}
        one_cell = judge_all(Simulated(True, cells=[Cell()], analysed=False)).set_index("id")
        assert "python -m analysis timescales" in one_cell.loc["5-single", "why"]
        assert "python sweeps/fixed_tau.py" in one_cell.loc["4a-single", "why"]

    @pytest.mark.parametrize("count", [1, 12])
    def test_partial_results_are_judged(self, count):
        frame = judge_all(Simulated(True, cells=CELLS[::-1][:count], replicates=1))
        assert len(frame) == len(CLAIMS)

    def test_networks_that_are_running_do_not_count_for_max_n(self):
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")])
        gone = {row["network_id"] for row in study.rows["outcomes"][:2]}
        study.rows["outcomes"] = study.rows["outcomes"][2:]
        row = judge_all(study).set_index("id").loc["3b-order"]
        assert len(gone) == 2
        assert row["n"] == "6 and 4"

    def test_two_n_make_no_trend(self):
        study = Simulated(True, cells=[Cell(), Cell(curriculum="multi")])
        for table in ("timescales", "connectivity", "dimensionality"):
            study.rows[table] = [row for row in study.rows[table] if row["n"] in (5, 40)]
        frame = judge_all(study).set_index("id")
        for claim in ("5-single", "6a-single-negative", "6b-grows"):
            assert frame.loc[claim, "verdict"] == "underpowered"
            assert frame.loc[claim, "why"] == (
                "N = 5 to 40; fewer than three N of each network; `--every 1` measures them all"
            )
        assert frame.loc["6b-parity", "ours"] == "not known"
        assert frame.loc["5-saturates", "verdict"] == "underpowered"

    def test_the_largest_networks_are_judged(self):
        class Both:
            def __init__(self):
                self.parts = Simulated(False, scale="quick", hidden=64), Simulated(True)

            def load(self, table):
                return pd.concat([part.load(table) for part in self.parts], ignore_index=True)

            @property
            def networks(self):
                return pd.concat([part.networks for part in self.parts], ignore_index=True)

        assert set(judge_all(Both())["verdict"]) == {"reproduced"}

    def test_p_is_corrected_for_the_number_of_tests(self, true_study):
        tested = true_study["p"].dropna()
        smallest = tested.idxmin()
        assert true_study.loc[smallest, "p_holm"] == pytest.approx(min(1, tested[smallest] * len(tested)))


def quantity(*values, **sample):
    series = pd.Series(values, index=[f"n{i}" for i in range(len(values))], dtype="float64")
    return Quantity("the value", "a command", lambda evidence: Sample(series, **sample))


class TestRules:
    def test_above(self):
        high, low = quantity(5, 6, 7, 8), quantity(1, 2, 3, 4)
        verdict = Above(high, low).judge(NOTHING)
        assert verdict.verdict == "reproduced"
        # of the 70 ways to split 8 networks, 2 are as extreme
        assert verdict.p == verdict.p_attainable == pytest.approx(2 / 70)
        assert (verdict.estimate, verdict.n) == (4.0, "4 and 4")
        expected = stats.ttest_ind([5, 6, 7, 8], [1, 2, 3, 4], equal_var=False).confidence_interval()
        assert (verdict.low, verdict.high) == pytest.approx((expected.low, expected.high))
        assert Above(low, high).judge(NOTHING).verdict == "not reproduced"
        assert Above(quantity(1, 3, 5, 7), quantity(2, 4, 5, 6)).judge(NOTHING).verdict == "not reproduced"

    def test_above_by_a_margin(self):
        high, low = quantity(5, 6, 7, 8), quantity(1, 2, 3, 4)
        assert Above(high, low, 0.5).judge(NOTHING).verdict == "reproduced"
        verdict = Above(high, low, 8.5).judge(NOTHING)
        assert (verdict.verdict, verdict.estimate) == ("not reproduced", 4.0)
        assert verdict.why == "too small a difference, p = 0.029"
        assert "by more than 8.5" in Above(high, low, 8.5).words

    def test_above_with_too_few_networks(self):
        verdict = Above(quantity(5, 6, 7), quantity(1, 2, 3)).judge(NOTHING)
        assert verdict.verdict == "underpowered"
        assert verdict.p_attainable == pytest.approx(0.1)
        assert "cannot go below 0.1" in verdict.why
        assert Above(quantity(5), quantity(1)).judge(NOTHING).verdict == "underpowered"

    def test_a_short_study_can_show_but_not_rule_out(self):
        high, low = quantity(5, 6, 7, 8, short="40 epochs"), quantity(1, 2, 3, 4)
        assert Above(high, low).judge(NOTHING).verdict == "reproduced"
        reverse = Above(low, high).judge(NOTHING)
        assert (reverse.verdict, "40 epochs" in reverse.why) == ("underpowered", True)
        assert Within(quantity(1, 2, 3, short="40 epochs"), low=-5).judge(NOTHING).verdict == "reproduced"
        assert Within(quantity(1, 2, 3, short="40 epochs"), low=50).judge(NOTHING).verdict == "underpowered"
        # In a range, or alike, is nothing that a short study could show.
        assert Within(quantity(1, 2, 3, short="40 epochs"), -9, 9).judge(NOTHING).verdict == "underpowered"
        assert Same(quantity(1, 2, 3, short="40 epochs"), quantity(1, 2, 3), 9).judge(NOTHING).verdict == "underpowered"

    def test_values_of_another_n_decide_nothing(self):
        lacking = {"lacks": "measured at N = 5"}
        for rule in (
            Above(quantity(5, 6, 7, 8, **lacking), quantity(1, 2, 3, 4)),
            Above(quantity(1, 2, 3, 4, **lacking), quantity(5, 6, 7, 8)),
            Within(quantity(1, 2, 3, **lacking), low=0),
            Within(quantity(1, 2, 3, **lacking), high=0),
            Same(quantity(1, 2, 3, **lacking), quantity(1, 2, 3), 9),
        ):
            verdict = rule.judge(NOTHING)
            assert (verdict.verdict, verdict.why) == ("underpowered", "measured at N = 5")

    @pytest.mark.parametrize(
        ("values", "low", "high", "expected"),
        [
            ((9, 10, 11), 5, 15, "reproduced"),
            ((9, 10, 11), 20, 30, "not reproduced"),
            ((9, 10, 11), 9, 11, "underpowered"),  # the interval is 7.5 to 12.5
            ((9, 10), 5, 15, "underpowered"),
            ((1, 1, 1), 0, math.inf, "reproduced"),
            ((0, 0, 0), 0, math.inf, "underpowered"),
            ((0, 0, 0), 0, 1, "reproduced"),
            ((-1, 0, 1), 0, math.inf, "underpowered"),
            ((-1, 0, 1, -1, 0, 1), 0, math.inf, "not reproduced"),  # enough that a test of signs could have shown it
            ((-3, -2, -1), 0, math.inf, "underpowered"),
            ((-3.0, -2.9, -3.1), 0, math.inf, "not reproduced"),
        ],
    )
    def test_within(self, values, low, high, expected):
        assert Within(quantity(*values), low, high).judge(NOTHING).verdict == expected

    def test_differs(self):
        assert Differs(quantity(1, 1.1, 1.2)).judge(NOTHING).verdict == "reproduced"
        assert Differs(quantity(-1, -1.1, -1.2)).judge(NOTHING).verdict == "reproduced"
        assert Differs(quantity(-1, 0, 1)).judge(NOTHING).verdict == "underpowered"
        assert Differs(quantity(-1, 0, 1, -1, 0, 1)).judge(NOTHING).verdict == "not reproduced"

    @pytest.mark.parametrize(
        ("one", "other", "margin", "expected"),
        [
            ((100, 101, 99), (100, 99, 101), 0.1, "reproduced"),
            ((100, 101, 99), (50, 49, 51), 0.1, "not reproduced"),
            ((100, 140, 60), (100, 99, 101), 0.1, "underpowered"),
            ((100, 100, 100), (100, 100, 100), 0.1, "reproduced"),
            ((100, 100), (100, 100), 0.1, "underpowered"),
        ],
    )
    def test_same(self, one, other, margin, expected):
        assert Same(quantity(*one), quantity(*other), margin).judge(NOTHING).verdict == expected

    def test_all_is_as_its_worst_part(self):
        yes, no = Within(quantity(1, 1, 1), low=0), Within(quantity(1, 1, 1), high=0)
        few, missing = Within(quantity(1, 2), low=0), Within(quantity(), low=0)
        assert All((yes, yes)).judge(NOTHING).verdict == "reproduced"
        assert All((yes, few)).judge(NOTHING).verdict == "underpowered"
        assert All((yes, few, missing)).judge(NOTHING).verdict == "not run"
        assert All((yes, few, missing, no)).judge(NOTHING).verdict == "not reproduced"

    def test_intervals(self):
        values = np.array([1.0, 2.0, 4.0, 8.0])
        expected = stats.ttest_1samp(values, 0).confidence_interval()
        assert t_interval(values) == pytest.approx((expected.low, expected.high))
        assert t_interval(np.array([3.0, 3.0])) == (3.0, 3.0)
        assert all(map(math.isnan, t_interval(np.array([3.0]))))
        assert welch(np.array([1.0, 1.0]), np.array([3.0, 3.0])) == (2.0, 2.0)

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
    def test_every_rule_is_written_out(self, claim):
        assert claim.rule.words
        assert dataclasses.is_dataclass(claim.rule)
        assert "Quantity" not in claim.rule.words


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path):
        cells = [Cell(), Cell(curriculum="multi")]
        return Simulated(True, cells=cells).write(tmp_path / "results" / "curricula")

    def test_json(self, folder, capsys):
        assert main(["claims", str(folder), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        rows = {row["id"]: row for row in printed["claims"]}
        assert list(rows) == [claim.id for claim in CLAIMS]
        assert sum(printed["counts"].values()) == len(CLAIMS)
        assert rows["3b-order"]["verdict"] == "reproduced"
        assert rows["3b-order"]["estimate"] == 63
        assert rows["S18-order"]["verdict"] == "not run"
        assert rows["S18-order"]["estimate"] is None
        in_memory = judge_all(Simulated(True, cells=[Cell(), Cell(curriculum="multi")]))
        assert [row["verdict"] for row in printed["claims"]] == in_memory["verdict"].tolist()

    def test_a_storage_folder_in_words(self, folder, capsys):
        assert main(["claims", str(folder.parent)]) == 0
        printed = capsys.readouterr().out
        assert "3b: In parity multi-head networks get further than single-head ones." in printed
        assert "REPRODUCED: p = 0.0022" in printed
        assert "paper: about 100 against 35" in printed
        assert "6 and 6 networks; paper, H = 500" in printed
        assert f"{len(CLAIMS)} claims: " in printed

    def test_no_results(self, tmp_path, capsys):
        assert main(["claims", str(tmp_path)]) == 1
        assert "has no tables" in capsys.readouterr().err
