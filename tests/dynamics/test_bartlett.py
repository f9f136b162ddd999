"""The covariance of autocorrelations: against the sum it stands for, and against simulated series."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from tsrnn.dynamics.bartlett import covariance, whitening


def by_the_sum(rates: list[float], shares: list[float], lags: int) -> np.ndarray:
    """Bartlett's sum over 20 000 terms."""
    m = np.arange(1, 20_000)

    def rho(k):
        return sum(share * rate ** np.abs(k) for rate, share in zip(rates, shares, strict=True))

    s = np.stack([rho(m + k) + rho(m - k) - 2 * rho(k) * rho(m) for k in range(lags)])
    return s @ s.T


@pytest.mark.parametrize(
    ("rates", "shares"), [([0.9], [1.0]), ([0.995, 0.3], [0.2, 0.8]), ([0.5, 0.0], [0.6, 0.4]), ([0.0], [1.0])]
)
def test_it_is_the_infinite_sum(rates: list[float], shares: list[float]):
    components = torch.tensor([rates, shares], dtype=torch.float64)
    found = covariance(components[:1], components[1:], 12)
    assert np.allclose(found[0], by_the_sum(rates, shares, 12), rtol=1e-9, atol=1e-12)


def test_simulated_autocorrelations_vary_so():
    generator, rate, steps, lags = np.random.default_rng(1), 0.8, 2000, 10
    x = lfilter([1], [1, -rate], generator.standard_normal((2000, steps + 200)))[:, 200:]
    products = np.stack([(x[:, : steps - k] * x[:, k:]).sum(1) / steps for k in range(lags)], 1)
    seen = np.cov((products / products[:, :1]).T) * steps
    expected = covariance(torch.tensor([[rate]]).double(), torch.ones(1, 1).double(), lags)[0].numpy()
    assert np.abs(seen - expected).max() < 0.1 * expected.max()


def test_whitened_errors_are_independent():
    expected = covariance(torch.tensor([[0.8], [0.3]]).double(), torch.ones(2, 1).double(), 8)[:, 1:, 1:]
    white = whitening(expected)
    assert torch.allclose(white @ expected @ white.transpose(1, 2), torch.eye(7).double().expand(2, -1, -1))
