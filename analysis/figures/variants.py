"""Taus of networks with other time steps, input durations or nonlinearities (figures S5 to S8)."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import _against_n, style
from analysis.figures._against_n import AgainstN, Panel, curriculum_looks, shaded_looks
from analysis.figures._figure import (
    Cohort,
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
    supported,
    unmeasured,
    untrained,
)
from analysis.quantities import taus, time_steps

_TWO = "curriculum in ['single', 'multi']"
_QUANTITIES = (taus.tau_mean, taus.tau_sd)


def draw_by_k(found: AgainstN, label: str) -> Drawing:
    """Draw a column of panels for each curriculum: mean and standard deviation, with k as the colour.

    The taus of the paper's multi-head networks approach k, which dotted lines show.

    Args:
        found: the quantities, with the columns curriculum and k.
        label: the label of a line, with "{}" in place of k.
    """
    curricula = style.ordered(found.networks["curriculum"])
    ks = _ordered(found.networks["k"])
    limits = {k: float(k) for k in ks if k != "1"}
    panels = [
        [
            Panel("tau_mean", "mean τ", style.word(c), {"curriculum": c}, 1, limits if c == "multi" else {})
            for c in curricula
        ],
        [Panel("tau_sd", "SD of τ", "", {"curriculum": c}) for c in curricula],
    ]
    return _against_n.draw(found, panels, "k", shaded_looks(ks, label), height=1.9)


def draw_variants(found: AgainstN, columns: Sequence[tuple[str, dict[str, Any]]]) -> Drawing:
    """Draw a column of panels for each variant: mean and standard deviation.

    Args:
        found: the quantities, with the columns self_interaction, nonlinearity, slope and curriculum.
        columns: title and values of each variant.
    """
    shown = [(title, where) for title, where in columns if len(Panel("", "", where=where).of(found.networks))]
    panels = [
        [Panel("tau_mean", taus.tau_mean.label, title, where, reference=1) for title, where in shown],
        [Panel("tau_sd", taus.tau_sd.label, "", where) for title, where in shown],
    ]
    looks = curriculum_looks(found.networks["curriculum"])
    return _against_n.draw(found, panels, "curriculum", looks, height=1.9)


def _figure(
    study: Study, chosen: Cohort, words: Words, by: tuple[str, ...], sweep: str, draw: Any, subject: str
) -> Figure:
    """Build one of the figures; without networks that meet `subject`, there is nothing to compare."""
    frame = Frame(by, _QUANTITIES)
    found = _against_n.compute(frame, study, chosen.networks)
    subjects = among(chosen, subject)
    solvers = found.networks[found.networks["network_id"].isin(subjects.networks["network_id"])]
    counts = chosen.networks.groupby([column for column in by if chosen.networks[column].notna().all()])
    sizes = counts["network_id"].nunique()
    caption = f"{words.caption} {numbers(sizes)} for each line. {intervals(sizes)}"
    return make(
        study,
        words._replace(caption=caption),
        chosen,
        found,
        partial(draw, found),
        frame=frame,
        missing=untrained(study, subjects, solvers, sweep),
    )


class TimeSteps(NamedTuple):
    """Networks with finer time steps.

    Attributes:
        networks: see `AgainstN`.
        cells: see `AgainstN`.
        others: one row for each network and k of a test: curriculum, k (of training), network_id, n, asked_k (of the
            test), accuracy_by_k.
        other_cells: one row for each curriculum, k and asked_k: networks, mean, low, high of the accuracy.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame
    others: pd.DataFrame
    other_cells: pd.DataFrame


def compute_time_steps(against: AgainstN, rows: pd.DataFrame) -> TimeSteps:
    """Return taus by the k of training, and accuracy with other k (figure S5).

    Args:
        against: the taus, by curriculum and k.
        rows: curriculum, k, network_id, n, asked_k and accuracy_by_k.
    """
    # If a network was measured at several N, the largest is shown.
    largest = rows[rows["n"] == rows.groupby("network_id")["n"].transform("max")].reset_index(drop=True)
    return TimeSteps(*against, largest, per_cell(largest, ["curriculum", "k", "asked_k"], "accuracy_by_k"))


def draw_time_steps(found: TimeSteps) -> Drawing:
    """Draw taus by k as `draw_by_k` does, and below them accuracy against the k of the tests."""
    ks = _ordered(found.networks["k"])
    shades = dict(zip(ks, style.shades(len(ks)), strict=True))
    curricula = style.ordered(found.networks["curriculum"])
    measured = len(found.others) > 0
    figure, grid = style.panels(len(curricula), 2 + measured, height=1.9, sharey="row")
    for column, curriculum in enumerate(curricula):
        for row, quantity in enumerate(("tau_mean", "tau_sd")):
            axes = grid[row][column]
            cells = found.cells[found.cells["quantity"] == quantity]
            for k in ks:
                mean, own = supported(_of(cells, curriculum, k)), _of(found.networks, curriculum, k)
                style.dots(axes, own["n"], own[quantity], shades[k], s=6, alpha=0.4)
                style.line(axes, mean["n"], mean["mean"], mean["low"], mean["high"], shades[k])
            axes.set_xlabel("N")
            style.whole(axes.xaxis)
        grid[0][column].axhline(1, **style.REFERENCE, zorder=1)
        grid[0][column].set_title(style.word(curriculum))
        if measured:
            axes = grid[2][column]
            for k in ks:
                mean, own = _of(found.other_cells, curriculum, k), _of(found.others, curriculum, k)
                style.dots(axes, own["asked_k"], own["accuracy_by_k"], shades[k], s=6, alpha=0.4)
                style.line(axes, mean["asked_k"], mean["mean"], mean["low"], mean["high"], shades[k])
            if (found.others["curriculum"] == curriculum).any():
                axes.set_xscale("log")
                style.plain_log(axes.xaxis)
            axes.axhline(0.5, **style.REFERENCE, zorder=1)
            axes.set_xlabel("k of the test")
    for row, label in enumerate(("mean τ", "SD of τ", "accuracy")[: 2 + measured]):
        grid[row][0].set_ylabel(label)
    style.legend(figure, {f"trained with k = {k}": {"color": shades[k], "linewidth": 2} for k in ks})
    return figure


@builds("S5")
def figure_s5(study: Study) -> Figure:
    """Build figure S5: dt = 1/k, with inputs held for k steps."""
    cell = Cell(curriculum=None, self_interaction="outside", k=None, dt=None)
    chosen = cohort(study, cell, _TWO, "(k == '1' or dt == '1/k')")
    finer = among(chosen, "dt != '1'")
    frame = Frame(("curriculum", "k"), _QUANTITIES)
    found = compute_time_steps(
        _against_n.compute(frame, study, chosen.networks),
        Frame(("curriculum", "k"), (time_steps.accuracy_by_k,)).rows(study, chosen.networks),
    )
    solvers = found.networks[found.networks["network_id"].isin(finer.networks["network_id"])]
    sizes = chosen.networks.groupby(["curriculum", "k"])["network_id"].nunique()
    if len(found.others):
        ns = sorted(set(found.others["n"]))
        others = (
            f"""Bottom: accuracy at N = {", ".join(map(str, ns))} of networks tested with other k (dashed: chance)."""
        )
    else:
        command = unmeasured(study, finer, found.others, "time-steps", "time_discretisation").split(": ")[-1]
        others = f"Their accuracy with other k has not been measured: {command}."
    caption = f"""Time steps of dt = 1/k, with each input held for k of them, so that a bit lasts one unit of time for
        every k; self-interaction outside. Mean and standard deviation of tau, in units of time, when a network solved N
        (dots: networks; lines: means where at least half of the networks have solved N). If there are several k, one
        was drawn for each batch. Dashed lines: tau = 1. {others} {numbers(sizes)} for each line. {intervals(sizes)}"""
    return make(
        study,
        Words("S5", "Finer time steps, N-parity", caption),
        chosen,
        found,
        partial(draw_time_steps, found),
        frame=frame,
        missing=untrained(study, finer, solvers, "time_discretisation"),
    )


def _of(frame: pd.DataFrame, curriculum: str, k: str) -> pd.DataFrame:
    return frame[(frame["curriculum"] == curriculum) & (frame["k"] == k)]


def _ordered(ks: Iterable[str]) -> list[str]:
    """Return the distinct values of k, ordered by their largest number."""
    return sorted(set(ks), key=lambda k: [int(part) for part in k.split(",")][::-1])


@builds("S6")
def figure_s6(study: Study) -> Figure:
    """Build figure S6: bits that last k steps at dt = 1."""
    chosen = cohort(study, Cell(curriculum=None, k=None), _TWO)
    caption = """Bits shown for k time steps at dt = 1. Mean and standard deviation of tau, in time steps, when a
        network solved N (dots: networks; lines: means where at least half of the networks have solved N). Dashed
        lines: tau = 1, the smallest possible value. Dotted lines: k, which the taus of the paper's multi-head
        networks approach."""
    return _figure(
        study,
        chosen,
        Words("S6", "Taus with longer input durations, N-parity", caption),
        ("curriculum", "k"),
        "input_duration",
        partial(draw_by_k, label="k = {}"),
        "k != '1'",
    )


@builds("S7")
def figure_s7(study: Study) -> Figure:
    """Build figure S7: self-interaction outside the nonlinearity."""
    chosen = cohort(study, Cell(curriculum=None, self_interaction=None), _TWO)
    caption = """Self-interaction inside and outside the nonlinearity. Mean and standard deviation of tau when a network
        solved N (dots: networks; lines: means where at least half of the networks have solved N). Dashed lines:
        tau = 1, the smallest possible value."""
    return _figure(
        study,
        chosen,
        Words("S7", "Taus with self-interaction outside, N-parity", caption),
        ("self_interaction", "curriculum"),
        "nonlinearities",
        partial(
            draw_variants,
            columns=[(f"self-interaction {where}", {"self_interaction": where}) for where in ("inside", "outside")],
        ),
        "self_interaction == 'outside'",
    )


@builds("S8")
def figure_s8(study: Study) -> Figure:
    """Build figure S8: other nonlinearities."""
    chosen = cohort(study, Cell(curriculum=None, self_interaction=None, nonlinearity=None, slope=None), _TWO)
    caption = """Different nonlinearities; the titles give the slope of the leaky ReLU and the position of the
        self-interaction. Mean and standard deviation of tau when a network solved N (dots: networks; lines: means where
        at least half of the networks have solved N). Dashed lines: tau = 1."""
    leaky = [
        (f"leaky ReLU {slope:g},\ninside", {"nonlinearity": "leaky_relu", "self_interaction": "inside", "slope": slope})
        for slope in sorted(set(chosen.networks["slope"].dropna()), reverse=True)
    ]
    others = [
        (f"{style.word(name)},\n{where}", {"nonlinearity": name, "self_interaction": where})
        for where in ("inside", "outside")
        for name in ("relu", "tanh")
    ]
    return _figure(
        study,
        chosen,
        Words("S8", "Taus with other nonlinearities, N-parity", caption),
        ("self_interaction", "nonlinearity", "slope", "curriculum"),
        "nonlinearities",
        partial(draw_variants, columns=[*leaky, *others]),
        "nonlinearity != 'leaky_relu'",
    )
