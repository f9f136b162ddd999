"""Exact comparison of two groups of networks: the permutation test of a difference of means, and its interval.

The interval contains every shift of one group that the test does not reject, so p-values, intervals and verdicts always
agree. Many studies can be compared at once along leading axes, so that simulations judge as the commands do.
"""

import math
from functools import cache
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np

Values = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

LEVEL: Final = 0.05
"""The significance level of verdicts; each of the two directions has half of it."""

SPLITS: Final = 20_000
"""Up to this number of splits of the networks into two groups, all are used; otherwise, this number is drawn."""

# Number of studies whose splits are in memory at once.
_AT_ONCE: Final = 400
_DIGITS: Final = 10


class Effect(NamedTuple):
    """An estimate with its interval, for one study or for many.

    Attributes:
        estimate: the estimated effect, [...].
        low: lower end of its 95 % interval, [...]; -inf if the data give no lower limit.
        high: upper end of the interval, [...].
    """

    estimate: Values
    low: Values
    high: Values


@cache
def splits(n_a: int, n_b: int) -> Flags:
    """Return the splits of n_a + n_b networks into two groups, [S, n_a + n_b], true in the second group.

    The real split (the last n_b in the second group) is not included.
    """
    total = n_a + n_b
    if math.comb(total, n_b) <= SPLITS:
        chosen = np.array(list(combinations(range(total), n_b)), dtype=np.intp).reshape(-1, n_b)
        flags = np.zeros((len(chosen), total), dtype=bool)
        np.put_along_axis(flags, chosen, True, axis=1)
        return flags[~flags[:, n_a:].all(1)]
    # The draws are the same for all comparisons of such groups, so that the same data give the same verdict.
    drawn: Flags = np.random.default_rng(0).permuted(np.tile(np.arange(total) >= n_a, (SPLITS, 1)), axis=1)
    return drawn[~drawn[:, n_a:].all(1)]


def attainable(n_a: int, n_b: int) -> float:
    """Return the smallest possible two-sided p-value for these numbers of networks."""
    return min(1.0, 2 / (len(splits(n_a, n_b)) + 1))


def rejected(n_a: int, n_b: int) -> int:
    """Return how many splits may be as extreme as the real one in a significant direction; -1 if none can be."""
    return math.floor(LEVEL / 2 * (len(splits(n_a, n_b)) + 1) + 1e-9) - 1


def difference(a: Values, b: Values) -> Effect:
    """Return mean(b) - mean(a) with the 95 % interval of the permutation test.

    With fewer than four networks in each group, the test cannot be significant, and the interval is unlimited.

    Args:
        a: [..., n_a], one value per network.
        b: [..., n_b].

    Source: Pitman 1937. A split rejects the shift d exactly where d lies beyond a threshold of that split; the ends
    of the interval are order statistics of these thresholds.
    """
    estimate = b.mean(-1) - a.mean(-1)
    n_a, n_b = a.shape[-1], b.shape[-1]
    most = rejected(n_a, n_b)
    if most < 0:
        return Effect(estimate, np.full_like(estimate, -np.inf), np.full_like(estimate, np.inf))
    low, high = np.empty(estimate.size), np.empty(estimate.size)
    flat_a, flat_b = a.reshape(-1, n_a), b.reshape(-1, n_b)
    for start in range(0, estimate.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        thresholds = _thresholds(flat_a[part], flat_b[part])
        ordered = np.partition(thresholds, [most, thresholds.shape[1] - 1 - most], axis=1)
        low[part], high[part] = ordered[:, most], ordered[:, -1 - most]
    return Effect(estimate, low.reshape(estimate.shape), high.reshape(estimate.shape))


def p_value(a: Values, b: Values, shift: float = 0.0) -> float:
    """Return the two-sided p of the hypothesis that b is a shifted by `shift`: twice the smaller one-sided p.

    Args:
        a: [n_a], one value per network.
        b: [n_b].
        shift: the tested difference of means.

    Returns:
        The p-value; 1 for fewer than two networks in each group.
    """
    if min(len(a), len(b)) < 2:
        return 1.0
    (thresholds,) = _thresholds(a[None], b[None])
    more, less = (thresholds <= shift).sum() + 1, (thresholds >= shift).sum() + 1
    return float(min(1.0, 2 * min(more, less) / (len(thresholds) + 1)))


def _thresholds(a: Values, b: Values) -> Values:
    """Return, for each split, the shift of b at which its difference of means equals the real one: [studies, S]."""
    moved, change = _moved(a.shape[-1], b.shape[-1])
    both = np.concatenate([a, b], axis=-1)
    own = b.mean(-1) - a.mean(-1)
    found = (own[:, None] - both @ moved.T) / change
    # Splits that differ only by the rounding of their sums are ties.
    scale = np.abs(both).max(-1, keepdims=True)
    scale[scale == 0] = 1.0
    result: Values = (found / scale).round(_DIGITS) * scale
    return result


@cache
def _moved(n_a: int, n_b: int) -> tuple[Values, Values]:
    """Return the weight of each network in the difference of means of each split, and its change with the shift."""
    flags = splits(n_a, n_b)
    moved: Values = flags / n_b - ~flags / n_a
    # The real difference changes with the shift by 1, and that of a split by its share of the values of b minus a.
    return moved, 1 - moved[:, n_a:].sum(1)
