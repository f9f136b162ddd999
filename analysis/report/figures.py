"""The figures of a report: each as an image or a table, or with the command that it needs."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from rich.console import Console

from analysis import figures
from analysis.data.study import Study
from analysis.figures import Figure, style
from analysis.measure import progress as _progress
from analysis.report.grids import Column, Grid, number, word

SVG_BYTES = 250_000
"""Figures are embedded as SVG up to this size, and otherwise as PNG."""

CSV_BYTES = 150_000
"""The numbers of a figure are embedded up to this size: those of networks, otherwise their means."""


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it: an image, a table, or the reason why there is neither.

    Attributes:
        id: the id, such as "4a" or "table1".
        label: the label, such as "Figure 4a".
        title: a short title.
        caption: see `analysis.figures.Figure`.
        query: see `analysis.figures.Figure`.
        missing: why nothing is shown; "" if the figure is shown.
        image: the image as a data URL; "" for a table.
        width: the width of the image, in CSS pixels.
        height: the height of the image, in CSS pixels.
        rows: the table; None for an image.
        csv: the shown numbers as CSV; "" if there are too many.
    """

    id: str
    label: str
    title: str
    caption: str
    query: str
    missing: str = ""
    image: str = ""
    width: int = 0
    height: int = 0
    rows: Grid | None = None
    csv: str = ""


@dataclass(frozen=True)
class Waiting:
    """A command, and the figures that need it.

    Attributes:
        command: the command; "" if none is known.
        figures: the figures that the command produces, possibly with further commands.
        why: why they are not drawn, with one sentence for each reason.
    """

    command: str
    figures: Sequence[Shown]
    why: str


def show(study: Study, console: Console) -> tuple[list[Shown], list[str]]:
    """Return all figures of some results, and the errors of those that failed."""
    shown, failed = [], []
    with _progress.JobProgress("report", {"figures": len(figures.FIGURES)}, console) as progress:
        for id in figures.FIGURES:
            began = time.monotonic()
            try:
                shown.append(_shown(figures.build(study, id)))
            except Exception as error:
                # The error of one figure must not affect the others; it is shown in its place and sets the exit status.
                why = f"{type(error).__name__}: {' '.join(str(error).split())}"
                failed.append(f"figure {id}: {why}")
                shown.append(Shown(id, label(id), "it failed", "", "", f"This is an error in the program: {why}"))
            progress.take("figures", time.monotonic() - began)
    return shown, failed


def waiting(shown: Sequence[Shown]) -> list[Waiting]:
    """Return the commands that missing figures need, each once, in the order of their first figure."""
    found: dict[str, list[tuple[Shown, str]]] = {}
    for figure in shown:
        if figure.missing:
            why, _, rest = figure.missing.partition(": python ")
            command = f"python {rest}" if rest else ""
            # The last sentence introduces the command, such as "To train them".
            found.setdefault(command, []).append((figure, why.rpartition(". ")[0] + "." if rest else why))
    return [
        Waiting(command, [figure for figure, _ in own], " ".join(dict.fromkeys(why for _, why in own)))
        for command, own in found.items()
    ]


def label(id: str) -> str:
    """Return the label of a figure, such as "Figure 4a" or "Table 1"."""
    return f"Table {id.removeprefix('table')}" if id.startswith("table") else f"Figure {id}"


def _shown(figure: Figure) -> Shown:
    named = label(figure.id)
    title = figure.title.removeprefix(f"{named}: ")
    shown = Shown(figure.id, named, title[:1].upper() + title[1:], figure.caption, figure.query, figure.missing)
    if figure.missing:
        return shown
    shown = replace(shown, csv=_csv(figure))
    if figure.is_table:
        frame = next(iter(figure.data.values()))
        numbers = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]
        columns = [Column(str(name).replace("_", " "), number) for name, number in zip(frame, numbers, strict=True)]
        rows = [
            [number(cell, ".3g") if numeric else word(cell) for cell, numeric in zip(row, numbers, strict=True)]
            for row in frame.itertuples(index=False)
        ]
        return replace(shown, rows=Grid(f"{shown.label}. {shown.title}", columns, rows))
    drawing = figure.draw()
    width, height = drawing.get_size_inches() * 96
    image = style.render(drawing, "svg", outlines=True)
    form = "svg+xml"
    if len(image) > SVG_BYTES:
        image, form = style.render(drawing, "png"), "png"
    data = f"data:image/{form};base64,{base64.b64encode(image).decode()}"
    return replace(shown, image=data, width=round(width), height=round(height))


def _csv(figure: Figure) -> str:
    """Return the first frame of a figure that is small enough."""
    for frame in figure.data.values():
        if len(frame) * len(frame.columns) < CSV_BYTES:
            text: str = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
            if 0 < len(text) <= CSV_BYTES:
                return text
    return ""
