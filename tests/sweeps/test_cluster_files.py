"""The cluster files: what Ray's own validation says of them, without a cloud account; that their commands are shell."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

ROOT = Path(__file__).resolve().parents[2]
FILES = ("cluster.yaml", "clusters/ssh.yaml")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_it(name):
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", FILES)
def test_its_commands_are_shell(name):
    found = [command for key, value in read(name).items() if key.endswith("_commands") for command in value]
    assert len(found) >= 6
    for command in found:
        subprocess.run(["bash", "-n"], input=command, text=True, check=True)


@pytest.mark.parametrize("name", FILES)
def test_it_installs_the_pinned_project_and_keeps_the_token(name):
    config = read(name)
    assert any(
        "pip install -q --constraint ~/tsrnn/constraints.txt --editable" in one for one in config["setup_commands"]
    )
    assert any("RAY_AUTH_MODE=token" in one for one in config["setup_commands"])
    assert config["file_mounts"] == {"~/tsrnn": ".", "~/.ray/auth_token": "~/.ray/auth_token"}
    assert {".git", ".venv", "results"} <= set(config["rsync_exclude"])
    (start,) = [one for one in config["head_start_ray_commands"] if "ray start" in one]
    assert "--dashboard-host=127.0.0.1" in start


def test_aws_workers_share_a_gpu_by_mps_and_the_bucket_is_the_default_storage():
    config = read("cluster.yaml")
    assert any("nvidia-cuda-mps-control -d" in one for one in config["worker_start_ray_commands"])
    assert any("TSRNN_STORAGE=s3://" in one for one in config["setup_commands"])
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


@pytest.mark.parametrize(
    ("spot", "expected"), [(None, {"gpu-spot": 2}), (0.0, {"gpu-on-demand": 2}), (1.0, {"gpu-spot": 2})]
)
def test_aws_workers_are_spot_and_on_demand_where_those_were_not_to_be_had(spot, expected):
    """Ray's own decision, for eight trials of a quarter of a GPU; a score of 0 means that a launch just failed."""
    config = prepare_config(read("cluster.yaml"))
    found = config["available_node_types"]
    market = {name: one["node_config"].get("InstanceMarketOptions") for name, one in found.items()}
    assert market == {"head": None, "gpu-spot": {"MarketType": "spot"}, "gpu-on-demand": None}
    types = {
        name: NodeTypeConfig(
            name, 0, one.get("max_workers", 0), priority=one.get("priority", 0), resources=one["resources"]
        )
        for name, one in found.items()
    }
    request = ResourceRequestUtil.group_by_count([ResourceRequestUtil.make({"CPU": 1, "GPU": 0.25}) for _ in range(8)])
    reply = ResourceDemandScheduler(event_logger=None).schedule(
        SchedulingRequest(
            node_type_configs=types,
            disable_launch_config_check=True,
            max_num_nodes=config["max_workers"],
            resource_requests=request,
            recoverable_resource_availabilities={} if spot is None else {"gpu-spot": spot},
        )
    )
    assert {one.instance_type: one.count for one in reply.to_launch} == expected


def test_trials_on_machines_of_ones_own_are_not_nice():
    config = read("clusters/ssh.yaml")
    for part in ("head", "worker"):
        (start,) = [one for one in config[f"{part}_start_ray_commands"] if "ray start" in one]
        assert "RAY_worker_niceness=0 " in start
    assert "export RAY_worker_niceness=0\n" in (ROOT / "clusters" / "slurm.sh").read_text()


def test_the_slurm_script_is_shell():
    subprocess.run(["bash", "-n", ROOT / "clusters" / "slurm.sh"], check=True)
