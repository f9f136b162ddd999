"""Does a network need to train its timescales? (figures 4a, S10, S11).

Question: which N do networks solve whose taus are fixed at 1, 2 or 3, compared with networks that train their taus?
Grid: tau constraint x curriculum x task (x self-interaction), each with several seeds.
Stop rule: N = 101 solved, or the scale's budget (paper: 1000 epochs or 3 days).
The paper found: with the single-head curriculum, networks rely on trained taus, and any fixed tau is much worse. With
the multi-head curriculum, tau = 1 is as good as trained taus, and the largest N drops steeply for tau of 2 or more.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_network, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig

AXES = Axes(
    tasks=("parity", "dms"),
    self_interactions=("inside",),
    curricula=("single", "multi"),
    taus=("1", "2", "3", "trained"),
)


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    for task, self_interaction, curriculum, tau in product(
        axes.tasks,
        axes.self_interactions,
        axes.curricula,
        axes.taus,
    ):
        config = with_task(with_curriculum(base, curriculum), task)
        yield with_tau(with_network(config, self_interaction=self_interaction), tau)


SWEEP = Sweep(name="fixed_tau", doc=__doc__, axes=AXES, grid=grid, figures=("4a", "S10", "S11"))

if __name__ == "__main__":
    main(SWEEP)
