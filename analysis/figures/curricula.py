"""Networks without a curriculum (figures 3a, S13), and a comparison of curricula (figures 3b, 3c)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis import paper
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import (
    MAIN,
    MEANS,
    STEPWISE,
    Cohort,
    Figure,
    Frame,
    Words,
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
from analysis.quantities import pace

TASKS = ("parity", "dms")

_TWO = (STEPWISE, "task in ['parity', 'dms']")
_ALONE = ("curriculum.str.startswith('none-')", "task in ['parity', 'dms']")

# The largest number of points of a learning curve.
_POINTS = 200


def last_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each network: its N, its last epoch, its accuracy there, and whether it solved N."""
    last = frame.loc[frame.groupby("network_id")["epoch"].idxmax()]
    rows = last.assign(n=last["curriculum"].str.removeprefix("none-").astype(int), solved=last["max_n"] > 0)
    rows = rows.rename(columns={"learning_curve": "accuracy_newest"})
    return rows[["task", "n", "network_id", "epoch", "accuracy_newest", "solved"]].reset_index(drop=True)


def every_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the learning curves with the N on which each network was trained."""
    rows = frame.assign(n=frame["curriculum"].str.removeprefix("none-").astype(int))
    rows = rows.rename(columns={"learning_curve": "accuracy_newest"})
    rows = rows[["task", "n", "network_id", "epoch", "accuracy_newest"]]
    return rows.sort_values(["task", "n", "network_id", "epoch"], ignore_index=True)


def named_as_in_solved(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the column names of the table `solved`, sorted by network and N."""
    rows = frame.rename(columns={"epoch_solved": "epoch"})
    return rows.sort_values(["task", "curriculum", "network_id", "n"], ignore_index=True)


_SCRATCH = Frame(("task", "curriculum"), (pace.learning_curve, pace.max_n), (last_epoch,))
_CURVES = Frame(("task", "curriculum"), (pace.learning_curve,), (every_epoch,))
STEPS = Frame(("task", "curriculum"), (pace.epoch_solved, pace.epochs_taken), (named_as_in_solved,))
"""When each network solved each N, and how many epochs it needed."""


class Scratch(NamedTuple):
    """Networks trained on one N without a curriculum.

    Attributes:
        networks: one row for each network: task, n, network_id, epoch (trained), accuracy_newest (then), solved.
        cells: one row for each task and n: networks, solved (how many), mean, low, high of the epochs trained.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame


def compute_scratch(frame: pd.DataFrame) -> Scratch:
    """Return how many epochs each network needed, or was trained without success.

    Args:
        frame: the result of `last_epoch`.
    """
    cells = per_cell(frame, ["task", "n"], "epoch")
    counts = frame.groupby(["task", "n"])["solved"].sum().rename("solved").astype(int)
    return Scratch(frame, cells.join(counts, on=["task", "n"]))


def draw_scratch(found: Scratch) -> Drawing:
    """Draw a panel for each task: epochs against N, with a cross for each network that did not solve N."""
    tasks = [task for task in TASKS if task in set(found.cells["task"])]
    figure, grid = style.panels(len(tasks), sharey=True)
    shade = style.colour("none")
    for axes, task in zip(grid[0], tasks, strict=True):
        cells = found.cells[found.cells["task"] == task]
        networks = found.networks[found.networks["task"] == task]
        positions = {n: i for i, n in enumerate(cells["n"])}
        for row in cells.to_dict("records"):
            at = positions[row["n"]]
            style.mean(axes, at, row["mean"], row["low"], row["high"], shade, 0.7)
            axes.annotate(f"{row['solved']}/{row['networks']}", (at, 1), xycoords=("data", "axes fraction"), **_ABOVE)
        for n, rows in networks.groupby("n"):
            x = positions[n] + style.spread(len(rows), 0.45)
            won, epoch = rows["solved"].to_numpy(), rows["epoch"].to_numpy()
            style.dots(axes, x[won], epoch[won], shade, s=14)
            style.dots(axes, x[~won], epoch[~won], "#000000", s=18, marker="x", linewidths=0.9)
        axes.set_xticks(list(positions.values()), [str(n) for n in positions])
        axes.set_xlabel("N")
        axes.set_title(style.word(task), pad=14)
        axes.set_ylim(bottom=0)
    grid[0][0].set_ylabel("epochs trained")
    style.legend(
        figure,
        {
            "solved": {"marker": "o", "linestyle": "", "color": shade, "markersize": 4},
            "not solved": {"marker": "x", "linestyle": "", "color": "#000000", "markersize": 4.5},
            "mean": {"color": shade, "linewidth": 1.6},
        },
    )
    return figure


_ABOVE = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 7.5}


class Curves(NamedTuple):
    """Learning curves.

    Attributes:
        epochs: one row for each network and epoch: task, n, network_id, epoch, accuracy_newest.
    """

    epochs: pd.DataFrame


def draw_curves(found: Curves) -> Drawing:
    """Draw a panel for each task, with a line for each network in the colour of its N."""
    tasks = [task for task in TASKS if task in set(found.epochs["task"])]
    ns = sorted(found.epochs["n"].unique())
    shades = dict(zip(ns, style.shades(len(ns)), strict=True))
    figure, grid = style.panels(len(tasks), sharey=True)
    for axes, task in zip(grid[0], tasks, strict=True):
        of_task = found.epochs[found.epochs["task"] == task]
        for (n, _), curve in of_task.groupby(["n", "network_id"]):
            thin = thinned(curve)
            marker = "." if len(thin) == 1 else ""
            axes.plot(thin["epoch"], thin["accuracy_newest"], color=shades[n], linewidth=0.9, alpha=0.85, marker=marker)
        axes.axhline(0.98, **style.REFERENCE)
        axes.set_title(style.word(task))
        axes.set_xlabel("epoch")
    grid[0][0].set_ylabel("test accuracy")
    style.legend(figure, {f"N = {n}": {"color": shades[n], "linewidth": 2} for n in ns}, min(len(ns), 6))
    return figure


def thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Return at most about 200 rows of a learning curve, including the first and the last."""
    if len(curve) <= _POINTS:
        return curve
    return curve.iloc[np.unique(np.linspace(0, len(curve) - 1, _POINTS).round().astype(int))]


class Steps(NamedTuple):
    """When each N was solved.

    Attributes:
        solved: one row for each network and N: task, curriculum, network_id, n, epoch, epochs_taken.
        cells: one row for each task, curriculum and n: networks, mean, low, high of the epochs taken for it.
        ends: one row for each network: task, curriculum, network_id, epochs (trained) and max_n (the largest N solved).
    """

    solved: pd.DataFrame
    cells: pd.DataFrame
    ends: pd.DataFrame


def compute_steps(networks: pd.DataFrame, solved: pd.DataFrame) -> Steps:
    """Return when each network solved each N, and how many epochs this took on average.

    Args:
        networks: rows of `Study.networks`.
        solved: the rows that result from `STEPS`.
    """
    ends = networks[["task", "curriculum", "network_id", "epochs", "max_n"]].reset_index(drop=True)
    return Steps(solved, per_cell(solved, ["task", "curriculum", "n"], "epochs_taken"), ends)


def draw_progress(found: Steps) -> Drawing:
    """Draw a panel for each task: the largest N solved against epochs, with a step line for each network."""
    tasks = [task for task in TASKS if task in set(found.ends["task"])]
    curricula = style.ordered(found.ends["curriculum"])
    figure, grid = style.panels(len(tasks), height=2.5)
    for axes, task in zip(grid[0], tasks, strict=True):
        # An epoch may solve several N; the line goes up to the largest of them.
        tops = found.solved.groupby(["network_id", "epoch"])["n"].max().groupby("network_id").cummax().reset_index()
        for end in found.ends[found.ends["task"] == task].to_dict("records"):
            top = tops[tops["network_id"] == end["network_id"]]
            x = np.concatenate([[0.0], top["epoch"], [end["epochs"]]])
            y = np.concatenate([[0.0], top["n"], [end["max_n"]]])
            shade = style.colour(end["curriculum"])
            axes.step(x, y, where="post", color=shade, linewidth=0.9, alpha=0.8)
            style.dots(axes, [x[-1]], [y[-1]], shade)
        axes.set_title(style.word(task))
        axes.set_xlabel("epochs trained")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        for curriculum in curricula:
            if (task, curriculum) in paper.MAX_N:
                style.paper(axes, paper.MAX_N[task, curriculum], style.colour(curriculum))
    grid[0][0].set_ylabel("largest N solved")
    style.legend(figure, style.curricula(curricula) | {"paper": style.PAPER})
    return figure


def draw_epochs_taken(found: Steps) -> Drawing:
    """Draw a panel for each task: the number of epochs for each N."""
    tasks = [task for task in TASKS if task in set(found.solved["task"])]
    curricula = style.ordered(found.solved["curriculum"])
    figure, grid = style.panels(len(tasks), height=2.5)
    for axes, task in zip(grid[0], tasks, strict=True):
        for curriculum in curricula:
            shade = style.colour(curriculum)
            here = (found.solved["task"] == task) & (found.solved["curriculum"] == curriculum)
            rows = found.solved[here]
            style.dots(axes, rows["n"], rows["epochs_taken"], shade, alpha=0.45)
            cells = supported(found.cells[(found.cells["task"] == task) & (found.cells["curriculum"] == curriculum)])
            if len(cells):
                style.line(axes, cells["n"], cells["mean"], cells["low"], cells["high"], shade)
        axes.set_title(style.word(task))
        axes.set_xlabel("N")
        axes.set_yscale("log")
        style.plain_log(axes.yaxis)
        style.whole(axes.xaxis)
    grid[0][0].set_ylabel("epochs to solve N")
    style.legend(figure, style.curricula(curricula))
    return figure


@builds("3a")
def figure_3a(study: Study) -> Figure:
    """Build figure 3a: the number of epochs that networks need without a curriculum."""
    chosen = cohort(study, MAIN, *_ALONE)
    found = compute_scratch(_SCRATCH.rows(study, chosen.networks))
    caption = f"""Networks trained on one N from scratch, without a curriculum: number of epochs until the accuracy
        exceeded 98 % (dots), or number of epochs without success (crosses). Bars are means over both. The numbers at
        the top say how many networks solved N.
        {numbers(found.cells["networks"])} for each N. {intervals(found.cells["networks"])}"""
    return make(
        study,
        Words("3a", "Training without a curriculum", caption),
        chosen,
        found,
        partial(draw_scratch, found),
        frame=_SCRATCH,
        missing=untrained(study, chosen, found.networks, "no_curriculum"),
    )


@builds("S13")
def figure_s13(study: Study) -> Figure:
    """Build figure S13: learning curves without a curriculum."""
    chosen = cohort(study, MAIN, *_ALONE)
    found = Curves(_CURVES.rows(study, chosen.networks))
    sizes = found.epochs.groupby(["task", "n"])["network_id"].nunique()
    caption = f"""Test accuracy against epochs, for networks trained on one N without a curriculum. A line is a network,
        and its colour is N. Dashed line: 98 %, at which N counts as solved and training ends. {numbers(sizes)}
        for each N."""
    return make(
        study,
        Words("S13", "Learning curves without a curriculum", caption),
        chosen,
        found,
        partial(draw_curves, found),
        frame=_CURVES,
        missing=untrained(study, chosen, found.epochs, "no_curriculum"),
    )


@builds("3b")
def figure_3b(study: Study) -> Figure:
    """Build figure 3b: the largest N solved, by epoch."""
    chosen = cohort(study, MAIN, *_TWO)
    caption = f"""The largest N solved against the number of epochs. A line is a network, with a dot at its last epoch
        so far. Dotted lines: about the largest N of the paper's networks. {each(chosen.networks)}."""
    return _steps(study, chosen, Words("3b", "Largest N solved with two curricula", caption), draw_progress)


@builds("3c")
def figure_3c(study: Study) -> Figure:
    """Build figure 3c: the number of epochs for each N."""
    chosen = cohort(study, MAIN, *_TWO)
    caption = f"""Number of epochs in the step of the curriculum that solved N: networks (dots) and their {MEANS}.
        {each(chosen.networks)}. {intervals(sizes(chosen.networks))}"""
    return _steps(
        study, chosen, Words("3c", "Number of epochs for each N with two curricula", caption), draw_epochs_taken
    )


def _steps(study: Study, chosen: Cohort, words: Words, draw: Callable[[Steps], Drawing]) -> Figure:
    found = compute_steps(chosen.networks, STEPS.rows(study, chosen.networks))
    return make(
        study,
        words,
        chosen,
        found,
        partial(draw, found),
        frame=STEPS,
        missing=untrained(study, chosen, found.solved, "curricula"),
    )
