"""Least-squares fits of one exponential, or a sum of two, to thousands of series at once.

A component is weight * r^k at lag k, with the rate r = exp(-1 / tau) in 0..1. The weights that are best at given rates
follow exactly from a small linear problem (variable projection), so that only the rates are searched: first on a
grid, then by Levenberg-Marquardt from the best points of the grid, all series in one batch. Rates rather than taus: a
component that decays within a step (tau = 0) is then as regular a point as any other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

# Series that are fitted together: fewer cost more calls, more do not fit the cache.
_BLOCK: Final = 512
# Points of the grid of taus: this many, geometric between these limits (in time steps), and 0.
_GRID: Final = 20
_SHORTEST: Final = 0.25
_ITERATIONS: Final = 30
_DAMPING_LEAST: Final = 1e-9
# A series is done when the step promises less than this share of its sum of squared residuals, ...
_GAIN: Final = 1e-8
# ... or of its own sum of squares: what is left there is rounding.
_ROUNDING: Final = 1e-26
# Sums of squares from inner products are known to this share of the series' own.
_NOISE: Final = 1e-14
# Where the best weights p, q lie in the triangle of those allowed.
_INSIDE, _FULL, _ONLY_P, _ONLY_Q = range(4)


@dataclass(frozen=True)
class Bounds:
    """What a fit may choose from.

    Attributes:
        tau: the longest tau, in time steps; the shortest is 0.
        amplitude: the largest sum of the weights, which are never negative.
    """

    tau: float = 100.0
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.tau < math.inf:
            raise ValueError(f"tau = {self.tau}: allowed are finite numbers from 1 on")
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
        """Decay times [P, C] in time steps: 0 where a component is gone after one step."""
        return -1 / self.rates.log()

    @property
    def amplitude(self) -> Tensor:
        """Values [P] at lag 0."""
        return self.weights.sum(1)

    def curve(self, lags: int) -> Tensor:
        """Return the fitted curves [P, lags] at lags 0, 1, ..."""
        return (self.weights[:, :, None] * powers(self.rates, lags)).sum(1)

    def slopes(self, lags: int) -> Tensor:
        """Return how the curves change with each weight, then with each rate: [P, 2 C, lags]."""
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
        whitening: [P, L, L] what residuals are multiplied by before they are squared: V with V' V = the inverse of
            their covariance. Without it all lags count alike.

    Returns:
        one component a series.

    Raises:
        ValueError: if a series is not finite or the shapes do not fit.
    """
    return _fit(series, whitening, lambda y, white: _single(y, white, bounds), 1)


def fit_double(series: Tensor, bounds: Bounds = Bounds(), whitening: Tensor | None = None) -> Fit:
    """Fit a * (c exp(-k / tau1) + (1 - c) exp(-k / tau2)) to each series: never worse than a single one.

    Args:
        series: [P, L] values at lags 0..L-1, finite; P may be 0.
        bounds: of a and both taus.
        whitening: [P, L, L] as for `fit_single`.

    Returns:
        two components a series, the slower first. Where one exponential is as good, the weight of one is 0.

    Raises:
        ValueError: if a series is not finite or the shapes do not fit.
    """
    return _fit(series, whitening, lambda y, white: _double(y, white, bounds), 2)


def _fit(series: Tensor, whitening: Tensor | None, fit: Callable[[Tensor, Tensor | None], Fit], count: int) -> Fit:
    if series.ndim != 2 or series.shape[1] < 1:
        raise ValueError(f"series: has the shape {tuple(series.shape)}; allowed is [P, L] with L >= 1")
    if not torch.isfinite(series).all():
        raise ValueError("series: must be finite")
    if whitening is not None and whitening.shape != (*series.shape, series.shape[1]):
        raise ValueError(f"whitening: has the shape {tuple(whitening.shape)}; allowed is [P, L, L]")
    y = series.double()
    found = [
        fit(y[i : i + _BLOCK], None if whitening is None else whitening[i : i + _BLOCK].double())
        for i in range(0, len(y), _BLOCK)
    ]
    if not found:
        return Fit(y.new_empty(0, count), y.new_empty(0, count), y.new_empty(0))
    rates, weights = torch.cat([part.rates for part in found]), torch.cat([part.weights for part in found])
    # Which is the slower, of those that are there at all.
    order = torch.where(weights > 0, rates, rates - 2).argsort(dim=1, descending=True)
    return Fit(rates.gather(1, order), weights.gather(1, order), torch.cat([part.residual for part in found]))


def powers(rates: Tensor, lags: int) -> Tensor:
    """Return rates^k for k = 0..lags-1 [..., lags] of rates of any shape; 0^0 is 1."""
    factors = rates[..., None].expand(*rates.shape, lags).clone()
    factors[..., 0] = 1
    return factors.cumprod(-1)


def _whitened(vectors: Tensor, whitening: Tensor | None) -> Tensor:
    """Return V v for vectors [n, M, L] and V [n, L, L]."""
    return vectors if whitening is None else torch.bmm(vectors, whitening.transpose(1, 2))


def _grid(bounds: Bounds) -> Tensor:
    taus = torch.logspace(math.log10(_SHORTEST), math.log10(bounds.tau), _GRID, dtype=torch.float64)
    return torch.cat([taus.new_zeros(1), (-1 / taus).exp()])


def _single(y: Tensor, whitening: Tensor | None, bounds: Bounds) -> Fit:
    grid = _grid(bounds)
    curves, target = _curves(grid, y, whitening)
    square, product = curves.square().sum(2), _inner(target, curves)
    weight = (product / square).clamp(0, bounds.amplitude)
    start = grid[(weight * (weight * square - 2 * product)).argmin(1)]
    return _refined(y, whitening, start[:, None], bounds)


def _double(y: Tensor, whitening: Tensor | None, bounds: Bounds) -> Fit:
    grid = _grid(bounds)
    alone = _single(y, whitening, bounds)
    starts = torch.cat([_best_pair(grid, y, whitening, bounds), _partners(grid, alone.rates, y, whitening, bounds)])
    copies = len(starts) // len(y)
    several = None if whitening is None else whitening.repeat(copies, 1, 1)
    found = _refined(y.repeat(copies, 1), several, starts, bounds)
    best = found.residual.view(copies, -1).argmin(0) * len(y) + torch.arange(len(y))
    rates, weights, residual = found.rates[best], found.weights[best], found.residual[best]
    better = alone.residual <= residual
    return Fit(
        torch.where(better[:, None], F.pad(alone.rates, (0, 1)), rates),
        torch.where(better[:, None], F.pad(alone.weights, (0, 1)), weights),
        torch.where(better, alone.residual, residual),
    )


def _curves(rates: Tensor, y: Tensor, whitening: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the curves of rates [K] or [n, K], whitened [n or 1, K, L], and the series, whitened [n, L]."""
    curves = powers(rates, y.shape[1]).expand(1 if whitening is None else len(y), -1, -1)
    return _whitened(curves, whitening), _whitened(y[:, None], whitening)[:, 0]


def _inner(vector: Tensor, curves: Tensor) -> Tensor:
    """Return the inner products [n, K] of vectors [n, L] and curves [n or 1, K, L]."""
    return vector @ curves[0].T if len(curves) == 1 else torch.bmm(curves, vector[:, :, None])[:, :, 0]


def _best_pair(grid: Tensor, y: Tensor, whitening: Tensor | None, bounds: Bounds) -> Tensor:
    """Return the best pair of the grid for each series [n, 2]."""
    curves, target = _curves(grid, y, whitening)
    gram, product = torch.bmm(curves, curves.transpose(1, 2)), _inner(target, curves)
    slow, fast = torch.tril_indices(len(grid), len(grid), -1)
    square = gram.diagonal(dim1=1, dim2=2)
    p, q, cost, _ = _best_weights(
        square[:, slow], gram[:, slow, fast], square[:, fast], product[:, slow], product[:, fast], bounds.amplitude
    )
    # A pair that is better off as one is no start: the single fit is tried anyway.
    best = torch.where((p > 0) & (q > 0), cost, math.inf).argmin(1)
    return torch.stack([grid[slow[best]], grid[fast[best]]], 1)


def _partners(grid: Tensor, rates: Tensor, y: Tensor, whitening: Tensor | None, bounds: Bounds) -> Tensor:
    """Return the single fit's rates [n, 1] with their best slower and best faster partner of the grid: [2 n, 2].

    The grid is too coarse to see that a little of a second component would do good.
    """
    curves, target = _curves(grid, y, whitening)
    own = _whitened(powers(rates, y.shape[1]), whitening)
    square = own.square().sum(2)
    p, q, cost, _ = _best_weights(
        square,
        _inner(own[:, 0], curves),
        curves.square().sum(2),
        (own[:, 0] * target).sum(1, keepdim=True),
        _inner(target, curves),
        bounds.amplitude,
    )
    cost = torch.where((p > 0) & (q > 0), cost, math.inf)
    return torch.cat(
        [
            torch.cat([rates, grid[torch.where(side, cost, math.inf).argmin(1)][:, None]], 1)
            for side in (grid > rates, grid < rates)
        ]
    )


def _best_weights(
    g11: Tensor, g12: Tensor, g22: Tensor, h1: Tensor, h2: Tensor, largest: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solve min |y - p e1 - q e2|^2 over p, q >= 0, p + q <= largest.

    The problem is convex: where its free solution is not allowed, the best of the edges is the best.

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

    # Inside, the edges are never better: they may be tried for all.
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


def _point(y: Tensor, target: Tensor, whitening: Tensor | None, rates: Tensor, largest: float) -> _Point:
    """Return the best fit of series [n, L], whitened: `target`, at rates [n, C], C = 1 or 2."""
    count, lags = rates.shape[1], y.shape[1]
    e, d, b = slice(0, count), slice(count, 2 * count), slice(2 * count, 3 * count)
    # The powers of the rates, their slopes and their bends.
    vectors = y.new_zeros(len(y), 3 * count, lags)
    vectors[:, e] = powers(rates, lags)
    torch.mul(vectors[:, e, :-1], torch.arange(1, lags, dtype=y.dtype), out=vectors[:, d, 1:])
    torch.mul(vectors[:, d, :-1], torch.arange(1, lags, dtype=y.dtype), out=vectors[:, b, 1:])
    vectors = torch.cat([_whitened(vectors, whitening), target[:, None]], 1)
    gram = torch.bmm(vectors, vectors.transpose(1, 2))
    square, product = gram[:, -1, -1], gram[:, e, -1]
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
    return _Point(weights, (square + cost).clamp(min=0), weights * slope, hessian)


def _hidden(mixed: Tensor, free: Tensor) -> Tensor:
    """Return what of the curvature the weights take up."""
    return torch.bmm(mixed.transpose(1, 2), torch.bmm(free, mixed))


def _det(matrix: Tensor) -> Tensor:
    """Return the determinants [n] of matrices [n, 1 or 2, the same]."""
    corner = matrix[:, 0, 0]
    return corner if matrix.shape[1] == 1 else corner * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def _step(point: _Point, rates: Tensor, damping: Tensor, highest: float) -> tuple[Tensor, Tensor]:
    """Return where a damped Gauss-Newton step leads [n, C], and by how much it promises to lower half the residual."""
    gradient = point.gradient
    stuck = ((rates <= 0) & (gradient >= 0)) | ((rates >= highest) & (gradient <= 0)) | (point.weights <= 0)
    gradient = gradient.masked_fill(stuck, 0)
    diagonal = point.hessian.diagonal(dim1=1, dim2=2) * (1 + damping[:, None])
    diagonal = torch.where(stuck | (diagonal <= 0), 1, diagonal)
    if rates.shape[1] == 1:
        step = -gradient / diagonal
        coupling = torch.zeros_like(step[:, 0])
    else:
        coupling = point.hessian[:, 0, 1].masked_fill(stuck.any(1), 0)
        det = diagonal[:, 0] * diagonal[:, 1] - coupling * coupling
        step = (coupling[:, None] * gradient.flip(1) - diagonal.flip(1) * gradient) / det[:, None]
    moved = (rates + step).clamp(0, highest)
    cut, step = moved != rates + step, moved - rates
    if rates.shape[1] == 2:
        # Where one rate ends at its bound, the other goes where is best for it then.
        follow = rates - (gradient + coupling[:, None] * step.flip(1)) / diagonal
        moved = torch.where(cut.flip(1) & ~stuck, follow.clamp(0, highest), moved)
        step = moved - rates
    curvature = (step * step * diagonal).sum(1)
    if rates.shape[1] == 2:
        curvature = curvature + 2 * coupling * step[:, 0] * step[:, 1]
    return moved, -(gradient * step).sum(1) - curvature / 2


def _refined(y: Tensor, whitening: Tensor | None, rates: Tensor, bounds: Bounds) -> Fit:
    """Return the nearest minimum from each of the rates [n, C] by Levenberg-Marquardt."""
    highest = math.exp(-1 / bounds.tau)
    target = _whitened(y[:, None], whitening)[:, 0]
    scale = target.square().sum(1)
    found = rates.clone()
    # Only the rows still at work are computed; they move together when enough have ended.
    rows = torch.arange(len(y))
    work = (y, target, whitening, scale)
    damping = torch.full_like(scale, 1e-3)
    point = _point(y, target, whitening, rates, bounds.amplitude)
    for _ in range(_ITERATIONS):
        trial, promise = _step(point, rates, damping, highest)
        busy = (promise > _GAIN * point.residual + _ROUNDING * work[3]) & (point.weights > 0).all(1)
        if not busy.any():
            break
        if busy.sum() < 0.75 * len(busy):
            rows, rates, trial, promise, damping = rows[busy], rates[busy], trial[busy], promise[busy], damping[busy]
            work = (work[0][busy], work[1][busy], None if work[2] is None else work[2][busy], work[3][busy])
            point = _Point(point.weights[busy], point.residual[busy], point.gradient[busy], point.hessian[busy])
        there = _point(work[0], work[1], work[2], trial, bounds.amplitude)
        gain = (point.residual - there.residual) / 2
        # A step on which a component vanishes is taken back: fits of one are made elsewhere.
        gain = gain.masked_fill((there.weights <= 0).any(1) & (point.weights > 0).all(1), -math.inf)
        better = gain >= -_NOISE * work[3]
        rates = torch.where(better[:, None], trial, rates)
        found[rows] = rates
        point = _Point(
            torch.where(better[:, None], there.weights, point.weights),
            torch.where(better, there.residual, point.residual),
            torch.where(better[:, None], there.gradient, point.gradient),
            torch.where(better[:, None, None], there.hessian, point.hessian),
        )
        # Nielsen's rule: by how much of the promise was kept.
        change = (1 - (2 * gain / promise.clamp(min=1e-300) - 1) ** 3).clamp(0.1, 4.0)
        damping = (damping * change).clamp(min=_DAMPING_LEAST)
    weights = _point(y, target, whitening, found, bounds.amplitude).weights
    # Explicitly, since a small residual is lost in the difference of large inner products.
    curve = (weights[:, :, None] * powers(found, y.shape[1])).sum(1)
    residual = _whitened((y - curve)[:, None], whitening)[:, 0].square().sum(1)
    return Fit(found, weights, residual)
