"""The largest N with fixed and with trained taus (figures 4a, S10, S11)."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis import paper
from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import (
    Figure,
    Frame,
    Words,
    among,
    builds,
    cohort,
    intervals,
    make,
    numbers,
    per_cell,
    untrained,
)
from analysis.quantities import pace
from tsrnn.command_line import counted
from tsrnn.config import EndState

_FRAME = Frame(("task", "curriculum", "tau"), (pace.max_n,))


class MaxN(NamedTuple):
    """The largest N solved.

    Attributes:
        networks: one row for each network: task, curriculum, tau, network_id, max_n.
        cells: one row for each task, curriculum and tau: networks, mean, low, high.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame


def compute(frame: pd.DataFrame) -> MaxN:
    """Return the largest N that each network has solved, and their means.

    Args:
        frame: task, curriculum, tau, network_id and max_n.
    """
    return MaxN(frame, per_cell(frame, ["task", "curriculum", "tau"], "max_n"))


def draw(found: MaxN, theirs: Mapping[tuple[str, str], float] = MappingProxyType({})) -> Drawing:
    """Draw a panel for each task, with the taus along x and the curricula side by side.

    Args:
        found: the values to draw.
        theirs: the paper's largest N with trained taus, by task and curriculum.
    """
    tasks = [task for task in ("parity", "dms") if task in set(found.cells["task"])]
    taus = sorted(found.cells["tau"].unique(), key=lambda tau: (tau == "trained", tau))
    curricula = [name for name in ("single", "multi") if name in set(found.cells["curriculum"])]
    figure, grid = style.panels(len(tasks), height=2.5, width=3.4 if len(tasks) == 1 else None)
    for axes, task in zip(grid[0], tasks, strict=True):
        width = 0.8 / len(curricula)
        for i, curriculum in enumerate(curricula):
            shade = style.colour(curriculum)
            for j, tau in enumerate(taus):
                at = j + (i - (len(curricula) - 1) / 2) * width
                here = {"task": task, "curriculum": curriculum, "tau": tau}
                for row in matching(found.cells, here).to_dict("records"):
                    style.mean(axes, at, row["mean"], row["low"], row["high"], shade, width * 0.9)
                values = matching(found.networks, here)["max_n"].to_numpy(dtype=float)
                style.dots(axes, at + style.spread(len(values), width * 0.55), values, shade)
        axes.set_xticks(range(len(taus)), taus)
        axes.set_xlabel("τ of the neurons (time steps)")
        axes.set_ylabel("largest N solved")
        axes.set_title(style.word(task))
        axes.set_ylim(bottom=0)
        for i, curriculum in enumerate(curricula):
            at = len(taus) - 1 + (i - (len(curricula) - 1) / 2) * width
            if taus[-1] == "trained" and (task, curriculum) in theirs:
                ends = (at - width / 2, at + width / 2)
                style.paper(axes, theirs[task, curriculum], style.colour(curriculum), ends)
    style.legend(figure, style.curricula(curricula) | ({"paper": style.PAPER} if theirs else {}))
    return figure


def matching(frame: pd.DataFrame, cell: dict[str, str]) -> pd.DataFrame:
    """Return the rows of one cell."""
    return frame[(frame[list(cell)] == pd.Series(cell)).all(axis=1)]


def build(
    study: Study,
    id: str,
    title: str,
    cell: Cell,
    options: str = "",
    theirs: Mapping[tuple[str, str], float] = MappingProxyType({}),
) -> Figure:
    """Build one of the figures for the networks of a cell, with any tau."""
    chosen = cohort(study, cell, "curriculum in ['single', 'multi']", "task in ['parity', 'dms']")
    found = compute(_FRAME.rows(study, chosen.networks))
    # Without networks with fixed taus, there is nothing to compare.
    fixed = among(chosen, "tau != 'trained'")
    running = int((chosen.networks["status"] == EndState.RUNNING).sum())
    caption = (
        f"The largest N solved by each network (dots) and the mean over networks (bars), for each constraint on tau. "
        f"{numbers(found.cells['networks'])} for each bar. {intervals(found.cells['networks'])}"
    )
    if theirs:
        caption += " Dotted lines: about the largest N of the paper's networks with trained taus."
    if running:
        caption += f" Still training: {counted(running, 'network')}."
    return make(
        study,
        Words(id, title, caption),
        chosen,
        found,
        partial(draw, found, theirs),
        frame=_FRAME,
        missing=untrained(study, fixed, fixed.networks, "fixed_tau", options),
    )


@builds("4a")
def figure_4a(study: Study) -> Figure:
    """Build figure 4a: parity."""
    title = "Largest N with fixed and trained taus, N-parity"
    return build(study, "4a", title, Cell(curriculum=None, tau=None), theirs=paper.MAX_N)


@builds("S10")
def figure_s10(study: Study) -> Figure:
    """Build figure S10: DMS."""
    title = "Largest N with fixed and trained taus, N-DMS"
    return build(study, "S10", title, Cell("dms", None, None), theirs=paper.MAX_N)


@builds("S11")
def figure_s11(study: Study) -> Figure:
    """Build figure S11: self-interaction outside the nonlinearity."""
    title = "Largest N with fixed and trained taus, self-interaction outside"
    return build(study, "S11", title, Cell(None, None, None, self_interaction="outside"), "--self-interactions outside")
