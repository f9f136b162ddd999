"""Which part of the preset tuned changes the dimensions of multi-head networks? See "Additions" in plan.md.

Question: at which N does the growth of dimensions with N slow down, if one part of `tuned` is as in the paper?
Grid: `tuned`, and `tuned` with one part changed back, with trained taus and with tau = 1; multi-head parity.
Stop rule: N = 31 solved, or the budget of the scale.
The paper found: one line through all N.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from sweeps.engine.grid import with_curriculum, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig
from tsrnn.config.presets import with_preset
from tsrnn.tasks import Parity

AXES = Axes(tasks=("parity",), curricula=("multi",), taus=("trained", "1"))


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield, for each tau constraint, the networks of `tuned`, and of `tuned` without each of its parts."""
    for task, curriculum, tau in product(axes.tasks, axes.curricula, axes.taus):
        yield from without_a_part(with_tau(with_task(with_curriculum(base, curriculum), task), tau))


def without_a_part(paper: RunConfig) -> Iterator[RunConfig]:
    """Yield `tuned`, and `tuned` with its optimiser, batch size, sequences or readouts as in the paper."""
    tuned = with_preset(paper, "tuned")
    training, shown = tuned.training, tuned.training_task
    assert isinstance(shown, Parity)
    assert isinstance(paper.task, Parity)
    yield tuned
    yield replace(tuned, training=replace(training, optimizer=paper.training.optimizer, rate_decay=None))
    yield replace(tuned, training=replace(training, batch_size=paper.training.batch_size))
    usual = replace(paper.task, readout_steps=shown.readout_steps)
    yield replace(tuned, training_task=usual)
    yield replace(tuned, training_task=replace(shown, readout_steps=paper.task.readout_steps))


if __name__ == "__main__":
    main(Sweep(name="factors", doc=__doc__, axes=AXES, grid=grid, figures=("6b",)))
