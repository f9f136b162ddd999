from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.weightstats import ttest_ind

from analysis.stats.significance import (
    compare,
    hedges_g,
    holm,
    network_tests,
    pooled_ttests,
    relative_accuracy,
    relative_to_baseline,
    stars,
)

# Table 1 as the reference data's notes give it: perturbation, p.
TABLE_1 = {
    0.01: 8.7916e-3,
    0.022: 0.44861,
    0.046: 0.29286,
    0.1: 5.1052e-15,
    0.22: 2.1675e-39,
    0.46: 8.2924e-47,
    1.0: 8.6067e-4,
    2.2: 0.76220,
    4.6: 0.65076,
    10.0: 0.89546,
}

values = arrays(
    np.float64, st.integers(2, 5), elements=st.integers(-3000, 3000).map(lambda x: x / 1000), fill=st.nothing()
)


def frame(accuracies, baseline=0.9):
    """Return rows from {(curriculum, network): {perturbation: [accuracies]}}, baselines added."""
    rows = []
    for (curriculum, network), by_perturbation in accuracies.items():
        for perturbation, draws in ({0.0: [baseline]} | by_perturbation).items():
            rows += [(curriculum, network, 30, perturbation, trial, a) for trial, a in enumerate(draws)]
    return pd.DataFrame(rows, columns=["curriculum", "network", "n", "perturbation", "trial", "accuracy"])


def simulated(effect, networks=4, draws=10, repeats=400, seed=0):
    """Return draws of two curricula: networks vary, draws vary about their network, `repeats` times over."""
    rng = np.random.default_rng(seed)
    accuracies = {}
    for c, curriculum in enumerate(("multi", "single")):
        for network in range(networks):
            own = 0.7 + effect * c + 0.02 * rng.normal(size=repeats)
            noise = 0.01 * rng.normal(size=(repeats, draws))
            accuracies[curriculum, f"{curriculum}{network}"] = {
                float(i + 1): list(own[i] + noise[i]) for i in range(repeats)
            }
    return frame(accuracies)


class TestRelativeAccuracy:
    @given(st.floats(0, 1), st.floats(0.51, 1))
    def test_it_is_1_at_the_baseline_and_0_at_chance(self, accuracy, baseline):
        assert relative_accuracy(baseline, baseline) == 1
        assert relative_accuracy(0.5, baseline) == 0
        assert 0.5 + relative_accuracy(accuracy, baseline) * (baseline - 0.5) == pytest.approx(accuracy)

    @pytest.mark.parametrize("baseline", [0.5, 0.3, float("nan"), [0.9, 0.4]])
    def test_nothing_is_relative_to_chance(self, baseline):
        with pytest.raises(ValueError, match="above chance"):
            relative_accuracy(0.7, baseline)

    def test_every_network_has_its_own_baseline(self):
        rows = frame({("a", "x"): {1.0: [0.7]}, ("b", "y"): {1.0: [0.7]}})
        rows.loc[(rows["network"] == "y") & (rows["perturbation"] == 0), "accuracy"] = 0.7
        relative = relative_to_baseline(rows).set_index(["network", "perturbation"])["relative"]
        assert relative["x", 1.0] == pytest.approx(0.5)
        assert relative["y", 1.0] == pytest.approx(1.0)

    def test_networks_of_two_curricula_may_share_a_name(self):
        rows = frame({("a", "x"): {0.0: [0.9], 1.0: [0.7]}, ("b", "x"): {0.0: [0.7], 1.0: [0.7]}})
        relative = relative_to_baseline(rows).set_index(["curriculum", "perturbation"])["relative"]
        assert relative["a", 1.0] == pytest.approx(0.5)
        assert relative["b", 1.0] == pytest.approx(1.0)

    def test_the_network_without_a_baseline_is_named(self):
        rows = frame({("a", "x"): {1.0: [0.7]}, ("b", "y"): {1.0: [0.7]}})
        with pytest.raises(ValueError, match="b y"):
            relative_to_baseline(rows[(rows["network"] == "x") | (rows["perturbation"] > 0)])

    def test_a_missing_column_is_named(self):
        with pytest.raises(ValueError, match="lacks the column accuracy"):
            relative_to_baseline(frame({("a", "x"): {}}).drop(columns="accuracy"))


class TestTable1:
    @pytest.fixture
    def raw(self, reference: Path) -> pd.DataFrame:
        return pd.read_parquet(reference / "perturbed_weights.parquet").rename(columns={"N": "n"})

    def test_pooled_ttests_reproduce_it_to_two_digits(self, raw):
        found = pooled_ttests(raw)
        assert len(found) == len(TABLE_1)
        for row, (perturbation, p) in zip(found.itertuples(), TABLE_1.items(), strict=True):
            assert float(f"{row.perturbation:.2g}") == perturbation
            assert f"{row.p_value:.1e}" == f"{p:.1e}"
            assert row.n == 50
        assert found["stars"].tolist() == ["**", "", "", *["*****"] * 3, "***", "", "", ""]

    def test_the_order_of_rows_means_nothing(self, raw):
        shuffled = raw.sample(frac=1, random_state=1)
        np.testing.assert_allclose(pooled_ttests(shuffled)["p_value"], pooled_ttests(raw)["p_value"], rtol=1e-9)

    def test_with_one_value_a_network_the_evidence_is_far_weaker(self, raw):
        means = relative_to_baseline(raw).groupby(["curriculum", "network", "perturbation"])["relative"].mean()
        smallest = min(
            stats.ttest_ind(*(group.to_numpy() for _, group in rows.groupby("curriculum"))).pvalue
            for perturbation, rows in means.groupby("perturbation")
            if perturbation > 0
        )
        assert smallest == pytest.approx(7.7e-7, rel=0.05)
        by_network = network_tests(raw)
        assert by_network["p_t"].min() > 1e-7
        assert by_network["p_attainable"].tolist() == pytest.approx([2 / 252] * 10)
        # Ten corrected tests of 5 against 5 networks cannot reach 0.05.
        assert set(by_network["verdict"]) == {"inconclusive"}


class TestPooled:
    def test_what_cannot_be_compared_is_refused(self):
        one = {("a", "x"): {1.0: [0.7, 0.8]}}
        with pytest.raises(ValueError, match="needs two"):
            pooled_ttests(frame(one))
        with pytest.raises(ValueError, match="needs two"):
            pooled_ttests(frame(one | {("b", "y"): {1.0: [0.6]}, ("c", "z"): {1.0: [0.6]}}))
        with pytest.raises(ValueError, match=r"perturbation 1\.0 lacks a curriculum"):
            pooled_ttests(frame(one | {("b", "y"): {2.0: [0.6]}}))
        two = frame(one | {("b", "y"): {1.0: [0.6]}})
        with pytest.raises(ValueError, match="mixes N = 5, 30"):
            pooled_ttests(pd.concat([two, two.assign(n=5)]))

    @pytest.mark.parametrize(
        ("p", "expected"),
        [(0.05, ""), (0.049, "*"), (0.0099, "**"), (9e-4, "***"), (9e-5, "****"), (9e-6, "*****"), (np.nan, "")],
    )
    def test_stars(self, p, expected):
        assert stars(p) == expected


class TestCompare:
    @example(np.array([0.0, 0.0, 1.0]), np.array([0.001, 1.0, -0.002]))  # ties but for rounding
    @given(values, values)
    def test_the_permutation_test_counts_every_split(self, a, b):
        both, indices = np.concatenate([a, b]), range(len(a) + len(b))
        differences = []
        for first in combinations(indices, len(a)):
            second = [i for i in indices if i not in first]
            differences.append(both[second].mean() - both[list(first)].mean())
        observed, tolerance = b.mean() - a.mean(), 1e-9
        above = np.mean(np.array(differences) >= observed - tolerance)
        below = np.mean(np.array(differences) <= observed + tolerance)
        found = compare(a, b)
        assert found.p_permutation == pytest.approx(min(1, 2 * min(above, below)))
        assert found.p_permutation >= found.p_attainable - 1e-12

    def test_separated_groups_reach_the_attainable_minimum(self):
        found = compare(np.array([1.0, 2, 3, 4]), np.array([5.0, 6, 7, 8]))
        assert found.p_permutation == found.p_attainable == pytest.approx(2 / 70)
        large = compare(np.arange(12.0), np.arange(20.0, 32))
        assert large.p_permutation == large.p_attainable == pytest.approx(2 / 20_001)

    @given(values, values)
    def test_t_is_welchs(self, a, b):
        assume(np.ptp(a) > 0.01 and np.ptp(b) > 0.01)
        assert compare(a, b).p_t == pytest.approx(ttest_ind(a, b, usevar="unequal")[1])

    @given(values, values)
    def test_the_effect_size_has_the_sign_of_the_difference_and_no_unit(self, a, b):
        assume(np.ptp(a) > 0.01 and np.ptp(b) > 0.01)
        g = hedges_g(a, b)
        assert g == pytest.approx(-hedges_g(b, a))
        assert g == pytest.approx(hedges_g(7 * a + 3, 7 * b + 3), abs=1e-9)

    def test_the_effect_size_is_unbiased(self):
        rng = np.random.default_rng(0)
        found = [hedges_g(rng.normal(size=4), rng.normal(1, 1, size=4)) for _ in range(4000)]
        # Without the correction the mean would be 1.15; the standard error is about 0.014.
        assert np.mean(found) == pytest.approx(1.0, abs=0.06)

    def test_one_network_a_group(self):
        found = compare(np.array([1.0]), np.array([2.0]))
        assert found.difference == 1
        assert found.p_attainable == 1
        assert np.isnan([found.low, found.high, found.effect_size, found.p_permutation, found.p_t]).all()

    def test_no_network(self):
        with pytest.raises(ValueError, match="0 and 2 networks"):
            compare(np.array([]), np.array([1.0, 2.0]))

    def test_the_interval_covers_the_difference(self):
        rng = np.random.default_rng(1)
        covered = 0
        for _ in range(60):
            found = compare(rng.normal(size=12), rng.normal(0.5, 1, size=12))
            covered += found.low <= 0.5 <= found.high
        # The percentile bootstrap of 12 and 12 covers about 92 %; the bounds are 3 standard errors away.
        assert 0.81 <= covered / 60 <= 1.0


class TestHolm:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_by_hand(self, p):
        p = np.array(p)
        expected, largest = np.empty(len(p)), 0.0
        for rank, i in enumerate(np.argsort(p, kind="stable")):
            largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
            expected[i] = largest
        np.testing.assert_allclose(holm(p), expected)

    def test_unknown_values_count_for_nothing(self):
        np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
        assert np.isnan(holm(np.array([np.nan]))).all()


class TestSimulatedTruth:
    """Networks of a curriculum differ more than the draws of one network do, as in the study."""

    def test_without_an_effect_network_tests_keep_their_level_and_the_pooled_test_does_not(self):
        rows = simulated(effect=0.0)
        by_network = network_tests(rows)
        # 400 simulations at level 0.05: a standard error of 0.011; three of them are allowed.
        assert (by_network["p_permutation"] < 0.05).mean() <= 0.05 + 0.033
        assert (by_network["p_t"] < 0.05).mean() <= 0.05 + 0.033
        # The family-wise error of Holm, over all 400: no false finding.
        assert by_network["p_t_holm"].min() > 0.05
        assert (pooled_ttests(rows)["p_value"] < 0.05).mean() > 0.3

    def test_with_an_effect_network_tests_find_it(self):
        by_network = network_tests(simulated(effect=0.08, repeats=50))
        assert (by_network["p_permutation"] < 0.05).mean() > 0.9
        assert (by_network["difference"] > 0).all()
        assert by_network["curriculum_a"].unique().tolist() == ["multi"]

    def test_verdicts(self):
        assert set(network_tests(simulated(0.08, repeats=1))["verdict"]) == {"different"}
        assert set(network_tests(simulated(0.0, repeats=1, seed=3))["verdict"]) == {"no difference seen"}
        assert set(network_tests(simulated(0.08, repeats=1, networks=3))["verdict"]) == {"inconclusive"}
