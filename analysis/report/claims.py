"""The verdicts of a report: claim by claim, at a glance by figure, and in three sentences."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from analysis import tables
from analysis.claims.catalogue import counts
from analysis.claims.verdicts import decided
from analysis.figures import FIGURES
from analysis.report.grids import NONE, listed
from tsrnn.command_line import counted

SIGNS: Final = {"reproduced": "✓", "contradicted": "✗", "inconclusive": "~", "not run": NONE}
"""The sign of each verdict, so that verdicts can be distinguished without colours."""


@dataclass(frozen=True)
class Group:
    """The verdicts on the claims of one figure, or of several figures that a claim is based on together.

    Attributes:
        id: the id of the group on the page.
        label: the label, such as "Figure 4a" or "Figures 7a, 7b".
        figures: the ids of the figures.
        claims: the verdicts, as rows of `analysis.claims.catalogue.judge_all` with additions for the page.
        counts: the number of verdicts of each kind.
    """

    id: str
    label: str
    figures: Sequence[str]
    claims: Sequence[dict[str, Any]]
    counts: dict[str, int]

    @property
    def short(self) -> str:
        """The label without the word "Figure"."""
        return (
            self.label.removeprefix("Figures ").removeprefix("Figure ").replace("Section ", "§ ").replace("Table ", "T")
        )

    @property
    def words(self) -> str:
        """The counts, such as "2 reproduced, 1 not run"."""
        return listed(f"{count} {name}" for name, count in self.counts.items() if count)


def groups(judged: pd.DataFrame) -> list[Group]:
    """Return the verdicts by figure, in the order of the paper; claims without a figure come last.

    Args:
        judged: what `analysis.claims.catalogue.judge_all` returned.
    """
    order = {id: place for place, id in enumerate(FIGURES)}

    def place(figure: str) -> list[int]:
        return [order[id] for id in ids(figure) if id in order] or [len(order)]

    return [
        Group(
            id=f"claims-{re.sub('[^A-Za-z0-9]+', '-', str(figure))}",
            label=label(str(figure)),
            figures=ids(str(figure)),
            claims=[_claim(row) for row in own.to_dict("records")],
            counts=counts(own),
        )
        for figure in sorted(judged["figure"].unique(), key=place)
        for own in [judged[judged["figure"] == figure]]
    ]


def ids(figure: str) -> list[str]:
    """Return the ids of the figures of a claim: for "7c, Table 1", these are 7c and table1."""
    parts = [part.strip().replace("Table ", "table") for part in figure.split(",")]
    return [part for part in parts if not part.startswith("section")]


def label(figure: str) -> str:
    """Return the figures of a claim in words."""
    if figure.startswith("section"):
        return figure.capitalize()
    return f"{'Figures' if ',' in figure and 'Table' not in figure else 'Figure'} {figure}"


def _claim(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()} | {
        "sign": SIGNS[row["verdict"]],
        "lines": tables.claim_lines(row),
        "size": _short(row["estimate"]),
        "interval": f"{_short(row['low'])} to {_short(row['high'])}" if row["low"] == row["low"] else "",
        "p_text": _short(row["p"], ".2g"),
        "p_holm_text": _short(row["p_holm"], ".2g"),
        "lost": decided(row["verdict"]) and not row["survives"],
    }


def _short(value: float, form: str = ".3g") -> str:
    """Return a number with few digits; "" if it is unknown."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return "" if math.isnan(value) else f"{value:{form}}"


def sentences(judged: pd.DataFrame) -> list[str]:
    """Return a summary of the verdicts in three sentences.

    Args:
        judged: what `analysis.claims.catalogue.judge_all` returned.
    """
    found, number = counts(judged), judged["id"].nunique()
    several = "" if len(judged) == number else f" ({len(judged)} verdicts, since each training is judged separately)"
    first = (
        f"Of the paper's {counted(number, 'claim')}{several}, these results reproduce {found['reproduced']}, "
        f"contradict {found['contradicted']} and leave {found['inconclusive']} inconclusive; for {found['not run']} "
        "there are no results."
    )
    return [first, _decided(judged), _open(judged)]


def _decided(judged: pd.DataFrame) -> str:
    """Return in words the figures whose claims are decided, and how many of these verdicts survive the correction."""
    own = judged[judged["verdict"].map(decided)]
    if own.empty:
        return "No claim is decided yet."
    parts = [
        f"{verdict}: {_by_figure(own[own['verdict'] == verdict])}"
        for verdict in ("reproduced", "contradicted")
        if (own["verdict"] == verdict).any()
    ]
    words = "; ".join(parts)
    survive, below = int(own["survives"].sum()), int((own["below"] != "").sum())
    beyond = f", and {below} were reached at a smaller N or budget than the paper's" if below else ""
    return (
        f"{words[0].upper()}{words[1:]}; {survive or 'none'} of these {counted(len(own), 'verdict')} survive the "
        f"correction for the number of claims{beyond}."
    )


def _by_figure(rows: pd.DataFrame) -> str:
    """Return the figures with most of these claims, such as "4a (3), 3b (2) and 4 more figures"."""
    found = rows["figure"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    named = listed(f"{figure} ({count})" for figure, count in found.head(_NAMED).items())
    more = len(found) - _NAMED
    return f"{named} and {counted(more, 'more figure')}" if more > 0 else named


_NAMED: Final = 6


def _open(judged: pd.DataFrame) -> str:
    """Return in words what would decide the inconclusive claims."""
    own = judged[judged["verdict"] == "inconclusive"]
    if own.empty:
        return "No claim with results is inconclusive."
    kinds = own["takes"].map(_kind).value_counts(sort=False).sort_values(ascending=False, kind="stable")
    parts = [f"{name} ({count})" for name, count in kinds.items()]
    return f"The inconclusive claims could be decided by {_joined(parts)}."


def _kind(takes: str) -> str:
    """Return in a few words what would decide a claim."""
    if re.match(r"(about|more than) [\d,]+ networks", takes):
        return "more networks"
    if "networks that have solved" in takes:
        return "networks that have solved a larger N"
    return "more training" if "training" in takes or "budget" in takes else "other measurements"


def _joined(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} or {last}" if most else last
