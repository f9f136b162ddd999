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
"""Seconds until the processes have started and imported what they compute with."""


def seconds(planned: "Sequence[tuple[Analysis, Job]]", workers: int) -> float | None:
    """Estimate how long some jobs take on this machine, if it has nothing else to do.

    One job of each analysis, the one of the median N, is tried for a moment; the others are taken to cost the same.
    An analysis that cannot be tried is taken to cost what the others cost on average.

    Args:
        planned: Each job with its analysis.
        workers: How many jobs run at a time.

    Returns:
        Seconds, or None where no analysis can be tried.
    """
    jobs: dict[str, list[tuple[Analysis, Job]]] = defaultdict(list)
    for analysis, job in planned:
        jobs[analysis.name].append((analysis, job))
    costs = {name: cost for name, some in jobs.items() if (cost := _cost(some)) is not None}
    if not costs:
        return None
    return _STARTUP + total({name: len(some) for name, some in jobs.items()}, costs) / workers


def total(counts: Mapping[str, int], costs: Mapping[str, float]) -> float:
    """Return what jobs cost together.

    Args:
        counts: How many jobs there are of each kind.
        costs: What a job costs, for one or more of the kinds; the others cost the average of these.
    """
    known = Counter({name: counts[name] for name in costs})
    average = sum(costs[name] * count for name, count in known.items()) / known.total()
    return sum(count * costs.get(name, average) for name, count in counts.items())


def _cost(jobs: "Sequence[tuple[Analysis, Job]]") -> float | None:
    """Return about how many seconds of one core one of these jobs takes; None where that cannot be tried."""
    analysis, job = sorted(jobs, key=lambda planned: planned[1].n)[len(jobs) // 2]
    if analysis.cost is None:
        return None
    try:
        with one_thread():
            return analysis.cost(checkpoint.load(job.path), job.n)
    except Exception:
        # Whatever is wrong with a checkpoint is said by its own job, and the others go on.
        return None


@contextmanager
def one_thread() -> Iterator[None]:
    """Make torch compute with one thread, as jobs and trials do, and restore the number afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def processor_time(function: Callable[[], object]) -> float:
    """Return the seconds of processor time that a call takes: other programs on the machine disturb it little."""
    began = time.process_time()
    function()
    return time.process_time() - began


def extrapolated(piece: Callable[[int], object], short: int, longer: int, whole: int) -> float:
    """Return how long `piece(whole)` takes, if the time is a constant and a part proportional to the argument.

    The shorter piece is run twice, since the first run also prepares what later ones find prepared.

    Args:
        piece: What is timed.
        short: The argument of the shorter piece.
        longer: That of the longer piece.
        whole: That of the call whose time is wanted.

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
    """Estimate the seconds of one core that a measurement takes whose time grows with the steps it simulates.

    Args:
        measure: From a checkpoint, its N and a protocol to rows.
        pieces: The steps of two short simulations, of which the second is longer.
        checkpoint: The network.
        n: The N it solved.
        protocol: A dataclass with the steps of the whole, `steps`.
    """
    short, longer = pieces
    return extrapolated(
        lambda steps: measure(checkpoint, n, protocol=dataclasses.replace(protocol, steps=steps)),
        short,
        longer,
        protocol.steps,
    )
