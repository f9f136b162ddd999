"""Before a sweep begins: the default scale, the cost, and a question if the sweep takes hours."""

import dataclasses
import os
from collections.abc import Sequence

from rich.console import Console

from sweeps.engine.options import Execution, Options
from sweeps.engine.plan import groups_of
from sweeps.engine.scales import SCALES, ScaleName
from tsrnn.command_line import ask, counted, duration
from tsrnn.config import RunConfig


def joins_cluster(address: str) -> bool:
    """Return whether trials run on an existing Ray cluster, and not only on this machine.

    Raises:
        UsageError: the address is invalid.
        Failure: no cluster answers at the address.
    """
    from tsrnn.distributed.discovery import find

    return find(address) is not None


def with_scale(options: Options) -> tuple[Options, str]:
    """Return the options with a scale. If none is given, it is the paper's on a cluster, and quick on one machine.

    Also return a line that says which scale was chosen, and how to choose the other; "" if a scale was given. A sweep
    that is resumed keeps its scale.

    Raises:
        UsageError, Failure: see `joins_cluster`.
    """
    if options.scale is not None or options.resume:
        return options, ""
    scale: ScaleName
    if joins_cluster(options.address):
        scale, why, other = "paper", "a Ray cluster was found", "--scale quick takes minutes"
    else:
        scale, why, other = "quick", "no Ray cluster was found", "--scale paper trains the paper's networks, for days"
    return dataclasses.replace(options, scale=scale), f"scale {scale}, since {why}; {other}"


def workers_here(execution: Execution, trials: int) -> int:
    """Return how many of a number of trials run at once on this machine: at least 1."""
    return max(1, min(int((os.cpu_count() or 1) / execution.cpus_per_trial), trials))


def say_cost(
    sweep: str,
    networks: Sequence[RunConfig],
    scale: ScaleName,
    execution: Execution,
    console: Console,
    *,
    said_from: float = 60.0,
    then: float = 0.0,
) -> None:
    """Print how long training will take, unless it is short, and ask once if it is an hour or more.

    The question is only asked on a terminal, and not with `--yes`.

    Args:
        sweep: the name of the sweep.
        networks: the networks to train.
        scale: determines the N around which networks are assumed to spend their time.
        execution: where they are trained, and whether to ask.
        console: where to print.
        said_from: the time from which on it is printed, in seconds.
        then: the seconds of one core that are needed after the training.

    Raises:
        Failure: the answer was no.
    """
    from sweeps.engine.estimate import estimate

    cluster = joins_cluster(execution.address)
    groups = groups_of(networks)
    try:
        found = estimate(groups, SCALES[scale].typical_n)
    except Exception as error:
        # The user's task and network may raise any error here, and the head node of a cluster may be unable to train.
        # Trials report such errors for each network, and the others continue.
        if not cluster:
            console.print(f"{sweep}: its time cannot be estimated ({error})", soft_wrap=True)
        return
    workers = 1 if cluster else workers_here(execution, len(groups))
    seconds = found.seconds(workers) + then
    if seconds < said_from:
        return
    if cluster:
        where = "of computing time on one core of this machine, shared by the cluster's processors"
    else:
        where = f"on {counted(workers, 'core')} of this machine"
    ask(f"{sweep}: at most about {duration(seconds)} {where}", seconds, yes=execution.yes, console=console)
