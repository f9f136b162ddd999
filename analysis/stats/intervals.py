"""Intervals over networks or neurons: of a mean, of a median, of a share, of a correlation."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import stats

from analysis.stats.permutation import LEVEL, Effect, Values

FEW: Final = (
    "95 % interval: percentile bootstrap of the mean over networks; with 4 networks it contains the true mean in "
    "80 % of cases. Verdicts do not depend on it."
)
"""A note on the intervals in figures and tables, shown once beside them."""

_RESAMPLES: Final = 9_999
_SIGNS: Final = 6
# Limits the memory: number of resamples times number of groups.
_GROUPS_AT_ONCE: Final = 256


def bootstrap(values: Values) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean over networks, which figures and tables show.

    With few networks it is too narrow: for normal values it contains the true mean in about 50 % of cases at
    n = 2, 80 % at n = 4, 90 % at n = 8. The BCa interval is not better there. Verdicts do not depend on it.

    Args:
        values: One value per network, [n].

    Returns:
        The lower and the upper end; NaN for fewer than two networks, and the value itself if all are equal.
    """
    low, high = bootstraps([values])
    return float(low[0]), float(high[0])


def bootstraps(groups: Sequence[Values]) -> tuple[Values, Values]:
    """Return `bootstrap` for each group of networks; many groups take little more time than one.

    Args:
        groups: One array of values for each group, each [n], of any size.

    Returns:
        The lower and the upper ends, [len(groups)] each.
    """
    low, high = np.full(len(groups), np.nan), np.full(len(groups), np.nan)
    sizes = np.array([len(group) for group in groups], dtype=int)
    for size in np.unique(sizes[sizes >= 2]):
        (which,) = np.nonzero(sizes == size)
        for part in np.array_split(which, -(-len(which) // _GROUPS_AT_ONCE)):
            values = np.stack([groups[i] for i in part])
            result = stats.bootstrap(
                (values,), np.mean, axis=1, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(0)
            ).confidence_interval
            low[part], high[part] = result.low, result.high
            same = np.ptp(values, axis=1) == 0
            low[part[same]] = high[part[same]] = values[same, 0]
    return low, high


def mean(values: Values) -> Effect:
    """Return the mean over networks with its 95 % interval by Student's t.

    Args:
        values: [..., n], one value per network.

    Returns:
        The mean with its interval. The interval is unlimited for fewer than three networks, and for fewer than six
        networks with the same value: by the sign test, six equal values on one side of a number show that the median is
        on this side (2 / 2^6 < 0.05), and fewer do not.
    """
    estimate, n = values.mean(-1), values.shape[-1]
    if n < 3:
        return Effect(estimate, np.full_like(estimate, -np.inf), np.full_like(estimate, np.inf))
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * values.std(-1, ddof=1) / np.sqrt(n)
    half = np.where((np.ptp(values, axis=-1) == 0) & (n < _SIGNS), np.inf, half)
    return Effect(estimate, estimate - half, estimate + half)


def median(values: Values) -> Effect:
    """Return the median with its 95 % interval, whose ends are two of the values (order statistics).

    It assumes nothing of the distribution, and contains the true median in at least 95 % of cases.

    Args:
        values: [n], one value for each independent unit; the median of none is NaN, and the interval is unlimited for
            fewer than six.
    """
    if not len(values):
        return Effect(np.array(np.nan), np.array(-np.inf), np.array(np.inf))
    low, high = np.asarray(stats.quantile_test(values, p=0.5).confidence_interval(1 - LEVEL))
    return Effect(np.asarray(np.median(values)), np.fmax(low, -np.inf), np.fmin(high, np.inf))


def share(values: Values) -> Effect:
    """Return the share of networks with value 1, with its exact 95 % interval (Clopper and Pearson 1934).

    Args:
        values: [..., n] of 0 and 1, one value per network.
    """
    n, count = values.shape[-1], values.sum(-1)
    low = np.where(count > 0, stats.beta.ppf(LEVEL / 2, np.maximum(count, 1), n - count + 1), 0.0)
    high = np.where(count < n, stats.beta.ppf(1 - LEVEL / 2, count + 1, np.maximum(n - count, 1)), 1.0)
    return Effect(count / n, low, high)


def correlation(values: Values) -> Effect:
    """Return the correlation across networks between two values, with its 95 % interval (Fisher's z).

    Args:
        values: [..., n, 2], two values per network; the interval is unlimited for fewer than four networks.
    """
    x, y = (values[..., i] - values[..., i].mean(-1, keepdims=True) for i in (0, 1))
    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(scale > 0, (x * y).sum(-1) / scale, 0.0).clip(-1, 1)
        n = values.shape[-2]
        if n < 4:
            return Effect(r, np.full_like(r, -np.inf), np.full_like(r, np.inf))
        half = stats.norm.ppf(1 - LEVEL / 2) / np.sqrt(n - 3)
        z = np.arctanh(r)
    known = scale > 0
    return Effect(r, np.where(known, np.tanh(z - half), -np.inf), np.where(known, np.tanh(z + half), np.inf))
