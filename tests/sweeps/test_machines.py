"""What a cluster has and may grow to, and what of it a trial gets."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sweeps.engine.errors import SweepError
from sweeps.engine.machines import Machines, machines, share_out
from tsrnn import command_line
from tsrnn.distributed import ray_internals

ROOT = Path(__file__).resolve().parents[2]
HEAD = {"Alive": True, "Resources": {}, "Labels": {"ray.io/node-id": "1", "ray.io/node-group": "headgroup"}}


def worker(group: str, **resources: float) -> dict[str, Any]:
    return {"Alive": True, "Resources": resources, "Labels": {"ray.io/node-id": "2", "ray.io/node-group": group}}


def told(found: Machines, cpus: float, gpus: float | None) -> tuple[float, str]:
    console = command_line.console(file=io.StringIO(), width=1000)
    return share_out(cpus, gpus, found, console), console.file.getvalue()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Machines]:
    """Gives what a cluster of these nodes has, with what `ray up` or Kubernetes says of its autoscaler."""

    def look(*nodes: dict[str, Any], up: Mapping[str, Any] | None = None, kuberay: Any = None) -> Machines:
        monkeypatch.setenv("HOME", str(tmp_path))
        if up:
            (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(up))
        monkeypatch.setattr(ray_internals, "kuberay_config", lambda: kuberay)
        monkeypatch.setattr("sweeps.engine.machines.ray", SimpleNamespace(nodes=lambda: list(nodes)))
        return machines(private=False)

    return look


def up(limit: int, **kinds: tuple[dict[str, float], int]) -> dict[str, Any]:
    types = {name: {"resources": resources, "max_workers": most} for name, (resources, most) in kinds.items()}
    return {"head_node_type": "headgroup", "max_workers": limit, "available_node_types": {"headgroup": {}} | types}


@pytest.mark.parametrize("told_by", ["up", "kuberay"])
class TestToldOf:
    def test_machines_that_do_not_exist_yet(self, cluster, told_by):
        found = cluster(HEAD, **{told_by: up(16, gpu=({"CPU": 4, "GPU": 1}, 8))})
        assert str(found) == "0 CPUs, 0 GPUs, and up to 8 more machines as trials wait"
        assert told(found, 1, None) == (0.25, "")
        assert found.room(1, 0.25) == 32
        assert found.room(2, 0.25) == 16
        with pytest.raises(SweepError, match="gpus-per-trial = 2: no machine of this cluster has more than 1 GPUs"):
            told(found, 1, 2)

    def test_machines_that_have_come_come_no_more(self, cluster, told_by):
        nodes = [HEAD, *(worker("gpu", CPU=4, GPU=1) for _ in range(3))]
        found = cluster(*nodes, **{told_by: up(16, gpu=({"CPU": 4, "GPU": 1}, 4))})
        assert str(found) == "12 CPUs, 3 GPUs, and up to 1 more machines as trials wait"
        assert found.room(1, 0.25) == 16

    def test_a_limit_of_all_kinds_together(self, cluster, told_by):
        kinds = {"small": ({"CPU": 2}, 8), "large": ({"CPU": 16}, 2)}
        found = cluster(HEAD, worker("small", CPU=2), **{told_by: up(4, **kinds)})
        assert found.limit == 3
        assert found.room(1, 0) == 2 + 2 * 16 + 2

    def test_a_cluster_that_does_not_grow(self, cluster, told_by):
        found = cluster(HEAD, worker("gpu", CPU=4), **{told_by: up(0, gpu=({"CPU": 4, "GPU": 1}, 8))})
        assert str(found) == "4 CPUs, 0 GPUs"
        assert told(found, 1, None) == (0, "")
        with pytest.raises(SweepError, match="gpus-per-trial = 1: no machine of this cluster has more than 0 GPUs"):
            told(found, 1, 1)


class TestNotToldOf:
    """A cluster with an autoscaler that says nothing of what it may start, as seen from another machine."""

    def test_what_was_asked_for_is_waited_for(self, cluster):
        found = cluster(HEAD)
        assert found.more_unknown
        line = (
            "cpus-per-trial = 1, gpus-per-trial = 0.25: no machine of the cluster has both yet; waiting for the "
            "cluster to start one\n"
        )
        assert told(found, 1, 0.25) == (0.25, line)
        assert found.room(1, 0.25) == 0

    def test_trials_on_cpus_are_said_to_be(self, cluster):
        found = cluster(HEAD, worker("any", CPU=4))
        gpus, said = told(found, 1, None)
        assert gpus == 0
        assert said == (
            "there is no GPU yet, and this cluster does not say which machines it may start: trials use CPUs; "
            "--gpus-per-trial 0.25 waits for a machine with GPUs\n"
        )
        assert told(found, 1, 0) == (0, "")

    def test_what_is_there_is_used(self, cluster):
        assert told(cluster(HEAD, worker("any", CPU=4, GPU=2)), 1, None) == (0.25, "")

    def test_a_cluster_without_an_autoscaler_does_not_grow(self, cluster):
        bare = {"Alive": True, "Resources": {"CPU": 4}, "Labels": {"ray.io/node-id": "1"}}
        found = cluster(bare, {"Alive": False, "Resources": {"CPU": 99}})
        assert not found.more_unknown
        assert str(found) == "4 CPUs, 0 GPUs"
        with pytest.raises(SweepError, match=r"0\.25: no machine of this cluster has more than 0 GPUs"):
            told(found, 1, 0.25)


@pytest.mark.parametrize(
    ("machine", "cpus", "gpus", "room"),
    [
        ({"CPU": 8, "GPU": 1}, 1, 0.1, 8),
        ({"CPU": 16, "GPU": 1}, 1, 0.1, 10),
        ({"CPU": 3}, 0.3, 0, 10),
        ({"CPU": 3}, 2, 0, 1),
    ],
)
def test_room_on_a_machine(machine, cpus, gpus, room):
    assert Machines([machine], [], 0).room(cpus, gpus) == room
    assert Machines([machine, machine, {"CPU": 0.1}], [], 0).room(cpus, gpus) == 2 * room
