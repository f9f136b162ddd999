"""From a sweep's file to its results: options, grid, checks, the run, and the table at the end.

Ray, torch and pandas take seconds to import: they are when they are needed, not for --help or a mistake.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from cyclopts import App
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

import tsrnn
from sweeps.engine.errors import SweepError, UsageError
from sweeps.engine.folder import Record, SweepFolder, require_same_base
from sweeps.engine.grid import axes, title
from sweeps.engine.options import AXES, Options
from sweeps.engine.readings import Finding, readings
from sweeps.engine.scales import SCALES, base_config
from tsrnn.command_line import run_resumable
from tsrnn.config import RunConfig

Grid = Callable[[RunConfig, Options], Iterable[RunConfig]]
# Ray counts resources in ten-thousandths.
_SMALLEST_SHARE: Final = 0.0001


@dataclass(frozen=True)
class Sweep:
    """One experiment.

    Attributes:
        name: also the name of its results folder.
        doc: what it asks, varies and expects; shown by --help.
        grid: yields one configuration a combination, from what all share and the options.
        findings: what the paper found, to hold the table against.
    """

    name: str
    doc: str | None
    grid: Grid
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Plan:
    """What an invocation is to do: the record the folder should hold, and the networks it asks for."""

    record: Record
    networks: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Cost:
    """What a dry run says: the networks of a sweep, their operations, and how long they take here."""

    networks: int
    operations: float
    seconds: float


def main(sweep: Sweep) -> NoReturn:
    """Run a sweep's command line and exit; see `run`."""
    sys.exit(run(sweep, sys.argv[1:]))


def run(sweep: Sweep, arguments: Sequence[str], costs: list[Cost] | None = None) -> int:
    """Run a sweep's command line and return its exit status.

    Args:
        sweep: the experiment.
        arguments: the words after the program's name.
        costs: a dry run adds what it finds.

    Returns:
        0 all is done, 1 something failed or is unfinished, 2 an option is not allowed.
    """
    app = App(
        name=f"sweeps/{sweep.name}.py",
        help=sweep.doc,
        version=tsrnn.__version__,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )

    @app.default
    def command(options: Options = Options()) -> int:  # noqa: B008
        return _run(sweep, options, Console(stderr=True, markup=False, emoji=False), [] if costs is None else costs)

    return run_resumable(app, arguments)


def _run(sweep: Sweep, options: Options, console: Console, costs: list[Cost]) -> int:
    _check_resources(options)
    folder = SweepFolder(options.storage, sweep.name)
    plan = _plan(sweep, options, folder)
    if options.dry_run:
        costs.append(_dry_run(plan, options))
        return 0
    failed: dict[str, str] = {}
    if folder.unfinished(plan.networks):
        with folder.lock:
            plan, failed = _train(sweep, options, folder, console)
    else:
        total = len(plan.networks)
        console.print(f"{sweep.name}: all {total} networks have ended already, in {folder.path}", soft_wrap=True)
    return _conclude(sweep, folder, plan, failed, options, console)


def _train(sweep: Sweep, options: Options, folder: SweepFolder, console: Console) -> tuple[_Plan, dict[str, str]]:
    """Train what has not ended; return the plan, and why each network that failed did, by network_id."""
    folder.require_writable()
    if folder.path.exists():
        folder.acquire()  # a folder in use is refused before seconds are spent on starting Ray
    from sweeps.engine import cluster as _cluster

    resources = _cluster.connect(
        options.address, options.cpus_per_trial, options.gpus_per_trial, console, options.niceness
    )
    folder.acquire()
    # What the folder holds may have changed before it was locked.
    plan = _plan(sweep, options, folder)
    waiting, total = folder.unfinished(plan.networks), len(plan.networks)
    if resources.here and not resources.gpus:
        _require_precision(waiting)
    console.print(f"{sweep.name}: {len(waiting)} of {total} networks to train, in {folder.path}", soft_wrap=True)
    folder.write(plan.record)
    failed = {}
    if waiting:
        reasons = _cluster.run(
            groups_of(waiting), folder.path, resources, console, products=options.products, verbose=options.verbose
        )
        # A network that had ended before its trial's error stays as it is.
        for network in folder.unfinished(waiting):
            if network.network_id in reasons:
                failed[network.network_id] = reasons[network.network_id]
                folder.fail(network, reasons[network.network_id])
    return plan, failed


def _require_precision(networks: Iterable[RunConfig]) -> None:
    """Refuse, before anything is written, what every trial on this machine would refuse."""
    from torch import device

    from tsrnn.networks.choice import require_bfloat16

    if any(network.training.precision == "bfloat16" for network in networks):
        try:
            require_bfloat16(device("cpu"))
        except ValueError as error:
            raise UsageError(str(error)) from None


def _plan(sweep: Sweep, options: Options, folder: SweepFolder) -> _Plan:
    """Work out and check what to train, before anything is written."""
    record = folder.read()
    if options.resume and record is None:
        raise SweepError(f"resume: {folder.path} holds nothing to resume; leave --resume out to start")
    recorded = record if options.resume else None
    scale = options.scale or (recorded.scale if recorded else "paper")
    preset = options.preset or (recorded.preset if recorded else "paper")
    of_the_base = (options.scale, options.preset, options.hidden, options.precision)
    if recorded and all(choice is None for choice in of_the_base):
        base = recorded.base
    else:
        base = base_config(scale, preset, options.hidden, options.precision)
    if record:
        require_same_base(folder, record, base)
    networks: tuple[RunConfig, ...] = recorded.networks if recorded else ()
    if not recorded or _asks_for_a_grid(options):
        options = dataclasses.replace(options, scale=scale)
        given = [name for name in AXES if getattr(options, name) is not None]
        options = _as_recorded(options, networks)
        networks = (*networks, *_expand(sweep, options, base, SCALES[scale].replicates))
        _refuse_what_is_not_varied(sweep, given, options)
    networks = tuple(dict.fromkeys(networks))
    if not networks:
        raise UsageError("grid: empty, there is nothing to train; give every option of it at least one value")
    before = record or Record(sweep.name, scale, preset, base, ())
    return _Plan(before.including(networks), networks)


def _asks_for_a_grid(options: Options) -> bool:
    return any(getattr(options, name) is not None for name in (*AXES, "replicates", "seed"))


def _refuse_what_is_not_varied(sweep: Sweep, given: Iterable[str], options: Options) -> None:
    for name in given:
        if name not in options.varied:
            varied = ", ".join(other.replace("_", "-") for other in AXES if other in options.varied) or "none"
            raise UsageError(
                f"{name.replace('_', '-')} = {' '.join(getattr(options, name))}: the sweep {sweep.name} does not vary "
                f"this option; leave it out (allowed here: {varied})"
            )


def _as_recorded(options: Options, networks: Sequence[RunConfig]) -> Options:
    """Give the grid's options that were left out the values that the recorded networks have, if there are any."""
    if not networks:
        return options
    seeds = {network.seed for network in networks}
    recorded = {**axes(networks), "replicates": len(seeds), "seed": min(seeds)}
    return dataclasses.replace(options, **{k: v for k, v in recorded.items() if getattr(options, k) is None})


def _expand(sweep: Sweep, options: Options, base: RunConfig, replicates: int) -> list[RunConfig]:
    """Return every network of the grid: each combination with each seed."""
    replicates = replicates if options.replicates is None else options.replicates
    if replicates < 1:
        raise UsageError(f"replicates = {replicates}: allowed are numbers from 1 on")
    seeded = dataclasses.replace(base, seed=options.seed or 0)
    try:
        return [network for cell in sweep.grid(seeded, options) for network in cell.replicates(replicates)]
    except ValidationError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None


def _check_resources(options: Options) -> None:
    cpus, gpus = options.cpus_per_trial, options.gpus_per_trial
    if not cpus >= _SMALLEST_SHARE:
        raise UsageError(f"cpus-per-trial = {cpus:g}: allowed are numbers from {_SMALLEST_SHARE:g} on")
    if gpus is not None and not (gpus == 0 or _SMALLEST_SHARE <= gpus <= 1 or (gpus.is_integer() and gpus > 1)):
        raise UsageError(
            f"gpus-per-trial = {gpus:g}: allowed are 0, shares of one from {_SMALLEST_SHARE:g} on, and whole numbers"
        )
    require_niceness(options.niceness)


def require_niceness(niceness: int | None) -> None:
    """Refuse a niceness that a program of a user without special rights cannot have.

    Raises:
        UsageError: says what is allowed.
    """
    if niceness is not None and not 0 <= niceness <= 19:
        raise UsageError(f"niceness = {niceness}: allowed are whole numbers from 0 to 19")


def groups_of(networks: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Return the replicates of each combination together: one trial each."""
    groups: dict[RunConfig, list[RunConfig]] = {}
    for network in networks:
        groups.setdefault(dataclasses.replace(network, seed=0), []).append(network)
    return list(groups.values())


def _conclude(
    sweep: Sweep, folder: SweepFolder, plan: _Plan, failed: dict[str, str], options: Options, console: Console
) -> int:
    from analysis.quantities.reach import max_n
    from analysis.tables import json_rows, print_max_n

    for network_id, reason in failed.items():
        console.print(f"failed: {network_id}: {reason}", highlight=False, soft_wrap=True)
    table = max_n(folder.path)
    if options.json:
        print(json.dumps({"sweep": plan.record.sweep, "folder": str(folder.path), "rows": json_rows(table)}))
    else:
        print_max_n(table)
        for line in readings(table, sweep.findings):
            print(line)
    unfinished = folder.unfinished(plan.networks)
    if unfinished:
        console.print(
            f"{len(unfinished)} of {len(plan.networks)} networks are unfinished; the same command, or "
            f"--resume with the same --storage, continues them",
            soft_wrap=True,
        )
    return 1 if unfinished else 0


def _dry_run(plan: _Plan, options: Options) -> Cost:
    """Print what would be run, and what it would cost."""
    from sweeps.engine.estimate import estimate, operations

    groups = groups_of(plan.networks)
    typical_n = SCALES[plan.record.scale].typical_n
    estimated = estimate(groups, typical_n)
    workers = min(os.cpu_count() or 1, len(groups))
    cost = Cost(len(plan.networks), estimated.operations, estimated.seconds(workers))
    if options.json:
        print(json.dumps(_dry_run_json(plan, groups, cost, workers)))
        return cost
    table = Table(title=f"{plan.record.sweep}, scale {plan.record.scale}, preset {plan.record.preset}: nothing is run")
    for name in ("trial", "networks", "seeds", "hidden", "epochs", "operations"):
        table.add_column(name, justify="left" if name == "trial" else "right")
    for group in groups:
        one = group[0]
        seeds = f"{group[0].seed}-{group[-1].seed}" if len(group) > 1 else str(one.seed)
        total = sum(operations(network, typical_n) for network in group)
        table.add_row(
            title(one),
            str(len(group)),
            seeds,
            str(one.network.hidden),
            str(one.end.max_epochs),
            f"{total:.1e}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"{cost.networks} networks in {len(groups)} trials, about {cost.operations:.1e} operations; about "
        f"{duration(cost.seconds)} on {workers} cores of this machine with nothing else to do, if every network uses "
        f"its whole budget around N = {typical_n}.",
        highlight=False,
        soft_wrap=True,
    )
    return cost


def _dry_run_json(plan: _Plan, groups: Sequence[Sequence[RunConfig]], cost: Cost, workers: int) -> dict[str, object]:
    return {
        "sweep": plan.record.sweep,
        "scale": plan.record.scale,
        "preset": plan.record.preset,
        "networks": cost.networks,
        "operations": cost.operations,
        "seconds": cost.seconds,
        "workers": workers,
        "runs": [
            {"title": title(group[0]), "network_ids": [network.network_id for network in group]} for group in groups
        ],
    }


def duration(seconds: float) -> str:
    """Return a time in words."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
