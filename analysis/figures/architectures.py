"""Gated networks compared with leaky ones, without a curriculum and under each curriculum (figures S15, S16)."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import Cohort, Figure, Frame, Words, among, builds, cohort, each, make, untrained
from analysis.quantities import pace


class Progress(NamedTuple):
    """The largest N solved, by epoch.

    Attributes:
        solved: one row for each network and solved N: architecture, curriculum, network_id, n, epoch.
        ends: one row for each network: architecture, curriculum, network_id, epochs, max_n.
    """

    solved: pd.DataFrame
    ends: pd.DataFrame


def compute(networks: pd.DataFrame, solved: pd.DataFrame) -> Progress:
    """Return when each network solved each N, and for how long it has trained.

    Args:
        networks: rows of `Study.networks`.
        solved: architecture, curriculum, network_id, n and epoch (in which n was solved).
    """
    ends = networks[["architecture", "curriculum", "network_id", "epochs", "max_n"]]
    return Progress(solved, ends.reset_index(drop=True))


def by_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the sorted frame, with the epoch in which N was solved in the column epoch."""
    return frame.rename(columns={"epoch_solved": "epoch"}).sort_values(["network_id", "n"], ignore_index=True)


_FRAME = Frame(("architecture", "curriculum"), (pace.epoch_solved,), (by_epoch,))


def draw(found: Progress) -> Drawing:
    """Draw a panel for each architecture: the largest N solved by epoch, with a step line for each network.

    A network without a curriculum is a dot if it solved its N, and a cross otherwise.
    """
    kinds = style.ordered(found.ends["architecture"])
    figure, grid = style.panels(len(kinds), height=2.4, sharey=True)
    curricula = style.ordered({name.split("-")[0] for name in found.ends["curriculum"]})
    for axes, kind in zip(grid[0], kinds, strict=True):
        ends = found.ends[found.ends["architecture"] == kind].sort_values(["curriculum", "network_id"])
        for end in ends.to_dict("records"):
            shade = style.colour(end["curriculum"])
            own = found.solved[found.solved["network_id"] == end["network_id"]]
            if end["curriculum"].startswith("none-"):
                n = int(end["curriculum"].split("-")[1])
                if len(own):
                    style.dots(axes, own["epoch"], own["n"], shade, s=14)
                else:
                    style.dots(axes, [end["epochs"]], [n], shade, s=18, marker="x", linewidths=0.9)
                continue
            top = own.groupby("epoch")["n"].max().cummax()
            x = np.concatenate([[0.0], top.index.to_numpy(dtype=float), [end["epochs"]]])
            y = np.concatenate([[0.0], top.to_numpy(dtype=float), [end["max_n"]]])
            axes.step(x, y, where="post", color=shade, linewidth=0.9, alpha=0.8)
            style.dots(axes, x[-1:], y[-1:], shade)
        axes.set_title(style.word(kind))
        axes.set_xlabel("epochs trained")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        style.whole(axes.yaxis)
    grid[0][0].set_ylabel("largest N solved")
    looks = style.curricula(curricula)
    if "none" in curricula:
        none = {"color": style.colour("none"), "linestyle": "", "markersize": 4}
        looks.pop(style.word("none"))
        looks |= {"no curriculum, solved": none | {"marker": "o"}, "not solved": none | {"marker": "x"}}
    style.legend(figure, looks)
    return figure


def _figure(study: Study, words: Words, conditions: tuple[str, ...], kinds: tuple[str, ...], subject: str) -> Figure:
    parts = [cohort(study, Cell(curriculum=None, architecture=kind), *conditions) for kind in kinds]
    parts = [part for part in parts if len(part.networks)] or parts[:1]
    where = " or ".join(f"({' and '.join(part.conditions)})" for part in parts)
    chosen = Cohort(pd.concat([part.networks for part in parts]), (where,), parts[-1].note)
    found = compute(chosen.networks, _FRAME.rows(study, chosen.networks))
    subjects = among(chosen, subject)
    shown = chosen.networks.assign(curriculum=chosen.networks["architecture"] + "-" + chosen.networks["curriculum"])
    caption = f"""{words.caption} Gated networks are trained by Adam, with at most 300 steps per epoch and batches of at
        most 64. {each(shown.assign(curriculum=shown["architecture"]))}, over all curricula."""
    own = found.solved[found.solved["network_id"].isin(subjects.networks["network_id"])]
    return make(
        study,
        words._replace(caption=caption),
        chosen,
        found,
        partial(draw, found),
        frame=_FRAME,
        missing=untrained(study, subjects, own, "architectures"),
    )


@builds("S15")
def figure_s15(study: Study) -> Figure:
    """Build figure S15: GRUs and LSTMs without a curriculum and with the multi-head curriculum."""
    caption = """The largest N solved against the number of epochs. A line is a network with the multi-head
        curriculum, with a dot at its last epoch so far. Other dots and crosses are networks trained on one N from
        scratch, which solved it (dot) or did not (cross)."""
    condition = ("(curriculum == 'multi' or curriculum.str.startswith('none-'))",)
    words = Words("S15", "Gated networks with and without a curriculum, N-parity", caption)
    return _figure(study, words, condition, ("leaky", "gru", "lstm"), "architecture != 'leaky'")


@builds("S16")
def figure_s16(study: Study) -> Figure:
    """Build figure S16: GRUs and LSTMs, single-head compared with multi-head."""
    caption = """The largest N solved against the number of epochs, for gated networks with the single-head and the
        multi-head curriculum. A line is a network, with a dot at its last epoch so far."""
    condition = ("curriculum in ['single', 'multi']",)
    words = Words("S16", "Gated networks with two curricula, N-parity", caption)
    return _figure(study, words, condition, ("gru", "lstm"), "architecture != 'leaky'")
