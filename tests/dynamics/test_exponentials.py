"""Fits of exponentials against scipy's curve_fit, and what must hold of any fit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from torch import Tensor

from tsrnn.dynamics.exponentials import Bounds, fit_double, fit_single

LAGS = 31
TAUS = st.floats(0.3, 80.0)


def single(k, a, tau):
    return a * np.exp(-k / tau)


def double(k, a, tau1, tau2, c):
    return a * (c * np.exp(-k / tau1) + (1 - c) * np.exp(-k / tau2))


def series(generator: np.random.Generator, count: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Noisy sums of two [count, LAGS], and what they are made of: a, tau1, tau2, c."""
    truth = np.stack(
        [
            generator.uniform(0.5, 1.0, count),
            np.exp(generator.uniform(math.log(0.5), math.log(50), count)),
            np.exp(generator.uniform(math.log(0.5), math.log(50), count)),
            generator.uniform(0, 1, count),
        ],
        1,
    )
    k = np.arange(LAGS)
    return np.stack([double(k, *row) for row in truth]) + noise * generator.standard_normal((count, LAGS)), truth


def squares(model, y: np.ndarray, start: list[float], high: list[float]) -> float:
    """The sum of squared residuals that curve_fit reaches."""
    k = np.arange(LAGS)
    found, _ = curve_fit(model, k, y, start, bounds=([0] * len(start), high), maxfev=5000)
    return float(((y - model(k, *found)) ** 2).sum())


PLATEAU = 1e-8
"""Where two timescales nearly agree, the sum of squares is so flat that fits end at up to this, for curves of up to 1
at 31 lags; the processor decides where on it. It is a root mean square of 2e-5."""


class TestAgainstCurveFit:
    @pytest.mark.parametrize("noise", [0.0, 0.003, 0.03])
    def test_residuals_are_as_small_as_from_the_truth(self, noise: float):
        y, truth = series(np.random.default_rng(1), 60, noise)
        ones, twos = fit_single(torch.tensor(y)), fit_double(torch.tensor(y))
        for i, (a, tau1, tau2, c) in enumerate(truth):
            slower = max(tau1, tau2)
            assert ones.residual[i] <= 1.002 * squares(single, y[i], [a, slower], [1, 100]) + PLATEAU
            assert twos.residual[i] <= 1.002 * squares(double, y[i], [a, tau1, tau2, c], [1, 100, 100, 1]) + PLATEAU

    def test_whitened_residuals_are_as_small(self):
        y, truth = series(np.random.default_rng(2), 30, 0.01)
        rate = 0.8
        covariance = 1e-4 * rate ** np.abs(np.arange(LAGS)[:, None] - np.arange(LAGS))
        whitening = torch.linalg.inv(torch.linalg.cholesky(torch.tensor(covariance))).expand(len(y), -1, -1)
        ones, twos = fit_single(torch.tensor(y), whitening=whitening), fit_double(torch.tensor(y), whitening=whitening)
        k = np.arange(LAGS)
        for i, (a, tau1, tau2, c) in enumerate(truth):
            for fit, model, start, high in (
                (ones, single, [a, max(tau1, tau2)], [1, 100]),
                (twos, double, [a, tau1, tau2, c], [1, 100, 100, 1]),
            ):
                found, _ = curve_fit(model, k, y[i], start, sigma=covariance, bounds=([0] * len(start), high))
                missed = y[i] - model(k, *found)
                assert fit.residual[i] <= 1.002 * (missed @ np.linalg.solve(covariance, missed)) + 1e-9


def curve(a: float, taus: list[float], shares: list[float]) -> Tensor:
    k = torch.arange(LAGS, dtype=torch.float64)
    return a * sum(share * torch.exp(-k / tau) for tau, share in zip(taus, shares, strict=True))


class TestProperties:
    @settings(deadline=None, max_examples=50)
    @given(a=st.floats(0.05, 1.0), tau=TAUS)
    def test_a_noiseless_single_is_recovered(self, a: float, tau: float):
        fit = fit_single(curve(a, [tau], [1.0])[None])
        assert fit.taus.item() == pytest.approx(tau, rel=1e-6)
        assert fit.amplitude.item() == pytest.approx(a, rel=1e-6)

    @settings(deadline=None, max_examples=50)
    @given(a=st.floats(0.05, 1.0), tau=st.floats(0.3, 20.0), ratio=st.floats(3.0, 10.0), share=st.floats(0.1, 0.9))
    def test_a_noiseless_double_is_recovered(self, a: float, tau: float, ratio: float, share: float):
        slow = min(ratio * tau, 90.0)
        fit = fit_double(curve(a, [slow, tau], [share, 1 - share])[None])
        assert fit.residual.item() < 1e-10
        assert fit.taus[0].tolist() == pytest.approx([slow, tau], rel=0.01)

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100.0))
    def test_scaled_series_have_scaled_fits(self, seed: int, scale: float):
        y = torch.tensor(series(np.random.default_rng(seed), 3, 0.01)[0])
        for fit in (fit_single, fit_double):
            one, other = fit(y, Bounds(amplitude=1.0)), fit(scale * y, Bounds(amplitude=scale))
            assert torch.allclose(other.residual, scale**2 * one.residual, rtol=1e-4)

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 1000))
    def test_two_are_never_worse_than_one_and_both_stay_in_bounds(self, seed: int):
        y = torch.tensor(np.random.default_rng(seed).standard_normal((20, LAGS)))
        ones, twos = fit_single(y), fit_double(y)
        assert (twos.residual <= ones.residual).all()
        for fit in (ones, twos):
            assert (fit.weights >= 0).all()
            assert (fit.amplitude <= 1 + 1e-12).all()
            assert ((fit.rates >= 0) & (fit.rates <= math.exp(-1 / 100))).all()
            assert torch.allclose((y - fit.curve(LAGS)).square().sum(1), fit.residual)

    def test_a_series_is_fitted_alike_in_any_company(self):
        y = torch.tensor(series(np.random.default_rng(3), 600, 0.01)[0])
        alone, together = fit_double(y[400:402]), fit_double(y)
        assert torch.allclose(alone.rates, together.rates[400:402], atol=1e-9)


class TestEdges:
    @pytest.mark.parametrize("fit", [fit_single, fit_double])
    def test_no_series(self, fit):
        assert fit(torch.empty(0, LAGS)).rates.shape[0] == 0

    @pytest.mark.parametrize("fit", [fit_single, fit_double])
    def test_white_noise_and_constants(self, fit):
        y = torch.zeros(3, LAGS)
        y[0, 0], y[1] = 1, 1
        found = fit(y)
        assert found.taus[0, 0] < 0.1
        assert found.taus[1, 0] == pytest.approx(100)
        assert found.residual[[0, 2]].tolist() == pytest.approx([0, 0])

    def test_two_of_which_one_is_gone_after_a_step(self):
        y = 0.4 * torch.exp(-torch.arange(LAGS, dtype=torch.float64) / 8)
        y[0] = 1
        fit = fit_double(y[None])
        assert fit.taus[0, 0].item() == pytest.approx(8, rel=1e-5)
        assert fit.taus[0, 1] < 0.1
        assert fit.weights[0].tolist() == pytest.approx([0.4, 0.6], rel=1e-4)

    def test_bad_values(self):
        with pytest.raises(ValueError, match="finite"):
            fit_single(torch.tensor([[1.0, float("nan")]]))
        with pytest.raises(ValueError, match=r"\[P, L\]"):
            fit_single(torch.ones(3))
        with pytest.raises(ValueError, match="whitening"):
            fit_single(torch.ones(3, 4), whitening=torch.ones(3, 4))
        with pytest.raises(ValueError, match="tau = inf"):
            Bounds(tau=math.inf)
        with pytest.raises(ValueError, match="amplitude = 0"):
            Bounds(amplitude=0)
