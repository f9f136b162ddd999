"""Shared parts of figures of a quantity against the solved N: 4b, 5, 6 and S1 to S8."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis import paper
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import Frame, per_cell, supported


class AgainstN(NamedTuple):
    """Quantities against N.

    Attributes:
        networks: one row for each network and solved N: the columns of the cell, network_id, n and the quantities.
        cells: one row for each cell, n and quantity: networks, mean, low, high.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame


@dataclass(frozen=True)
class Panel:
    """One panel: a quantity of the rows that have these values.

    Attributes:
        quantity: the column.
        label: label of the y axis.
        title: title of the panel.
        where: the value that rows must have, by column.
        reference: the y of a dashed line.
        paper: the paper's values, by the value that distinguishes lines; the key None applies to all lines.
    """

    quantity: str
    label: str
    title: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    reference: float | None = None
    paper: Mapping[Any, float] = field(default_factory=dict)

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that belong to this panel."""
        for column, value in self.where.items():
            frame = frame[frame[column] == value]
        return frame


def compute(frame: Frame, study: Study, networks: pd.DataFrame) -> AgainstN:
    """Return a figure's quantities against N, and their means over networks.

    Args:
        frame: the quantities, and the columns that identify a cell, such as task and curriculum.
        study: the results.
        networks: rows of `Study.networks`.
    """
    return summed(frame.rows(study, networks), frame.by, [quantity.name for quantity in frame.quantities])


def summed(rows: pd.DataFrame, by: Sequence[str], quantities: Sequence[str]) -> AgainstN:
    """Summarise quantities over networks.

    Args:
        rows: one row for each network and n, with the columns `by`, network_id, n and the quantities.
        by: the columns that identify a cell, such as task and curriculum.
        quantities: the columns to summarise; empty values do not count.
    """
    frame = rows[[*by, "network_id", "n", *quantities]].sort_values([*by, "network_id", "n"], ignore_index=True)
    cells = [per_cell(frame, [*by, "n"], name).assign(quantity=name) for name in quantities]
    return AgainstN(frame, pd.concat(cells, ignore_index=True))


def draw(
    found: AgainstN,
    panels: Sequence[Sequence[Panel]],
    kind: str,
    looks: Mapping[Any, Mapping[str, Any]],
    *,
    height: float = 2.2,
    width: float | None = None,
    dots: bool = True,
    share_rows: bool = True,
) -> Drawing:
    """Draw panels of means as lines and networks as dots.

    Args:
        found: the result of `compute`.
        panels: rows of panels.
        kind: the column that distinguishes the lines of a panel.
        looks: for each of its values, in the order of the legend: a `label`, a `color` and optionally a `linestyle`.
        height: height of a row, in inches.
        width: width of the figure, in inches.
        dots: whether to draw networks.
        share_rows: whether the panels of a row share their y axis.
    """
    figure, grid = style.panels(
        len(panels[0]), len(panels), height=height, width=width, sharey="row" if share_rows else False, sharex="col"
    )
    for row, axes_row in zip(panels, grid, strict=True):
        for column, (panel, axes) in enumerate(zip(row, axes_row, strict=True)):
            networks = panel.of(found.networks)
            cells = panel.of(found.cells)
            cells = cells[cells["quantity"] == panel.quantity]
            for value, look in looks.items():
                here = supported(cells[cells[kind] == value])
                if here.empty:
                    continue
                own = networks[networks[kind] == value]
                if dots:
                    style.dots(axes, own["n"], own[panel.quantity], look["color"], s=6, alpha=0.4)
                line = {name: setting for name, setting in look.items() if name not in ("label", "color")}
                style.line(axes, here["n"], here["mean"], here["low"], here["high"], look["color"], **line)
            if panel.reference is not None:
                axes.axhline(panel.reference, **style.REFERENCE, zorder=1)
            for value, y in panel.paper.items():
                style.paper(axes, y, **({"shade": looks[value]["color"]} if value in looks else {}))
            if panel.title:
                axes.set_title(panel.title)
            if column == 0 or not share_rows:
                axes.set_ylabel(panel.label)
            if row is panels[-1]:
                axes.set_xlabel("N")
                style.whole(axes.xaxis)
    shown = [value for value in looks if (found.cells[kind] == value).any()]
    entries = {looks[value]["label"]: _key(looks[value]) for value in shown}
    if any(panel.paper for row in panels for panel in row):
        entries["paper"] = dict(style.PAPER)
    style.legend(figure, entries, min(len(entries), 5))
    return figure


def curriculum_looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the label and the style of the lines of these curricula."""
    return {name: {"label": style.word(name), "color": style.colour(name)} for name in style.ordered(names)}


def shaded_looks(values: Sequence[Any], label: str) -> dict[Any, dict[str, Any]]:
    """Return the label and the style of lines of ordered values, such as k; `label` has "{}" in place of the value."""
    return {
        value: {"label": label.format(value), "color": shade}
        for value, shade in zip(values, style.shades(len(values)), strict=True)
    }


def _key(look: Mapping[str, Any]) -> dict[str, Any]:
    return {"linewidth": 2} | {name: setting for name, setting in look.items() if name != "label"}


def shared(rows: pd.DataFrame, wanted: int) -> int | None:
    """Return the N at which to show all curricula: `wanted`, or the nearest N that every curriculum has.

    Args:
        rows: rows with the columns n and curriculum.
        wanted: the paper's N.

    Returns:
        `wanted` if every curriculum has it; otherwise the largest smaller N that all have, or the smallest larger one;
        None if they have no N in common.
    """
    sets = [set(group["n"]) for _, group in rows.groupby("curriculum")]
    common = sorted(set.intersection(*sets)) if sets else []
    below = [n for n in common if n <= wanted]
    return int(below[-1]) if below else int(common[0]) if common else None


def small_and_large(rows: pd.DataFrame) -> list[int]:
    """Return the N, at most two, that are nearest to the paper's small and large N; see `shared`.

    Args:
        rows: rows with the columns n and curriculum.
    """
    return sorted({n for wanted in (paper.SMALL_N, paper.LARGE_N) if (n := shared(rows, wanted)) is not None})
