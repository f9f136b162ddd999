"""The ratio of training at every N, against scipy's permutation test and claims judged at one N."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.claims.catalogue import CLAIMS, judge_all
from analysis.claims.course import compare, course, turns
from analysis.data.study import Study
from analysis.figures import build
from tests.handmade import HandMade, config, solved

EPOCHS = 60


def networks(prefix: str, count: int, trained: float = 100.0) -> pd.DataFrame:
    return pd.DataFrame({"network_id": [f"{prefix}{i}" for i in range(count)], "sequences": trained})


def until(frame: pd.DataFrame, n: int, values: list[float]) -> pd.DataFrame:
    """The first of the networks have solved N."""
    return pd.DataFrame({"network_id": frame["network_id"][: len(values)], "n": n, "value": values})


class TestCompare:
    def test_where_all_have_solved_n_it_is_the_exact_permutation_test_of_logarithms(self):
        rng = np.random.default_rng(0)
        first, second = networks("a", 5), networks("b", 6)
        a, b = rng.lognormal(1.0, 0.3, 5), rng.lognormal(1.4, 0.3, 6)
        (row,) = compare(first, second, pd.concat([until(first, 7, [*a]), until(second, 7, [*b])])).to_dict("records")
        assert (row["n"], row["first"], row["second"]) == (7, 5, 6)
        assert row["ratio"] == pytest.approx(math.exp(np.log(b).mean() - np.log(a).mean()))
        exact = stats.permutation_test(
            (np.log(b), np.log(a)), lambda x, y, axis: x.mean(axis) - y.mean(axis), vectorized=True, n_resamples=np.inf
        )
        assert row["p"] == pytest.approx(exact.pvalue, rel=0.05)
        assert row["low"] < row["ratio"] < row["high"]

    def test_networks_that_have_not_solved_n_bound_the_ratio_from_below_alone(self):
        first, second = networks("a", 6), networks("b", 6)
        rows = pd.concat([until(first, 9, [10.0, 11, 12, 13, 14, 15]), until(second, 9, [90.0])])
        (row,) = compare(first, second, rows).to_dict("records")
        assert (row["first"], row["second"]) == (6, 1)
        assert math.isnan(row["ratio"])
        assert row["low"] > 4
        assert row["high"] == math.inf
        assert row["p"] < 0.05

    def test_the_order_changes_where_the_ratio_passes_1(self):
        frame = pd.DataFrame({"n": [2, 3, 4, 5, 6], "ratio": [0.5, 0.9, math.nan, 1.2, 0.8]})
        assert turns(frame) == [(3, 5), (5, 6)]
        assert turns(frame[:2]) == []


@pytest.fixture
def study(tmp_path) -> HandMade:
    """Multi-head networks are faster at N = 6 alone; networks with tau = 1 have all they need."""
    sweep = HandMade(tmp_path / "sweep")
    for seed in range(4):
        for curriculum, taken in (("single", 2), ("multi", 3)):
            epochs = {n: taken * (n - 1) + seed for n in range(2, 6)}
            epochs[6] = {"single": 40, "multi": 20}[curriculum] + seed
            run = config(curriculum, seed=seed)
            sweep.add(run, [solved(n, epoch) for n, epoch in epochs.items()], epochs=EPOCHS)
    return sweep


class TestCourse:
    def test_at_the_common_n_it_is_what_the_claim_is_judged_by(self, study):
        claims = [claim for claim in CLAIMS if claim.id == "3c-parity"]
        rows = course(Study(study.folder), claims)
        assert list(rows["n"]) == [2, 3, 4, 5, 6]
        assert turns(rows) == [(5, 6)]
        verdict = judge_all(Study(study.folder), claims).iloc[0]
        last = rows.iloc[-1]
        assert verdict["at"] == "N = 6"
        assert (verdict["estimate"], verdict["low"], verdict["high"]) == pytest.approx(
            (last["ratio"], last["low"], last["high"])
        )

    def test_the_command_prints_the_same(self, study, capsys):
        assert main(["pace", str(study.folder), "--json"]) == 0
        rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["rows"]
        assert [row["n"] for row in rows if row["id"] == "3c-parity"] == [2, 3, 4, 5, 6]
        assert main(["pace", str(study.folder)]) == 0
        assert "The order changes between N = 5 and 6." in capsys.readouterr().out

    def test_the_figure_draws_the_ratios_of_tau_1_and_trained(self, study):
        for seed in range(4):
            run = config("single", tau=1.0, seed=seed)
            study.add(run, [solved(n, 4 * (n - 1) + 2 * seed) for n in range(2, 6)], epochs=EPOCHS)
        figure = build(Study(study.folder), "4a-pace")
        ratios = figure.data["ratios"]
        rows = course(Study(study.folder))
        rows = rows[(rows["id"] == "4a-single-1-pace")]
        pd.testing.assert_frame_equal(ratios[["n", "ratio", "low"]], rows[["n", "ratio", "low"]].reset_index(drop=True))
        # At N = 2 and seed 0 to 3: 4 + 2 seed over 2 + seed epochs.
        assert ratios["ratio"].iloc[0] == pytest.approx(2.0)
        figure.draw()

    def test_results_without_two_cells_say_so(self, tmp_path, capsys):
        sweep = HandMade(tmp_path / "sweep")
        sweep.add(config("single"), [solved(2, 1)])
        assert main(["pace", str(sweep.folder)]) == 0
        assert "no two kinds of networks" in capsys.readouterr().out
