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
from sweeps.engine.options import Options
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig

_EPOCHS = 50


def grid(base: RunConfig, options: Options) -> Iterator[RunConfig]:
    """Yield one configuration a combination."""
    ns = options.at_scale(quick=(2, 5, 10, 20), laptop=(2, 5, 10, 15, 20, 25), paper=(2, 5, 10, 15, 20, 25, 30, 40, 50))
    base = with_end(base, max_epochs=min(_EPOCHS, base.end.max_epochs))
    for task, curriculum in product(
        options.axis("tasks", ["parity", "dms"]), options.axis("curricula", [f"none-{n}" for n in ns])
    ):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


SWEEP = Sweep(name="no_curriculum", doc=__doc__, grid=grid)

if __name__ == "__main__":
    main(SWEEP)
