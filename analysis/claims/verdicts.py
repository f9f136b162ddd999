"""Claims and verdicts, as the console, the report and README show them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from scipy import stats

from analysis.claims.effects import Interest, interests
from analysis.claims.evidence import Evidence, Measure, Sample, counts, joined
from analysis.claims.rules import Correlation, Group, Growth, Outcome, Ratio, Rule, Share, group_of
from analysis.data.cell import Cell
from analysis.stats import censoring
from analysis.stats.permutation import LEVEL, Effect, Values


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: one comparison.

    Attributes:
        id: the figure and a keyword, such as "3b-order".
        figure: the figure or table.
        text: the claim in words.
        paper: the paper's number or, if it gives none, its statement.
        interest: the name of the smallest effect of interest in effects.toml.
        rule: estimates the effect from the measures, and compares it with the smallest effect of interest.
        measures: the measure of one group of networks, or those of two groups: the rule compares the second with the
            first.
        compared: the two cells whose training a claim of pace compares; see `analysis.claims.course`.
    """

    id: str
    figure: str
    text: str
    paper: str
    interest: str
    rule: Rule
    measures: tuple[Measure, ...]
    compared: tuple[Cell, Cell] | None = None

    @property
    def size(self) -> Interest:
        """The smallest effect of interest."""
        return interests()[self.interest]

    @property
    def task(self) -> str:
        """The tasks of the compared networks, such as "parity" or "parity, dms"; "" for any task."""
        return ", ".join(dict.fromkeys(measure.task for measure in self.measures if measure.task))

    @property
    def words(self) -> str:
        """The rule in words."""
        names = [measure.words for measure in self.measures]
        of = names[0] if len(names) == 1 else f"{names[1]}, compared with {names[0]}"
        return f"{of}: {self.rule.words}"

    @property
    def planned(self) -> int | None:
        """How many networks of each kind decide the claim in four of five studies, given the expected spread."""
        return self.rule.networks_for(self.size.spread)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim by the results of one kind of training.

    Attributes:
        verdict: reproduced, contradicted, inconclusive or not run.
        ours: our numbers, in words; "" if there are none.
        n: the numbers of networks, such as "4 and 4".
        at: where the networks were measured, such as "N = 30".
        why: the reason for the verdict.
        takes: what would decide the claim; "" if it is decided.
        below: the paper's N or budget, if our networks have not reached it; such verdicts are counted separately.
        estimate: the estimated effect, in the unit of the rule.
        low: lower end of its 95 % interval; NaN if there is none.
        high: upper end of the interval.
        p: two-sided p-value of the hypothesis that the verdict rejects: no effect, or the smallest effect of interest.
        part: the training of the networks, in words.
    """

    verdict: Outcome
    ours: str = ""
    n: str = ""
    at: str = ""
    why: str = ""
    takes: str = ""
    below: str = ""
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    part: str = ""


MEANINGS: Final = (
    "The unit is the network. Reproduced: the 95 % interval excludes a zero effect and the opposite effect. "
    "Contradicted: it shows the opposite effect, or excludes every effect that would be of interest. Inconclusive: it "
    "excludes neither, or the networks cannot decide; then the text says what would. Not run: results are missing.",
    "Networks of each size and training are judged separately. Notes mark verdicts that do not survive the correction "
    "for the number of claims judged (Holm), and verdicts at smaller N or budgets than the paper's.",
)
"""The meaning of the verdicts, in two paragraphs, for the console and the report."""

_UNKNOWN: Final = "unknown"
_MANY: Final = 1000
_NORMAL: Final = float(stats.norm.ppf(1 - LEVEL / 2))
_OUTCOME: Final[dict[int, Outcome]] = {1: "reproduced", -1: "contradicted", 0: "inconclusive"}


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """Judge a claim on networks of one training."""
    samples = [measure.take(evidence) for measure in claim.measures]
    for measure, sample in zip(claim.measures, samples, strict=True):
        if sample.values.empty:
            return Verdict("not run", why=f"no results; to produce them: {measure.needs}", part=evidence.part)
    blocked = joined(*(sample.blocked for sample in samples))
    takes = joined(*(sample.takes for sample in samples))
    base = Verdict(
        "inconclusive",
        n=counts(sample.values for sample in samples),
        at=joined(*(sample.at for sample in samples)),
        below=joined(*(sample.below for sample in samples)),
        part=evidence.part,
    )
    if any(bool(np.isnan(np.array(sample.values.tolist(), dtype=float)).any()) for sample in samples):
        return replace(base, ours=_UNKNOWN, why=blocked or "some values are missing", takes=takes)
    groups = [group_of(sample.values, sample.censored) for sample in samples]
    if isinstance(claim.rule, Ratio) and (zeros := sum(int((group.values <= 0).sum()) for group in groups)):
        why = f"{zeros} of {sum(group.size for group in groups)} networks have a value of 0, with which no ratio exists"
        return replace(base, ours=_UNKNOWN, why=joined(blocked, why), takes="a measure that is defined at 0")
    effect = claim.rule.effect(*groups)
    # With lower bounds, the tests decide: an end of the interval that lies on a limit of the criterion is rounded.
    found = int(claim.rule.decide(*groups))
    code = 0 if blocked else found
    hypothesis = claim.rule.criterion.hypothesis(effect, found)
    p = math.nan if blocked else claim.rule.p_value(hypothesis, *groups)
    return replace(
        base,
        verdict=_OUTCOME[code],
        ours=_numbers(claim.rule, effect, samples),
        why=blocked or _reason(claim.rule, effect, found, samples),
        takes="" if code else takes if blocked or takes else _needed(claim, groups, samples, effect),
        estimate=_shown(claim.rule, float(effect.estimate)),
        low=_shown(claim.rule, float(effect.low)),
        high=_shown(claim.rule, float(effect.high)),
        p=p,
    )


def _reason(rule: Rule, effect: Effect, code: int, samples: Sequence[Sample]) -> str:
    """Return in words why an effect has its verdict."""
    if code == 0:
        if any(math.isinf(end) for end in (effect.low, effect.high)) and any(map(_has_bounds, samples)):
            return "lower bounds leave the 95 % interval open"
        if math.isinf(effect.low) and math.isinf(effect.high):
            return "the networks are too few for a 95 % interval"
    return rule.criterion.reason(effect, code)


def _has_bounds(sample: Sample) -> bool:
    return sample.censored is not None and bool(sample.censored.any())


def _needed(claim: Claim, groups: Sequence[Group], samples: Sequence[Sample], effect: Effect) -> str:
    """Return in words what would decide a claim that these networks leave open."""
    open_ended = any(math.isinf(end) for end in (effect.low, effect.high))
    bounds = [sample.censored for sample in samples if sample.censored is not None and bool(sample.censored.any())]
    if bounds and open_ended:
        many, all_of = sum(int(bound.sum()) for bound in bounds), sum(len(sample.values) for sample in samples)
        below = joined(*(sample.below for sample in samples))
        budget = f" ({below})" if below else ""
        return f"more training for {many} of the {all_of} networks, which might have reached a larger N{budget}"
    have = min(len(sample.values) for sample in samples)
    spread = claim.rule.spread(*groups)
    if bounds:
        # The standard error that the interval implies.
        spread = float(effect.high - effect.low) / (2 * _NORMAL) * math.sqrt(have / claim.rule.groups)
    number = claim.rule.networks_for(spread, float(effect.estimate)) or claim.planned
    if number is None:
        return ""
    words = f"more than {_MANY:,}" if number > _MANY else f"about {max(number, have + 1)}"
    return f"{words} networks{' of each kind' if claim.rule.groups > 1 else ''}"


def _shown(rule: Rule, size: float) -> float:
    """Return a size as it is shown; logarithms of ratios are shown as ratios."""
    return math.exp(size) if isinstance(rule, Ratio | Growth) and not math.isnan(size) and size < 700 else size


def _numbers(rule: Rule, effect: Effect, samples: Sequence[Sample]) -> str:
    interval = _interval(rule, effect)
    if isinstance(rule, Correlation | Share) or len(samples) == 1:
        return f"at least {interval}" if _has_bounds(samples[0]) else interval
    bounded = any(map(_has_bounds, samples))
    means = " against ".join(_middle(sample, median=bounded) for sample in reversed(samples))
    return f"{means}; {rule.unit} {interval}"


def _interval(rule: Rule, effect: Effect) -> str:
    """Return an estimate and its interval in words, or their limit if no estimate exists."""
    estimate, low, high = (_number(_shown(rule, float(end))) for end in effect)
    if math.isinf(effect.low) and math.isinf(effect.high):
        return f"{estimate} (no 95 % interval)" if math.isfinite(effect.estimate) else _UNKNOWN
    if math.isinf(effect.estimate):
        return f"above {low} (95 %)" if effect.estimate > 0 else f"below {high} (95 %)"
    return f"{estimate} (95 % {low} to {high})"


def _middle(sample: Sample, *, median: bool) -> str:
    """Return the mean of a group in words, or its Kaplan-Meier median or a lower bound of it."""
    group = group_of(sample.values, sample.censored)
    if not median:
        return f"mean {_number(float(group.values.mean()))}"
    middle = censoring.median(group.values, group.bounds)
    if math.isinf(middle):
        return f"median beyond {_number(float(np.median(group.values)))}"
    return f"median {_number(middle)}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    return "-" if math.isnan(value) else f"{value:.3g}"


def decided(verdict: str) -> bool:
    """Return whether a verdict is "reproduced" or "contradicted"."""
    return verdict in ("reproduced", "contradicted")


_ABOUT: Final = ("id", "figure", "task", "claim", "paper", "rule", "unit", "interest", "planned")


def _about(claim: Claim) -> tuple[object, ...]:
    return (
        claim.id,
        claim.figure,
        claim.task,
        claim.text,
        claim.paper,
        claim.words,
        claim.rule.unit,
        claim.size.why,
        claim.planned,
    )


def frame_of(rows: Sequence[tuple[Claim, Verdict]], correct: Callable[[Values], Values]) -> pd.DataFrame:
    """Return verdicts as one row for each claim and training.

    Args:
        rows: claims with their verdicts.
        correct: corrects the p-values of the claims that are judged on one training for their number.
    """
    frame = pd.DataFrame(
        [dict(zip(_ABOUT, _about(claim), strict=True)) | vars(verdict) for claim, verdict in rows],
        columns=[*_ABOUT, *Verdict.__dataclass_fields__],
    )
    # A claim whose values are unknown counts as one that rejects nothing, so that a value that does not exist does not
    # make the others significant.
    unknown = (frame["verdict"] != "not run") & frame[["estimate", "low", "high"]].isna().all(axis=1)
    family = frame["p"].mask(unknown, 1.0)
    corrected = family.groupby(frame["part"], sort=False).transform(lambda p: correct(p.to_numpy(dtype=float)))
    corrected = corrected.where(frame["p"].notna())
    return frame.assign(p_holm=corrected, survives=frame["verdict"].map(decided) & (corrected < LEVEL))
