"""Preparation of jobs: where they are computed, their number and estimated time, and whether to begin."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from analysis.measure import cost
from analysis.measure.progress import heading
from analysis.options import Execution
from tsrnn.command_line import ask, duration
from tsrnn.distributed.discovery import find

if TYPE_CHECKING:
    from analysis.measure.jobs import Analysis, Job


@dataclass(frozen=True)
class Place:
    """Where jobs are computed: on the Ray cluster at an address, or in several processes on this machine."""

    cluster: str | None
    processes: int


def begin(
    name: str,
    planned: "Sequence[tuple[Analysis, Job]]",
    skipped: int,
    execution: Execution,
    console: Console,
) -> Place:
    """State how many jobs there are and about how long they take, and ask if that is an hour or more.

    Args:
        name: The name of the command.
        planned: The jobs, each with its analysis.
        skipped: How many jobs were done before.
        execution: Where jobs run, and whether to ask.
        console: Where to print and to ask.

    Returns:
        Where the jobs are computed.

    Raises:
        Failure: no Ray cluster answers at the address, or the answer was no.
    """
    cluster = find(execution.address)
    cpus = os.cpu_count() or 1
    place = Place(cluster, max(1, min(execution.workers or cpus, len(planned))))
    if planned:
        notes = [f"{place.processes} at a time" if cluster is None else "on the cluster"]
        if skipped:
            notes.append(f"{skipped} done before")
        seconds = cost.seconds(planned, 1 if cluster else min(place.processes, cpus))
        if seconds is None:
            notes.append("their time cannot be estimated")
        else:
            shared = (
                " of computing time on one core of this machine, shared by the cluster's processors" if cluster else ""
            )
            notes.append(f"about {duration(seconds)}{shared}")
        ask(heading(name, counts(planned), ", ".join(notes)), seconds or 0.0, yes=execution.yes, console=console)
    return place


def counts(planned: "Sequence[tuple[Analysis, Job]]") -> Counter[str]:
    """Return how many jobs each analysis has, by its name."""
    return Counter(analysis.name for analysis, _ in planned)
