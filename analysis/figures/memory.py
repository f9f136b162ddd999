"""What networks remember of their inputs: bits or parities (figure M1, which the paper does not have)."""

from functools import partial

from analysis.data.study import Study
from analysis.figures import _against_n
from analysis.figures._against_n import Panel, curriculum_looks
from analysis.figures._figure import MAIN, MEANS, STEPWISE, Figure, Frame, Words, builds, cohort, each, make, unmeasured
from analysis.quantities import memory

_QUANTITIES = (memory.memory_of_bits, memory.memory_of_parities, memory.memory_of_trained_parity)
_FRAME = Frame(("task", "curriculum"), _QUANTITIES)


@builds("M1")
def figure_m1(study: Study) -> Figure:
    """Figure M1: memory capacities against N."""
    chosen = cohort(study, MAIN, STEPWISE, "task == 'parity'")
    found = _against_n.compute(_FRAME, study, chosen.networks)
    shown = chosen.networks[chosen.networks["network_id"].isin(found.networks["network_id"])]
    panels = [[Panel(quantity.name, "capacity", quantity.label) for quantity in _QUANTITIES]]
    caption = f"""How much of past bits, and of their parities, a linear readout of the activity explains, in networks
        that solved N: left, summed over the delays of single bits; middle, summed over the parities of the last 2 to 64
        bits; right, of the parity of the last N bits. Networks (dots) and their {MEANS}. {each(shown)}."""
    return make(
        study,
        Words("M1", "Memory of bits and of parities against N", caption),
        chosen,
        found,
        partial(
            _against_n.draw,
            found,
            panels,
            "curriculum",
            curriculum_looks(found.networks["curriculum"]),
            share_rows=False,
        ),
        frame=_FRAME,
        missing=unmeasured(study, chosen, found.networks, "memory", "curricula"),
    )
