"""Least-squares fits of one exponential, or of a sum of two, to thousands of series at once.

A component is weight * r^k at lag k, with a rate r = exp(-1 / tau) in 0..1. For given rates, the best weights follow
exactly from a small linear problem (variable projection). Therefore only the rates are searched: first on a grid, and
then by Levenberg-Marquardt from the best points of the grid, for all series in one batch. The search uses rates instead
of taus because a component that decays within one step (tau = 0) is then a regular point like any other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

# Number of series that are fitted together; fewer need more calls, and more do not fit the cache.
_BLOCK: Final = 512
# Points of the grid of taus: this many, geometric between these limits (in time steps), and 0.
_GRID: Final = 20
_SHORTEST: Final = 0.25
_ITERATIONS: Final = 30
# Damping relative to the diagonal of the Hessian: the initial and the smallest value.
_DAMPING, _DAMPING_LEAST = 1e-3, 1e-9
# A series is done when the step promises less than this share of its sum of squared residuals, ...
_GAIN: Final = 1e-8
# ... or of its own sum of squares: what is left there is rounding.
_ROUNDING: Final = 1e-26
# Relative precision of sums of squares that are computed from inner products.
_NOISE: Final = 1e-14
_TINY: Final = 1e-300
# The position of the best weights p, q in the triangle of allowed weights.
_INSIDE, _FULL, _ONLY_P, _ONLY_Q = range(4)


@dataclass(frozen=True)
class Bounds:
    """The bounds of a fit.

    Attributes:
        tau: the longest tau, in time steps; the shortest is 0.
        amplitude: the largest sum of the weights; weights are never negative.
    """

    tau: float = 100.0
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.tau < math.inf:
            raise ValueError(f"tau = {self.tau}: allowed are finite numbers of at least 1")
        if not self.amplitude > 0:
            raise ValueError(f"amplitude = {self.amplitude}: allowed are positive numbers")


@dataclass(frozen=True)
class Fit:
    """C components for each of P series, in float64, the slowest first.

    Attributes:
        rates: [P, C] r = exp(-1 / tau), each time step's factor.
        weights: [P, C] each component's value at lag 0, >= 0.
        residual: [P] sum of squared (whitened) residuals.
    """

    rates: Tensor
    weights: Tensor
    residual: Tensor

    @property
    def taus(self) -> Tensor:
        """Decay times [P, C] in time steps; 0 if a component vanishes after one step."""
        return -1 / self.rates.log()

    @property
    def amplitude(self) -> Tensor:
        """Values [P] at lag 0."""
        return self.weights.sum(1)

    def curve(self, lags: int) -> Tensor:
        """Return the fitted curves [P, lags] at lags 0, 1, ..."""
        return (self.weights[:, :, None] * powers(self.rates, lags)).sum(1)

    def slopes(self, lags: int) -> Tensor:
        """Return the derivatives of the curves by each weight, and then by each rate: [P, 2 C, lags]."""
        curves = powers(self.rates, lags)
        slopes = torch.zeros_like(curves)
        slopes[..., 1:] = self.weights[:, :, None] * curves[..., :-1] * torch.arange(1, lags)
        return torch.cat([curves, slopes], 1)

    def rows(self, chosen: Tensor) -> "Fit":
        """Return the fits of some of the series, by their positions or a mask."""
        return Fit(self.rates[chosen], self.weights[chosen], self.residual[chosen])

    def replaced(self, chosen: Tensor, others: "Fit") -> "Fit":
        """Return the fits with those of some series, by their positions, replaced."""
        return Fit(
            self.rates.index_put((chosen,), others.rates),
            self.weights.index_put((chosen,), others.weights),
            self.residual.index_put((chosen,), others.residual),
        )


def fit_single(series: Tensor, bounds: Bounds = Bounds(), whitening: Tensor | None = None) -> Fit:
    """Fit a * exp(-k / tau) to each series.

    Args:
        series: [P, L] values at lags 0..L-1, finite; P may be 0.
        bounds: of a and tau.
        whitening: [P, L, L] matrices V by which residuals are multiplied before they are squared, with V' V = the
            inverse of their covariance. Without it, all lags have the same weight.

    Returns:
        one component for each series.

    Raises:
        ValueError: if a series is not finite or the shapes do not fit.
    """
    return _fit(series, whitening, lambda part: _single(part, bounds), 1)


def fit_double(series: Tensor, bounds: Bounds = Bounds(), whitening: Tensor | None = None) -> Fit:
    """Fit a * (c exp(-k / tau1) + (1 - c) exp(-k / tau2)) to each series; never worse than a fit of one exponential.

    Args:
        series: [P, L] values at lags 0..L-1, finite; P may be 0.
        bounds: of a and both taus.
        whitening: [P, L, L] as for `fit_single`.

    Returns:
        two components for each series, the slower first. If one exponential is as good, one weight is 0.

    Raises:
        ValueError: if a series is not finite or the shapes do not fit.
    """
    return _fit(series, whitening, lambda part: _double(part, bounds), 2)


def _fit(series: Tensor, whitening: Tensor | None, fit: "Callable[[_Series], Fit]", count: int) -> Fit:
    if series.ndim != 2 or series.shape[1] < 1:
        raise ValueError(f"series: has the shape {tuple(series.shape)}; allowed is [P, L] with L >= 1")
    if not torch.isfinite(series).all():
        raise ValueError("series: must be finite")
    if whitening is not None and whitening.shape != (*series.shape, series.shape[1]):
        raise ValueError(f"whitening: has the shape {tuple(whitening.shape)}; allowed is [P, L, L]")
    y = series.double()
    found = [
        fit(_Series.of(y[i : i + _BLOCK], None if whitening is None else whitening[i : i + _BLOCK].double()))
        for i in range(0, len(y), _BLOCK)
    ]
    if not found:
        return Fit(y.new_empty(0, count), y.new_empty(0, count), y.new_empty(0))
    rates, weights = torch.cat([part.rates for part in found]), torch.cat([part.weights for part in found])
    # The slower of the components with a weight.
    order = torch.where(weights > 0, rates, rates - 2).argsort(dim=1, descending=True)
    return Fit(rates.gather(1, order), weights.gather(1, order), torch.cat([part.residual for part in found]))


def powers(rates: Tensor, lags: int) -> Tensor:
    """Return rates^k for k = 0..lags-1 [..., lags] of rates of any shape; 0^0 is 1."""
    factors = rates[..., None].expand(*rates.shape, lags).clone()
    factors[..., 0] = 1
    return factors.cumprod(-1)


@dataclass(frozen=True)
class _Series:
    """n series to be fitted.

    Attributes:
        values: [n, L].
        whitening: [n, L, L], or none.
        target: [n, L] the values, whitened.
        square: [n] its sum of squares.
    """

    values: Tensor
    whitening: Tensor | None
    target: Tensor
    square: Tensor

    @classmethod
    def of(cls, values: Tensor, whitening: Tensor | None) -> "_Series":
        target = values if whitening is None else (whitening @ values[:, :, None])[:, :, 0]
        return cls(values, whitening, target, target.square().sum(1))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lags(self) -> int:
        return self.values.shape[1]

    def rows(self, chosen: Tensor) -> "_Series":
        whitening = None if self.whitening is None else self.whitening[chosen]
        return _Series(self.values[chosen], whitening, self.target[chosen], self.square[chosen])

    def whitened(self, vectors: Tensor) -> Tensor:
        """Return vectors [n, M, L] with the weighting of residuals."""
        return vectors if self.whitening is None else vectors @ self.whitening.transpose(1, 2)

    def curves(self, rates: Tensor) -> Tensor:
        """Return the curves [n or 1, K, L] of the same rates [K] for each series, with the weighting of residuals."""
        return self.whitened(powers(rates, self.lags).expand(1 if self.whitening is None else len(self), -1, -1))

    def against(self, curves: Tensor, vectors: Tensor) -> Tensor:
        """Return the inner products [n, K] of curves [n or 1, K, L] and vectors [n, L]."""
        return vectors @ curves[0].T if len(curves) == 1 else (curves @ vectors[:, :, None])[:, :, 0]


def _grid(bounds: Bounds) -> Tensor:
    taus = torch.logspace(math.log10(_SHORTEST), math.log10(bounds.tau), _GRID, dtype=torch.float64)
    return torch.cat([taus.new_zeros(1), (-1 / taus).exp()])


def _single(series: _Series, bounds: Bounds) -> Fit:
    grid = _grid(bounds)
    curves = series.curves(grid)
    square, product = curves.square().sum(2), series.against(curves, series.target)
    weight = (product / square).clamp(0, bounds.amplitude)
    start = grid[(weight * (weight * square - 2 * product)).argmin(1)]
    return _refined(series, start[:, None], bounds)


def _double(series: _Series, bounds: Bounds) -> Fit:
    alone = _single(series, bounds)
    starts = [_best_pair(series, bounds), *_partners(series, alone.rates, bounds)]
    numbers = torch.arange(len(series))
    found = _refined(series.rows(numbers.repeat(len(starts))), torch.cat(starts), bounds)
    found = found.rows(found.residual.view(len(starts), -1).argmin(0) * len(series) + numbers)
    better = (alone.residual <= found.residual)[:, None]
    return Fit(
        torch.where(better, F.pad(alone.rates, (0, 1)), found.rates),
        torch.where(better, F.pad(alone.weights, (0, 1)), found.weights),
        torch.minimum(alone.residual, found.residual),
    )


def _best_pair(series: _Series, bounds: Bounds) -> Tensor:
    """Return the best pair of the grid for each series [n, 2]."""
    grid = _grid(bounds)
    curves = series.curves(grid)
    gram, product = curves @ curves.transpose(1, 2), series.against(curves, series.target)
    slow, fast = torch.tril_indices(len(grid), len(grid), -1)
    square = gram.diagonal(dim1=1, dim2=2)
    p, q, cost, _ = _best_weights(
        square[:, slow], gram[:, slow, fast], square[:, fast], product[:, slow], product[:, fast], bounds.amplitude
    )
    # Pairs that are best as a single component are not used as starts, since the single fit is tried anyway.
    best = torch.where((p > 0) & (q > 0), cost, math.inf).argmin(1)
    return torch.stack([grid[slow[best]], grid[fast[best]]], 1)


def _partners(series: _Series, rates: Tensor, bounds: Bounds) -> list[Tensor]:
    """Return the single fit's rates [n, 1] with their best slower partner of the grid, and with their best faster one.

    The grid alone is too coarse to detect a small second component.
    """
    grid = _grid(bounds)
    curves, own = series.curves(grid), series.whitened(powers(rates, series.lags))[:, 0]
    p, q, cost, _ = _best_weights(
        own.square().sum(1, keepdim=True),
        series.against(curves, own),
        curves.square().sum(2),
        (own * series.target).sum(1, keepdim=True),
        series.against(curves, series.target),
        bounds.amplitude,
    )
    cost = torch.where((p > 0) & (q > 0), cost, math.inf)
    best = [torch.where(side, cost, math.inf).argmin(1) for side in (grid > rates, grid < rates)]
    return [torch.cat([rates, grid[partner][:, None]], 1) for partner in best]


def _best_weights(
    g11: Tensor, g12: Tensor, g22: Tensor, h1: Tensor, h2: Tensor, largest: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solve min |y - p e1 - q e2|^2 over p, q >= 0, p + q <= largest.

    The problem is convex: if the unconstrained solution is not allowed, the best solution is on an edge.

    Args:
        g11: |e1|^2; this and the next four broadcast.
        g12: e1' e2.
        g22: |e2|^2.
        h1: e1' y.
        h2: e2' y.
        largest: may be infinite.

    Returns:
        p; q; the sum of squares less |y|^2; and where the solution lies: _INSIDE or on an edge.
    """
    det = g11 * g22 - g12 * g12
    p, q = (h1 * g22 - h2 * g12) / det, (h2 * g11 - h1 * g12) / det
    inside = (p > 0) & (q > 0) & (p + q < largest) & (det > 0)
    cost = torch.where(inside, -(p * h1 + q * h2), math.inf)
    where = torch.zeros_like(inside, dtype=torch.int8)

    def consider(other_p: Tensor, other_q: Tensor, value: Tensor, edge: int) -> None:
        nonlocal p, q, cost, where
        better = value < cost
        p, q = torch.where(better, other_p, p), torch.where(better, other_q, q)
        cost, where = torch.where(better, value, cost), torch.where(better, edge, where)

    # The edges are never better than a solution inside, so they can be tried for all.
    zero = torch.zeros_like(p)
    alone = (h1 / g11).clamp(0, largest)
    consider(alone, zero, alone * (alone * g11 - 2 * h1), _ONLY_P)
    alone = (h2 / g22).clamp(0, largest)
    consider(zero, alone, alone * (alone * g22 - 2 * h2), _ONLY_Q)
    if largest < math.inf:
        share = ((h1 - h2 + largest * (g22 - g12)) / (g11 - 2 * g12 + g22)).clamp(0, largest).nan_to_num(0)
        rest = largest - share
        value = share * (share * g11 + 2 * rest * g12 - 2 * h1) + rest * (rest * g22 - 2 * h2)
        consider(share, rest, value, _FULL)
    return p, q, cost, where


@dataclass(frozen=True)
class _Point:
    """The best fit at given rates, and how half its sum of squares changes with them.

    Attributes:
        weights: [n, C].
        residual: [n] the sum of squares.
        gradient: [n, C] of half of it.
        hessian: [n, C, C] of half of it, the weights following the rates; by Gauss-Newton where the exact one is not
            positive: residuals are often large, and then Gauss-Newton alone is slow.
    """

    weights: Tensor
    residual: Tensor
    gradient: Tensor
    hessian: Tensor

    def rows(self, chosen: Tensor) -> "_Point":
        return _Point(self.weights[chosen], self.residual[chosen], self.gradient[chosen], self.hessian[chosen])

    def where(self, chosen: Tensor, other: "_Point") -> "_Point":
        """Return these values where `chosen` [n] is true, and the others elsewhere."""
        return _Point(
            torch.where(chosen[:, None], self.weights, other.weights),
            torch.where(chosen, self.residual, other.residual),
            torch.where(chosen[:, None], self.gradient, other.gradient),
            torch.where(chosen[:, None, None], self.hessian, other.hessian),
        )


def _point(series: _Series, rates: Tensor, largest: float) -> _Point:
    """Return the best fit at rates [n, C], C = 1 or 2."""
    count, lags = rates.shape[1], series.lags
    e, d, b = slice(0, count), slice(count, 2 * count), slice(2 * count, 3 * count)
    # The powers of the rates, and their first and second derivatives.
    vectors = rates.new_zeros(len(rates), 3 * count, lags)
    exponent = torch.arange(1, lags, dtype=rates.dtype)
    vectors[:, e] = powers(rates, lags)
    torch.mul(vectors[:, e, :-1], exponent, out=vectors[:, d, 1:])
    torch.mul(vectors[:, d, :-1], exponent, out=vectors[:, b, 1:])
    vectors = torch.cat([series.whitened(vectors), series.target[:, None]], 1)
    gram = vectors @ vectors.transpose(1, 2)
    product = gram[:, e, -1]
    free = torch.zeros_like(gram[:, e, e])
    if count == 1:
        weights = (product / gram[:, e, 0]).clamp(0, largest)
        cost = (weights * (weights * gram[:, e, 0] - 2 * product))[:, 0]
        free[:, 0] = torch.where((weights > 0) & (weights < largest), 1 / gram[:, e, 0], 0)
    else:
        g11, g12, g22 = gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1]
        p, q, cost, where = _best_weights(g11, g12, g22, product[:, 0], product[:, 1], largest)
        weights = torch.stack([p, q], 1)
        inside, full, det = where == _INSIDE, (where == _FULL) & (p > 0) & (q > 0), g11 * g22 - g12 * g12
        along = 1 / (g11 - 2 * g12 + g22)
        alone_p, alone_q = (where == _ONLY_P) & (p < largest), (where == _ONLY_Q) & (q < largest)
        free[:, 0, 0] = torch.where(inside, g22 / det, torch.where(full, along, torch.where(alone_p, 1 / g11, 0)))
        free[:, 1, 1] = torch.where(inside, g11 / det, torch.where(full, along, torch.where(alone_q, 1 / g22, 0)))
        free[:, 0, 1] = free[:, 1, 0] = torch.where(inside, -g12 / det, torch.where(full, -along, 0))
    mixed = gram[:, e, d]
    slope = torch.bmm(weights[:, None], mixed)[:, 0] - gram[:, -1, d]
    bend = torch.bmm(weights[:, None], gram[:, e, b])[:, 0] - gram[:, -1, b]
    mixed = mixed * weights[:, None]
    plain = weights[:, :, None] * weights[:, None] * gram[:, d, d]
    hessian = plain + torch.diag_embed(weights * bend) - _hidden(mixed + torch.diag_embed(slope), free)
    positive = (hessian.diagonal(dim1=1, dim2=2) > 0).all(1) & (_det(hessian) > 0)
    hessian = torch.where(positive[:, None, None], hessian, plain - _hidden(mixed, free))
    return _Point(weights, (series.square + cost).clamp(min=0), weights * slope, hessian)


def _hidden(mixed: Tensor, free: Tensor) -> Tensor:
    """Return the reduction of the curvature by the weights, which follow the rates."""
    return torch.bmm(mixed.transpose(1, 2), torch.bmm(free, mixed))


def _det(matrix: Tensor) -> Tensor:
    """Return the determinants [n] of matrices [n, 1 or 2, the same]."""
    corner = matrix[:, 0, 0]
    return corner if matrix.shape[1] == 1 else corner * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def _step(point: _Point, rates: Tensor, damping: Tensor, highest: float) -> tuple[Tensor, Tensor]:
    """Return the rates after a damped Newton step [n, C], and the predicted decrease of half the residual [n]."""
    gradient = point.gradient
    stuck = ((rates <= 0) & (gradient >= 0)) | ((rates >= highest) & (gradient <= 0)) | (point.weights <= 0)
    gradient = gradient.masked_fill(stuck, 0)
    diagonal = point.hessian.diagonal(dim1=1, dim2=2) * (1 + damping[:, None])
    diagonal = torch.where(stuck | (diagonal <= 0), 1, diagonal)
    coupling = torch.zeros_like(damping) if rates.shape[1] == 1 else point.hessian[:, 0, 1]
    coupling = coupling.masked_fill(stuck.any(1), 0)[:, None]
    det = diagonal[:, :1] * diagonal[:, -1:] - coupling * coupling
    step = (coupling * gradient.flip(1) - diagonal.flip(1) * gradient) / det
    moved = (rates + step).clamp(0, highest)
    # If one rate is at its bound, the step of the other is computed for this case.
    cut, step = moved != rates + step, moved - rates
    follow = (rates - (gradient + coupling * step.flip(1)) / diagonal).clamp(0, highest)
    moved = torch.where(cut.flip(1) & ~stuck, follow, moved)
    step = moved - rates
    return moved, -(step * (gradient + (diagonal * step + coupling * step.flip(1)) / 2)).sum(1)


def _refined(series: _Series, rates: Tensor, bounds: Bounds) -> Fit:
    """Return the nearest minimum from each of the rates [n, C] by Levenberg-Marquardt."""
    highest = math.exp(-1 / bounds.tau)
    found = rates.clone()
    # Only unfinished series are computed; finished series are removed once there are many.
    work, numbers, damping = series, torch.arange(len(series)), torch.full_like(series.square, _DAMPING)
    point = _point(work, rates, bounds.amplitude)
    for _ in range(_ITERATIONS):
        trial, promise = _step(point, rates, damping, highest)
        busy = (promise > _GAIN * point.residual + _ROUNDING * work.square) & (point.weights > 0).all(1)
        if not busy.any():
            break
        if busy.sum() < 0.75 * len(busy):
            work, point, numbers = work.rows(busy), point.rows(busy), numbers[busy]
            rates, trial, promise, damping = rates[busy], trial[busy], promise[busy], damping[busy]
        there = _point(work, trial, bounds.amplitude)
        gain = (point.residual - there.residual) / 2
        # A step in which a component vanishes is rejected, since single fits are made separately.
        gain = gain.masked_fill((there.weights <= 0).any(1) & (point.weights > 0).all(1), -math.inf)
        better = gain >= -_NOISE * work.square
        rates, point = torch.where(better[:, None], trial, rates), there.where(better, point)
        found[numbers] = rates
        # Nielsen's rule, by the ratio of the actual to the predicted decrease.
        change = (1 - (2 * gain / promise.clamp(min=_TINY) - 1) ** 3).clamp(0.1, 4.0)
        damping = (damping * change).clamp(min=_DAMPING_LEAST)
    weights = _point(series, found, bounds.amplitude).weights
    # Computed explicitly, since a small residual is lost in the difference of large inner products.
    missed = series.values - (weights[:, :, None] * powers(found, series.lags)).sum(1)
    return Fit(found, weights, series.whitened(missed[:, None])[:, 0].square().sum(1))
