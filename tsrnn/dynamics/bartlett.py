"""Bartlett's formula: the covariance of the errors of autocorrelations that are estimated from a finite record.

The errors of neighbouring lags are correlated: 31 lags of a slow process are far fewer than 31 independent points.
"""

import torch
from torch import Tensor

from tsrnn.dynamics.exponentials import powers


def covariance(rates: Tensor, shares: Tensor, lags: int) -> Tensor:
    """Return the covariance of autocorrelations, times the number of steps they are estimated from.

    Args:
        rates: [P, C] in 0..1, below 1: the true autocorrelation is sum_c shares_c * rates_c^k.
        shares: [P, C], sums of 1.
        lags: L, those at 0..L-1.

    Returns:
        [P, L, L], in time steps; lag 0, where an autocorrelation is 1, has none.

    Source: Bartlett (1946): sum over m >= 1 of s_k(m) s_l(m) with
    s_k(m) = rho(m + k) + rho(m - k) - 2 rho(k) rho(m). The terms from m = L on are a geometric series.
    """
    curves = powers(rates, 2 * lags)
    rho = (shares[:, :, None] * curves).sum(1)
    k, m = torch.arange(lags)[:, None], torch.arange(1, lags)[None]
    near = rho[:, k + m] + rho[:, (m - k).abs()] - 2 * rho[:, :lags, None] * rho[:, None, 1:lags]
    # Of each component at m = L, where it goes on as rate^(m - L).
    ahead, behind = curves[:, :, lags:], curves[:, :, 1 : lags + 1].flip(2)
    far = shares[:, :, None] * (ahead + behind - 2 * rho[:, None, :lags] * curves[:, :, lags : lags + 1])
    series = 1 / (1 - rates[:, :, None] * rates[:, None])
    return torch.baddbmm(far.transpose(1, 2) @ series @ far, near, near.transpose(1, 2))


def whitening(covariance: Tensor) -> Tensor:
    """Return V [P, L, L] with V' V = the inverse of each covariance [P, L, L], which must be positive definite."""
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype).expand_as(covariance)
    result: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), identity, upper=False)
    return result
