"""The ratio of the training to each N with fixed and with trained taus (figure 4a, judged by the training)."""

from functools import partial
from typing import Final, NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.claims.course import compare
from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import Figure, Frame, Words, among, builds, cohort, each, make, untrained
from analysis.quantities import pace

_FRAME = Frame(("task", "curriculum", "tau"), (pace.sequences_until,))

# Intervals are cut at this ratio, the edge of the panel.
_FARTHEST: Final = 8.0


class Ratios(NamedTuple):
    """Training to each N.

    Attributes:
        networks: one row for each network and solved N: task, curriculum, tau, network_id, n, sequences_until.
        ratios: one row for each task, curriculum and N: the result of `analysis.claims.course.compare` for tau = 1 and
            trained taus.
    """

    networks: pd.DataFrame
    ratios: pd.DataFrame


def compute(networks: pd.DataFrame, frame: pd.DataFrame) -> Ratios:
    """Return the ratio of training with tau = 1 to that with trained taus.

    Args:
        networks: rows of `Study.networks`, with tau "1" and "trained".
        frame: task, curriculum, tau, network_id, n and sequences_until.
    """
    rows = frame.rename(columns={"sequences_until": "value"})
    found = []
    for (task, curriculum), group in networks.groupby(["task", "curriculum"], sort=False):
        trained, fixed = (group[group["tau"] == tau] for tau in ("trained", "1"))
        if len(trained) and len(fixed):
            found.append(compare(trained, fixed, rows).assign(task=str(task), curriculum=str(curriculum)))
    return Ratios(frame, pd.concat(found, ignore_index=True) if found else pd.DataFrame({"n": []}))


def draw(found: Ratios) -> Drawing:
    """Draw a panel for each task: the ratio against N, with its interval."""
    tasks = [task for task in ("parity", "dms") if task in set(found.ratios["task"])]
    curricula = style.ordered(found.ratios["curriculum"])
    figure, grid = style.panels(len(tasks), height=2.5, sharey=True, width=3.4 if len(tasks) == 1 else None)
    for axes, task in zip(grid[0], tasks, strict=True):
        for curriculum in curricula:
            here = (found.ratios["task"] == task) & (found.ratios["curriculum"] == curriculum)
            rows = found.ratios[here & found.ratios["ratio"].notna()]
            low, high = (rows[end].clip(1 / _FARTHEST, _FARTHEST) for end in ("low", "high"))
            if len(rows):
                style.line(axes, rows["n"], rows["ratio"], low, high, style.colour(curriculum))
        axes.axhline(1.0, color="#333333", linewidth=0.8, linestyle="--")
        axes.set_title(style.word(task))
        axes.set_xlabel("N")
        axes.set_yscale("log")
        axes.set_ylim(1 / _FARTHEST, _FARTHEST)
        style.plain_log(axes.yaxis)
        style.whole(axes.xaxis)
    grid[0][0].set_ylabel("training to N: τ = 1 / trained τ")
    style.legend(figure, style.curricula(curricula))
    return figure


@builds("4a-pace")
def figure_4a_pace(study: Study) -> Figure:
    """Draw figure 4a, judged by the training."""
    chosen = cohort(
        study,
        Cell(curriculum=None, task=None, tau=None),
        "curriculum in ['single', 'multi']",
        "tau in ['1', 'trained']",
    )
    found = compute(chosen.networks, _FRAME.rows(study, chosen.networks))
    caption = f"""Training until N was solved with tau = 1, divided by that with trained taus: above 1, networks with
        tau = 1 need more training. Bands: 95 % intervals of the exact permutation test, or of the exact log-rank test
        if some networks have not solved N. A line ends where less than half of the networks of a kind have solved N.
        {each(chosen.networks)}."""
    both = among(chosen, "tau == '1'")
    return make(
        study,
        Words("4a-pace", "Training to each N with tau = 1 and with trained taus", caption),
        chosen,
        found,
        partial(draw, found),
        frame=_FRAME,
        missing=untrained(study, both, found.ratios, "fixed_tau"),
    )
