"""How networks remember: figures M1 to M4, which the paper does not have."""

from functools import partial

from analysis.data.study import Study
from analysis.figures import _against_n
from analysis.figures._against_n import Panel, curriculum_looks
from analysis.figures._figure import MAIN, MEANS, STEPWISE, Figure, Frame, Words, builds, cohort, each, make, unmeasured
from analysis.quantities.gradients import GRADIENTS
from analysis.quantities.memory import MEMORY
from analysis.quantities.spectra import SPECTRA

_CELL = ("task", "curriculum")


def _build(study: Study, words: Words, frame: Frame, command: str, rows: int) -> Figure:
    """Make a figure of quantities against N, `rows` rows of panels."""
    chosen = cohort(study, MAIN, STEPWISE, "task == 'parity'")
    found = _against_n.compute(frame, study, chosen.networks)
    shown = chosen.networks[chosen.networks["network_id"].isin(found.networks["network_id"])]
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
    """Figure M1: memory capacities against N."""
    caption = """How much of past bits, and of their parities, a linear readout of the activity explains, in networks
        that solved N: left, summed over the delays of single bits; middle, summed over the parities of the last 2 to 64
        bits; right, of the parity of the last N bits."""
    words = Words("M1", "Memory of bits and of parities against N", caption)
    return _build(study, words, Frame(_CELL, MEMORY), "memory", 1)


@builds("M2")
def figure_m2(study: Study) -> Figure:
    """Figure M2: how networks forget a change of their state, against N."""
    caption = """How networks that solved N forget a small change of their state: the rate at which it grows on average
        along their way (below 0 it shrinks); the slowest timescale of their mean Jacobian; how far that is from a
        normal matrix (0) toward a delay line (1); and its Fisher memory, which is 1 at most in a normal network."""
    words = Words("M2", "Forgetting, eigenvalues and non-normality against N", caption)
    return _build(study, words, Frame(_CELL, SPECTRA), "spectra", 2)


@builds("M3")
def figure_m3(study: Study) -> Figure:
    """Figure M3: the gradients that training follows, against N."""
    caption = """What training follows in networks that solved N: how large the gradient of the newest head's loss is at
        the state of the oldest of the N bits, relative to the last state; the same of the next N, before it is trained;
        the cosine between the gradients, by W, of the newest head's loss and of the sum of the older heads', which
        single-head networks do not have; and the largest eigenvalue of the Hessian of the newest head's loss."""
    words = Words("M3", "Gradients and curvature against N", caption)
    return _build(study, words, Frame(_CELL, GRADIENTS), "gradients", 2)
