"""Before a sweep begins: the scale where none was named, what it costs, and a question where that is hours."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from sweeps.engine.dry_run import duration
from sweeps.engine.errors import SweepError, UsageError
from sweeps.engine.options import Execution, Options
from sweeps.engine.plan import groups_of
from sweeps.engine.scales import SCALES, ScaleName
from tsrnn.command_line import counted
from tsrnn.config import RunConfig

_SAID_FROM: Final = 60.0
_ASKED_FROM: Final = 3600.0


def joins_cluster(address: str) -> bool:
    """Tell whether trials run on a Ray cluster that is joined, and not on this machine alone.

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
    sweep: str, networks: Sequence[RunConfig], scale: ScaleName, execution: Execution, console: Console
) -> None:
    """Say how long training will take, if that is a minute or more, and ask once if it is an hour or more.

    It asks on a terminal only, and not with `--yes`.

    Args:
        sweep: its name.
        networks: those to train.
        scale: decides the N around which they are taken to spend their time.
        execution: where they are trained, and whether to ask.
        console: shows it.

    Raises:
        SweepError: the answer was no.
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
            console.print(f"{sweep}: how long it takes is not known ({error})", highlight=False, soft_wrap=True)
        return
    workers = 1 if cluster else max(1, min(int((os.cpu_count() or 1) / execution.cpus_per_trial), len(groups)))
    seconds = found.seconds(workers)
    if seconds < _SAID_FROM:
        return
    if cluster:
        where = "of one core like this machine's, which the cluster's processors share"
    else:
        where = f"on {counted(workers, 'core')} of this machine"
    ask(f"{sweep}: at most about {duration(seconds)} {where}", seconds, execution, console)


def ask(cost: str, seconds: float, execution: Execution, console: Console) -> None:
    """Print what something costs; where it takes an hour or more and somebody is there, ask whether to begin.

    Raises:
        SweepError: the answer was no.
    """
    console.print(cost, highlight=False, soft_wrap=True)
    if seconds < _ASKED_FROM or execution.yes or not sys.stdin.isatty():
        return
    console.print("Begin? [y/N] (--yes does not ask) ", end="", highlight=False, soft_wrap=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise SweepError("not begun; answer y, or give --yes")
