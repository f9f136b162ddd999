"""Can a network learn a long memory at once? (figures 3a, S13, S3).

Question: which N are learned from scratch, with one head and no curriculum, and in how many epochs?
Grid: N x task, taus trained; several seeds.
Stop rule: N solved, or 50 epochs (fewer where the scale has fewer).
The paper found: parity is slow beyond N about 10; DMS takes an epoch or two up to N = 10 and fails altogether above
20; taus and tau_net are like those of single-head networks.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_end, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from sweeps.engine.scales import ScaleName
from tsrnn.config import RunConfig

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
    """Yield one configuration a combination."""
    base = with_end(base, max_epochs=min(_EPOCHS, base.end.max_epochs))
    for task, curriculum in product(axes.tasks, axes.curricula):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


SWEEP = Sweep(
    name="no_curriculum",
    doc=__doc__,
    axes=axes_at,
    grid=grid,
    figures=("3a", "S13", "S3"),
    # As many sequences as the paper's 50 epochs.
    budget=lambda _config, scale: 600 if scale == "overnight" else None,
    replicates={"overnight": 5},
)

if __name__ == "__main__":
    main(SWEEP)
