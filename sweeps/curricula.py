"""Which curriculum gets networks further? (figures 3b, 3c, 4b).

Question: which N do networks with trained taus solve with each curriculum? How many epochs does each N take, and how do
the taus change?
Grid: curriculum x task; several seeds.
Stop rule: N = 101 solved, or the scale's budget (paper: 1000 epochs or 3 days).
The paper found: single-head networks reach N of about 35 (parity) and 90 (DMS), and multi-head networks about 100 in
both, in fewer epochs for each N. In single-head networks, the mean and the standard deviation of tau grow with N. In
multi-head networks, the mean decreases toward 1.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig

AXES = Axes(tasks=("parity", "dms"), curricula=("single", "multi"))


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    for task, curriculum in product(axes.tasks, axes.curricula):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


SWEEP = Sweep(name="curricula", doc=__doc__, axes=AXES, grid=grid, figures=("3b", "3c", "4b"))

if __name__ == "__main__":
    main(SWEEP)
