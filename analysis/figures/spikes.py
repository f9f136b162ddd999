"""The timescales of recorded neurons beside those of networks, on one axis. It is drawn by `analysis spikes`."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from analysis.data.cell import Cell
from analysis.data.frames import ResultsError
from analysis.data.spikes import Binning
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._against_n import small_and_large
from analysis.figures._figure import Cohort, Figure, cohort, each, per_cell, supported, unmeasured
from analysis.quantities.base import Where
from tsrnn.io.schemas import TIMESCALES

_ROBUST: Final[tuple[Where, ...]] = (("method", "==", "robust"), ("neuron", ">=", 0))
_QUERY: Final = 'import pandas as pd\n\nframe = pd.read_parquet("spikes.parquet")\n'
_BINS: Final = 24
_RECORDED: Final = "#333333"
_KEYS: Final = ["curriculum", "n", "network_id"]


class Networks(NamedTuple):
    """Networks to compare with.

    Attributes:
        neurons: one row for each neuron with tau_net > 1: curriculum, n, network_id, tau_net, and tau_net_ms.
        networks: one row for each network and N: curriculum, n, network_id, median_ms (over these neurons), share (of
            these among all neurons).
        cells: one row for each curriculum and N: networks, mean, low, high (of median_ms), share.
        step: how long a time step is taken to be, in seconds.
        cohort: the networks.
    """

    neurons: pd.DataFrame
    networks: pd.DataFrame
    cells: pd.DataFrame
    step: float
    cohort: Cohort


def networks_of(study: Study, ns: Sequence[int] | None, step: float) -> Networks:
    """Return tau_net by the robust method in single-head and multi-head networks with trained taus (N-parity).

    Args:
        study: the results.
        ns: the N; by default the N nearest to 5 and 30 that at least half of the networks of both curricula have.
        step: how long a time step is taken to be, in seconds.

    Raises:
        ResultsError: there is no such network, none was measured by this method at these N, or none of their neurons
            has a tau_net above one time step.
    """
    chosen = cohort(study, Cell(curriculum=None), "curriculum in ['single', 'multi']")
    known = chosen.networks[["network_id", "curriculum"]]
    measured = study.load(TIMESCALES, ["n"], [("method", "==", "robust"), ("neuron", "==", -1)])
    measured = measured.merge(known, on="network_id")
    if missing := unmeasured(study, chosen, measured, "timescales", "curricula"):
        raise ResultsError(missing)
    counts = measured.groupby(["curriculum", "n"]).size().rename("networks").reset_index()
    usual = pd.concat([supported(own) for _, own in counts.groupby("curriculum")])
    wanted = ns or small_and_large(usual)
    there = sorted(measured["n"].unique())
    if lacking := [n for n in wanted if n not in there]:
        raise ResultsError(f"no network was measured at N = {lacking[0]}; there are {', '.join(map(str, there))}")
    if not wanted:
        raise ResultsError(
            f"the curricula were measured at different N; choose among {', '.join(map(str, there))} by --n"
        )
    rows = study.load(TIMESCALES, ["n", "tau_net"], [*_ROBUST, ("n", "in", list(wanted))]).merge(known, on="network_id")
    rows = rows.assign(tau_net_ms=1000 * step * rows["tau_net"], above=rows["tau_net"] > 1)
    if not rows["above"].any():
        raise ResultsError("no neuron of these networks has a tau_net above one time step; choose other N with --n")
    neurons = rows[rows["above"]].sort_values([*_KEYS, "neuron"], ignore_index=True)
    networks = rows.groupby(_KEYS)["above"].mean().rename("share").reset_index()
    medians = neurons.groupby(_KEYS)["tau_net_ms"].median().rename("median_ms").reset_index()
    networks = networks.merge(medians, how="left", on=_KEYS)
    cells = per_cell(networks, ["curriculum", "n"], "median_ms").merge(
        networks.groupby(["curriculum", "n"])["share"].mean().reset_index(), on=["curriculum", "n"]
    )
    return Networks(neurons[[*_KEYS, "tau_net", "tau_net_ms"]], networks, cells, step, chosen)


def figure(neurons: pd.DataFrame, summary: pd.DataFrame, binning: Binning, networks: Networks | None) -> Figure:
    """Return the figure.

    Args:
        neurons: what `analysis.measure.spikes.measure` returned.
        summary: what `analysis.measure.spikes.summary` returned.
        binning: how spikes were counted.
        networks: those to compare with; None for the recorded neurons alone.
    """
    above = neurons[neurons["tau_net"] > 1]
    missing = "" if len(above) or networks else "no neuron has a timescale above a bin, so there is nothing to draw"
    data = {"neurons": neurons, "summary": summary}
    if networks is not None:
        data |= {"networks": networks.networks, "cells": networks.cells}
    words = _caption(neurons, binning, networks)
    painter = partial(_draw, above, summary.iloc[0], binning, networks)
    title = "Timescales of recorded neurons" + (" beside those of networks" if networks is not None else "")
    return Figure("spikes", title, "" if missing else words, data, _QUERY, missing, painter)


def _caption(neurons: pd.DataFrame, binning: Binning, networks: Networks | None) -> str:
    above, width = int((neurons["tau_net"] > 1).sum()), f"{1000 * binning.width:g} ms"
    text = f"""Distribution of tau_net, the timescale of a neuron's rate, over recorded neurons
        {"(top)" if networks else ""}: robust method, spikes counted in bins of {width}, {binning.trials} trials of
        {binning.bins} bins. Shown are the {above} of {len(neurons)} neurons with a tau_net above one bin. The black dot
        is their median, and the line through it its 95 % interval (order statistics; none below six neurons).
        Densities are of log10(tau_net)."""
    if networks is None:
        return " ".join(text.split())
    step = f"{1000 * networks.step:g} ms"
    how = "as long as a bin" if networks.step == binning.width else "a choice of whoever made the figure"
    shares = "; ".join(
        f"{row['share']:.0%} ({style.word(row['curriculum'])}, N = {row['n']})".replace("%", " %")
        for row in networks.cells.sort_values(["n", "curriculum"], ascending=[True, False]).to_dict("records")
    )
    shown = networks.cohort.networks.merge(networks.networks[["network_id"]].drop_duplicates(), on="network_id")
    text += f""" Below: tau_net of the neurons of networks that solved N-parity, by the same method. Networks have no
        seconds; a time step is taken to be {step}, {how}, and another choice moves all networks along the axis
        together. Shown are the neurons with a tau_net above one time step, on average {shares} of the neurons; all
        networks have the same weight. Small dots: medians over these neurons of each network; upright strokes: their
        means over networks; lines through them: 95 % intervals. {each(shown)}. {networks.cohort.note}"""
    return " ".join(text.split())


def _draw(above: pd.DataFrame, summary: "pd.Series[Any]", binning: Binning, networks: Networks | None) -> Drawing:
    """Draw a panel for the recorded neurons and one for each N, with the same axis."""
    ns = [] if networks is None else sorted(networks.cells["n"].unique())
    values = [above["tau_net_ms"]] + ([] if networks is None else [networks.neurons["tau_net_ms"]])
    lowest = 1000 * (binning.width if networks is None else min(binning.width, networks.step))
    highest = max((part.max() for part in values if len(part)), default=lowest)
    edges = np.geomspace(lowest, max(1.05 * highest, 2 * lowest), _BINS + 1)
    drawing, grid = style.panels(1, 1 + len(ns), height=1.9, width=5.0, sharex=True)
    top, *rest = grid[:, 0]
    if len(above):
        _stairs(top, np.histogram(np.log10(above["tau_net_ms"]), np.log10(edges), density=True)[0], edges, _RECORDED)
        ends = [summary["low_ms"], summary["high_ms"]]
        at: dict[str, Any] = {"transform": top.get_xaxis_transform(), "color": _RECORDED, "clip_on": False}
        if np.isfinite(ends).all():
            top.plot(ends, [_TOP, _TOP], linewidth=1.4, **at)
        top.plot([summary["median_ms"]], [_TOP], marker="o", markersize=4.5, **at)
    top.set_title(f"recorded: {len(above)} neurons")
    curricula = [] if networks is None else style.ordered(networks.cells["curriculum"])
    for axes, n in zip(rest, ns, strict=True):
        for i, curriculum in enumerate(curricula):
            _draw_networks(axes, networks, curriculum, n, edges, _TOP - 0.09 * i)  # type: ignore[arg-type]
        axes.set_title(f"networks, N = {n}")
    for axes in grid[:, 0]:
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
        axes.set_ylabel("density")
    drawing.align_ylabels(grid[:, 0])
    last = grid[-1, 0]
    style.plain_log(last.xaxis)
    step = "" if networks is None else f"; a time step is {1000 * networks.step:g} ms"
    last.set_xlabel(f"τ_net (ms{step})")
    if curricula:
        style.legend(drawing, {"recorded": {"color": _RECORDED, "linewidth": 2.5}} | style.curricula(curricula))
    return drawing


# The height of the marks of medians, as a share of the panel.
_TOP: Final = 0.94


def _draw_networks(
    axes: Axes, networks: Networks, curriculum: str, n: int, edges: "np.ndarray[Any, Any]", y: float
) -> None:
    """Draw the density and the medians of the networks of one curriculum at one N."""
    here = [frame[(frame["curriculum"] == curriculum) & (frame["n"] == n)] for frame in networks[:3]]
    neurons, medians, cell = here
    if neurons.empty:
        return
    each_network = [
        np.histogram(np.log10(own["tau_net_ms"]), np.log10(edges), density=True)[0]
        for _, own in neurons.groupby("network_id")
    ]
    shade = style.colour(curriculum)
    _stairs(axes, np.mean(each_network, axis=0), edges, shade)
    across: dict[str, Any] = {"transform": axes.get_xaxis_transform()}
    style.dots(axes, medians["median_ms"], np.full(len(medians), y), shade, **across)
    mean, low, high = (float(cell[name].iloc[0]) for name in ("mean", "low", "high"))
    axes.plot([mean], [y], marker="|", markersize=8, color=shade, zorder=4, **across)
    if np.isfinite([low, high]).all():
        axes.plot([low, high], [y, y], color=shade, linewidth=1.1, zorder=4, **across)


def _stairs(axes: Axes, density: "np.ndarray[Any, Any]", edges: "np.ndarray[Any, Any]", shade: str) -> None:
    axes.stairs(density, edges, color=shade, linewidth=1.4)
    axes.stairs(density, edges, color=shade, fill=True, alpha=0.12)
