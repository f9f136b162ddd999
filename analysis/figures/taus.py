"""What becomes of trained taus as N grows (figure 4b)."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.study import Study
from analysis.figures import _against_n, style
from analysis.figures._against_n import AgainstN, Panel, curriculum_looks
from analysis.figures._figure import (
    BASE,
    MEANS,
    Figure,
    Words,
    cohort,
    each,
    intervals,
    make,
    sizes,
    untrained,
)
from tsrnn.io.schemas import SOLVED

QUANTITIES = ("tau_mean", "tau_sd")

_QUERY = """
frame = networks[["task", "curriculum", "network_id"]].merge(solved, on="network_id")[
    ["task", "curriculum", "network_id", "n", "tau_mean", "tau_sd"]
]
"""


def compute(networks: pd.DataFrame, solved: pd.DataFrame, by: Sequence[str] = ("task", "curriculum")) -> AgainstN:
    """Return mean and standard deviation of tau over neurons, of each network at each N it solved.

    Args:
        networks: rows of `Study.networks`.
        solved: the table `solved`.
        by: the columns of `networks` that say which cell.
    """
    rows = networks[[*by, "network_id"]].merge(solved, on="network_id")
    return _against_n.compute(rows, by, QUANTITIES)


def draw(found: AgainstN) -> Drawing:
    """Draw a row of panels a task: mean, and standard deviation."""
    tasks = style.ordered(found.networks["task"])
    panels = [
        [
            Panel("tau_mean", "mean τ (time steps)", style.word(task), {"task": task}, reference=1),
            Panel("tau_sd", "SD of τ (time steps)", style.word(task), {"task": task}),
        ]
        for task in tasks
    ]
    looks = curriculum_looks(found.networks["curriculum"])
    return _against_n.draw(found, panels, "curriculum", looks, share_rows=False)


def figure_4b(study: Study) -> Figure:
    """Figure 4b: mean and standard deviation of tau against N."""
    chosen = cohort(study, *BASE, "curriculum in ['single', 'multi']", "task in ['parity', 'dms']")
    found = compute(chosen.networks, study.load(SOLVED))
    caption = f"""Mean and standard deviation of tau over the neurons of a network when it solved N: networks (dots) and
        their {MEANS}. Dashed: tau = 1, the least it can be. {each(chosen.networks)}.
        {intervals(sizes(chosen.networks))}"""
    return make(
        study,
        Words("4b", "Trained taus against N", caption),
        chosen,
        found,
        partial(draw, found),
        tables=[SOLVED],
        body=_QUERY,
        missing=untrained(study, chosen, found.networks, "curricula"),
    )
