"""Trained taus against N (figure 4b)."""

from functools import partial

from matplotlib.figure import Figure as Drawing

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
    untrained,
)
from analysis.quantities import taus

_FRAME = Frame(("task", "curriculum"), (taus.tau_mean, taus.tau_sd))


def draw(found: AgainstN) -> Drawing:
    """Draw a row of panels for each task: mean, and standard deviation."""
    tasks = style.ordered(found.networks["task"])
    panels = [
        [
            Panel("tau_mean", taus.tau_mean.label, style.word(task), {"task": task}, reference=1),
            Panel("tau_sd", taus.tau_sd.label, style.word(task), {"task": task}),
        ]
        for task in tasks
    ]
    looks = curriculum_looks(found.networks["curriculum"])
    return _against_n.draw(found, panels, "curriculum", looks, share_rows=False)


@builds("4b")
def figure_4b(study: Study) -> Figure:
    """Build figure 4b: mean and standard deviation of tau against N."""
    chosen = cohort(study, MAIN, STEPWISE, "task in ['parity', 'dms']")
    found = _against_n.compute(_FRAME, study, chosen.networks)
    caption = f"""Mean and standard deviation of tau over the neurons of a network when it solved N: networks (dots) and
        their {MEANS}. Dashed lines: tau = 1, the smallest possible value. {each(chosen.networks)}.
        {intervals(sizes(chosen.networks))}"""
    return make(
        study,
        Words("4b", "Trained taus against N", caption),
        chosen,
        found,
        partial(draw, found),
        frame=_FRAME,
        missing=untrained(study, chosen, found.networks, "curricula"),
    )
