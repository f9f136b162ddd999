"""Interventions on trained networks: removed neurons, changed weights and taus (figures 7a to 7d, S9, S19)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from analysis import paper
from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._against_n import shared
from analysis.figures._figure import (
    Figure,
    Frame,
    Step,
    Words,
    builds,
    cohort,
    each,
    intervals,
    make,
    per_cell,
    sizes,
    supported,
    unmeasured,
)
from analysis.quantities import connectivity, interventions
from analysis.quantities.base import Quantity

RELATIVE = "relative accuracy"

_PARITY = Cell(curriculum=None)
_TWO = "curriculum in ['single', 'multi']"
_BY = ("curriculum",)


class Ablation(NamedTuple):
    """The effect of removing neurons.

    Attributes:
        networks: one row for each network, set removed and manner (each neuron alone, or all together): curriculum,
            network_id, n, removed, manner, relative_accuracy and tau (means over the neurons).
        cells: one row for each curriculum, n, set and manner: networks, mean, low, high of the relative accuracy.
        taus: the same for tau.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame
    taus: pd.DataFrame


def compute_ablation(rows: pd.DataFrame) -> Ablation:
    """Return the mean effect of removing neurons from each network, and its mean over networks.

    Args:
        rows: curriculum, network_id, n, removed, manner, relative_accuracy and tau, at one N.
    """
    by = ["curriculum", "n", "removed", "manner"]
    return Ablation(rows, per_cell(rows, by, "relative_accuracy"), per_cell(rows, by, "tau"))


def named_as_in_the_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the column names of the table `ablation`."""
    return frame.rename(columns={"ablated_accuracy": "relative_accuracy", "ablated_tau": "tau"})


_MANNERS = {"alone": "one at a time", "together": "all together"}
_REMOVED = ("longest", "shortest")


def draw_ablation(found: Ablation, curriculum: str) -> Drawing:
    """Draw the bars of a curriculum: neurons with the longest and the shortest taus, one at a time and all together."""
    figure, grid = style.panels(1, width=3.4, height=2.6)
    axes = grid[0][0]
    _ablation_bars(axes, found.networks, found.cells, "relative_accuracy", {curriculum: 0.0}, 0.7)
    axes.axhline(1, **style.REFERENCE)
    axes.set_ylabel(RELATIVE)
    n = int(found.cells["n"].iloc[0])
    axes.set_title(f"{style.word(curriculum)}, N = {n}")
    if n == paper.LARGE_N:
        for at, removed in enumerate(_REMOVED):
            ends = (at - 0.35, at + 0.35)
            style.paper(axes, paper.ABLATED[curriculum, removed], style.PAPER["color"], ends)
        style.legend(figure, {"paper": style.PAPER})
    return figure


def draw_ablated_taus(found: Ablation) -> Drawing:
    """Draw the taus of the removed neurons and the effect of removing them, with both curricula side by side."""
    figure, grid = style.panels(2, height=2.6)
    curricula = style.ordered(found.networks["curriculum"])
    offsets = dict(zip(curricula, (style.spread(len(curricula), 0.42)), strict=True))
    alone = found.taus["manner"] == "alone"
    _ablation_bars(grid[0][0], found.networks, found.taus[alone], "tau", offsets, 0.38)
    grid[0][0].set_ylabel("τ of the neurons removed")
    _ablation_bars(grid[0][1], found.networks, found.cells, "relative_accuracy", offsets, 0.38)
    grid[0][1].axhline(1, **style.REFERENCE)
    grid[0][1].set_ylabel(RELATIVE)
    for axes in grid[0]:
        axes.set_title(f"N = {found.cells['n'].iloc[0]}")
    style.legend(figure, style.curricula(curricula))
    return figure


def _ablation_bars(
    axes: Axes, networks: pd.DataFrame, cells: pd.DataFrame, quantity: str, offsets: Mapping[str, float], width: float
) -> None:
    """Draw the bars of a quantity for each manner and each removed set; `offsets` are by curriculum."""
    shown = [
        (manner, removed)
        for manner in _MANNERS
        for removed in _REMOVED
        if ((cells["manner"] == manner) & (cells["removed"] == removed)).any()
    ]
    for at, (manner, removed) in enumerate(shown):
        for curriculum, offset in offsets.items():
            shade = style.colour(curriculum)
            for row in _cell(cells, curriculum, manner, removed).to_dict("records"):
                style.mean(axes, at + offset, row["mean"], row["low"], row["high"], shade, width)
            own = _cell(networks, curriculum, manner, removed)[quantity]
            style.dots(axes, at + offset + style.spread(len(own), width * 0.6), own, shade)
    labels = [f"{style.word(removed)}\n{_MANNERS[manner]}" for manner, removed in shown]
    axes.set_xticks(range(len(shown)), labels, fontsize=7)


def _cell(frame: pd.DataFrame, curriculum: str, manner: str, removed: str) -> pd.DataFrame:
    chosen = (frame["curriculum"] == curriculum) & (frame["manner"] == manner) & (frame["removed"] == removed)
    return frame[chosen]


class Response(NamedTuple):
    """The relative accuracy of networks after an intervention, by its strength.

    Attributes:
        networks: one row for each network and strength, means over draws.
        cells: one row for each curriculum, n and strength: networks, mean, low, high of the relative accuracy.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame


def compute_response(rows: pd.DataFrame, strength: str) -> Response:
    """Return each network's relative accuracy at each strength, and the means over networks (figures 7c to 7e).

    Args:
        rows: curriculum, network_id, n, the column `strength` and relative_accuracy, at one N.
        strength: the name of the column of strengths.
    """
    frame = rows.sort_values(["curriculum", "network_id", "n", strength], ignore_index=True)
    return Response(frame, per_cell(frame, ["curriculum", "n", strength], "relative_accuracy"))


def as_relative_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its last column renamed to relative_accuracy."""
    return frame.rename(columns={frame.columns[-1]: "relative_accuracy"})


def draw_perturbation(found: Response, label: str) -> Drawing:
    """Draw relative accuracy against the strength of a perturbation."""
    figure, grid = style.panels(1, width=3.6, height=2.6)
    respond(grid[0][0], found, "perturbation")
    grid[0][0].set_xlabel(label)
    grid[0][0].set_title(f"N = {found.cells['n'].iloc[0]}")
    style.legend(figure, style.curricula(style.ordered(found.cells["curriculum"])))
    return figure


def respond(axes: Axes, found: Response, strength: str, log: bool = True) -> None:
    """Draw relative accuracy against the column `strength`: a line and dots for each curriculum."""
    for curriculum in style.ordered(found.cells["curriculum"]):
        shade = style.colour(curriculum)
        cells = found.cells[found.cells["curriculum"] == curriculum]
        networks = found.networks[found.networks["curriculum"] == curriculum]
        if log:
            cells, networks = cells[cells[strength] > 0], networks[networks[strength] > 0]
        style.line(axes, cells[strength], cells["mean"], cells["low"], cells["high"], shade)
        style.dots(axes, networks[strength], networks["relative_accuracy"], shade, s=6, alpha=0.4)
    for y in (0, 1):
        axes.axhline(y, **style.REFERENCE, zorder=1)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel(RELATIVE)


class Inhibition(NamedTuple):
    """Scaled inhibition, and the balance of weights.

    Attributes:
        networks: one row for each network and change: curriculum, network_id, n, change, inhibited_accuracy,
            activity_range.
        cells: one row for each curriculum, n, change and quantity: networks, mean, low, high.
        weights: one row for each network and N: curriculum, network_id, n, weight_positive, weight_negative,
            tau_correlation.
        weight_cells: one row for each curriculum, n and quantity: networks, mean, low, high.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame
    weights: pd.DataFrame
    weight_cells: pd.DataFrame


_WEIGHTS = ("weight_positive", "weight_negative", "tau_correlation")
_INHIBITED = ("inhibited_accuracy", "activity_range")


def compute_inhibition(rows: pd.DataFrame, weights: pd.DataFrame) -> Inhibition:
    """Return the effect of scaling the negative weights, and the balance of weights at each N (figure S19).

    Args:
        rows: curriculum, network_id, n, change, inhibited_accuracy and activity_range, at one N.
        weights: curriculum, network_id, n, weight_positive, weight_negative and tau_correlation.
    """
    frame = rows.sort_values(["curriculum", "network_id", "n", "change"], ignore_index=True)
    cells = [per_cell(frame, ["curriculum", "n", "change"], name).assign(quantity=name) for name in _INHIBITED]
    own = weights.sort_values(["curriculum", "network_id", "n"], ignore_index=True)
    parts = [per_cell(own, ["curriculum", "n"], name).assign(quantity=name) for name in _WEIGHTS]
    return Inhibition(frame, pd.concat(cells, ignore_index=True), own, pd.concat(parts, ignore_index=True))


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame sorted by network and change."""
    return frame.sort_values(["curriculum", "network_id", "n", "change"], ignore_index=True)


def draw_inhibition(found: Inhibition) -> Drawing:
    """Draw accuracy and range of activity against the change and, if known, the balance of weights below."""
    rows = 2 if len(found.weight_cells) else 1
    figure, grid = style.panels(2, rows, height=2.2)
    curricula = style.ordered([*found.cells["curriculum"], *found.weight_cells["curriculum"]])
    for curriculum in curricula:
        shade = style.colour(curriculum)
        own = found.networks[found.networks["curriculum"] == curriculum]
        cells = found.cells[found.cells["curriculum"] == curriculum]
        for axes, name in zip(grid[0], _INHIBITED, strict=True):
            here = cells[cells["quantity"] == name]
            style.line(axes, here["change"], here["mean"], here["low"], here["high"], shade)
            style.dots(axes, own["change"], own[name], shade, s=5, alpha=0.3)
        if rows == 2:
            weights = found.weight_cells[found.weight_cells["curriculum"] == curriculum]
            places = (("weight_positive", 0, "-"), ("weight_negative", 0, (0, (4, 2))), ("tau_correlation", 1, "-"))
            for name, column, look in places:
                here = supported(weights[weights["quantity"] == name])
                if len(here):
                    style.line(
                        grid[1][column], here["n"], here["mean"], here["low"], here["high"], shade, linestyle=look
                    )
    grid[0][0].axhline(1, **style.REFERENCE)
    grid[0][0].set_ylabel(RELATIVE)
    grid[0][1].set_yscale("log")
    style.plain_log(grid[0][1].yaxis)
    grid[0][1].set_ylabel(interventions.activity_range.label)
    for axes in grid[0]:
        axes.set_xlabel("change c of the inhibitory weights")
    if rows == 2:
        grid[1][0].set_ylabel("mean incoming weight,\npositive and negative part")
        grid[1][1].set_ylabel("correlation of mean\nincoming weight and τ")
        for axes in grid[1]:
            axes.axhline(0, **style.REFERENCE)
            axes.set_xlabel("N")
            style.whole(axes.xaxis)
    style.legend(figure, style.curricula(curricula))
    return figure


def at_n(study: Study, quantity: Quantity, networks: pd.DataFrame, wanted: int, step: Step) -> Frame:
    """Return the frame of a quantity at the N at which networks are shown; see `_against_n.shared`.

    Args:
        study: the results.
        quantity: a quantity that was measured at some N of each network.
        networks: rows of `Study.networks`.
        wanted: the paper's N.
        step: a function that is applied to the frame.
    """
    measured = Frame(_BY, (quantity,)).rows(study, networks)[["curriculum", "network_id", "n"]].drop_duplicates()
    n = shared(measured, wanted)
    return Frame(_BY, (quantity,), (step,), {table.name: [("n", "==", n or 0)] for table in quantity.tables})


def n_of(frame: Frame) -> int:
    """Return the N that `at_n` chose; 0 if there is none."""
    ((_, _, n),) = next(iter(frame.where.values()))[:1]
    return int(n)


def _ablation_frame(study: Study, networks: pd.DataFrame, wanted: int) -> Frame:
    frame = at_n(study, interventions.ablated_accuracy, networks, wanted, named_as_in_the_table)
    return replace(frame, quantities=(interventions.ablated_accuracy, interventions.ablated_tau))


def _ablation(study: Study, id: str, title: str, curriculum: str) -> Figure:
    chosen = cohort(study, _PARITY, _TWO)
    frame = _ablation_frame(study, chosen.networks, paper.LARGE_N)
    own = replace(
        chosen,
        networks=chosen.networks[chosen.networks["curriculum"] == curriculum],
        conditions=(*chosen.conditions, f"curriculum == {curriculum!r}"),
    )
    found = compute_ablation(frame.rows(study, own.networks))
    compared = " Dotted lines: means of the authors' networks." if n_of(frame) == paper.LARGE_N else ""
    caption = f"""In-time accuracy at N = {n_of(frame)}, relative to the intact network (dashed line), after
        removing the 4 % of neurons with the longest or the shortest taus: one at a time (mean over the neurons), or
        all together. Dots are networks, and bars are their means.{compared} n =
        {found.networks["network_id"].nunique()} networks. {intervals(found.cells["networks"])}"""
    return make(
        study,
        Words(id, title, caption),
        own,
        found,
        partial(draw_ablation, found, curriculum),
        frame=frame,
        missing=unmeasured(study, own, found.networks, "interventions --kinds ablation", "curricula"),
    )


@builds("7a")
def figure_7a(study: Study) -> Figure:
    """Build figure 7a: neurons removed from single-head networks."""
    return _ablation(study, "7a", "Neurons removed, single-head, N-parity", "single")


@builds("7b")
def figure_7b(study: Study) -> Figure:
    """Build figure 7b: neurons removed from multi-head networks."""
    return _ablation(study, "7b", "Neurons removed, multi-head, N-parity", "multi")


@builds("S9")
def figure_s9(study: Study) -> Figure:
    """Build figure S9: neurons removed, with self-interaction outside the nonlinearity."""
    chosen = cohort(study, Cell(curriculum=None, self_interaction="outside"), _TWO)
    frame = _ablation_frame(study, chosen.networks, paper.LARGE_N)
    found = compute_ablation(frame.rows(study, chosen.networks))
    shown = chosen.with_rows(found.networks)
    caption = f"""Self-interaction outside the nonlinearity. Left: tau of the 4 % of neurons with the longest and
        the shortest taus (mean over the neurons) at N = {n_of(frame)}. Right: in-time accuracy after removing them,
        relative to the intact network (dashed line). Dots are networks, and bars are their means. {each(shown)}.
        {intervals(sizes(shown))}"""
    return make(
        study,
        Words("S9", "Neurons removed, self-interaction outside, N-parity", caption),
        chosen,
        found,
        partial(draw_ablated_taus, found),
        frame=frame,
        missing=unmeasured(study, chosen, found.networks, "interventions --kinds ablation", "nonlinearities"),
    )


def perturbation_frame(study: Study, networks: pd.DataFrame, wanted: int, perturbed: str | None = None) -> Frame:
    """Return the frame of perturbed networks at the N that is shown: of weights, of taus, or of both."""
    frame = at_n(study, interventions.perturbed_accuracy, networks, wanted, as_relative_accuracy)
    if perturbed is None:
        return frame
    (table,) = frame.where
    return replace(frame, where={table: [*frame.where[table], ("perturbed", "==", perturbed)]})


def _perturbation(study: Study, words: Words, perturbed: str, label: str) -> Figure:
    chosen = cohort(study, _PARITY, _TWO)
    frame = perturbation_frame(study, chosen.networks, paper.LARGE_N, perturbed)
    found = compute_response(frame.rows(study, chosen.networks), "perturbation")
    shown = chosen.with_rows(found.networks)
    caption = f"""In-time accuracy at N = {n_of(frame)}, relative to the unchanged network (1; chance is 0), after
        {words.caption} Dots are networks (means over random directions), and lines are their means. {each(shown)}.
        {intervals(sizes(shown))}"""
    kinds = f"interventions --kinds perturb-{perturbed}"
    return make(
        study,
        words._replace(caption=caption),
        chosen,
        found,
        partial(draw_perturbation, found, label),
        frame=frame,
        missing=unmeasured(study, chosen, found.networks, kinds, "curricula"),
    )


@builds("7c")
def figure_7c(study: Study) -> Figure:
    """Build figure 7c: perturbed weights."""
    caption = "W is changed in a random direction. The norm of the change is relative to that of W."
    return _perturbation(
        study, Words("7c", "Perturbed weights, N-parity", caption), "weights", "relative norm of the change of W"
    )


@builds("7d")
def figure_7d(study: Study) -> Figure:
    """Build figure 7d: perturbed taus."""
    caption = "the taus are lengthened in a random direction. The norm of the change is relative to that of the taus."
    return _perturbation(
        study, Words("7d", "Perturbed taus, N-parity", caption), "taus", "relative norm of the change of τ"
    )


@builds("S19")
def figure_s19(study: Study) -> Figure:
    """Build figure S19: scaled inhibition, and the balance of weights."""
    chosen = cohort(study, _PARITY, _TWO)
    frame = at_n(study, interventions.inhibited_accuracy, chosen.networks, paper.LARGE_N, in_order)
    frame = replace(frame, quantities=(interventions.inhibited_accuracy, interventions.activity_range))
    weights = Frame(
        _BY, (connectivity.weight_positive, connectivity.weight_negative, connectivity.tau_correlation)
    ).rows(study, chosen.networks)
    found = compute_inhibition(frame.rows(study, chosen.networks), weights)
    shown = chosen.with_rows(found.networks)
    caption = f"""Top: in-time accuracy relative to the unchanged network (left) and largest absolute activity of a
        neuron (right) at N = {n_of(frame)}, after each negative weight is multiplied by 1 + c. Activity outside the
        range of floating-point numbers is drawn at the largest of them. Dots are networks, and lines are their
        means. """
    if len(found.weights):
        caption += """Bottom: positive (solid) and negative (dashed) part of the mean incoming
            weight against N (means where at least half of the networks have solved N), and correlation over neurons
            between mean incoming weight and tau. """
    else:
        command = unmeasured(study, chosen, found.weights, "timescales", "curricula").split(": ")[-1]
        caption += f"The balance of weights has not been measured: {command}. "
    caption += f"{each(shown)}. {intervals(sizes(shown))}"
    return make(
        study,
        Words("S19", "Scaled inhibition and the balance of weights, N-parity", caption),
        chosen,
        found,
        partial(draw_inhibition, found),
        frame=frame,
        missing=unmeasured(study, chosen, found.networks, "interventions --kinds inhibition", "curricula"),
    )
