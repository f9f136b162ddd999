"""How many of the older N must a network keep? (appendix F, figures S12, S14).

Question: a window of w heads moves along N: how far do networks get between single-head (w = 1) and multi-head?
Grid: window x task, with single-head and multi-head beside it, taus trained; several seeds.
Stop rule: N = 101 solved, or the scale's budget.
The paper found: sliding windows lie between the two, and wider is better. At the quick scale N stays so small that a
window of 10 is multi-head.
"""

from collections.abc import Iterator
from itertools import product

from sweeps.engine.grid import with_curriculum, with_task, with_tau
from sweeps.engine.options import Options
from sweeps.engine.runner import Sweep, main
from tsrnn.config import RunConfig


def grid(base: RunConfig, options: Options) -> Iterator[RunConfig]:
    """Yield one configuration a combination."""
    wide = ("sliding-3", "sliding-5", "sliding-10", "sliding-20")
    windows = options.at_scale(quick=wide[:2], laptop=wide[:3], paper=wide)
    for task, curriculum in product(
        options.axis("tasks", ["parity", "dms"]), options.axis("curricula", ["single", *windows, "multi"])
    ):
        yield with_tau(with_task(with_curriculum(base, curriculum), task), "trained")


SWEEP = Sweep(name="sliding_window", doc=__doc__, grid=grid)

if __name__ == "__main__":
    main(SWEEP)
