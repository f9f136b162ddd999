"""Estimates of how long jobs will take, from a short measurement on pieces of one of them."""

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch

from tsrnn.io import checkpoint
from tsrnn.io.checkpoint import Checkpoint

if TYPE_CHECKING:
    from analysis.measure.jobs import Analysis, Job

_STARTUP: Final = 6.0
"""Seconds until the processes have started and imported their packages."""


def seconds(planned: "Sequence[tuple[Analysis, Job]]", workers: int) -> float | None:
    """Estimate how long some jobs take on this machine, if it has nothing else to do.

    A short piece of one job of each analysis is run, that of the median N; the other jobs are assumed to cost the
    same. An analysis whose piece fails is assumed to cost as much as the others on average.

    Args:
        planned: Each job with its analysis.
        workers: How many jobs run at a time.

    Returns:
        Seconds, or None if the pieces of all analyses fail.
    """
    jobs: dict[str, list[tuple[Analysis, Job]]] = defaultdict(list)
    for analysis, job in planned:
        jobs[analysis.name].append((analysis, job))
    costs = {name: cost for name, some in jobs.items() if (cost := _cost(some)) is not None}
    if not costs:
        return None
    return _STARTUP + total({name: len(some) for name, some in jobs.items()}, costs) / workers


def total(counts: Mapping[str, int], costs: Mapping[str, float]) -> float:
    """Return the total cost of jobs.

    Args:
        counts: How many jobs there are of each kind.
        costs: The cost of a job, for one or more of the kinds; the other kinds cost the average of these.
    """
    known = Counter({name: counts[name] for name in costs})
    average = sum(costs[name] * count for name, count in known.items()) / known.total()
    return sum(count * costs.get(name, average) for name, count in counts.items())


def _cost(jobs: "Sequence[tuple[Analysis, Job]]") -> float | None:
    """Return about how many seconds of one core one of these jobs takes; None if a short piece of it fails."""
    analysis, job = sorted(jobs, key=lambda planned: planned[1].n)[len(jobs) // 2]
    if analysis.cost is None:
        return None
    try:
        with one_thread():
            return analysis.cost(checkpoint.load(job.path), job.n)
    except Exception:
        # Errors of a checkpoint are reported by its own job, and the other jobs continue.
        return None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, as in jobs and trials, and restore the number afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def processor_time(function: Callable[[], object]) -> float:
    """Return the seconds of processor time of a call; other programs on the machine have little effect on it."""
    began = time.process_time()
    function()
    return time.process_time() - began


def extrapolated(piece: Callable[[int], object], short: int, longer: int, whole: int) -> float:
    """Return how long `piece(whole)` takes, if the time is a constant plus a part proportional to the argument.

    The shorter piece is run twice, since the first run includes preparations that later runs reuse.

    Args:
        piece: The function to time.
        short: The argument of the shorter piece.
        longer: The argument of the longer piece.
        whole: The argument of the call whose time is estimated.

    Returns:
        Seconds of processor time.
    """
    if whole <= longer:
        return processor_time(lambda: piece(whole))
    piece(short)
    base = processor_time(lambda: piece(short))
    time_of_longer = processor_time(lambda: piece(longer))
    per_unit = max(0.0, time_of_longer - base) / (longer - short)
    return time_of_longer + per_unit * (whole - longer)


def of_steps(
    measure: Callable[..., object], pieces: tuple[int, int], checkpoint: Checkpoint, n: int, *, protocol: Any
) -> float:
    """Estimate the seconds of one core of a measurement whose time grows with the number of simulated steps.

    Args:
        measure: The measurement, a function of a checkpoint, its N and a protocol.
        pieces: The numbers of steps of two short simulations, the second of which is longer.
        checkpoint: The network.
        n: The N that it solved.
        protocol: A dataclass with the steps of the whole, `steps`.
    """
    short, longer = pieces
    return extrapolated(
        lambda steps: measure(checkpoint, n, protocol=dataclasses.replace(protocol, steps=steps)),
        short,
        longer,
        protocol.steps,
    )
