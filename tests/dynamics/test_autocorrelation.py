"""Streamed autocovariances against their definition, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsrnn.dynamics.autocorrelation import Autocovariance, Moments


def direct(series: torch.Tensor, lags: int) -> torch.Tensor:
    """The definition, for all series [T, ...] of a few steps: O(T lags), float64."""
    x = series.double() - series.double().mean(0)
    steps = len(x)
    return torch.stack([(x[: steps - lag] * x[lag:]).sum(0) / (steps - lag) for lag in range(lags)], -1)


def with_sum(activity: torch.Tensor) -> torch.Tensor:
    """The activity [T, R, B, H] and its sum over neurons, [T, R, B, H + 1]."""
    return torch.cat((activity.double(), activity.double().sum(3, keepdim=True)), 3)


def streamed(activity: torch.Tensor, lags: int, block: int) -> Moments:
    watch = Autocovariance(lags)
    for part in activity.split(block):
        watch(part)
    return watch.moments()


def slow_series(steps: int, *shape: int, offset: float = 0.0, decay: float = 0.9) -> torch.Tensor:
    """Independent AR(1) series, whose autocorrelation at lag l is decay^l."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(steps, *shape, generator=generator)
    series = torch.empty_like(noise)
    state = noise[0]
    for t in range(steps):
        state = decay * state + noise[t]
        series[t] = state
    return series + offset


class TestDefinition:
    @pytest.mark.parametrize("block", [1, 13, 452, 500, 3001])
    @pytest.mark.parametrize("offset", [0.0, 5.0, -300.0])
    def test_any_blocks(self, block, offset):
        activity = slow_series(3001, 2, 3, 7, offset=offset)
        found = streamed(activity, 31, block)
        whole = with_sum(activity)
        expected = direct(whole, 31)
        # Of float32 numbers far from zero the oracle's deviations are exact, ours are rounded once.
        tolerance = 2e-6 if offset > -10 else 2e-5
        assert ((found.autocovariance - expected).abs() / expected[..., :1]).max() < tolerance
        torch.testing.assert_close(found.mean, whole.mean(0), rtol=2e-6, atol=1e-6)

    def test_blocks_do_not_change_a_bit(self):
        activity = slow_series(1500, 1, 2, 5)
        one, other = (streamed(activity, 31, block) for block in (7, 1000))
        assert torch.equal(one.autocovariance, other.autocovariance)
        assert torch.equal(one.mean, other.mean)

    @settings(max_examples=40, deadline=None)
    @given(
        steps=st.integers(1, 700),
        lags=st.integers(1, 40),
        block=st.integers(1, 300),
        shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 3)),
        seed=st.integers(0, 100),
    )
    def test_any_sizes(self, steps, lags, block, shape, seed):
        activity = torch.from_numpy(np.random.default_rng(seed).normal(2, 1, (steps, *shape)))
        found = streamed(activity, lags, block).autocovariance
        known = min(steps, lags)
        expected = direct(with_sum(activity), known)
        torch.testing.assert_close(found[..., :known], expected, rtol=1e-9, atol=1e-9)
        assert found[..., known:].isnan().all()

    def test_long_lags(self):
        activity = slow_series(4000, 1, 2, 3, decay=0.99)
        found, expected = streamed(activity, 301, 500).autocovariance, direct(with_sum(activity), 301)
        assert ((found - expected).abs() / expected[..., :1]).max() < 2e-6

    def test_float64_stays_float64(self):
        activity = slow_series(2000, 1, 1, 2).double() + 1e6
        found, expected = streamed(activity, 31, 500).autocovariance, direct(with_sum(activity), 31)
        assert ((found - expected).abs() / expected[..., :1]).max() < 1e-9


class TestSpecialSeries:
    def test_constant_ones_have_exactly_none(self):
        activity = torch.tensor([0.3, -7e5, 0.0]).expand(1000, 1, 2, 3)
        found = streamed(activity, 31, 300)
        assert (found.autocovariance == 0).all()
        assert (found.autocorrelation == 0).all()
        torch.testing.assert_close(found.mean[0, 0, :3], torch.tensor([0.3, -7e5, 0.0]).double())

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_a_series_that_is_not_finite_spoils_itself_and_the_sum_alone(self, bad):
        activity = slow_series(1000, 1, 2, 3)
        whole = streamed(activity, 31, 300)
        activity[700, 0, 1, 1] = bad
        found = streamed(activity, 31, 300)
        for trial, series in ((1, 1), (1, 3)):
            assert found.autocovariance[0, trial, series].isnan().all()
            found.autocovariance[0, trial, series] = whole.autocovariance[0, trial, series]
        assert torch.equal(found.autocovariance, whole.autocovariance)


class TestMoments:
    def test_autocorrelation_is_the_mean_over_trials_of_the_normalised(self):
        activity = slow_series(2000, 2, 3, 4) * torch.tensor([1.0, 5.0, 0.1])[:, None]
        found = streamed(activity, 31, 500)
        expected = direct(with_sum(activity), 31)
        expected = (expected / expected[..., :1]).mean(1)
        torch.testing.assert_close(found.autocorrelation, expected, rtol=0, atol=2e-6)
        assert found.autocorrelation.shape == (2, 5, 31)
        assert torch.equal(found.neurons.autocorrelation, found.autocorrelation[:, :-1])
        assert torch.equal(found.population.autocorrelation, found.autocorrelation[:, -1:])

    def test_of_known_decay(self):
        found = streamed(slow_series(40_000, 1, 1, 3), 31, 500).neurons.autocorrelation[0]
        np.testing.assert_allclose(found, np.broadcast_to(0.9 ** np.arange(31), (3, 31)), atol=0.05)

    def test_nothing_observed(self):
        with pytest.raises(ValueError, match="no activity"):
            Autocovariance().moments()

    def test_no_lags(self):
        with pytest.raises(ValueError, match="lags = 0: allowed are numbers of at least 1"):
            Autocovariance(0)
