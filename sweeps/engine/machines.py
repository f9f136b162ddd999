"""The resources of a cluster's machines, including those that its autoscaler may start, and how many trials fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
import yaml
from rich.console import Console

from sweeps.engine.errors import SweepError
from tsrnn.distributed import ray_internals

GPU_SHARE: Final = 0.25
"""The share of a GPU that a trial gets by default, if there are GPUs."""
_GROUP: Final = "ray.io/node-group"
"""Ray's label for the kind of a machine that an autoscaler manages."""


@dataclass(frozen=True)
class Machines:
    """The machines on which trials can be placed.

    Attributes:
        now: the resources of each running machine.
        kinds: for each kind of machine that the cluster may start, its resources and how many more may start.
        limit: how many machines of all kinds together may start.
        more_unknown: whether the cluster may start machines whose resources are not known.
    """

    now: list[dict[str, float]]
    kinds: list[tuple[Mapping[str, float], int]]
    limit: int
    more_unknown: bool = False

    @property
    def all(self) -> list[Mapping[str, float]]:
        """The resources of all known kinds of machines."""
        return [*self.now, *(kind for kind, _ in self.kinds)]

    def room(self, cpus: float, gpus: float) -> int:
        """Return how many trials can run at a time once all machines have started; 0 if this is unknown."""
        if self.more_unknown:
            return 0
        total, left = sum(_fit(machine, cpus, gpus) for machine in self.now), self.limit
        for fit, more in sorted(((_fit(kind, cpus, gpus), more) for kind, more in self.kinds), reverse=True):
            total, left = total + fit * min(more, left), left - min(more, left)
        return max(1, total)

    def __str__(self) -> str:
        cpus, gpus = (sum(machine.get(name, 0) for machine in self.now) for name in ("CPU", "GPU"))
        grows = f", and up to {self.limit} more machines as trials wait" if self.kinds else ""
        return f"{cpus:g} CPUs, {gpus:g} GPUs{grows}"


def _fit(machine: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Return how many trials fit on a machine."""
    # Shares such as 0.1 have no exact binary form, but ten of them must fit.
    needed = {"CPU": cpus, "GPU": gpus}
    return min(int(machine.get(name, 0) / amount + 1e-6) for name, amount in needed.items() if amount)


def machines(*, private: bool) -> Machines:
    """Return the resources of the cluster, and how far it may grow.

    Args:
        private: whether this program has started Ray for itself, which does not grow.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    now = [node["Resources"] for node in nodes]
    if private:
        return Machines(now, [], 0)
    groups = [group for node in nodes if (group := node.get("Labels", {}).get(_GROUP))]
    config = _autoscaler_config()
    if config is None:
        return Machines(now, [], 0, more_unknown=bool(groups))
    kinds = [
        (one["resources"], more)
        for name, one in config["available_node_types"].items()
        if name != config["head_node_type"] and (more := one.get("max_workers", 0) - groups.count(name)) > 0
    ]
    total = sum(more for _, more in kinds)
    here = sum(group != config["head_node_type"] for group in groups)
    limit = min(total, config.get("max_workers", total + here) - here)
    return Machines(now, kinds, limit) if limit > 0 else Machines(now, [], 0)


def _autoscaler_config() -> Mapping[str, Any] | None:
    """Return the configuration of the autoscaler, in the format of `ray up`'s files; None if it cannot be found."""
    left_by_ray_up = Path("~/ray_bootstrap_config.yaml").expanduser()  # on the head, for the autoscaler
    if left_by_ray_up.exists():
        found: Mapping[str, Any] = yaml.safe_load(left_by_ray_up.read_text())
        return found
    return ray_internals.kuberay_config()


def share_out(cpus: float, gpus: float | None, found: Machines, console: Console) -> float:
    """Return the GPUs of a trial; refuse a trial that fits on no machine, since Tune would wait for ever.

    Args:
        cpus: the CPUs of a trial.
        gpus: the GPUs of a trial; None for the default share if there are GPUs.
        found: the machines.
        console: where to print what a trial will wait for.

    Raises:
        SweepError: if the trial fits on no machine; the message says what there is.
    """
    if gpus is None:
        gpus = GPU_SHARE if any(machine.get("GPU", 0) for machine in found.all) else 0.0
        if not gpus and found.more_unknown:
            console.print(
                f"there is no GPU yet, and this cluster does not say which machines it may start: trials use CPUs; "
                f"--gpus-per-trial {GPU_SHARE} waits for a machine with GPUs",
                soft_wrap=True,
            )
    if found.more_unknown:
        if not any(_fit(machine, cpus, gpus) for machine in found.all):
            console.print(
                f"cpus-per-trial = {cpus:g}, gpus-per-trial = {gpus:g}: no machine of the cluster has both yet; "
                f"waiting for the cluster to start one",
                soft_wrap=True,
            )
        return gpus
    for name, amount in {"CPU": cpus, "GPU": gpus}.items():
        largest = max((machine.get(name, 0) for machine in found.all), default=0)
        if amount > largest:
            raise SweepError(
                f"{name.lower()}s-per-trial = {amount:g}: no machine of this cluster has more than {largest:g} {name}s"
            )
    if not any(_fit(machine, cpus, gpus) for machine in found.all):
        raise SweepError(
            f"cpus-per-trial = {cpus:g}, gpus-per-trial = {gpus:g}: no machine of this cluster has both; "
            f"give each trial less of one"
        )
    return gpus
