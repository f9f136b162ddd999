"""The two criteria for judging claims, with the same rules in both directions.

Each effect has a smallest size that matters. By its 95 % interval, a claim is "reproduced", "contradicted" (the
opposite effect, or one below the smallest effect of interest), or "inconclusive".
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from analysis.stats.permutation import Effect, Flags

Outcome = Literal["reproduced", "contradicted", "inconclusive", "not run"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("reproduced", "contradicted", "inconclusive", "not run")

Codes = np.ndarray[Any, np.dtype[np.int64]]
"""1 reproduced, -1 contradicted, 0 inconclusive."""


Excludes = Callable[[float], Flags]
"""Returns whether the interval excludes a size and all sizes on one side of it, [...]."""


class Criterion(ABC):
    """A criterion: the values that an interval must exclude for a verdict."""

    @abstractmethod
    def decide_by(self, up_to: Excludes, from_on: Excludes) -> Codes:
        """Return the verdicts on effects: 1 reproduced, -1 contradicted, 0 inconclusive, [...].

        Args:
            up_to: whether the intervals exclude a size and all smaller ones.
            from_on: whether they exclude a size and all larger ones.
        """

    def decide(self, effect: Effect) -> Codes:
        """Return the verdicts on effects by their intervals, [...]."""
        return self.decide_by(lambda size: effect.low > size, lambda size: effect.high < size)

    @abstractmethod
    def hypothesis(self, effect: Effect, code: int) -> float:
        """Return the size of the effect that the verdict `code` of one study rejects, or would have to reject."""

    @property
    @abstractmethod
    def gap(self) -> float:
        """The distance between the effects to be distinguished, which determines the required number of networks."""

    @abstractmethod
    def gap_at(self, estimate: float) -> float:
        """Return this distance for results with some estimate."""

    @abstractmethod
    def reason(self, effect: Effect, code: int) -> str:
        """Return in words why the effect of one study has the verdict `code`."""


@dataclass(frozen=True)
class Exceeds(Criterion):
    """The effect lies beyond `none` in the direction of `smallest`, the smallest effect of interest.

    Reproduced: the interval excludes no effect and all opposite effects, and contains effects of interest.
    Contradicted: it excludes the smallest effect of interest and all larger ones. If the true effect lies between no
    effect and the smallest effect of interest, neither verdict is wrong.
    """

    none: float
    smallest: float

    def __post_init__(self) -> None:
        """Check that the smallest effect of interest differs from no effect.

        Raises:
            ValueError: if the two are equal.
        """
        if self.smallest == self.none:
            raise ValueError(
                f"smallest = {self.smallest:g}: allowed is any number other than {self.none:g}, which is no effect"
            )

    def decide_by(self, up_to: Excludes, from_on: Excludes) -> Codes:
        """Return the verdicts on effects."""
        if self.smallest > self.none:
            contradicted, shown = from_on(self.smallest), up_to(self.none)
        else:
            contradicted, shown = up_to(self.smallest), from_on(self.none)
        return np.where(contradicted, -1, np.where(shown, 1, 0))

    def hypothesis(self, effect: Effect, code: int) -> float:
        """Return the smallest effect of interest for a contradicted claim, and otherwise no effect."""
        return self.smallest if code < 0 else self.none

    @property
    def gap(self) -> float:
        """The distance from no effect to the smallest effect of interest."""
        return abs(self.smallest - self.none)

    def gap_at(self, estimate: float) -> float:
        """Return the same distance, whatever the estimate is."""
        return self.gap

    def reason(self, effect: Effect, code: int) -> str:
        """Return in words why this effect has its verdict."""
        match code:
            case 1:
                return "the 95 % interval excludes the opposite"
            case 0:
                return "the 95 % interval contains both a zero effect and effects of interest"
        low, high = (float(end) - self.none for end in (effect.low, effect.high))
        if self.smallest < self.none:
            low, high = -high, -low
        if high < 0:
            return "the 95 % interval lies in the opposite direction"
        if low > 0:
            return "the direction is the claim's, but the 95 % interval excludes every effect of interest"
        return "the 95 % interval excludes every effect of interest"


@dataclass(frozen=True)
class Lies(Criterion):
    """The effect lies between `low` and `high`, either of which may be infinite.

    Reproduced: the whole interval lies in this range. Contradicted: no part of it does.
    """

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        """Check that the range is neither empty nor unlimited.

        Raises:
            ValueError: if `low` is not below `high`, or if the range is everything.
        """
        if not self.low < self.high or (math.isinf(self.low) and math.isinf(self.high)):
            raise ValueError(
                f"low = {self.low:g}, high = {self.high:g}: allowed is low < high, with at least one of them finite"
            )

    def decide_by(self, up_to: Excludes, from_on: Excludes) -> Codes:
        """Return the verdicts on effects."""
        above = np.array(True) if math.isinf(self.low) else up_to(self.low)
        below = np.array(True) if math.isinf(self.high) else from_on(self.high)
        outside = np.array(False)
        if not math.isinf(self.low):
            outside = outside | from_on(self.low)
        if not math.isinf(self.high):
            outside = outside | up_to(self.high)
        return np.where(outside, -1, np.where(above & below, 1, 0))

    def hypothesis(self, effect: Effect, code: int) -> float:
        """Return the end of the range that is nearer to the estimate."""
        ends = [end for end in (self.low, self.high) if not math.isinf(end)]
        if math.isinf(effect.estimate):
            return max(ends) if effect.estimate > 0 else min(ends)
        return min(ends, key=lambda end: abs(end - float(effect.estimate)))

    @property
    def gap(self) -> float:
        """Half the width of the range; infinite if the range has only one end."""
        return (self.high - self.low) / 2

    def gap_at(self, estimate: float) -> float:
        """Return the distance from an estimate to the nearer end of the range, but at most half its width."""
        return min(self.gap, abs(estimate - self.low), abs(estimate - self.high))

    def reason(self, effect: Effect, code: int) -> str:
        """Return in words why these effects have their verdict."""
        match code:
            case 1:
                return "the whole 95 % interval lies in the range"
            case -1:
                return "no part of the 95 % interval lies in the range"
        return "the 95 % interval lies partly in the range"
