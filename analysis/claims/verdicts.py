"""Claims and verdicts: the vocabulary that the console, the report and README share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

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
        id: the figure it is read from, and a word.
        figure: the figure or table.
        text: the claim in words.
        paper: the paper's number, or what it says in place of one.
        interest: the name of its smallest effect of interest in effects.toml.
        rule: what is estimated of the measures, and held against that effect.
        measures: of one group of networks, or of two: the rule compares the second with the first.
        compared: of a claim of pace, the two cells whose training is compared; see `analysis.claims.course`.
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
        """The tasks of the networks it compares, such as "parity" or "parity, dms"; "" for any."""
        return ", ".join(dict.fromkeys(measure.task for measure in self.measures if measure.task))

    @property
    def words(self) -> str:
        """The rule in words."""
        names = [measure.words for measure in self.measures]
        of = names[0] if len(names) == 1 else f"{names[1]} against {names[0]}"
        return f"{of}: {self.rule.words}"

    @property
    def planned(self) -> int | None:
        """How many networks of each kind decide it in four of five studies, with the spread that is expected."""
        return self.rule.networks_for(self.size.spread)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim by the results of one kind of training.

    Attributes:
        verdict: reproduced, contradicted, inconclusive or not run.
        ours: the numbers, in words; "" where there are none.
        n: networks, such as "4 and 4".
        at: where it was measured, such as "N = 30".
        why: what decided, or what did not let it.
        takes: what it would take to decide; "" where it is decided.
        below: where the paper's networks were that ours have not reached: such verdicts are counted apart.
        estimate: of the effect, in the rule's unit.
        low: lower end of its 95 % interval; NaN where there is none.
        high: upper end.
        p: two-sided, of the hypothesis that the verdict rests on: no effect, or the smallest effect of interest.
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
"""What verdicts mean, in two paragraphs: the words of the console and of the page."""

_OUTCOME: Final[dict[int, Outcome]] = {1: "reproduced", -1: "contradicted", 0: "inconclusive"}


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """Judge a claim on networks of one training."""
    samples = [measure.take(evidence) for measure in claim.measures]
    for measure, sample in zip(claim.measures, samples, strict=True):
        if sample.values.empty:
            return Verdict("not run", why=f"no results: {measure.needs}", part=evidence.part)
    blocked = joined(*(sample.blocked for sample in samples))
    base = Verdict(
        "inconclusive",
        n=counts(sample.values for sample in samples),
        at=joined(*(sample.at for sample in samples)),
        below=joined(*(sample.below for sample in samples)),
        part=evidence.part,
    )
    if any(bool(np.isnan(np.array(sample.values.tolist(), dtype=float)).any()) for sample in samples):
        return replace(base, ours="not known", why=blocked or "values are missing", takes=joined(*_lifts(samples)))
    groups = [group_of(sample.values, sample.censored) for sample in samples]
    effect = claim.rule.effect(*groups)
    code = 0 if blocked else int(claim.rule.decide(*groups))
    hypothesis = claim.rule.criterion.hypothesis(effect)
    p = math.nan if blocked else claim.rule.p_value(hypothesis, *groups)
    return replace(
        base,
        verdict=_OUTCOME[code],
        ours=_numbers(claim.rule, effect, samples),
        why=blocked or _reason(claim.rule, code),
        takes="" if code else (joined(*_lifts(samples)) if blocked else _needed(claim, groups, samples)),
        estimate=_shown(claim.rule, float(effect.estimate)),
        low=_shown(claim.rule, float(effect.low)),
        high=_shown(claim.rule, float(effect.high)),
        p=p,
    )


def _lifts(samples: Sequence[Sample]) -> list[str]:
    return [sample.takes for sample in samples]


def _reason(rule: Rule, code: int) -> str:
    if code > 0:
        return "its 95 % interval excludes the contrary"
    if code < 0:
        return "its 95 % interval excludes what would be an effect of interest"
    return "its 95 % interval holds both"


def _needed(claim: Claim, groups: Sequence[Group], samples: Sequence[Sample]) -> str:
    """Return in words with numbers what would decide a claim that these networks leave open."""
    bounds = [sample.censored for sample in samples if sample.censored is not None and bool(sample.censored.any())]
    if bounds:
        many, all_of = sum(int(bound.sum()) for bound in bounds), sum(len(sample.values) for sample in samples)
        below = joined(*(sample.below for sample in samples))
        budget = f" ({below})" if below else ""
        return f"more training for the {many} of {all_of} networks that might have got further{budget}"
    spread = claim.rule.spread(*groups)
    number = claim.rule.networks_for(spread) or claim.planned
    have = min(len(sample.values) for sample in samples)
    if number is None:
        return ""
    return f"about {max(number, have + 1)} networks of each kind"


def _shown(rule: Rule, size: float) -> float:
    """Return a size as it is shown: ratios as ratios."""
    return math.exp(size) if isinstance(rule, Ratio | Growth) and not math.isnan(size) and size < 700 else size


def _numbers(rule: Rule, effect: Effect, samples: Sequence[Sample]) -> str:
    estimate, low, high = (_shown(rule, float(end)) for end in effect)
    interval = f"{_number(estimate)} (95 % {_number(low)} to {_number(high)})"
    if isinstance(rule, Correlation | Share) or len(samples) == 1:
        return interval
    means = " against ".join(_middle(sample) for sample in reversed(samples))
    return f"{means}; {rule.unit} {interval}"


def _middle(sample: Sample) -> str:
    """Return the mean of a group; of one with lower bounds Kaplan and Meier's median, or what it is beyond."""
    group = group_of(sample.values, sample.censored)
    if not group.bounds.any():
        return _number(float(group.values.mean()))
    median = censoring.median(group.values, group.bounds)
    if math.isinf(median):
        return f"median beyond {_number(float(np.median(group.values)))}"
    return f"median {_number(median)}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    return "-" if math.isnan(value) else f"{value:.3g}"


def decided(verdict: str) -> bool:
    """Return whether a verdict is one way or the other."""
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
        correct: from the p-values of the claims judged on one training to those corrected for how many there are.
    """
    frame = pd.DataFrame(
        [dict(zip(_ABOUT, _about(claim), strict=True)) | vars(verdict) for claim, verdict in rows],
        columns=[*_ABOUT, *Verdict.__dataclass_fields__],
    )
    corrected = frame.groupby("part", sort=False)["p"].transform(lambda p: correct(p.to_numpy(dtype=float)))
    return frame.assign(p_holm=corrected, survives=frame["verdict"].map(decided) & (corrected < LEVEL))
