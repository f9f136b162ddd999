"""Do the findings depend on the nonlinearity? (appendix A, figures S7, S8).

Question: do taus change as with the leaky ReLU of slope 0.1 if the nonlinearity is a ReLU, tanh or a leaky ReLU of
slope 0.01, and if the self-interaction is outside the nonlinearity?
Grid: nonlinearity and self-interaction x curriculum; parity; taus trained; several seeds.
Stop rule: N = 101 solved, or the scale's budget.
The paper found: tau and tau_net change with N in the same way.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_network, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from tsrnn.config import LeakyReLU, ReLU, RunConfig, Tanh

_CELLS = (
    ("inside", LeakyReLU(slope=0.1)),
    ("inside", LeakyReLU(slope=0.01)),
    ("outside", LeakyReLU(slope=0.1)),
    ("outside", ReLU()),
    ("outside", Tanh()),
)


AXES = Axes(tasks=("parity",), curricula=("single", "multi"))


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    for task, curriculum, (where, phi) in product(axes.tasks, axes.curricula, _CELLS):
        config = with_tau(with_task(with_curriculum(base, curriculum), task), "trained")
        yield with_network(config, self_interaction=where, nonlinearity=phi)


SWEEP = Sweep(name="nonlinearities", doc=__doc__, axes=AXES, grid=grid, figures=("S7", "S8"))

if __name__ == "__main__":
    main(SWEEP)
