"""What a sweep would train and what it would cost, without training it."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sweeps.engine.grid import title
from sweeps.engine.plan import Plan, groups_of
from sweeps.engine.scales import SCALES
from tsrnn.config import RunConfig


@dataclass(frozen=True)
class Cost:
    """What a dry run says: the networks of a sweep, their operations, and how long they take here."""

    networks: int
    operations: float
    seconds: float


def dry_run(plan: Plan, *, as_json: bool) -> Cost:
    """Print what would be run, and what it would cost.

    Raises:
        SweepError: such networks cannot be tried on this machine.
    """
    from sweeps.engine.estimate import estimate, operations

    record, groups = plan.record, groups_of(plan.networks)
    typical_n = SCALES[record.scale].typical_n
    estimated = estimate(groups, typical_n)
    workers = min(os.cpu_count() or 1, len(groups))
    cost = Cost(len(plan.networks), estimated.operations, estimated.seconds(workers))
    if as_json:
        print(json.dumps(_as_json(plan, groups, cost, workers)))
        return cost
    table = Table(title=f"{record.sweep}, scale {record.scale}, preset {record.preset}: nothing is run")
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


def _as_json(plan: Plan, groups: Sequence[Sequence[RunConfig]], cost: Cost, workers: int) -> dict[str, object]:
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
