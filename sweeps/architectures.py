"""Does the multi-head curriculum help gated networks too? (appendix G, figures S15, S16).

Question: how fast do GRUs, LSTMs and leaky RNNs learn, and which N do they solve, with and without a curriculum?
Grid: architecture x curriculum (none, at one N; single; multi); parity; several seeds. As in the authors' code, gated
networks train by Adam at 1e-3 with any preset, on up to 300 batches an epoch of up to 64, p = 0.5, initial states of 0.
Stop rule: N = 101 solved, or the scale's budget.
The paper found: multi-head training is the fastest for every architecture.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import (
    shortened,
    with_architecture,
    with_curriculum,
    with_input_probability,
    with_network,
    with_task,
    with_training,
)
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from sweeps.engine.scales import ScaleName
from tsrnn.config import GRU, LSTM, Adam, GradientClip, Leaky, Network, RunConfig

_ARCHITECTURES: tuple[type[Network], ...] = (Leaky, GRU, LSTM)


def axes_at(scale: ScaleName) -> Axes:
    """Return the tasks and curricula at a scale."""
    return Axes(tasks=("parity",), curricula=("none-5" if scale == "quick" else "none-10", "single", "multi"))


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    gated = with_training(
        base,
        optimizer=Adam(),
        rate_decay=None,
        clip=GradientClip(),
        batch_size=min(64, base.training.batch_size),
        steps_per_epoch=min(300, base.training.steps_per_epoch),
    )
    for task, curriculum, kind in product(axes.tasks, axes.curricula, _ARCHITECTURES):
        config = with_task(with_curriculum(base if kind is Leaky else gated, curriculum), task)
        if kind is not Leaky:
            config = with_input_probability(with_network(with_architecture(config, kind), initial_state=0.0), 0.5)
        yield config


def at_scale(config: RunConfig, scale: ScaleName) -> RunConfig:
    """Give gated networks fewer epochs at the scale overnight: their steps take longer, and Adam needs fewer."""
    return shortened(config) if scale == "overnight" and not isinstance(config.network, Leaky) else config


SWEEP = Sweep("architectures", __doc__, axes_at, grid, ("S15", "S16"), at_scale, {"overnight": 4})

if __name__ == "__main__":
    main(SWEEP)
