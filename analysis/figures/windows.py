"""Sliding windows (figure S12), and all heads at once (S18)."""

from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import curricula as fig03_curricula
from analysis.figures import style
from analysis.figures._figure import (
    MAIN,
    MEANS,
    Figure,
    Frame,
    Words,
    among,
    builds,
    cohort,
    each,
    intervals,
    make,
    numbers,
    per_cell,
    sizes,
    supported,
    untrained,
)
from analysis.figures.curricula import STEPS, TASKS, Steps
from analysis.figures.readouts import as_accuracy
from analysis.quantities import pace
from tsrnn.io.schemas import HEADS


def draw_windows(found: Steps) -> Drawing:
    """Draw a column of panels for each task: the largest N by curriculum, and below it the epochs for each N."""
    tasks = [task for task in TASKS if task in set(found.ends["task"])]
    curricula = style.ordered(found.ends["curriculum"])
    figure, grid = style.panels(len(tasks), 2, height=2.2)
    for (top, bottom), task in zip(grid.T, tasks, strict=True):
        ends = found.ends[found.ends["task"] == task]
        bars = {row["curriculum"]: row for row in per_cell(ends, ["curriculum"], "max_n").to_dict("records")}
        for at, curriculum in enumerate(curricula):
            shade = style.colour(curriculum)
            own = ends.loc[ends["curriculum"] == curriculum, "max_n"].to_numpy(dtype=float)
            if len(own):
                row = bars[curriculum]
                style.mean(top, at, row["mean"], row["low"], row["high"], shade, 0.75)
                style.dots(top, at + style.spread(len(own), 0.5), own, shade)
            cells = supported(found.cells[(found.cells["task"] == task) & (found.cells["curriculum"] == curriculum)])
            if len(cells):
                style.line(bottom, cells["n"], cells["mean"], cells["low"], cells["high"], shade)
        top.set_title(style.word(task))
        top.set_xticks(range(len(curricula)), [_short(name) for name in curricula])
        bottom.set_yscale("log")
        style.plain_log(bottom.yaxis)
        style.whole(bottom.xaxis)
        bottom.set_xlabel("N")
    grid[0][0].set_ylabel("largest N solved")
    grid[1][0].set_ylabel("epochs to solve N")
    style.legend(figure, style.curricula(curricula), min(4, len(curricula)))
    return figure


def _short(curriculum: str) -> str:
    kind, *number = curriculum.removesuffix("-full").split("-")
    return f"w = {'-'.join(number)}" if kind == "sliding" else kind


class AllHeads(NamedTuple):
    """All heads trained from the first epoch on.

    Attributes:
        accuracies: one row for each network, epoch and head: curriculum, network_id, epoch, n, accuracy.
        curves: one row for each curriculum, epoch and head: networks, mean (over the networks that are still training).
        solved: one row for each network and solved N: curriculum, network_id, n, epoch.
        cells: one row for each curriculum and n: networks, mean, low, high of the epoch it was solved in.
    """

    accuracies: pd.DataFrame
    curves: pd.DataFrame
    solved: pd.DataFrame
    cells: pd.DataFrame


def compute_all_heads(rows: pd.DataFrame, first: pd.DataFrame) -> AllHeads:
    """Return the accuracy of every head in each epoch, and when each N was first solved.

    Args:
        rows: curriculum, network_id, epoch, n and accuracy.
        first: curriculum, network_id, n and epoch (in which n was solved).
    """
    curves = rows.groupby(["curriculum", "n", "epoch"])["accuracy"].agg(networks="size", mean="mean").reset_index()
    return AllHeads(rows, curves, first, per_cell(first, ["curriculum", "n"], "epoch"))


def draw_all_heads(found: AllHeads) -> Drawing:
    """Draw a column of panels for each number of heads: accuracies by epoch, and when each N was solved."""
    curricula = style.ordered(found.curves["curriculum"])
    ns = sorted(found.curves["n"].unique())
    shades = dict(zip(ns, style.shades(len(ns)), strict=True))
    figure, grid = style.panels(len(curricula), 2, height=2.2, sharey="row")
    for (top, bottom), curriculum in zip(grid.T, curricula, strict=True):
        of_this = found.curves[found.curves["curriculum"] == curriculum]
        for n, curve in of_this.groupby("n"):
            thin = fig03_curricula.thinned(curve.sort_values("epoch"))
            top.plot(thin["epoch"], thin["mean"], color=shades[n], linewidth=0.9)
        top.axhline(0.98, **style.REFERENCE)
        top.set_title(f"N = 2 to {curriculum.split('-')[1]} at once")
        top.set_xlabel("epoch")
        shade = style.colour(curriculum)
        cells = supported(found.cells[found.cells["curriculum"] == curriculum])
        networks = found.solved[found.solved["curriculum"] == curriculum]
        if len(cells):
            style.line(bottom, cells["n"], cells["mean"], cells["low"], cells["high"], shade)
            style.dots(bottom, networks["n"], networks["epoch"], shade, alpha=0.5)
        bottom.set_xlabel("N")
        style.whole(bottom.xaxis)
    grid[0][0].set_ylabel("test accuracy")
    grid[1][0].set_ylabel("epoch in which N was solved")
    grid[1][0].set_ylim(bottom=0)
    shown = ns if len(ns) <= 10 else ns[:: -(-len(ns) // 10)]
    style.legend(figure, {f"N = {n}": {"color": shades[n], "linewidth": 2} for n in shown}, min(len(shown), 6))
    return figure


@builds("S12")
def figure_s12(study: Study) -> Figure:
    """Build figure S12: sliding windows."""
    condition = "(curriculum in ['single', 'multi'] or curriculum.str.startswith('sliding-'))"
    chosen = cohort(study, MAIN, condition, "task in ['parity', 'dms']")
    found = fig03_curricula.compute_steps(chosen.networks, STEPS.rows(study, chosen.networks))
    windows = among(chosen, "curriculum.str.startswith('sliding-')")
    own = found.solved[found.solved["network_id"].isin(windows.networks["network_id"])]
    caption = f"""Sliding windows of w heads, compared with single-head (w = 1) and multi-head training. Top: the
        largest N solved by networks (dots) and its means (bars). Bottom: mean number of epochs to solve each N,
        where at least half of the networks solved it. {numbers(sizes(chosen.networks))} for each task and
        curriculum. {intervals(sizes(chosen.networks))}"""
    return make(
        study,
        Words("S12", "Sliding windows", caption),
        chosen,
        found,
        partial(draw_windows, found),
        frame=STEPS,
        missing=untrained(study, windows, own, "sliding_window"),
    )


@builds("S18")
def figure_s18(study: Study) -> Figure:
    """Build figure S18: all heads at once."""
    chosen = cohort(study, Cell(curriculum=None), "curriculum.str.startswith('all-')")
    ids = sorted(chosen.networks["network_id"])
    # The table is large: every network has a row for each epoch and head.
    where = {HEADS.name: [("network_id", "in", ids or [""])]}
    frame = Frame(("curriculum",), (pace.head_accuracy,), (as_accuracy,), where)
    first = Frame(("curriculum",), (pace.epoch_solved,)).rows(study, chosen.networks)
    found = compute_all_heads(frame.rows(study, chosen.networks), first.rename(columns={"epoch_solved": "epoch"}))
    caption = f"""Networks with a head for every N from the first epoch on, without a curriculum. Top: mean test
        accuracy of each head, with N as the colour; dashed line: 98 %. Bottom: the epoch in which each N was first
        solved, networks (dots) and their {MEANS}. {each(chosen.networks)}. {intervals(sizes(chosen.networks))}"""
    return make(
        study,
        Words("S18", "All heads at once, N-parity", caption),
        chosen,
        found,
        partial(draw_all_heads, found),
        frame=frame,
        missing=untrained(study, chosen, found.accuracies, "all_heads"),
    )
