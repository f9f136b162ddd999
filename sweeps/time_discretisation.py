"""Do the timescales depend on the time step? (figure S5).

Question: with dt = 1/k and every bit held for k steps, a bit lasts one unit of time for every k. Do taus change as with
dt = 1, and does a network that was trained with one k work with others?
Grid: k (1; drawn from 7, 8, 9, 10 for each batch; 10 alone) x curriculum; parity; self-interaction outside (the inside
form has no limit in continuous time); taus are at least the longest dt, and start at 1 + U(0, 1); several seeds.
Stop rule: N = 101 solved, or the scale's budget.
The paper found: taus change as with dt = 1. Networks generalise to smaller dt, and fail abruptly with larger dt. With k
= 10 alone, they are a little worse. `python -m tsrnn evaluate CHECKPOINT --k 20` tests a network at another k.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import shortened, with_curriculum, with_network, with_task, with_tau, with_time
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig, Time

AXES = Axes(tasks=("parity",), curricula=("single", "multi"))


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    base = with_network(with_tau(base, "trained"), self_interaction="outside")
    for task, curriculum, k in product(
        axes.tasks,
        axes.curricula,
        ((1,), (7, 8, 9, 10), (10,)),
    ):
        config = with_task(with_curriculum(base, curriculum), task)
        yield with_time(config, Time(k=k, dt="1/k" if k != (1,) else "1"))


SWEEP = Sweep(
    name="time_discretisation",
    doc=__doc__,
    axes=AXES,
    grid=grid,
    figures=("S5",),
    # Sequences are up to 10 times as long; networks with k = 1 are shared with other sweeps.
    at_scale=lambda config, scale: shortened(config) if scale == "overnight" and config.time != Time() else config,
    replicates={"overnight": 4},
)

if __name__ == "__main__":
    main(SWEEP)
