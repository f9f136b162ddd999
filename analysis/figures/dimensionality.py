"""Connectivity and dimensionality against N (figures 6a, 6b, S20)."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import _against_n, style
from analysis.figures._against_n import AgainstN, Panel, curriculum_looks
from analysis.figures._figure import (
    MAIN,
    MEANS,
    STEPWISE,
    Figure,
    Frame,
    Words,
    builds,
    cohort,
    each,
    intervals,
    make,
    sizes,
    unmeasured,
)
from analysis.quantities import connectivity
from analysis.quantities.connectivity import KNEE
from analysis.stats.line import least_squares

_CELLS = ("task", "curriculum")
_CONNECTIVITY = Frame(_CELLS, (connectivity.weight_mean,))
_DIMENSIONALITY = Frame(_CELLS, (connectivity.components, connectivity.participation_ratio))


class Dimensionality(NamedTuple):
    """Dimensionality against N.

    Attributes:
        networks: one row for each network and N: task, curriculum, network_id, n, components, participation_ratio.
        cells: see `AgainstN.cells`.
        lines: one row for each curriculum and part: task, curriculum, part ("all", "to 20" or "beyond 20"), slope,
            intercept, n_low, n_high: the least-squares line through the networks' components.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame
    lines: pd.DataFrame


def draw_connectivity(found: AgainstN) -> Drawing:
    """Draw a panel for each task."""
    tasks = style.ordered(found.networks["task"])
    panels = [[Panel("weight_mean", connectivity.weight_mean.label, style.word(t), {"task": t}, 0) for t in tasks]]
    return _against_n.draw(found, panels, "curriculum", curriculum_looks(found.networks["curriculum"]))


def with_lines(against: AgainstN) -> Dimensionality:
    """Add the lines that the paper fits to the number of components as a function of N."""
    lines = []
    for (task, curriculum), group in against.networks.dropna(subset="components").groupby(["task", "curriculum"]):
        parts = {"all": group, f"to {KNEE}": group[group["n"] <= KNEE], f"beyond {KNEE}": group[group["n"] > KNEE]}
        for part, own in parts.items():
            slope, intercept = least_squares(own["n"].to_numpy(dtype=float), own["components"].to_numpy(dtype=float))
            if np.isfinite(slope):
                ends = {"n_low": int(own["n"].min()), "n_high": int(own["n"].max())}
                cell = {"task": task, "curriculum": curriculum, "part": part}
                lines.append(cell | {"slope": slope, "intercept": intercept} | ends)
    columns = ["task", "curriculum", "part", "slope", "intercept", "n_low", "n_high"]
    return Dimensionality(*against, pd.DataFrame(lines, columns=columns))


def draw_dimensionality(found: Dimensionality, parts: tuple[str, ...]) -> Drawing:
    """Draw components against N, with the fitted lines of these parts (dashed) and their slopes in words.

    Args:
        found: the quantities of one task.
        parts: the parts, ("all",) or ("to 20", "beyond 20").
    """
    panels = [[Panel("components", connectivity.components.label)]]
    looks = curriculum_looks(found.networks["curriculum"])
    figure = _against_n.draw(AgainstN(found.networks, found.cells), panels, "curriculum", looks, width=3.6, height=2.7)
    (axes,) = figure.axes
    words = []
    shown = found.lines[found.lines["part"].isin(parts)].sort_values("curriculum", key=lambda c: c.map(style.rank))
    for line in shown.to_dict("records"):
        ends = np.array([line["n_low"], line["n_high"]], dtype=float)
        shade = style.colour(line["curriculum"])
        axes.plot(ends, line["slope"] * ends + line["intercept"], color=shade, linewidth=1, linestyle=(0, (5, 2)))
        part = "" if line["part"] == "all" else f", N {line['part']}"
        words.append(f"{style.word(line['curriculum'])}{part}: {line['slope']:.2f} per N")
    axes.text(0.03, 0.98, "\n".join(words), transform=axes.transAxes, va="top", fontsize=7.5)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0), high + 0.09 * len(words) * (high - low))
    return figure


@builds("6a")
def figure_6a(study: Study) -> Figure:
    """Build figure 6a: mean incoming weight against N."""
    chosen = cohort(study, MAIN, STEPWISE, "task in ['parity', 'dms']")
    found = _against_n.compute(_CONNECTIVITY, study, chosen.networks)
    shown = chosen.with_rows(found.networks)
    caption = f"""Mean incoming recurrent weight, averaged over the neurons of a network that solved N: networks (dots)
        and their {MEANS}. Below 0 (dashed line), inhibition outweighs excitation. {each(shown)}.
        {intervals(sizes(shown))}"""
    return make(
        study,
        Words("6a", "Balance of recurrent weights against N", caption),
        chosen,
        found,
        partial(draw_connectivity, found),
        frame=_CONNECTIVITY,
        missing=unmeasured(study, chosen, found.networks, "timescales", "curricula"),
    )


def _dimensionality(study: Study, words: Words, task: str, parts: tuple[str, ...]) -> Figure:
    chosen = cohort(study, Cell(task, None), STEPWISE)
    found = with_lines(_against_n.compute(_DIMENSIONALITY, study, chosen.networks))
    shown = chosen.with_rows(found.networks)
    caption = f"""Number of principal components that explain 90 % of the variance of a network's activity in all trials
        together: networks (dots), their {MEANS}, and least-squares lines through the networks (dashed). {words.caption}
        {each(shown)}. {intervals(sizes(shown))}"""
    return make(
        study,
        words._replace(caption=caption),
        chosen,
        found,
        partial(draw_dimensionality, found, parts),
        frame=_DIMENSIONALITY,
        missing=unmeasured(study, chosen, found.networks, "timescales", "curricula"),
    )


@builds("6b")
def figure_6b(study: Study) -> Figure:
    """Build figure 6b: dimensionality against N, parity."""
    return _dimensionality(study, Words("6b", "Dimensionality against N, N-parity", ""), "parity", ("all",))


@builds("S20")
def figure_s20(study: Study) -> Figure:
    """Build figure S20: dimensionality against N, DMS."""
    words = Words("S20", "Dimensionality against N, N-DMS", f"One line is fitted up to N = {KNEE}, and one beyond.")
    return _dimensionality(study, words, "dms", (f"to {KNEE}", f"beyond {KNEE}"))
