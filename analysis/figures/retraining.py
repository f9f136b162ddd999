"""Networks retrained on larger N (figure 7e); interventions and retraining with sliding windows (S14)."""

from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
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
    each,
    intervals,
    make,
    numbers,
    per_cell,
    sizes,
    unmeasured,
)
from analysis.figures.interventions import (
    Response,
    as_relative_accuracy,
    at_n,
    compute_response,
    n_of,
    perturbation_frame,
    respond,
)
from analysis.quantities import interventions
from tsrnn.io.schemas import RETRAINING

_PARITY = Cell(curriculum=None)


def draw_retraining(found: Response) -> Drawing:
    """Draw relative accuracy against N'."""
    figure, grid = style.panels(1, width=3.6, height=2.6)
    _against_larger(grid[0][0], found)
    entries = style.curricula(style.ordered(found.cells["curriculum"]))
    if found.cells["n"].iloc[0] == paper.RETRAINED_FROM:
        grid[0][0].axvline(paper.RETRAINED_TO, **style.PAPER, zorder=1)
        entries["paper"] = dict(style.PAPER)
    style.legend(figure, entries)
    return figure


def _against_larger(axes: Axes, found: Response) -> None:
    respond(axes, found, "retrained_n", log=False)
    axes.set_title(f"from N = {found.cells['n'].iloc[0]}")
    axes.set_xlabel("N' that was retrained")
    style.whole(axes.xaxis)


@builds("7e")
def figure_7e(study: Study) -> Figure:
    """Build figure 7e: networks retrained on larger N."""
    chosen = cohort(study, _PARITY, "curriculum in ['single', 'multi']")
    frame = at_n(study, interventions.retrained_accuracy, chosen.networks, paper.RETRAINED_FROM, as_relative_accuracy)
    found = compute_response(frame.rows(study, chosen.networks), "retrained_n")
    n = n_of(frame)
    own = study.load(RETRAINING, ["network_id", "epochs"], [("n", "==", n)])
    own = own[own["network_id"].isin(chosen.networks["network_id"])]
    epochs = int(own["epochs"].max()) if len(own) else 0
    compared = (
        " Dotted line: about the N' up to which the paper's multi-head networks were better."
        if n == paper.RETRAINED_FROM
        else ""
    )
    caption = f"""In-time accuracy on N', relative to the accuracy at N = {n} (1; chance is 0), of networks that had
        solved N and were then trained on N' alone, for at most {epochs} epochs, with all weights trainable. Dots
        are networks, and lines are their means.{compared} {numbers(found.cells["networks"])} of each curriculum at
        each N'. {intervals(found.cells["networks"])}"""
    return make(
        study,
        Words("7e", "Retraining on larger N, N-parity", caption),
        chosen,
        found,
        partial(draw_retraining, found),
        frame=frame,
        missing=unmeasured(study, chosen, found.networks, "sweeps/retraining.py", "curricula"),
    )


class Sliding(NamedTuple):
    """Interventions on networks of three curricula.

    Attributes:
        networks: one row for each network, intervention and strength: done ("weights", "taus", "from N = 16"),
            curriculum, network_id, n, strength, relative_accuracy.
        cells: one row for each intervention, curriculum, n and strength: networks, mean, low, high.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame


def compute_sliding(rows: pd.DataFrame) -> Sliding:
    """Return relative accuracy after perturbation and retraining, and the means over networks (figure S14).

    Args:
        rows: done, curriculum, network_id, n, strength and relative_accuracy.
    """
    frame = rows.sort_values(["done", "curriculum", "network_id", "n", "strength"], ignore_index=True)
    return Sliding(frame, per_cell(frame, ["done", "curriculum", "n", "strength"], "relative_accuracy"))


def by_what_was_done(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of perturbation and retraining in one frame: done, strength and relative_accuracy."""
    keys = ["done", "curriculum", "network_id", "n", "strength", "relative_accuracy"]
    parts = []
    if "perturbed_accuracy" in frame:
        names = {"perturbed": "done", "perturbation": "strength", "perturbed_accuracy": "relative_accuracy"}
        parts.append(frame.dropna(subset="perturbed_accuracy").rename(columns=names))
    if "retrained_accuracy" in frame:
        names = {"retrained_n": "strength", "retrained_accuracy": "relative_accuracy"}
        trained = frame.dropna(subset="retrained_accuracy").rename(columns=names)
        parts.append(trained.assign(done="from N = " + trained["n"].astype(str)))
    return pd.concat([part[keys] for part in parts]).astype({"strength": float}).reset_index(drop=True)


def draw_sliding(found: Sliding) -> Drawing:
    """Draw a panel for each intervention."""
    done = sorted(
        found.cells["done"].unique(), key=lambda name: (not name.startswith(("w", "t")), name != "weights", name)
    )
    columns = min(2, len(done))
    figure, grid = style.panels(columns, -(-len(done) // columns), height=2.4)
    for axes in grid.flat[len(done) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, done, strict=False):
        cells = found.cells[found.cells["done"] == name]
        part = Response(found.networks[found.networks["done"] == name], cells)
        if name in ("weights", "taus"):
            respond(axes, part, "strength")
            axes.set_title(f"{name} perturbed, N = {cells['n'].iloc[0]}")
            axes.set_xlabel(f"relative norm of the change of {'W' if name == 'weights' else 'τ'}")
        else:
            renamed = {"strength": "retrained_n"}
            _against_larger(axes, Response(part.networks.rename(columns=renamed), cells.rename(columns=renamed)))
    style.legend(figure, style.curricula(style.ordered(found.cells["curriculum"])))
    return figure


@builds("S14")
def figure_s14(study: Study) -> Figure:
    """Build figure S14: perturbation and retraining of networks trained with a sliding window of 5 heads."""
    windows = style.ordered(study.networks["curriculum"][study.networks["curriculum"].str.startswith("sliding-")])
    window = next((name for name in ("sliding-5-full", *windows) if name in windows), "sliding-5-full")
    chosen = cohort(study, _PARITY, f"curriculum in ['single', '{window}', 'multi']")
    subjects = among(chosen, f"curriculum == '{window}'")
    hurt = perturbation_frame(study, chosen.networks, paper.LARGE_N)
    retrained = [
        at_n(study, interventions.retrained_accuracy, chosen.networks, wanted, by_what_was_done)
        for wanted in (paper.RETRAINED_FROM, paper.RETRAINED_LATER_FROM)
    ]
    sources = sorted({n_of(one) for one in retrained} - {0})
    quantities, where = [], {}
    if n_of(hurt):
        quantities, where = [interventions.perturbed_accuracy], dict(hurt.where)
    if sources or not quantities:
        quantities = [*quantities, interventions.retrained_accuracy]
        where |= {RETRAINING.name: [("n", "in", sources or [0])]}
    frame = Frame(("curriculum",), tuple(quantities), (by_what_was_done,), where)
    found = compute_sliding(frame.rows(study, chosen.networks))
    shown = chosen.with_rows(found.networks)
    own = found.networks[found.networks["curriculum"] == window]
    done = set(own["done"])
    which = f" Networks with a {style.word(window)} have not been"
    lacks = "" if done & {"weights", "taus"} else f"{which} perturbed (python -m analysis interventions)."
    lacks += "" if done - {"weights", "taus"} else f"{which} retrained (python sweeps/retraining.py)."
    caption = f"""In-time accuracy, relative to the unchanged networks (1; chance is 0), after a change of W or of
        the taus in a random direction, and after retraining on larger N'.{lacks} Dots are networks, and lines are
        their means. {each(shown)}. {intervals(sizes(shown))}"""
    return make(
        study,
        Words("S14", f"Perturbation and retraining with a {style.word(window)}, N-parity", caption),
        chosen,
        found,
        partial(draw_sliding, found),
        frame=frame,
        missing=unmeasured(
            study, subjects, own, "interventions --kinds perturb-weights perturb-taus", "sliding_window"
        ),
    )
