"""Comparison of groups with censored values: the log-rank test and its interval.

If a network ended at its budget or at the largest N of its run, its max N is a lower bound (right-censored). Such
values are compared by the log-rank test with Gehan's weights, which is exact over all splits of the networks into two
groups (`analysis.stats.permutation`). For its interval, one group is scaled relative to the other. With Gehan's weights
the test is Wilcoxon's if nothing is censored; with eight networks per group it decides more often than with equal
weights. Medians are Kaplan-Meier estimates.
"""

from typing import Any

import numpy as np
from scipy import stats

from analysis.stats.permutation import Effect, Flags, Values, rejected, splits

# Number of studies whose splits are in memory at once.
_AT_ONCE = 400
_DIGITS = 9


def median(values: Values, censored: Flags) -> float:
    """Return the Kaplan-Meier median; infinite if the values of more than half of the networks may be larger.

    Args:
        values: [n], one value per network.
        censored: [n], whether each value is a lower bound.
    """
    data = stats.CensoredData.right_censored(values, censored)
    curve: Any = stats.ecdf(data).sf
    # A product of shares that is 0.5 may be larger by rounding.
    reached = np.nonzero(curve.probabilities <= 0.5 + 10.0**-_DIGITS)[0]
    return float(curve.quantiles[reached[0]]) if len(reached) else float("inf")


def log_ratio(a: Values, a_censored: Flags, b: Values, b_censored: Flags) -> Effect:
    """Return log(b / a) with the 95 % interval of the exact log-rank test.

    The interval contains every factor on the values of a, in logarithms, for which the test does not reject equality.
    It is unlimited on the side where censored values may lie. If all values of one group are lower bounds, so is the
    estimate; if all values of both are, it is NaN.

    Args:
        a: [n_a], positive values, one for each network.
        a_censored: [n_a], whether each is a lower bound.
        b: [n_b].
        b_censored: [n_b].
    """
    x, y = np.log(a), np.log(b)
    # Between two neighbouring differences, the order of all values, and hence the test, remains the same.
    edges = np.unique((y[:, None] - x[None, :]).round(_DIGITS))
    middles = (edges[1:] + edges[:-1]) / 2
    # At a difference, two values are tied. One point beyond the last difference stands for all points there.
    shifts = np.sort(np.concatenate([edges, middles, [edges[0] - 1, edges[-1] + 1]]))
    more, less = as_extreme(x + shifts[:, None], a_censored, y, b_censored)
    most = rejected(len(a), len(b))
    kept = shifts[(more > most) & (less > most)]
    balance = shifts[np.abs(more - less) == np.abs(more - less).min()]
    match bool(a_censored.all()), bool(b_censored.all()):
        case True, True:
            estimate = np.nan
        case True, False:
            estimate = -np.inf
        case False, True:
            estimate = np.inf
        case _:
            estimate = float(np.median(balance))
    if most < 0 or not len(kept):
        return Effect(*(np.array(end) for end in (estimate, -np.inf, np.inf)))
    # A point between two differences stands for all points between them, but not for the differences themselves.
    low = -np.inf if kept[0] == shifts[0] else edges[edges <= kept[0]].max()
    high = np.inf if kept[-1] == shifts[-1] else edges[edges >= kept[-1]].min()
    low = low if low in kept or np.isinf(low) else np.nextafter(low, np.inf)
    high = high if high in kept or np.isinf(high) else np.nextafter(high, -np.inf)
    return Effect(*(np.array(float(end)) for end in (estimate, low, high)))


def p_value(a: Values, a_censored: Flags, b: Values, b_censored: Flags, ratio: float = 1.0) -> float:
    """Return the two-sided p of the hypothesis that b is a times `ratio`; see `log_ratio`."""
    more, less = as_extreme(np.log(a) + np.log([[ratio]]), a_censored, np.log(b), b_censored)
    return min(1.0, 2 * (float(min(more[0], less[0])) + 1) / (len(splits(len(a), len(b))) + 1))


def as_extreme(a: Values, a_censored: Flags, b: Values, b_censored: Flags) -> tuple[Values, Values]:
    """Return how many splits favour the second group at least as much as the real groups, and at most as much.

    Args:
        a: [studies, n_a]; this and the others may also be one row, [n], that all studies share.
        a_censored: [studies, n_a].
        b: [studies, n_b].
        b_censored: [studies, n_b].

    Returns:
        The two counts, [studies] each; a direction is significant if its count is at most `permutation.rejected`.
    """
    n_a, n_b = a.shape[-1], b.shape[-1]
    studies = np.broadcast_shapes(*(part.shape[:-1] for part in (a, a_censored, b, b_censored)))
    values, censored = (
        np.concatenate([np.broadcast_to(x, (*studies, n_a)), np.broadcast_to(y, (*studies, n_b))], -1)
        for x, y in ((a, b), (a_censored, b_censored))
    )
    # Whole numbers, whose sums are exact.
    scores = gehan_scores(values.round(_DIGITS), censored)
    flags = splits(n_a, n_b).astype(float)
    more, less = np.empty(studies), np.empty(studies)
    for start in range(0, len(scores), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        own, others = scores[part, n_a:].sum(-1)[:, None], scores[part] @ flags.T
        more[part], less[part] = np.count_nonzero(others >= own, axis=1), np.count_nonzero(others <= own, axis=1)
    return more, less


def gehan_scores(values: Values, censored: Flags) -> Values:
    """Return the score of each network: how many others it certainly exceeds, minus how many certainly exceed it.

    The sum of the scores of a group is the numerator of the log-rank statistic with Gehan's weights or, without lower
    bounds, of Wilcoxon's rank-sum statistic. For a split of the networks, scores only have to be summed.

    Args:
        values: [studies, n].
        censored: [studies, n].

    Source: Gehan 1965; Mantel 1967.
    """
    own, other = values[..., :, None], values[..., None, :]
    own_open, other_open = censored[..., :, None], censored[..., None, :]
    # Of two equal values, a lower bound counts as larger than a value that is not one.
    passes = ~other_open & ((own > other) | ((own == other) & own_open))
    passed = ~own_open & ((own < other) | ((own == other) & other_open))
    scores: Values = passes.sum(-1) - passed.sum(-1).astype(float)
    return scores
