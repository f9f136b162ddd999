"""The content of a report as words, numbers and drawings, before it becomes a page."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from analysis import tables
from analysis.claims import catalogue
from analysis.claims.verdicts import MEANINGS
from analysis.data.study import Study
from analysis.quantities import reach as measures
from analysis.report import claims, figures, networks, provenance
from analysis.report.claims import Group
from analysis.report.figures import Shown, Waiting
from analysis.report.grids import NONE, Cell, Column, Grid, listed, number, value_of, word
from analysis.stats.intervals import FEW
from tsrnn.command_line import counted
from tsrnn.config import EndState


@dataclass(frozen=True)
class Contents:
    """The content of a report, in the order of the page."""

    name: str
    folder: str
    version: str
    made: str
    summary: str
    sentences: Sequence[str]
    counts: dict[str, int]
    groups: Sequence[Group]
    opening: Shown | None
    intervals: str
    meanings: Sequence[str]
    figures: Sequence[Shown]
    waiting: Sequence[Waiting]
    max_n: Grid
    max_n_notes: Sequence[str]
    networks: Grid
    thinned: int
    curves: dict[str, Any]
    pages: dict[str, Any]
    sizes: Grid
    sweeps: Grid
    analyses: Grid
    versions: Sequence[str]
    tables: Grid
    failed: Sequence[str] = field(default=())

    @property
    def claims(self) -> list[dict[str, Any]]:
        """The verdicts on all claims."""
        return [claim for group in self.groups for claim in group.claims]

    def figure(self, id: str) -> Shown:
        """Return the figure with this id."""
        return next(figure for figure in self.figures if figure.id == id)

    def about(self, id: str) -> list[Group]:
        """Return the verdicts on the claims of a figure."""
        return [group for group in self.groups if id in group.figures]

    @property
    def data(self) -> dict[str, Any]:
        """The data for the script of the page."""
        csv = {figure.id: figure.csv for figure in self.drawn if figure.csv}
        return {"curves": self.curves, "pages": self.pages, "csv": csv}

    @property
    def tasks(self) -> list[str]:
        """The tasks of the claims."""
        return list(dict.fromkeys(task for claim in self.claims for task in claim["task"].split(", ") if task))

    @property
    def parts(self) -> list[str]:
        """The judged trainings, in words."""
        return list(dict.fromkeys(claim["part"] for claim in self.claims if claim["part"]))

    @property
    def drawn(self) -> list[Shown]:
        """The figures that are drawn."""
        return [figure for figure in self.figures if not figure.missing]


def collect(study: Study, beside: Path, console: Console | None = None) -> Contents:
    """Compute the contents of a report.

    Args:
        study: the results, finished or not.
        beside: the folder of the report, to which links are relative.
        console: shows the progress of figures; by default, nothing is shown.

    Returns:
        The contents. A figure that could not be drawn is listed in `waiting` and in `failed`.
    """
    own = study.networks
    judged = catalogue.judge_all(study)
    cells = measures.max_n_by_cell(own)
    shown, failed = figures.show(study, console or Console(quiet=True))
    thinned, curves = networks.curves(study)
    pages = networks.pages(study)
    return Contents(
        name=study.folder.resolve().name,
        folder=str(study.folder),
        version=importlib.metadata.version("tsrnn"),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        summary=summary(study),
        sentences=claims.sentences(judged),
        counts=catalogue.counts(judged),
        groups=claims.groups(judged),
        opening=next((figure for figure in shown if figure.id == "4a" and not figure.missing), None),
        intervals=FEW,
        meanings=MEANINGS,
        figures=shown,
        waiting=figures.waiting(shown),
        max_n=_max_n(cells),
        max_n_notes=tables.endings(cells) if len(cells) else ["no networks yet"],
        networks=networks.grid(own, {*curves, *pages}),
        thinned=thinned,
        curves=curves,
        pages=pages,
        sizes=provenance.sizes(own),
        sweeps=provenance.sweeps(study),
        analyses=provenance.analyses(study),
        versions=provenance.versions(study),
        tables=provenance.tables(study, beside),
        failed=failed,
    )


def summary(study: Study) -> str:
    """Return a description of the networks in some results."""
    own = study.networks
    finished = int((own["status"] != EndState.RUNNING).sum())
    return (
        f"{counted(len(own), 'network')}, {finished} of them finished. "
        f"Sweeps: {listed(path.resolve().name for path in study.sweeps)}. "
        f"Scale: {listed(own['scale'].unique())}. "
        f"Neurons: {listed(map(str, sorted(own['hidden'].unique())))}."
    )


def _max_n(cells: pd.DataFrame) -> Grid:
    labels = ("networks", "mean N", "95 % interval", "median", "range", "epochs")
    columns = [*map(Column, networks.KIND), *(Column(label, True) for label in labels), Column("other settings")]
    rows = []
    for row, other in zip(cells.to_dict("records"), networks.beyond(cells), strict=True):
        interval = Cell(
            NONE if np.isnan(row["low"]) else f"{row['low']:.1f} to {row['high']:.1f}", value_of(row["low"])
        )
        span = Cell(
            f"{row['min']} to {row['max']}" if row["min"] < row["max"] else str(row["min"]), value_of(row["min"])
        )
        rows.append(
            [
                *(word(row[name]) for name in networks.KIND),
                number(row["n"]),
                number(row["mean"], ".1f"),
                interval,
                number(row["median"]),
                span,
                number(row["epochs_mean"], ".0f"),
                word(other),
            ]
        )
    return Grid("Largest N solved, by kind of network", columns, rows)
