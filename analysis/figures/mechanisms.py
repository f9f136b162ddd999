"""How networks remember: figures M1 to M4, which are not in the paper."""

from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis import paper
from analysis.data.study import Study
from analysis.figures import _against_n, style
from analysis.figures._against_n import Panel, curriculum_looks
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
    per_cell,
    unmeasured,
)
from analysis.figures.interventions import RELATIVE, as_relative_accuracy, at_n, n_of
from analysis.quantities.causes import changed_accuracy
from analysis.quantities.gradients import GRADIENTS
from analysis.quantities.memory import MEMORY
from analysis.quantities.spectra import SPECTRA

_CELL = ("task", "curriculum")


def _build(study: Study, words: Words, frame: Frame, command: str, rows: int) -> Figure:
    """Build a figure of quantities against N with `rows` rows of panels."""
    chosen = cohort(study, MAIN, STEPWISE, "task == 'parity'")
    found = _against_n.compute(frame, study, chosen.networks)
    shown = chosen.with_rows(found.networks)
    panels = [Panel(quantity.name, quantity.label) for quantity in frame.quantities]
    width = len(panels) // rows
    grid = [panels[i : i + width] for i in range(0, len(panels), width)]
    looks = curriculum_looks(found.networks["curriculum"])
    return make(
        study,
        words._replace(caption=f"{words.caption} Networks (dots) and their {MEANS}. {each(shown)}."),
        chosen,
        found,
        partial(_against_n.draw, found, grid, "curriculum", looks, share_rows=False),
        frame=frame,
        missing=unmeasured(study, chosen, found.networks, command, "curricula"),
    )


@builds("M1")
def figure_m1(study: Study) -> Figure:
    """Build figure M1: memory capacities against N."""
    caption = """Share of the variance of past bits and of their parities that a linear readout of the activity
        explains, in networks that solved N. Left: sum over the delays of single bits. Middle: sum over the parities
        of the last 2 to 64 bits. Right: parity of the last N bits."""
    words = Words("M1", "Memory of bits and of parities against N", caption)
    return _build(study, words, Frame(_CELL, MEMORY), "memory", 1)


@builds("M2")
def figure_m2(study: Study) -> Figure:
    """Build figure M2: how networks forget a change of their state, against N."""
    caption = """How networks that solved N forget a small change of their state. The panels show the mean rate at
        which the change grows (below 0, it shrinks), the slowest timescale of the mean Jacobian, its departure from
        a normal matrix (0) toward a delay line (1), and its Fisher memory, which is at most 1 in a normal network."""
    words = Words("M2", "Forgetting, eigenvalues and non-normality against N", caption)
    return _build(study, words, Frame(_CELL, SPECTRA), "spectra", 2)


@builds("M3")
def figure_m3(study: Study) -> Figure:
    """Build figure M3: gradients and curvature against N."""
    caption = """Gradients of the loss in networks that solved N. The panels show the gradient of the newest head's
        loss at the state of the oldest of the N bits, relative to that at the last state; the same for the next N,
        before it is trained; the cosine between the gradients with respect to W of the newest head's loss and of
        the sum of the older heads' losses, which single-head networks do not have; and the largest eigenvalue of
        the Hessian of the newest head's loss."""
    words = Words("M3", "Gradients and curvature against N", caption)
    return _build(study, words, Frame(_CELL, GRADIENTS), "gradients", 2)


class Causes(NamedTuple):
    """The effect of changes of tau and W.

    Attributes:
        networks: one row for each network, change, share and retrained part: curriculum, network_id, n, change, share,
            retrained, relative_accuracy (mean over random orders).
        cells: one row for each curriculum, n, change, share and retrained part: networks, mean, low, high.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame


_CHANGES = {
    "none": "unchanged",
    "tau_1": "τ = 1",
    "shuffled_taus": "τ\nshuffled",
    "other_taus": "τ of\nthe other",
    "other_weights": "weights of\nthe other",
    "singular_values": "singular\nvalues",
    "schur_modes": "Schur\nmodes",
}
_RETRAINED = {
    "nothing": "at once",
    "readout": "readout retrained",
    "weights": "weights retrained",
    "taus": "τ retrained",
    "everything": "everything retrained",
}


def compute_causes(rows: pd.DataFrame) -> Causes:
    """Return each network's relative accuracy after each change, and the means over networks.

    Args:
        rows: curriculum, network_id, n, change, share, retrained and relative_accuracy, at one N.
    """
    keys = ["curriculum", "n", "change", "share", "retrained"]
    return Causes(rows, per_cell(rows, keys, "relative_accuracy"))


def draw_causes(found: Causes) -> Drawing:
    """Draw relative accuracy after each change, with a row of panels for each retrained part."""
    parts = [part for part in _RETRAINED if (found.cells["retrained"] == part).any()]
    kinds = [
        (change, share)
        for change in _CHANGES
        for share in sorted(found.cells.loc[found.cells["change"] == change, "share"].unique(), reverse=True)
    ]
    figure, grid = style.panels(1, len(parts), height=1.4, width=style.WIDTH, sharex="col", sharey="col")
    curricula = style.ordered(found.cells["curriculum"])
    offsets = dict(zip(curricula, style.spread(len(curricula), 0.4), strict=True))
    keys = ["retrained", "change", "share", "curriculum"]
    means = found.cells.set_index(keys)[["mean", "low", "high"]].T.to_dict("list")
    own = {key: group.to_numpy() for key, group in found.networks.groupby(keys)["relative_accuracy"]}
    for part, (axes,) in zip(parts, grid, strict=True):
        for at, (change, share) in enumerate(kinds):
            for curriculum, offset in offsets.items():
                key, shade = (part, change, share, curriculum), style.colour(curriculum)
                if key in means:
                    mean, low, high = means[key]
                    style.mean(axes, at + offset, mean, low, high, shade, 0.36)
                    values = own[key]
                    style.dots(axes, at + offset + style.spread(len(values), 0.2), values, shade, s=5, alpha=0.5)
        for y in (0, 1):
            axes.axhline(y, **style.REFERENCE, zorder=1)
        axes.set_title(_RETRAINED[part])
        axes.set_ylabel(RELATIVE)
    labels = [_CHANGES[change] + (f"\nH/{1 / share:.3g}" if share < 1 else "") for change, share in kinds]
    grid[-1][0].set_xticks(range(len(kinds)), labels, fontsize=7)
    style.legend(figure, style.curricula(curricula))
    return figure


@builds("M4")
def figure_m4(study: Study) -> Figure:
    """Build figure M4: accuracy after changes of taus or W."""
    chosen = cohort(study, MAIN, "curriculum in ['single', 'multi']", "task == 'parity'", "tau == 'trained'")
    frame = at_n(study, changed_accuracy, chosen.networks, paper.LARGE_N, as_relative_accuracy)
    found = compute_causes(frame.rows(study, chosen.networks))
    caption = f"""In-time accuracy at N = {n_of(frame)}, relative to the unchanged network (dashed lines: 1 and chance).
        All taus are set to 1, taus are shuffled among the neurons (mean over orders), taus or weights are replaced by
        those of the network of the other curriculum with the same seed, or W is reduced to a share of its H singular
        values or Schur modes. Networks are tested at once, and after a part of them has been retrained. Dots are
        networks, and bars are their means.
        {each(found.networks.assign(task="parity"))}. {intervals(found.cells["networks"])}"""
    return make(
        study,
        Words("M4", "Changes of taus and W, and retraining", caption),
        chosen,
        found,
        partial(draw_causes, found),
        frame=frame,
        missing=unmeasured(study, chosen, found.networks, "causes", "curricula"),
    )
