"""How a claim is judged: four verdicts, by rules that say in words what they ask for.

Networks are the unit. "reproduced": the rule's test shows it. "not reproduced": a test that could have shown it did
not, or shows the opposite. "underpowered": there are too few networks for either, or the networks were not brought as
far as the paper's (a smaller budget, a smaller N), so that what they do not show is not ruled out. "not run": results
are missing.
"""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import stats

from analysis.claims.evidence import Evidence, Quantity, Sample, counts, joined
from analysis.stats.significance import LEVEL, Values, compare

Outcome = Literal["reproduced", "not reproduced", "underpowered", "not run"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("reproduced", "not reproduced", "underpowered", "not run")

LEAST: Final = 3
"""Networks that an interval is made of."""

SIGNS: Final = 6
"""Networks from which on an exact test of signs can go below 0.05 (2 / 2^6 = 0.03)."""


@dataclass(frozen=True)
class Verdict:
    """What the results say of a claim.

    Attributes:
        verdict: reproduced, not reproduced, underpowered or not run.
        ours: the numbers, in words; "" where there are none.
        n: networks, such as "4 and 4".
        why: what decided, in words.
        estimate: of the rule, or of the part of it that decided: a difference of means, or a mean.
        low: lower end of its 95 % interval over networks; NaN where there is none.
        high: upper end.
        p: of the exact permutation test; NaN where the rule is not about two groups.
        p_attainable: the smallest that p can be with so many networks.
        scale: of the networks, in words.
    """

    verdict: Outcome
    ours: str = ""
    n: str = ""
    why: str = ""
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_attainable: float = math.nan
    scale: str = ""


class Rule(ABC):
    """What must be seen in the results for a claim to be called reproduced."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The rule in words."""

    @abstractmethod
    def judge(self, evidence: Evidence) -> Verdict:
        """Apply the rule to networks of one size."""


@dataclass(frozen=True)
class Above(Rule):
    """The mean over networks of one group is above that of another, by more than `margin`."""

    higher: Quantity
    lower: Quantity
    margin: float = 0.0

    @property
    def words(self) -> str:
        """The rule in words."""
        by = f" by more than {self.margin:g}" if self.margin else ""
        return f"{self.higher.words} > {self.lower.words}{by} (exact permutation test, p < {LEVEL:g})"

    def judge(self, evidence: Evidence) -> Verdict:
        """Apply the rule to networks of one size."""
        a, b = self.lower.take(evidence), self.higher.take(evidence)
        if missing := _missing((self.higher, b), (self.lower, a)):
            return missing
        # Welch's interval where groups vary; the bootstrap over so few networks would be too narrow.
        low_values, high_values = _array(a), _array(b)
        test = compare(low_values + self.margin, high_values)
        mean_a, mean_b = float(low_values.mean()), float(high_values.mean())
        low, high = welch(low_values, high_values)
        ours = f"{_number(mean_b)} against {_number(mean_a)}; difference {_ci(mean_b - mean_a, low, high)}"
        shown = test.p_permutation < LEVEL
        if (lacks := joined(a.lacks, b.lacks)) or test.p_attainable >= LEVEL or math.isnan(test.p_permutation):
            few = f"with so few networks p cannot go below {test.p_attainable:.2g}"
            verdict, why = "underpowered", lacks or few
        elif shown and test.difference > 0:
            verdict, why = "reproduced", f"p = {test.p_permutation:.2g}"
        else:
            opposite = "the opposite, " if shown and mean_b < mean_a else "too small a difference, " if shown else ""
            opposite += f"p = {test.p_permutation:.2g}"
            short = joined(a.short, b.short)
            verdict = "underpowered" if short else "not reproduced"
            why = f"{opposite}; {short}" if short else opposite
        return Verdict(
            verdict=verdict,  # type: ignore[arg-type]
            ours=ours,
            n=counts((b.values, a.values)),
            why=joined(b.at, why),
            estimate=mean_b - mean_a,
            low=low,
            high=high,
            p=test.p_permutation,
            p_attainable=test.p_attainable,
        )


@dataclass(frozen=True)
class Within(Rule):
    """The mean over networks lies in a range: `low` to `high`, either of which may be infinite."""

    quantity: Quantity
    low: float = -math.inf
    high: float = math.inf

    @property
    def words(self) -> str:
        """The rule in words."""
        match math.isinf(self.low), math.isinf(self.high):
            case False, False:
                wanted = f"in {self.low:g} to {self.high:g}"
            case False, _:
                wanted = f"above {self.low:g}"
            case _:
                wanted = f"below {self.high:g}"
        return f"{self.quantity.words}: the mean over networks, with its 95 % interval, {wanted}"

    def judge(self, evidence: Evidence) -> Verdict:
        """Apply the rule to networks of one size."""
        sample = self.quantity.take(evidence)
        if missing := _missing((self.quantity, sample)):
            return missing
        values = _array(sample)
        mean = float(values.mean())
        low, high = t_interval(values)
        two_sided = not (math.isinf(self.low) or math.isinf(self.high))
        inside = low >= self.low and high <= self.high
        if not two_sided and (low == self.low or high == self.high):
            inside = False
        # A one-sided rule is a test of a sign: enough networks that do not show it do not reproduce it.
        outside = high < self.low or low > self.high or (not two_sided and not inside and len(values) >= SIGNS)
        blocked = sample.lacks or (sample.short if two_sided else "")
        if blocked or len(values) < LEAST:
            verdict, why = "underpowered", blocked or f"an interval needs {LEAST} networks"
        elif inside:
            verdict, why = "reproduced", ""
        elif outside and not sample.short:
            verdict, why = "not reproduced", ""
        else:
            verdict, why = "underpowered", sample.short or "the interval is too wide"
        return Verdict(
            verdict=verdict,  # type: ignore[arg-type]
            ours=_ci(mean, low, high),
            n=counts((sample.values,)),
            why=joined(sample.at, why),
            estimate=mean,
            low=low,
            high=high,
        )


@dataclass(frozen=True)
class Differs(Rule):
    """The mean over networks differs from 0, in either direction."""

    quantity: Quantity

    @property
    def words(self) -> str:
        """The rule in words."""
        return f"{self.quantity.words}: the 95 % interval of the mean over networks does not hold 0"

    def judge(self, evidence: Evidence) -> Verdict:
        """Apply the rule to networks of one size."""
        above = Within(self.quantity, low=0.0).judge(evidence)
        if above.verdict != "reproduced":
            below = Within(self.quantity, high=0.0).judge(evidence)
            return below if below.verdict == "reproduced" else above
        return above


@dataclass(frozen=True)
class Same(Rule):
    """The means of two groups agree within a part `margin` of the second."""

    one: Quantity
    other: Quantity
    margin: float

    @property
    def words(self) -> str:
        """The rule in words."""
        return (
            f"{self.one.words} = {self.other.words}: the 95 % interval (Welch) of their difference within "
            f"{100 * self.margin:g} % of the latter"
        )

    def judge(self, evidence: Evidence) -> Verdict:
        """Apply the rule to networks of one size."""
        a, b = self.other.take(evidence), self.one.take(evidence)
        if missing := _missing((self.one, b), (self.other, a)):
            return missing
        base, values = _array(a), _array(b)
        difference, allowed = float(values.mean() - base.mean()), self.margin * abs(float(base.mean()))
        low, high = welch(base, values)
        # Alike so far is not alike: under a smaller budget nothing is decided.
        blocked = joined(a.lacks, b.lacks, a.short, b.short)
        if blocked or min(len(base), len(values)) < LEAST:
            verdict, why = "underpowered", blocked or f"an interval needs {LEAST} networks in each group"
        elif -allowed <= low and high <= allowed:
            verdict, why = "reproduced", f"within {_number(allowed)}"
        elif low > allowed or high < -allowed:
            verdict, why = "not reproduced", f"beyond {_number(allowed)}"
        else:
            verdict, why = "underpowered", f"the interval is too wide for {_number(allowed)}"
        return Verdict(
            verdict=verdict,  # type: ignore[arg-type]
            ours=(
                f"{_number(float(values.mean()))} against {_number(float(base.mean()))}; "
                f"difference {_ci(difference, low, high)}"
            ),
            n=counts((b.values, a.values)),
            why=joined(b.at, why),
            estimate=difference,
            low=low,
            high=high,
        )


@dataclass(frozen=True)
class All(Rule):
    """Every part must be seen. As none may fail, no correction for their number is due."""

    parts: tuple[Rule, ...]

    @property
    def words(self) -> str:
        """The rule in words."""
        return "; and ".join(part.words for part in self.parts)

    def judge(self, evidence: Evidence) -> Verdict:
        """Apply the rule to networks of one size."""
        found = [part.judge(evidence) for part in self.parts]
        order: tuple[Outcome, ...] = ("not reproduced", "not run", "underpowered", "reproduced")
        deciding = min(found, key=lambda verdict: order.index(verdict.verdict))
        return Verdict(
            verdict=deciding.verdict,
            ours="; ".join(verdict.ours or "-" for verdict in found) if any(v.ours for v in found) else "",
            n="; ".join(dict.fromkeys(verdict.n for verdict in found if verdict.n)),
            why=deciding.why,
            estimate=deciding.estimate,
            low=deciding.low,
            high=deciding.high,
            p=deciding.p,
            p_attainable=deciding.p_attainable,
        )


def t_interval(values: Values) -> tuple[float, float]:
    """Return the 95 % interval of a mean over networks by Student's t; NaN with fewer than two, [n]."""
    if len(values) < 2:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    half = float(stats.t.ppf(1 - LEVEL / 2, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def welch(a: Values, b: Values) -> tuple[float, float]:
    """Return the 95 % interval of mean(b) - mean(a) by Welch's t; NaN with fewer than two values in a group."""
    if min(len(a), len(b)) < 2:
        return math.nan, math.nan
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return float(b.mean() - a.mean()), float(b.mean() - a.mean())
    with warnings.catch_warnings():
        # Where a group is all but constant scipy warns of rounding.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(1 - LEVEL)
    return float(interval.low), float(interval.high)


def _missing(*pairs: tuple[Quantity, Sample]) -> Verdict | None:
    """Return that results are missing, and how to get them; None where they are there."""
    for quantity, sample in pairs:
        if sample.values.empty:
            return Verdict("not run", why=joined(sample.lacks, f"no results: {quantity.needs}"))
    return None


def _array(sample: Sample) -> Values:
    values: Values = sample.values.to_numpy(dtype=float)
    return values


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _ci(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "not known"
    return _number(mean) if math.isnan(low) else f"{_number(mean)} (95 % {_number(low)} to {_number(high)})"
