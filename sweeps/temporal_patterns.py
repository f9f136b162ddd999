"""Do curricula help with temporal patterns? (appendix D, a proposal of the paper).

Question: networks generate sums of sine waves of lower and lower frequencies. How many waves can they sum, and how do
their taus change?
Grid: curriculum (single: one output, the whole sum; multi: an output for every partial sum); taus trained; several
seeds.
Training: batches of 16 and a momentum of 0.9. With a momentum of 0.1, as in the other sweeps, learning is many times
slower.
Stop rule: N = 10 waves (the period of the slowest is the length of a sequence; fewer with --max-n), or the scale's
budget. An N is solved when R^2 > 0.98.
The paper proposes this task without a result.
"""

from collections.abc import Iterator

from sweeps.engine.grid import with_curriculum, with_end, with_optimizer, with_task, with_tau, with_training
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import SGD, RunConfig

_WAVES = 10


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    base = with_end(with_task(with_tau(base, "trained"), "sines"), max_n=min(_WAVES, base.end.max_n))
    base = with_training(base, batch_size=16)
    if isinstance(base.training.optimizer, SGD):
        base = with_optimizer(base, momentum=0.9)
    for curriculum in axes.curricula:
        yield with_curriculum(base, curriculum)


SWEEP = Sweep(name="temporal_patterns", doc=__doc__, axes=Axes(curricula=("single", "multi")), grid=grid)

if __name__ == "__main__":
    main(SWEEP)
