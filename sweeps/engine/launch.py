"""Trains the networks of a plan that have not ended; shared by all commands with trials."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

from sweeps.engine.folder import SweepFolder
from sweeps.engine.options import Execution, Tracker
from sweeps.engine.plan import Plan, groups_of
from sweeps.engine.reuse import finished_elsewhere, take_over
from sweeps.engine.same_code import code_of, require_same_code
from tsrnn.command_line import counted
from tsrnn.config import Library, RunConfig
from tsrnn.errors import UsageError


def train(
    plan_now: Callable[[], Plan],
    folder: SweepFolder,
    execution: Execution,
    console: Console,
    *,
    prepare: Callable[[], None] = lambda: None,
    products: Library | None = None,
    trackers: Sequence[Tracker] = (),
    verbose: bool = False,
) -> tuple[Plan, dict[str, str]]:
    """Train the networks of a plan that have not ended; `folder` stays locked until its context ends.

    Args:
        plan_now: returns the plan; it is called again once the folder is locked, since the folder may have changed.
        folder: the folder of the networks' files, as a context that was entered.
        execution: where and with which resources they are trained.
        console: where to print.
        prepare: creates the checkpoints from which the networks start, after the record is written.
        products: the library for matrix products; None to let every trial measure which is fastest.
        trackers: trackers that show the trials in addition to the tables.
        verbose: print which library each trial chose.

    Returns:
        The plan, and the reason of each failed network, by network_id.

    Raises:
        SweepError: the folder cannot be written or is in use, other code began its networks, or the trials cannot be
            run.
        ClaimLostError: another driver has taken the folder over: where locks failed, or this one was stopped for long.
        UsageError: an option is not allowed on this machine.
    """
    waiting = folder.unfinished(plan_now().networks)
    elsewhere = finished_elsewhere(folder, waiting)
    trained = [network for network in waiting if network.network_id not in elsewhere]
    code = require_same_code(folder, trained, console, allowed=execution.allow_other_code)
    code |= {network.network_id: code_of([network]) for network in waiting if network.network_id in elsewhere}
    resources = None
    if trained:
        from sweeps.engine import cluster as _cluster

        resources = _cluster.connect(execution, console)
        if resources.here and not resources.gpus:
            _require_precision(waiting)
    folder.acquire()
    claim = folder.claim  # before the folder is read, so that no other process changes it from now on
    plan = plan_now()
    folder.write(plan.record, code)
    if taken := _take_over(folder, folder.unfinished(plan.networks)):
        console.print(
            f"{folder.sweep}: {counted(len(taken), 'network')} taken over from other sweeps of {folder.path.parent}",
            soft_wrap=True,
        )
    waiting, total = folder.unfinished(plan.networks), len(plan.networks)
    console.print(
        f"{folder.sweep}: {len(waiting)} of {counted(total, 'network')} to train, in {folder.path}", soft_wrap=True
    )
    prepare()
    failed = {}
    if waiting:
        from sweeps.engine import cluster as _cluster

        resources = resources or _cluster.connect(execution, console)
        reasons = _cluster.run(
            groups_of(waiting), claim, resources, console, products=products, trackers=trackers, verbose=verbose
        )
        # A network that ended before the error of its trial remains unchanged.
        for network in folder.unfinished(waiting):
            if network.network_id in reasons:
                failed[network.network_id] = reasons[network.network_id]
                folder.fail(network, reasons[network.network_id], code_of([network]))
    for network_id, reason in failed.items():
        console.print(f"failed: {network_id}: {reason}", soft_wrap=True)
    return plan, failed


def _take_over(folder: SweepFolder, waiting: Sequence[RunConfig]) -> list[str]:
    """Copy the networks that other sweeps of the storage have finished; see `sweeps.engine.reuse`."""
    from tsrnn.io.store import StoreError

    try:
        return take_over(folder, finished_elsewhere(folder, waiting))
    except (StoreError, OSError) as error:
        raise folder.unwritable(error) from None


def _require_precision(networks: Iterable[RunConfig]) -> None:
    """Raise the errors that every trial on this machine would raise, before anything is written."""
    from torch import device

    from tsrnn.networks.choice import require_bfloat16

    if any(network.training.precision == "bfloat16" for network in networks):
        try:
            require_bfloat16(device("cpu"))
        except ValueError as error:
            raise UsageError(str(error)) from None
