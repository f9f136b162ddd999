"""Rules: an estimate from groups of networks, and the criterion that turns it into a verdict.

Each rule estimates one number from one or two groups of networks. Its interval and its p-value come from the same test,
so they agree. If there is a reason why the networks cannot decide a claim, neither verdict is given.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from analysis.claims.criteria import OUTCOMES, Codes, Criterion, Exceeds, Lies, Outcome
from analysis.stats import censoring, intervals, permutation
from analysis.stats.permutation import LEVEL, Effect, Flags, Values
from analysis.stats.significance import pooled_sd

__all__ = ["OUTCOMES", "Correlation", "Difference", "Group", "Mean", "Outcome", "Ratio", "Rule", "Share"]

# The power with which the planned number of networks decides a claim.
POWER: Final = 0.8
_MOST: Final = 10_000
# The largest number of networks for which the power of a share is computed.
_LARGEST_SHARE: Final = 1_500


@dataclass(frozen=True)
class Group:
    """One value for each network, for one study or for many at once.

    Attributes:
        values: [..., n].
        censored: [..., n], whether each value is a lower bound; by default, none is.
    """

    values: Values
    censored: Flags = field(default_factory=lambda: np.array(False))

    @property
    def bounds(self) -> Flags:
        """`censored` with the shape of the values."""
        result: Flags = np.broadcast_to(self.censored, self.values.shape)
        return result

    @property
    def size(self) -> int:
        """The number of networks."""
        return int(self.values.shape[-1])


class Rule(ABC):
    """An estimate and the criterion that is applied to it.

    Attributes:
        criterion: see `analysis.claims.criteria`.
        groups: the number of groups of networks.
        unit: the kind of estimate, in words.
    """

    criterion: Criterion
    groups: int = 1
    unit: str = ""

    @abstractmethod
    def effect(self, *groups: Group) -> Effect:
        """Return the estimate with its 95 % interval."""

    @abstractmethod
    def p_value(self, hypothesis: float, *groups: Group) -> float:
        """Return the two-sided p-value of one study for a hypothetical size of the effect."""

    @abstractmethod
    def spread(self, *groups: Group) -> float:
        """Return the standard deviation over networks in the unit of the estimate; NaN if it is unknown."""

    def decide(self, *groups: Group) -> Codes:
        """Return the verdicts, [...]; see `Criterion.decide`."""
        return self.criterion.decide(self.effect(*groups))

    def networks_for(self, spread: float, estimate: float | None = None) -> int | None:
        """Return how many networks a group needs to decide four of five studies, in either direction.

        Args:
            spread: standard deviation over networks, in the estimate's unit.
            estimate: the estimate of earlier networks; near the end of a range, more networks are needed. By default,
                the effect is taken to be in the middle of a range.

        Returns:
            The number, by the normal approximation, but at least the minimum of the test; None if the spread or the gap
            is not finite and positive.
        """
        number = _by_normal_approximation(self.criterion, spread, estimate, self.groups)
        return None if number is None else max(number, self.least)

    @property
    def least(self) -> int:
        """The smallest number of networks per group with which the test can decide anything."""
        return 4 if self.groups == 2 else 3

    def said(self, size: float) -> str:
        """Return a size of the effect in words."""
        return f"{size:.3g}"

    @property
    def words(self) -> str:
        """The rule in words."""
        match self.criterion:
            case Exceeds(none=none, smallest=smallest):
                side = "above" if smallest > none else "below"
                return f"{self.unit} {side} {self.said(none)}; the smallest effect of interest is {self.said(smallest)}"
            case Lies(low=low, high=high) if math.isinf(high):
                return f"{self.unit} at least {self.said(low)}"
            case Lies(low=low, high=high) if math.isinf(low):
                return f"{self.unit} at most {self.said(high)}"
            case Lies(low=low, high=high):
                return f"{self.unit} between {self.said(low)} and {self.said(high)}"
        raise TypeError(f"criterion: no words for {type(self.criterion).__name__}")


def _by_normal_approximation(
    criterion: Criterion, spread: float, estimate: float | None, groups: int = 1
) -> int | None:
    """Return the number of networks that `Rule.networks_for` states, without the minimum of the test."""
    gap = criterion.gap if estimate is None else criterion.gap_at(estimate)
    if gap == 0:
        return _MOST
    if not (math.isfinite(spread) and math.isfinite(gap)) or spread <= 0:
        return None
    # An interval that is to lie in a range must exclude both of its ends.
    beyond = POWER
    if isinstance(criterion, Lies) and (estimate is None or criterion.low < estimate < criterion.high):
        beyond = (1 + POWER) / 2
    quantiles = float(stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(beyond))
    return math.ceil(groups * (quantiles * spread / gap) ** 2) + 1


@dataclass(frozen=True)
class Mean(Rule):
    """The mean over networks, by Student's t."""

    criterion: Criterion
    unit: str = "mean"

    def effect(self, *groups: Group) -> Effect:
        """Return the mean; if some values are lower bounds, it has no upper limit."""
        (group,) = groups
        found = intervals.mean(group.values)
        return found._replace(high=np.where(group.bounds.any(-1), np.inf, found.high))

    def p_value(self, hypothesis: float, *groups: Group) -> float:
        """Return the p of a t-test, or of the sign test if all networks have the same value."""
        (group,) = groups
        values = group.values
        if group.bounds.any() and values.mean() <= hypothesis:
            return 1.0  # lower bounds exclude no larger value
        if np.ptp(values) == 0:
            return min(1.0, 2.0 ** (1 - len(values))) if values[0] != hypothesis else 1.0
        if len(values) < 3:
            return 1.0
        error = float(values.std(ddof=1)) / math.sqrt(len(values))
        return float(2 * stats.t.sf(abs(float(values.mean()) - hypothesis) / error, len(values) - 1))

    def spread(self, *groups: Group) -> float:
        """Return the standard deviation over networks."""
        return float(groups[0].values.std(ddof=1)) if groups[0].size > 1 else math.nan


@dataclass(frozen=True)
class Growth(Mean):
    """The mean over networks of the logarithm of a ratio, reported as a ratio."""

    unit: str = "ratio"

    def said(self, size: float) -> str:
        """Return the ratio."""
        return f"{math.exp(size):.3g}"


@dataclass(frozen=True)
class Difference(Rule):
    """The difference of the means of two groups (second minus first), by the exact permutation test."""

    criterion: Criterion
    unit: str = "difference"
    groups: int = 2

    def effect(self, *groups: Group) -> Effect:
        """Return the difference of means."""
        return permutation.difference(groups[0].values, groups[1].values)

    def p_value(self, hypothesis: float, *groups: Group) -> float:
        """Return the p of the exact permutation test."""
        return permutation.p_value(groups[0].values, groups[1].values, hypothesis)

    def spread(self, *groups: Group) -> float:
        """Return the pooled standard deviation."""
        return pooled_sd([group.values for group in groups])


@dataclass(frozen=True)
class Ratio(Rule):
    """The ratio of the values of two groups (second over first), on a logarithmic scale.

    If no value is a lower bound, the test is the exact permutation test of the means of logarithms; otherwise, it is
    the exact log-rank test.
    """

    criterion: Criterion
    unit: str = "ratio"
    groups: int = 2

    def effect(self, *groups: Group) -> Effect:
        """Return the logarithm of the ratio."""
        first, second = groups
        bounded = np.asarray(first.bounds.any(-1) | second.bounds.any(-1))
        if bounded.all():
            ends = [np.empty(bounded.shape) for _ in Effect._fields]
        else:
            ends = [np.array(end) for end in permutation.difference(np.log(first.values), np.log(second.values))]
        for i in np.ndindex(bounded.shape):
            if bounded[i]:
                one = censoring.log_ratio(first.values[i], first.bounds[i], second.values[i], second.bounds[i])
                for end, value in zip(ends, one, strict=True):
                    end[i] = value
        return Effect(*ends)

    def decide(self, *groups: Group) -> Codes:
        """Return the verdicts, [...]; with lower bounds, from the tests whose inversion gives the interval."""
        first, second = groups
        if not (first.bounds.any() or second.bounds.any()):
            return super().decide(*groups)
        shape, most = first.values.shape[:-1], permutation.rejected(first.size, second.size)
        a, b = (np.log(g.values).reshape(-1, g.size) for g in groups)
        a_bounds, b_bounds = (g.bounds.reshape(-1, g.size) for g in groups)

        def excludes(size: float, side: int) -> Flags:
            counts = censoring.as_extreme(a + size, a_bounds, b, b_bounds)[side]
            result: Flags = (counts <= most).reshape(shape)
            return result

        return self.criterion.decide_by(lambda size: excludes(size, 0), lambda size: excludes(size, 1))

    def p_value(self, hypothesis: float, *groups: Group) -> float:
        """Return the p of the same test."""
        first, second = groups
        if first.bounds.any() or second.bounds.any():
            return censoring.p_value(first.values, first.bounds, second.values, second.bounds, math.exp(hypothesis))
        return permutation.p_value(np.log(first.values), np.log(second.values), hypothesis)

    def spread(self, *groups: Group) -> float:
        """Return the pooled standard deviation of the logarithms; NaN if some values are lower bounds."""
        if any(group.bounds.any() for group in groups):
            return math.nan
        return pooled_sd([np.log(group.values) for group in groups])

    def said(self, size: float) -> str:
        """Return the ratio."""
        return f"{math.exp(size):.3g}"


@dataclass(frozen=True)
class Share(Rule):
    """The share of networks that have a property, by the exact binomial interval."""

    criterion: Criterion
    unit: str = "share"

    def effect(self, *groups: Group) -> Effect:
        """Return the share."""
        return intervals.share(groups[0].values)

    def p_value(self, hypothesis: float, *groups: Group) -> float:
        """Return the p of the binomial test: twice the smaller one-sided p."""
        values = groups[0].values
        count = int(values.sum())
        sides = [
            stats.binomtest(count, len(values), hypothesis, alternative=side).pvalue for side in ("less", "greater")
        ]
        return float(min(1.0, 2 * min(sides)))

    def spread(self, *groups: Group) -> float:
        """Return NaN, since the number of networks does not depend on a spread."""
        return math.nan

    def networks_for(self, spread: float, estimate: float | None = None) -> int | None:
        """Return how many networks decide four of five studies by the binomial distribution.

        Args:
            spread: not used.
            estimate: the share; by default, 0 or 1, whichever needs fewer networks to reproduce the claim.
        """
        if estimate is None:
            for n in range(1, _MOST):
                if any(self._codes(n)[count] == 1 for count in (0, n)):
                    return n
            return None
        n = 1
        while n < _LARGEST_SHARE:
            counts = np.arange(n + 1)
            if stats.binom.pmf(counts, n, estimate)[self._codes(n) != 0].sum() >= POWER:
                return n
            n = max(n + 1, round(1.02 * n))
        return _MOST

    def _codes(self, n: int) -> Codes:
        """Return the verdicts of `n` networks of which 0 to n have the property, [n + 1]."""
        return self.decide(Group((np.arange(n) < np.arange(n + 1)[:, None]).astype(float)))


@dataclass(frozen=True)
class Correlation(Rule):
    """The correlation across networks between two values, by Fisher's z."""

    criterion: Criterion
    unit: str = "correlation across networks"

    def effect(self, *groups: Group) -> Effect:
        """Return Pearson's r; the values are [..., n, 2]."""
        return intervals.correlation(groups[0].values)

    def p_value(self, hypothesis: float, *groups: Group) -> float:
        """Return the two-sided p by Fisher's z; 1 for too few networks, or if a value does not vary."""
        values = groups[0].values
        found = intervals.correlation(values)
        if len(values) < 4 or not math.isfinite(float(found.low)):
            return 1.0
        with np.errstate(divide="ignore"):  # for a correlation of 1
            z = (np.arctanh(float(found.estimate)) - np.arctanh(hypothesis)) * math.sqrt(len(values) - 3)
        return float(2 * stats.norm.sf(abs(z)))

    def spread(self, *groups: Group) -> float:
        """Return the standard deviation of Fisher's z, times the square root of the number of networks minus three."""
        return 1.0

    def networks_for(self, spread: float, estimate: float | None = None) -> int | None:
        """Return how many networks decide four of five studies, by the normal approximation of Fisher's z."""
        match self.criterion:
            case Exceeds(none=none, smallest=smallest):
                criterion: Criterion = Exceeds(_fisher(none), _fisher(smallest))
            case Lies(low=low, high=high):
                criterion = Lies(_fisher(low), _fisher(high))
            case other:
                raise TypeError(f"criterion: no number of networks for {type(other).__name__}")
        number = _by_normal_approximation(criterion, spread, None if estimate is None else _fisher(estimate))
        return None if number is None else number + 2

    @property
    def least(self) -> int:
        """Fisher's interval needs four networks."""
        return 4


def _fisher(correlation: float) -> float:
    """Return Fisher's z of a correlation; infinite for 1 and beyond, where a range has no end."""
    return math.atanh(correlation) if abs(correlation) < 1 else math.copysign(math.inf, correlation)


def group_of(values: pd.Series, censored: "pd.Series[Any] | None" = None) -> Group:
    """Return a group from one value per network, and whether each value is a lower bound."""
    flags = np.zeros(len(values), bool) if censored is None else censored.reindex(values.index).to_numpy(dtype=bool)
    return Group(np.array(values.tolist(), dtype=float), flags)
