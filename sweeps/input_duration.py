"""Do timescales follow the duration of the input? (figure S6).

Question: each bit is shown for k time steps instead of one, at dt = 1, so that the same N takes k times as long. Do
taus grow with k, and which N do networks solve?
Grid: k = 2, 3, 5, 10 x curriculum; parity; taus are trained and start at 1 + U(0, 1); several seeds.
Stop rule: N = 101 solved, or the scale's budget.
The paper found: with the single-head curriculum, tau grows with N; with the multi-head curriculum, it approaches k. The
largest N decreases as k grows.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import shortened, with_curriculum, with_network, with_task, with_tau, with_time
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig, Time

AXES = Axes(tasks=("parity",), self_interactions=("inside",), curricula=("single", "multi"))


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    for task, self_interaction, curriculum, k in product(
        axes.tasks,
        axes.self_interactions,
        axes.curricula,
        (2, 3, 5, 10),
    ):
        config = with_network(with_tau(base, "trained"), self_interaction=self_interaction)
        yield with_time(with_task(with_curriculum(config, curriculum), task), Time(k=(k,)))


SWEEP = Sweep(
    name="input_duration",
    doc=__doc__,
    axes=AXES,
    grid=grid,
    figures=("S6",),
    # Sequences are k times as long; overnight, these networks have a third of the steps, and there are half as many.
    at_scale=lambda config, scale: shortened(config) if scale == "overnight" else config,
    replicates={"overnight": 4},
)

if __name__ == "__main__":
    main(SWEEP)
