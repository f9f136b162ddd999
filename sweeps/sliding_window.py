"""How many of the older N must a network keep? (appendix F, figures S12, S14).

Question: a window of w heads moves to larger N, which is between single-head (w = 1) and multi-head training. Which N
do networks solve?
Grid: window x task, and single-head and multi-head for comparison; taus trained; several seeds. All w heads are trained
from the start, as in appendix F; `--curricula sliding-5` is a window that grows from one head, N = 2, to 5 heads.
The quick scale has no window of 10, which would be the same as multi-head, since N stays small.
Stop rule: N = 101 solved, or the scale's budget.
The paper found: networks with sliding windows solve a larger N than single-head networks and a smaller N than
multi-head networks, and wider windows are better.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_task, with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep, main
from sweeps.engine.scales import ScaleName
from tsrnn.config import RunConfig

_WIDTHS: dict[ScaleName, tuple[int, ...]] = {
    "quick": (3, 5),
    "overnight": (3, 5, 10),
    "laptop": (3, 5, 10),
    "paper": (3, 5, 10, 20),
}


def axes_at(scale: ScaleName) -> Axes:
    """Return the tasks and curricula at a scale."""
    windows = (f"sliding-{width}-full" for width in _WIDTHS[scale])
    return Axes(
        tasks=("parity",) if scale == "overnight" else ("parity", "dms"), curricula=("single", *windows, "multi")
    )


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield one configuration for each combination."""
    for task, curriculum in product(axes.tasks, axes.curricula):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


SWEEP = Sweep(name="sliding_window", doc=__doc__, axes=axes_at, grid=grid, figures=("S12",))

if __name__ == "__main__":
    main(SWEEP)
