"""Before a sweep begins: the default scale, the cost, and a question if the sweep takes hours."""

import dataclasses
import os
from collections.abc import Sequence

from rich.console import Console

from sweeps.engine.errors import SweepError, UsageError
from sweeps.engine.options import Execution, Options
from sweeps.engine.plan import groups_of
from sweeps.engine.scales import SCALES, ScaleName
from tsrnn.command_line import ask, counted, duration
from tsrnn.config import RunConfig


def joins_cluster(address: str) -> bool:
    """Return whether trials run on a Ray cluster that is joined, and not on this machine alone.

    Raises:
        UsageError: the address is not one.
        SweepError: nothing answers there.
    """
    from tsrnn.distributed.discovery import find

    try:
        return find(address) is not None
    except ValueError as error:
        raise UsageError(str(error)) from None
    except ConnectionError as error:
        raise SweepError(str(error)) from None


def with_scale(options: Options) -> tuple[Options, str]:
    """Return the options with a scale: where none was named, the paper's on a cluster, and quick on one machine.

    With them comes a line that says which was chosen and how to get the other; "" where nothing was chosen. A sweep
    that is resumed has its own.

    Raises:
        SweepError: see `joins_cluster`.
    """
    if options.scale is not None or options.resume:
        return options, ""
    scale: ScaleName
    if joins_cluster(options.address):
        scale, why, other = "paper", "a Ray cluster was found", "--scale quick takes minutes"
    else:
        scale, why, other = "quick", "no Ray cluster was found", "--scale paper trains the paper's networks, for days"
    return dataclasses.replace(options, scale=scale), f"scale {scale}, since {why}; {other}"


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
    """Say how long training will take, unless it is soon done, and ask once if it is an hour or more.

    It asks on a terminal only, and not with `--yes`.

    Args:
        sweep: its name.
        networks: those to train.
        scale: decides the N around which they are taken to spend their time.
        execution: where they are trained, and whether to ask.
        console: shows it.
        said_from: the seconds from which on it is said.
        then: the seconds of one core that follow the training.

    Raises:
        Failure: the answer was no.
    """
    from sweeps.engine.estimate import estimate

    cluster = joins_cluster(execution.address)
    groups = groups_of(networks)
    try:
        found = estimate(groups, SCALES[scale].typical_n)
    except Exception as error:
        # It trains a moment with the user's task and network, whatever these raise; and a cluster's head node need not
        # be able to train. Trials say what is wrong, network by network, and the others go on.
        if not cluster:
            console.print(f"{sweep}: its time cannot be estimated ({error})", highlight=False, soft_wrap=True)
        return
    workers = 1 if cluster else max(1, min(int((os.cpu_count() or 1) / execution.cpus_per_trial), len(groups)))
    seconds = found.seconds(workers) + then
    if seconds < said_from:
        return
    if cluster:
        where = "of one core like this machine's, which the cluster's processors share"
    else:
        where = f"on {counted(workers, 'core')} of this machine"
    ask(f"{sweep}: at most about {duration(seconds)} {where}", seconds, yes=execution.yes, console=console)
