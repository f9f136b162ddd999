"""Which curriculum gets networks further? (figures 3b, 3c, 4b).

Question: how far in N do networks with trained taus get under each curriculum, in how many epochs a step, and what
becomes of their taus?
Grid: curriculum x task; several seeds.
Stop rule: N = 101 solved, or the scale's budget (paper: 1000 epochs or 3 days).
The paper found: single-head networks get to N about 35 (parity) and 90 (DMS), multi-head ones to about 100 in both,
with fewer epochs a step; under single-head the mean and spread of tau grow with N, under multi-head the mean falls
toward 1.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig

AXES = Axes(tasks=("parity", "dms"), curricula=("single", "multi"))


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration a combination."""
    for task, curriculum in product(axes.tasks, axes.curricula):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


SWEEP = Sweep(name="curricula", doc=__doc__, axes=AXES, grid=grid, figures=("3b", "3c", "4b"))

if __name__ == "__main__":
    main(SWEEP)
