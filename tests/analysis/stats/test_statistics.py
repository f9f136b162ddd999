"""The exact tests and intervals that verdicts rest on, against scipy and statsmodels."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from analysis.stats import censoring, intervals, permutation

sizes = st.integers(4, 6)
seeds = st.integers(0, 10_000)


def mean_difference(a, b, axis):
    return a.mean(axis) - b.mean(axis)


def one_sided(a, b, side):
    test = stats.permutation_test((b, a), mean_difference, n_resamples=np.inf, vectorized=True, alternative=side)
    return test.pvalue


class TestPermutation:
    @given(seeds, sizes, sizes)
    @settings(max_examples=15)
    def test_the_interval_holds_every_shift_that_scipy_does_not_reject(self, seed, n_a, n_b):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal(n_a), rng.standard_normal(n_b) + 1
        found = permutation.difference(a, b)
        for end, outside, side in ((found.low, -1e-6, "greater"), (found.high, 1e-6, "less")):
            assert one_sided(a, b - float(end) - outside, side) <= 0.025
            assert one_sided(a, b - float(end) + outside, side) > 0.025

    @given(seeds, sizes, sizes)
    @settings(max_examples=15)
    def test_p_is_scipys(self, seed, n_a, n_b):
        rng = np.random.default_rng(seed)
        # With ties. scipy gets them as multiples that are integers: in means of tenths, it misses some by rounding.
        a, b = np.round(rng.standard_normal(n_a), 1), np.round(rng.standard_normal(n_b), 1)
        whole_a, whole_b = np.round(10 * n_a * n_b * a), np.round(10 * n_a * n_b * b)
        expected = min(1, 2 * min(one_sided(whole_a, whole_b, side) for side in ("less", "greater")))
        assert permutation.p_value(a, b) == pytest.approx(expected)

    def test_many_studies_at_once_are_each_of_them(self):
        rng = np.random.default_rng(0)
        a, b = rng.standard_normal((3, 5)), rng.standard_normal((3, 6))
        together = permutation.difference(a, b)
        for i in range(3):
            assert [end[i] for end in together] == pytest.approx(
                [float(end) for end in permutation.difference(a[i], b[i])]
            )

    def test_of_many_networks_splits_are_drawn(self):
        assert len(permutation.splits(8, 8)) == math.comb(16, 8) - 1
        assert len(permutation.splits(12, 12)) == pytest.approx(permutation.SPLITS, abs=5)
        assert permutation.attainable(4, 4) == pytest.approx(2 / 70)

    @pytest.mark.parametrize("sizes", [(1, 5), (2, 2), (3, 3), (2, 6)])
    def test_too_few_networks_have_an_unlimited_interval(self, sizes):
        found = permutation.difference(np.zeros(sizes[0]), np.ones(sizes[1]))
        assert (float(found.low), float(found.high)) == (-math.inf, math.inf)


def censored_groups(seed, n_a=6, n_b=7):
    rng = np.random.default_rng(seed)
    values = [np.ceil(rng.exponential(10, n)) for n in (n_a, n_b)]
    return values[0], rng.random(n_a) < 0.3, values[1], rng.random(n_b) < 0.3


class TestCensoring:
    @given(seeds)
    @example(142)
    @settings(max_examples=30)
    def test_scores_sum_to_the_numerator_of_gehans_test(self, seed):
        x, x_open, y, y_open = censored_groups(seed)
        scores = censoring.gehan_scores(np.concatenate([x, y])[None], np.concatenate([x_open, y_open])[None])[0]
        # Observed less expected events of the second group, each time weighted by the networks at risk.
        values, opened = np.concatenate([x, y]), np.concatenate([x_open, y_open])
        second = np.arange(len(values)) >= len(x)
        numerator = 0.0
        for time in np.unique(values[~opened]):
            risk = values >= time
            events = (values == time) & ~opened
            numerator += risk.sum() * (events[second].sum() - events.sum() * risk[second].sum() / risk.sum())
        assert scores[len(x) :].sum() == pytest.approx(-numerator)
        if abs(numerator) > 1e-9:  # of seed 142 it is 0, but for rounding
            statistic, _ = survdiff(values, (~opened).astype(int), second.astype(int), weight_type="gb")
            assert statistic > 0

    @given(seeds)
    @settings(max_examples=15)
    def test_without_lower_bounds_it_is_wilcoxons_test(self, seed):
        rng = np.random.default_rng(seed)
        x, y = rng.lognormal(size=5), rng.lognormal(size=6)
        none = np.zeros(5, bool), np.zeros(6, bool)
        expected = stats.mannwhitneyu(y, x, method="exact").pvalue
        assert censoring.p_value(x, none[0], y, none[1]) == pytest.approx(expected)

    @given(seeds)
    @settings(max_examples=10)
    def test_the_interval_holds_the_ratios_that_are_not_rejected(self, seed):
        x, x_open, y, y_open = censored_groups(seed)
        found = censoring.log_ratio(x, x_open, y, y_open)
        for end, side in ((found.low, -1), (found.high, 1)):
            if math.isfinite(end):
                assert censoring.p_value(x, x_open, y, y_open, math.exp(float(end) + side * 1e-4)) <= 0.05

    def test_the_median_is_kaplan_and_meiers(self):
        x, x_open, _, _ = censored_groups(3, n_a=15)
        expected = SurvfuncRight(x, (~x_open).astype(int)).quantile(0.5)
        assert censoring.median(x, x_open) == expected
        assert censoring.median(np.full(4, 101.0), np.ones(4, bool)) == math.inf
        for n in range(2, 60, 2):  # the curve is 0.5 at half of the values, but for rounding
            assert censoring.median(np.arange(1.0, n + 1), np.arange(n) == n - 1) == n // 2

    def test_what_all_might_exceed_says_nothing(self):
        ceiling, opened = np.full(5, 101.0), np.ones(5, bool)
        found = censoring.log_ratio(ceiling, opened, ceiling, opened)
        assert (float(found.low), float(found.high)) == (-math.inf, math.inf)
        assert censoring.p_value(ceiling, opened, ceiling, opened) == 1


class TestIntervals:
    @given(seeds, st.integers(3, 12))
    @settings(max_examples=20)
    def test_a_mean_has_students_interval(self, seed, n):
        values = np.random.default_rng(seed).standard_normal(n)
        expected = stats.ttest_1samp(values, 0).confidence_interval()
        found = intervals.mean(values)
        assert (float(found.low), float(found.high)) == pytest.approx((expected.low, expected.high))

    @pytest.mark.parametrize(("n", "limited"), [(2, False), (3, False), (5, False), (6, True)])
    def test_equal_values_show_something_from_six_on(self, n, limited):
        found = intervals.mean(np.full(n, 3.0))
        assert math.isfinite(float(found.low)) == limited

    @pytest.mark.parametrize("n", [6, 7, 20, 41])
    def test_a_median_has_the_narrowest_interval_of_two_values_that_is_sure_enough(self, n):
        values = np.exp(np.random.default_rng(n).standard_normal(n))
        found = intervals.median(values)
        low, high = (int(np.flatnonzero(np.sort(values) == end)[0]) for end in (float(found.low), float(found.high)))
        # A true median is between two values unless at most `below` of n are on one side of it.
        coverage = [1 - 2 * stats.binom.cdf(below, n, 0.5) for below in (low, low + 1)]
        assert high == n - 1 - low
        assert coverage[0] >= 0.95 > coverage[1]
        assert float(found.estimate) == np.median(values)

    @pytest.mark.parametrize("n", [0, 1, 5])
    def test_a_median_of_few_values_has_no_limits(self, n):
        found = intervals.median(np.arange(float(n)))
        assert (float(found.low), float(found.high)) == (-math.inf, math.inf)
        assert math.isnan(float(found.estimate)) == (n == 0)

    @given(st.integers(1, 40), st.data())
    @settings(max_examples=25)
    def test_a_share_has_the_exact_binomial_interval(self, n, data):
        count = data.draw(st.integers(0, n))
        found = intervals.share((np.arange(n) < count).astype(float))
        expected = stats.binomtest(count, n).proportion_ci()
        assert (float(found.low), float(found.high)) == pytest.approx((expected.low, expected.high))

    @given(seeds, st.integers(4, 20))
    @settings(max_examples=20)
    def test_a_correlation_has_fishers_interval(self, seed, n):
        pairs = np.random.default_rng(seed).standard_normal((n, 2))
        expected = stats.pearsonr(*pairs.T)
        found = intervals.correlation(pairs)
        assert float(found.estimate) == pytest.approx(expected.statistic)
        assert (float(found.low), float(found.high)) == pytest.approx(tuple(expected.confidence_interval()))
