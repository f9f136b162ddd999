"""Timescales of activity: tau_net of neurons and tau_pop of networks (figures 5, S1 to S4)."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis import paper
from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import _against_n, style
from analysis.figures._against_n import AgainstN, Panel, curriculum_looks, small_and_large
from analysis.figures._figure import (
    MAIN,
    MEANS,
    STEPWISE,
    Cohort,
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
    sizes,
    unmeasured,
    untrained,
)
from analysis.quantities import taus, timescales
from tsrnn.io.schemas import TIMESCALES


def one_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with none-5, none-10, ... renamed to one curriculum, none."""
    return frame.assign(curriculum=frame["curriculum"].str.split("-").str[0])


def where_solved(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows at N that a network has solved."""
    return frame.dropna(subset="tau_mean").reset_index(drop=True)


_TWO = (STEPWISE, "task in ['parity', 'dms']")
_PARITY = Cell(curriculum=None)
_CELLS = ("task", "curriculum")
_NETWORKS = Frame(_CELLS, (timescales.tau_net_mean, timescales.tau_net_sd, timescales.tau_net_share))
_FITS = Frame(_CELLS, (timescales.agreement, timescales.r_squared))
_POPULATION = Frame(_CELLS, (timescales.tau_pop,))
_SCRATCH_TAU = Frame(_CELLS, (taus.tau_mean,), (one_kind,))
_SCRATCH = Frame(_CELLS, (taus.tau_mean, timescales.tau_net_mean), (one_kind, where_solved))


def draw_networks(found: AgainstN, quantity: str, label: str) -> Drawing:
    """Draw two panels for each task: the quantity, and the share of neurons over which it is computed."""
    tasks = style.ordered(found.networks["task"])
    panels = [
        [
            Panel(quantity, label, style.word(task), {"task": task}),
            Panel("tau_net_share", timescales.tau_net_share.label, style.word(task), {"task": task}),
        ]
        for task in tasks
    ]
    return _against_n.draw(
        found, panels, "curriculum", curriculum_looks(found.networks["curriculum"]), share_rows=False
    )


class Distribution(NamedTuple):
    """tau_net of single neurons.

    Attributes:
        neurons: one row for each neuron with tau_net > 1: curriculum, network_id, n, neuron, tau_net.
        densities: one row for each curriculum, n and bin: low, high (of the bin), density (of log10 tau_net, mean over
            networks), networks.
    """

    neurons: pd.DataFrame
    densities: pd.DataFrame


def compute_distribution(rows: pd.DataFrame) -> Distribution:
    """Return the distributions of tau_net over neurons, with the same weight for each network (figure 5d).

    Args:
        rows: curriculum, network_id, n, neuron and tau_net, at the N that are shown.
    """
    neurons = rows.sort_values(["curriculum", "network_id", "n", "neuron"], ignore_index=True)
    edges = np.linspace(0, 2, 31)  # bins of log10 tau_net, from 1 to 100, the limit of the paper's fit
    densities = []
    for (curriculum, n), group in neurons.groupby(["curriculum", "n"]):
        each_network = [
            np.histogram(np.log10(own["tau_net"]), edges, density=True)[0] for _, own in group.groupby("network_id")
        ]
        cell = {"curriculum": curriculum, "n": n, "low": 10 ** edges[:-1], "high": 10 ** edges[1:]}
        densities.append(pd.DataFrame(cell | {"density": np.mean(each_network, axis=0), "networks": len(each_network)}))
    columns = ["curriculum", "n", "low", "high", "density", "networks"]
    return Distribution(neurons, pd.concat(densities) if densities else pd.DataFrame(columns=columns))


def draw_distribution(found: Distribution) -> Drawing:
    """Draw a panel for each N, with densities as steps on a logarithmic axis."""
    ns = sorted(found.densities["n"].unique())
    curricula = style.ordered(found.densities["curriculum"])
    figure, grid = style.panels(len(ns), sharey=True)
    for axes, n in zip(grid[0], ns, strict=True):
        for curriculum in curricula:
            here = (found.densities["n"] == n) & (found.densities["curriculum"] == curriculum)
            rows = found.densities[here]
            if len(rows):
                edges = [*rows["low"], rows["high"].iloc[-1]]
                axes.stairs(rows["density"], edges, color=style.colour(curriculum), linewidth=1.4)
                axes.stairs(rows["density"], edges, color=style.colour(curriculum), fill=True, alpha=0.12)
        axes.set_xscale("log")
        style.plain_log(axes.xaxis)
        axes.set_xlim(1, 100)
        axes.set_title(f"N = {n}")
        axes.set_xlabel("τ_net (time steps)")
    grid[0][0].set_ylabel("density of log10(τ_net)")
    style.legend(figure, style.curricula(curricula))
    return figure


class Examples(NamedTuple):
    """Autocorrelations of one neuron for each curriculum and N.

    Attributes:
        autocorrelations: one row for each network, neuron and lag: curriculum, network_id, n, neuron, lag,
            autocorrelation.
        fits: one row for each curriculum and N: network_id, n, neuron and, from the table `timescales`, status,
            tau_net, tau_fast, weight_slow, amplitude.
    """

    autocorrelations: pd.DataFrame
    fits: pd.DataFrame


def choose_examples(networks: pd.DataFrame, timescales: pd.DataFrame) -> pd.DataFrame:
    """Choose for each curriculum and N the neuron with the median tau_net of the network with the smallest seed.

    Args:
        networks: rows of `Study.networks`.
        timescales: rows of neurons for one method, at the N that are shown.

    Returns:
        One row for each curriculum and N, with the columns of `Examples.fits`.
    """
    columns = ["status", "tau_net", "tau_fast", "weight_slow", "amplitude"]
    rows = networks[["curriculum", "seed", "network_id"]].merge(timescales, on="network_id")
    rows = rows[rows["tau_net"] > 1]
    chosen = []
    for _, group in rows.groupby(["curriculum", "n"]):
        own = group[group["seed"] == group["seed"].min()].sort_values(["tau_net", "neuron"])
        chosen.append(own.iloc[[(len(own) - 1) // 2]])
    frame = pd.concat(chosen) if chosen else rows
    return frame[["curriculum", "network_id", "n", "neuron", *columns]].reset_index(drop=True)


def compute_examples(fits: pd.DataFrame, rows: pd.DataFrame) -> Examples:
    """Return the autocorrelations of the chosen neurons.

    Args:
        fits: the result of `choose_examples`.
        rows: curriculum, network_id, n, neuron, lag and autocorrelation of these neurons.
    """
    keys = ["curriculum", "network_id", "n", "neuron", "lag"]
    return Examples(rows.sort_values(keys, ignore_index=True), fits)


def fitted(lags: "np.ndarray[Any, Any]", fit: "pd.Series[Any]") -> "np.ndarray[Any, Any]":
    """Return the fitted autocorrelation, a exp(-t / tau) or a (c exp(-t / tau_net) + (1 - c) exp(-t / tau_fast))."""
    slow = np.exp(-lags / fit["tau_net"])
    # The faster timescale may be 0; its component is then 0 after lag 0.
    fast = np.exp(-lags / max(fit["tau_fast"], 1e-9)) if fit["status"] == "double" else slow
    curve: np.ndarray[Any, Any] = fit["amplitude"] * (fit["weight_slow"] * slow + (1 - fit["weight_slow"]) * fast)
    return curve


def draw_examples(found: Examples) -> Drawing:
    """Draw a panel for each curriculum, with the dots of one neuron for each N and its fit as a line."""
    curricula, ns = style.ordered(found.fits["curriculum"]), sorted(found.fits["n"].unique())
    shades = dict(zip(ns, style.shades(len(ns)), strict=True))
    figure, grid = style.panels(len(curricula), sharey=True)
    for axes, curriculum in zip(grid[0], curricula, strict=True):
        notes = []
        for _, fit in found.fits[found.fits["curriculum"] == curriculum].sort_values("n").iterrows():
            rows = found.autocorrelations
            for key in ("network_id", "n", "neuron"):
                rows = rows[rows[key] == fit[key]]
            style.dots(axes, rows["lag"], rows["autocorrelation"], shades[fit["n"]], s=10)
            lags = np.linspace(0, max(rows["lag"], default=1), 200)
            axes.plot(lags, fitted(lags, fit), color=shades[fit["n"]], linewidth=1)
            fast = f", τ_fast = {fit['tau_fast']:.1f}" if fit["status"] == "double" else ""
            notes.append(f"N = {fit['n']}: τ_net = {fit['tau_net']:.1f}{fast}")
        axes.set_title(style.word(curriculum))
        axes.text(0.97, 0.95, "\n".join(notes), transform=axes.transAxes, ha="right", va="top", fontsize=7.5)
        axes.set_xlabel("lag (time steps)")
        style.whole(axes.xaxis)
    grid[0][0].set_ylabel("autocorrelation")
    style.legend(figure, {f"N = {n}": {"color": shades[n], "linewidth": 2} for n in ns})
    return figure


def draw_one(
    found: AgainstN, quantity: str, label: str, reference: float | None = None, value: float | None = None
) -> Drawing:
    """Draw one quantity, with a panel for each task, and the paper's value if it gives one."""
    tasks = style.ordered(found.networks["task"])
    values = {} if value is None else {None: value}
    panels = [[Panel(quantity, label, style.word(task), {"task": task}, reference, values) for task in tasks]]
    return _against_n.draw(found, panels, "curriculum", curriculum_looks(found.networks["curriculum"]))


def draw_scratch(found: AgainstN) -> Drawing:
    """Draw a row of panels for each task: mean tau and, if it was measured, mean tau_net."""
    measured = (found.cells["quantity"] == "tau_net_mean").any()
    panels = [
        [
            Panel("tau_mean", taus.tau_mean.label, style.word(task), {"task": task}, reference=1),
            *(
                [Panel("tau_net_mean", timescales.tau_net_mean.label, style.word(task), {"task": task})]
                * bool(measured)
            ),
        ]
        for task in style.ordered(found.networks["task"])
    ]
    return _against_n.draw(
        found, panels, "curriculum", curriculum_looks(found.networks["curriculum"]), share_rows=False
    )


def _measured(study: Study, chosen: Cohort) -> pd.DataFrame:
    """Return the networks and N that were measured: curriculum, network_id, n."""
    return Frame(("curriculum",), (timescales.tau_pop,)).rows(study, chosen.networks)[["curriculum", "network_id", "n"]]


def _figure(study: Study, words: Words, frame: Frame, draw: Any) -> Figure:
    """Build a figure of quantities against N."""
    chosen = cohort(study, MAIN, *_TWO)
    found = _against_n.compute(frame, study, chosen.networks)
    shown = chosen.with_rows(found.networks)
    caption = f"""{words.caption} Networks (dots) and their {MEANS}. {each(shown)}. {intervals(sizes(shown))}"""
    return make(
        study,
        words._replace(caption=caption),
        chosen,
        found,
        partial(draw, found),
        frame=frame,
        missing=unmeasured(study, chosen, found.networks, "timescales", "curricula"),
    )


@builds("5a")
def figure_5a(study: Study) -> Figure:
    """Build figure 5a: autocorrelations of example neurons, and their fits."""
    chosen = cohort(study, _PARITY, "curriculum in ['single', 'multi']")
    measured = _measured(study, chosen)
    ns = small_and_large(measured)
    fits = choose_examples(
        chosen.networks,
        study.load(TIMESCALES, where=[*timescales.NEURONS["timescales"], ("n", "in", ns or [0])]),
    )
    frame = Frame(
        ("curriculum",),
        (timescales.autocorrelation,),
        where={
            "autocorrelations": [
                ("network_id", "in", sorted(fits["network_id"]) or [""]),
                ("n", "in", ns or [0]),
                ("neuron", "in", sorted(set(map(int, fits["neuron"]))) or [-2]),
            ]
        },
    )
    found = compute_examples(fits, frame.rows(study, chosen.networks))
    caption = f"""Autocorrelation of one neuron for each curriculum (dots), and the exponentials that the paper's method
        fitted and chose (lines), at the N nearest to the paper's 5 and 30 that both curricula have. The neuron is the
        one with the median tau_net, among those above 1, in the network with the smallest seed. n = {len(fits)}
        neurons."""
    return make(
        study,
        Words("5a", "Autocorrelation of example neurons, N-parity", caption),
        chosen,
        found,
        partial(draw_examples, found),
        frame=frame,
        missing=unmeasured(study, chosen, found.autocorrelations, "timescales", "curricula"),
    )


@builds("5b")
def figure_5b(study: Study) -> Figure:
    """Build figure 5b: mean tau_net against N."""
    caption = """Left: mean of tau_net, the timescale of a neuron's activity in the network (paper's method), over the
        neurons with tau_net > 1. Right: share of these neurons; the activity of the others decays within a step."""
    draw = partial(draw_networks, quantity="tau_net_mean", label=timescales.tau_net_mean.label)
    words = Words("5b", "Mean network-mediated timescale against N", caption)
    return _figure(study, words, _NETWORKS, draw)


@builds("5c")
def figure_5c(study: Study) -> Figure:
    """Build figure 5c: standard deviation of tau_net against N."""
    caption = """Left: standard deviation of tau_net (paper's method) over the neurons of a network with tau_net > 1.
        Right: share of these neurons."""
    draw = partial(draw_networks, quantity="tau_net_sd", label=timescales.tau_net_sd.label)
    words = Words("5c", "Standard deviation of network-mediated timescales against N", caption)
    return _figure(study, words, _NETWORKS, draw)


@builds("5d")
def figure_5d(study: Study) -> Figure:
    """Build figure 5d: distributions of tau_net at a small and a large N."""
    chosen = cohort(study, _PARITY, "curriculum in ['single', 'multi']")
    measured = _measured(study, chosen)
    ns = small_and_large(measured)
    frame = Frame(("curriculum",), (timescales.tau_net,), where={"timescales": [("n", "in", ns or [0])]})
    found = compute_distribution(frame.rows(study, chosen.networks))
    caption = f"""Distribution over neurons of tau_net (paper's method, neurons with tau_net > 1) at the N nearest
        to the paper's 5 and 30 that both curricula have. All networks have the same weight.
        {numbers(found.densities["networks"])} for each distribution."""
    return make(
        study,
        Words("5d", "Distribution of network-mediated timescales, N-parity", caption),
        chosen,
        found,
        partial(draw_distribution, found),
        frame=frame,
        missing=unmeasured(study, chosen, found.neurons, "timescales", "curricula"),
    )


@builds("S1")
def figure_s1(study: Study) -> Figure:
    """Build figure S1: how often AIC and BIC choose the same model."""
    caption = """Share of neurons for which the Akaike and the Bayesian information criterion choose the same model, one
        exponential or two (paper's method). Dotted line: about the paper's value."""
    draw = partial(draw_one, quantity="agreement", label=timescales.agreement.label, value=paper.AGREEMENT)
    return _figure(study, Words("S1", "Agreement of AIC and BIC", caption), _FITS, draw)


@builds("S2")
def figure_s2(study: Study) -> Figure:
    """Build figure S2: goodness of fit."""
    caption = """R² of the fits to the autocorrelations (paper's method), median over the neurons of a network with
        tau_net > 1."""
    draw = partial(draw_one, quantity="r_squared", label=timescales.r_squared.label, reference=1)
    return _figure(study, Words("S2", "R² of the fits", caption), _FITS, draw)


@builds("S3")
def figure_s3(study: Study) -> Figure:
    """Build figure S3: tau and tau_net without a curriculum."""
    chosen = cohort(
        study,
        MAIN,
        "(curriculum == 'single' or curriculum.str.startswith('none-'))",
        "task in ['parity', 'dms']",
    )
    known = _SCRATCH.rows(study, chosen.networks)
    frame = _SCRATCH if known["tau_net_mean"].notna().any() else _SCRATCH_TAU
    rows = frame.rows(study, chosen.networks).reindex(columns=known.columns)
    found = _against_n.summed(rows, _CELLS, ["tau_mean", "tau_net_mean"])
    alone = found.networks[found.networks["curriculum"] == "none"]
    subjects = among(chosen, "curriculum.str.startswith('none-')")
    measured = found.networks["tau_net_mean"].notna()
    tau_net = "and of tau_net over the neurons where it is above 1 (paper's method, right)" if measured.any() else ""
    lacks = (
        ""
        if measured.any()
        else "tau_net has not been measured: "
        + unmeasured(study, subjects, alone.iloc[:0], "timescales", "no_curriculum").split(": ")[-1]
    )
    counts = found.networks.groupby(["task", "curriculum", "n"])["network_id"].nunique()
    caption = f"""Mean of tau over the neurons (left) {tau_net} of networks trained on one N from scratch, and of
        single-head networks that solved this N: networks (dots) and their {MEANS}. Dashed lines: tau = 1.
        {numbers(counts)} at each N. {intervals(counts)} {lacks}"""
    return make(
        study,
        Words("S3", "Timescales without a curriculum", caption),
        chosen,
        found,
        partial(draw_scratch, found),
        frame=frame,
        missing=untrained(study, subjects, alone, "no_curriculum"),
    )


@builds("S4")
def figure_s4(study: Study) -> Figure:
    """Build figure S4: tau_pop against N."""
    caption = "tau_pop, the timescale of the summed activity of all neurons (paper's method), against N."
    draw = partial(draw_one, quantity="tau_pop", label=timescales.tau_pop.label)
    words = Words("S4", "Timescale of the population's activity against N", caption)
    return _figure(study, words, _POPULATION, draw)
