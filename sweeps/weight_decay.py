"""Does L2 regularisation change the findings? (section 2: a variant with it gives comparable results).

Question: which N do networks solve with weight decay, and how do their taus change?
Grid: weight decay x curriculum; parity; taus trained; several seeds. Biases and taus do not decay.
Stop rule: N = 101 solved, or the scale's budget.
The paper found: comparable results.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_optimizer, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig

_DECAYS = (0.0, 1e-5, 1e-4, 1e-3)


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    for task, curriculum, decay in product(axes.tasks, axes.curricula, _DECAYS):
        config = with_tau(with_task(with_curriculum(base, curriculum), task), "trained")
        yield with_optimizer(config, weight_decay=decay)


SWEEP = Sweep(
    name="weight_decay",
    doc=__doc__,
    axes=Axes(tasks=("parity",), curricula=("single", "multi")),
    grid=grid,
    figures=("section 2",),
    # The claim is about 1e-4.
    at_scale=lambda config, scale: (
        None if scale == "overnight" and config.training.optimizer.weight_decay not in (0, 1e-4) else config
    ),
)

if __name__ == "__main__":
    main(SWEEP)
