"""Readouts that are retrained on other N while everything else is frozen (figure S17)."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import Figure, Frame, Words, builds, cohort, each, make, unmeasured
from analysis.quantities import interventions


class Heads(NamedTuple):
    """Retrained readouts.

    Attributes:
        networks: one row for each network, solved N, and N' of the readout: curriculum, network_id, n, head, accuracy.
        cells: one row for each curriculum, n and head: networks, mean.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame


def compute_heads(rows: pd.DataFrame) -> Heads:
    """Return the accuracy of retrained readouts, and its mean over networks (figure S17).

    Args:
        rows: curriculum, network_id, n, head and accuracy.
    """
    cells = rows.groupby(["curriculum", "n", "head"])["accuracy"].agg(networks="size", mean="mean").reset_index()
    return Heads(rows, cells)


def as_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its last column renamed to accuracy."""
    return frame.rename(columns={frame.columns[-1]: "accuracy"})


def draw_heads(found: Heads) -> Drawing:
    """Draw a matrix for each curriculum: solved N by N' of the readout, accuracy as colour, and N' = N as steps."""
    curricula = style.ordered(found.cells["curriculum"])
    figure, grid = style.panels(len(curricula), height=2.7, sharex=True, sharey=True)
    ns = np.arange(found.cells["n"].min(), found.cells["n"].max() + 1)
    heads = np.arange(found.cells["head"].min(), found.cells["head"].max() + 1)
    for axes, curriculum in zip(grid[0], curricula, strict=True):
        cells = found.cells[found.cells["curriculum"] == curriculum]
        matrix = cells.pivot(index="n", columns="head", values="mean").reindex(index=ns, columns=heads)
        # With edges: from one N alone, matplotlib cannot tell the height of its row.
        edges = [np.append(values, values[-1] + 1) - 0.5 for values in (heads, ns)]
        mesh = axes.pcolormesh(*edges, matrix.to_numpy(), vmin=0.5, vmax=1, cmap="cividis", rasterized=True)
        # The right edge of the cell N' = N in the row of each N.
        edge = np.arange(ns[0] - 1, ns[-1] + 1) + 0.5
        for shade, width in (("white", 2.2), ("black", 0.9)):
            axes.step(edge, edge, where="post", color=shade, linewidth=width)
        axes.set_ylim(ns[0] - 0.5, ns[-1] + 0.5)
        axes.grid(visible=False)
        axes.set_title(style.word(curriculum))
        axes.set_xlabel("N' of the retrained readout")
        style.whole(axes.xaxis)
        style.whole(axes.yaxis)
    grid[0][0].set_ylabel("N solved")
    figure.colorbar(mesh, ax=list(grid[0]), label="accuracy", shrink=0.9)
    return figure


@builds("S17")
def figure_s17(study: Study) -> Figure:
    """Build figure S17: retrained readouts."""
    chosen = cohort(study, Cell(curriculum=None), "curriculum in ['single', 'multi']")
    frame = Frame(("curriculum",), (interventions.readout_accuracy,), (as_accuracy,))
    found = compute_heads(frame.rows(study, chosen.networks))
    shown = chosen.with_rows(found.networks)
    caption = f"""In-time accuracy on N' of networks that have solved N, after retraining only the readout on N':
        mean over networks. To the right of the steps, N' is larger than N. {each(shown)}; fewer at N that not all
        of them have solved."""
    return make(
        study,
        Words("S17", "Readout retrained on other N, N-parity", caption),
        chosen,
        found,
        partial(draw_heads, found),
        frame=frame,
        missing=unmeasured(study, chosen, found.networks, "interventions --kinds heads-retraining", "curricula"),
    )
