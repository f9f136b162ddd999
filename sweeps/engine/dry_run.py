"""Dry runs: what a sweep would train and what it would cost, without training it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from sweeps.engine.before import workers_here
from sweeps.engine.grid import title
from sweeps.engine.options import Execution
from sweeps.engine.plan import Plan, groups_of
from sweeps.engine.scales import SCALES
from tsrnn import command_line
from tsrnn.command_line import counted, duration
from tsrnn.config import RunConfig


@dataclass(frozen=True)
class Cost:
    """The result of a dry run: the ids of the networks that a sweep trains, their operations, and their time."""

    network_ids: frozenset[str]
    operations: float
    seconds: float

    @property
    def networks(self) -> int:
        """The number of networks."""
        return len(self.network_ids)


def dry_run(plan: Plan, execution: Execution, *, as_json: bool, before: Sequence[Cost] = ()) -> Cost:
    """Print what a sweep would run, and what it would cost.

    Args:
        plan: the plan of the sweep.
        execution: the CPUs of a trial.
        as_json: print JSON.
        before: the costs of sweeps that run before this one in the same storage, and whose networks it reuses.

    Raises:
        SweepError: if such networks cannot be run on this machine.
    """
    from sweeps.engine.estimate import estimate, operations

    trained = frozenset[str]().union(*(cost.network_ids for cost in before))
    record, networks = plan.record, [network for network in plan.networks if network.network_id not in trained]
    groups, shared = groups_of(networks), len(plan.networks) - len(networks)
    typical_n = min(SCALES[record.scale].typical_n, record.base.end.max_n)
    estimated = estimate(groups, typical_n)
    workers = workers_here(execution, len(groups))
    seconds = estimated.seconds(workers) if groups else 0.0
    cost = Cost(frozenset(network.network_id for network in networks), estimated.operations, seconds)
    if as_json:
        print(json.dumps(_as_json(plan, groups, cost, workers, shared)))
        return cost
    console = command_line.console()
    if not groups:
        console.print(f"{record.sweep}: {counted(shared, 'network')} taken over from earlier sweeps.")
        return cost
    table = Table(title=f"{record.sweep}, scale {record.scale}, preset {record.preset}: nothing is run")
    for name in ("trial", "networks", "seeds", "hidden", "epochs", "operations"):
        table.add_column(name, justify="left" if name == "trial" else "right")
    for group in groups:
        one = group[0]
        seeds = sorted({network.seed for network in group})
        total = sum(operations(network, typical_n) for network in group)
        table.add_row(
            title(one),
            str(len(group)),
            f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else str(seeds[0]),
            str(one.network.hidden),
            str(one.end.max_epochs),
            f"{total:.1e}",
        )
    console.print(table)
    taken = f" {shared} more taken over from earlier sweeps." if shared else ""
    console.print(
        f"{counted(cost.networks, 'network')} in {counted(len(groups), 'trial')}, "
        f"about {cost.operations:.1e} operations; about {duration(cost.seconds)} on {counted(workers, 'core')} of this "
        f"machine with nothing else to do, if every network uses its whole budget around N = {typical_n}.{taken}",
        soft_wrap=True,
    )
    return cost


def _as_json(
    plan: Plan, groups: Sequence[Sequence[RunConfig]], cost: Cost, workers: int, shared: int
) -> dict[str, object]:
    return {
        "sweep": plan.record.sweep,
        "scale": plan.record.scale,
        "preset": plan.record.preset,
        "networks": cost.networks,
        "shared": shared,
        "operations": cost.operations,
        "seconds": cost.seconds,
        "workers": workers,
        "runs": [
            {"title": title(group[0]), "network_ids": [network.network_id for network in group]} for group in groups
        ],
    }
