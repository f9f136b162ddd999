"""Can a network learn a long memory without a curriculum? (figures 3a, S13, S3).

Question: which N can be learned from scratch, with one head and no curriculum, and in how many epochs?
Grid: N x task; taus trained; several seeds.
Stop rule: N solved, or 50 epochs (or those of the scale or of --epochs, if they are fewer). At the scale overnight,
networks get as many sequences as in 50 of the paper's epochs; with --epochs, this changes in proportion. A preset with
shorter epochs has more of them.
The paper found: parity is learned slowly beyond N of about 10. DMS takes one or two epochs up to N = 10, and is not
learned at all above N = 20. Taus and tau_net are like those of single-head networks.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_end, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from sweeps.engine.scales import SCALES, ScaleName
from tsrnn.config import RunConfig, Training

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
    """Yield one configuration for each combination."""
    for task, curriculum in product(axes.tasks, axes.curricula):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


def at_scale(config: RunConfig, scale: ScaleName) -> RunConfig:
    """Give networks their budget, as the stop rule says."""
    own, usual, papers, epochs = config.training, SCALES[scale], Training(), config.end.max_epochs
    if scale == "overnight":
        share = epochs * own.steps_per_epoch / (usual.end.max_epochs * usual.training.steps_per_epoch)
        sequences = share * _EPOCHS * papers.steps_per_epoch * papers.batch_size
        epochs = round(sequences / (own.steps_per_epoch * own.batch_size))
    else:
        epochs = min(epochs, _EPOCHS * usual.training.steps_per_epoch // own.steps_per_epoch)
    return with_end(config, max_epochs=max(1, epochs))


SWEEP = Sweep("no_curriculum", __doc__, axes_at, grid, ("3a", "S13", "S3"), at_scale, {"overnight": 5})

if __name__ == "__main__":
    main(SWEEP)
