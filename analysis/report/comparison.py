"""Two studies side by side: the verdicts of each on every claim."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd

from analysis.claims import catalogue
from analysis.claims.verdicts import MEANINGS
from analysis.data.study import Study
from analysis.report import claims
from analysis.report.claims import Group
from analysis.report.contents import summary

KINDS: Final[Mapping[str, str]] = {
    "other verdict": "≠",
    "same verdict": "=",
    "in one study only": "½",
    "not run in either": "–",  # noqa: RUF001
}
"""The ways in which two verdicts on a claim can compare, with their signs."""


@dataclass(frozen=True)
class Side:
    """One of the studies.

    Attributes:
        letter: A or B.
        name: the name of its folder.
        folder: the path of its folder.
        summary: its networks in words.
        counts: the number of verdicts of each kind.
        sentences: a summary of the verdicts.
    """

    letter: str
    name: str
    folder: str
    summary: str
    counts: dict[str, int]
    sentences: Sequence[str]


@dataclass(frozen=True)
class Pair:
    """A claim, and the verdicts of both studies on it.

    Attributes:
        kind: one of `KINDS`.
        task: the task of the compared networks.
        claim: the claim in words.
        both: the verdicts, as in `analysis.report.claims`; None if a study has no further training.
    """

    kind: str
    task: str
    claim: str
    both: tuple[dict[str, Any] | None, dict[str, Any] | None]

    @property
    def sign(self) -> str:
        """The sign of the kind."""
        return KINDS[self.kind]


@dataclass(frozen=True)
class PairGroup:
    """The pairs of one figure; see `analysis.report.claims.Group`."""

    id: str
    label: str
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Comparison:
    """The content of a comparison."""

    sides: tuple[Side, Side]
    groups: Sequence[PairGroup]
    version: str
    made: str
    meanings: Sequence[str] = MEANINGS
    data: Mapping[str, Any] = field(default_factory=lambda: {"curves": {}, "pages": {}, "csv": {}})

    @property
    def name(self) -> str:
        """The names of both studies."""
        return " and ".join(side.name for side in self.sides)

    @property
    def counts(self) -> dict[str, int]:
        """The number of pairs of each kind."""
        found = [pair.kind for group in self.groups for pair in group.pairs]
        return {kind: found.count(kind) for kind in KINDS}

    @property
    def tasks(self) -> list[str]:
        """The tasks of the claims."""
        pairs = (pair for group in self.groups for pair in group.pairs)
        return list(dict.fromkeys(task for pair in pairs for task in pair.task.split(", ") if task))


def compare(first: Study, second: Study) -> Comparison:
    """Compare two studies.

    Args:
        first: A.
        second: B.
    """
    judged = [catalogue.judge_all(study) for study in (first, second)]
    groups = [{group.id: group for group in claims.groups(frame)} for frame in judged]
    return Comparison(
        sides=(_side("A", first, judged[0]), _side("B", second, judged[1])),
        groups=[PairGroup(id, group.label, list(_pairs(group, groups[1][id]))) for id, group in groups[0].items()],
        version=importlib.metadata.version("tsrnn"),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _side(letter: str, study: Study, judged: pd.DataFrame) -> Side:
    return Side(
        letter,
        study.folder.resolve().name,
        str(study.folder),
        summary(study),
        catalogue.counts(judged),
        claims.sentences(judged),
    )


def _pairs(first: Group, second: Group) -> Iterator[Pair]:
    """Yield the claims of a figure, with trainings that both studies have first, and then the others in their order."""
    for id in dict.fromkeys(claim["id"] for claim in first.claims):
        ours, theirs = ([claim for claim in group.claims if claim["id"] == id] for group in (first, second))
        alike = [(a, b) for a in ours for b in theirs if a["part"] == b["part"]]
        left = [a for a in ours if all(a is not one for one, _ in alike)]
        right = [b for b in theirs if all(b is not other for _, other in alike)]
        count = max(len(left), len(right))
        others = zip(*([*rest, *[None] * (count - len(rest))] for rest in (left, right)), strict=True)
        for a, b in [*alike, *others]:
            known = a or b
            if known is not None:
                yield Pair(_kind(a, b), known["task"], known["claim"], (a, b))


def _kind(first: dict[str, Any] | None, second: dict[str, Any] | None) -> str:
    verdicts = ["not run" if one is None else one["verdict"] for one in (first, second)]
    match verdicts.count("not run"):
        case 2:
            return "not run in either"
        case 1:
            return "in one study only"
    return "same verdict" if verdicts[0] == verdicts[1] else "other verdict"
