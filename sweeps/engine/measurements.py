"""The measurements of trained networks that the paper's claims need, each with a command of its own.

Networks that several sweeps have in common are measured in one of them: those of the main figures in `curricula`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analysis import paper
from tsrnn.io.files import Location


@dataclass(frozen=True)
class Measurement:
    """One command, and the sweep whose networks it measures.

    Attributes:
        sweep: The name of the sweep.
        command: The name of the command: one of `python -m analysis`, or retraining.
        options: Its options.
        most: Measure at the largest N up to this one that all of the main networks have solved, so that other curricula
            are compared with them at the same N. None leaves the choice of N to the command.
    """

    sweep: str
    command: str
    options: tuple[str, ...] = ()
    most: int | None = None


_MAIN_TASK: Final = 'task == "parity"'
_PARITY: Final = ("--where", _MAIN_TASK)
_WINDOW: Final = ("--where", f'{_MAIN_TASK} and curriculum == "sliding-5-full"')
_PERTURB: Final = ("--kinds", "perturb-weights", "perturb-taus")
_ABLATE: Final = ("--kinds", "ablation")

MEASUREMENTS: Final = (
    *(Measurement(sweep, "timescales") for sweep in ("curricula", "no_curriculum", "sliding_window", "nonlinearities")),
    Measurement("curricula", "interventions", (*_PERTURB, "ablation", "inhibition", *_PARITY), most=paper.LARGE_N),
    Measurement("curricula", "interventions", ("--kinds", "heads-retraining", *_PARITY)),
    Measurement("sliding_window", "interventions", (*_PERTURB, *_WINDOW), most=paper.LARGE_N),
    Measurement("nonlinearities", "interventions", _ABLATE),
    # Figures 7a, 7b and S9 also show a small N.
    Measurement("curricula", "interventions", (*_ABLATE, "--n", str(paper.SMALL_N), *_PARITY)),
    Measurement("nonlinearities", "interventions", (*_ABLATE, "--n", str(paper.SMALL_N))),
    Measurement("time_discretisation", "time-steps"),
    Measurement("curricula", "retraining", _PARITY, most=paper.RETRAINED_FROM),
    Measurement("sliding_window", "retraining", _WINDOW, most=paper.RETRAINED_FROM),
)
"""In this order, so that those that take longest are last. Figures about mechanisms need further commands."""


def commands(results: Location) -> Iterator[list[str]]:
    """Yield the words of each command after `python`, in order.

    Args:
        results: The folder of the sweeps.
    """
    at = {most: common_n(results, most) for most in {one.most for one in MEASUREMENTS if one.most is not None}}
    for measurement in MEASUREMENTS:
        own = ["-m", "analysis", measurement.command]
        if measurement.command == "retraining":
            own = [str(Path(__file__).parents[1] / "retraining.py")]
        n = None if measurement.most is None else at[measurement.most]
        chosen = [] if n is None else ["--n", str(n)]
        yield [*own, str(results / measurement.sweep), *measurement.options, *chosen]


def common_n(results: Location, most: int) -> int | None:
    """Return the largest N up to `most` that all of the main networks of parity have solved.

    Args:
        results: The folder of the sweeps.
        most: The largest N.

    Returns:
        The N; None if there is none.
    """
    # pandas takes seconds to import: not before the sweeps begin.
    from analysis.data.frames import ResultsError
    from analysis.data.study import Study
    from analysis.stats.comparison import choose
    from tsrnn.io.schemas import SOLVED

    try:
        study = Study(results / "curricula", _MAIN_TASK)
        found = choose(study.networks, study.load(SOLVED), most).checkpoints
    except ResultsError:
        return None
    return None if found.empty else int(found["n"].min())
