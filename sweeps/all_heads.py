"""Does a curriculum emerge by itself? (appendix I, figure S18).

Question: networks have a head for every N = 2..m from the first step. In which order do they solve these N?
Grid: values of m; parity; taus trained; several seeds.
Stop rule: all N solved, or the scale's budget.
The paper found: smaller N are solved first, one after the other. The table `solved` has the epoch of each.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from sweeps.engine.scales import ScaleName
from tsrnn.config import RunConfig

_CURRICULA: dict[ScaleName, tuple[str, ...]] = {
    "quick": ("all-5", "all-10"),
    "overnight": ("all-10", "all-20"),
    "laptop": ("all-10", "all-20"),
    "paper": ("all-20", "all-40"),
}


def axes_at(scale: ScaleName) -> Axes:
    """Return the tasks and curricula at a scale."""
    return Axes(tasks=("parity",), curricula=_CURRICULA[scale])


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    for task, curriculum in product(axes.tasks, axes.curricula):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


SWEEP = Sweep(name="all_heads", doc=__doc__, axes=axes_at, grid=grid, figures=("S18",))

if __name__ == "__main__":
    main(SWEEP)
