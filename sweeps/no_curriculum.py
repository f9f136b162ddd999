"""Can a network learn a long memory without a curriculum? (figures 3a, S13, S3).

Question: which N can be learned from scratch, with one head and no curriculum, and in how many epochs?
Grid: N x task; taus trained; several seeds.
Stop rule: N solved, or 50 epochs (or those of the scale, if it has fewer). At the scale overnight, networks get as many
sequences as in 50 of the paper's epochs.
The paper found: parity is learned slowly beyond N of about 10. DMS takes one or two epochs up to N = 10, and is not
learned at all above N = 20. Taus and tau_net are like those of single-head networks.
"""

import math
from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_end, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from sweeps.engine.scales import ScaleName
from tsrnn.config import RunConfig, Training

_EPOCHS = 50
_NS: dict[ScaleName, tuple[int, ...]] = {
    "quick": (2, 5, 10, 20),
    "overnight": (2, 5, 10, 15, 25),
    "laptop": (2, 5, 10, 15, 20, 25),
    "paper": (2, 5, 10, 15, 20, 25, 30, 40, 50),
}


def axes_at(scale: ScaleName) -> Axes:
    """Return the tasks and curricula at a scale."""
    return Axes(tasks=("parity", "dms"), curricula=tuple(f"none-{n}" for n in _NS[scale]))


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    base = with_end(base, max_epochs=min(_EPOCHS, base.end.max_epochs))
    for task, curriculum in product(axes.tasks, axes.curricula):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


def _as_long_as_the_papers(config: RunConfig) -> RunConfig:
    """Return as many sequences as the paper's 50 epochs have."""
    own, papers = config.training, Training()
    epochs = _EPOCHS * papers.steps_per_epoch * papers.batch_size / (own.steps_per_epoch * own.batch_size)
    return with_end(config, max_epochs=math.ceil(epochs))


SWEEP = Sweep(
    name="no_curriculum",
    doc=__doc__,
    axes=axes_at,
    grid=grid,
    figures=("3a", "S13", "S3"),
    at_scale=lambda config, scale: _as_long_as_the_papers(config) if scale == "overnight" else config,
    replicates={"overnight": 5},
)

if __name__ == "__main__":
    main(SWEEP)
