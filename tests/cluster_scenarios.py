"""Clusters of several Ray nodes on one machine, each scenario a program of its own: `python -m tests.cluster_scenarios
NAME FOLDER`, run by tests/test_cluster.py.

They end and start Ray as its owner would, so they run where no other Ray is: in Linux namespaces with processes and a
loopback of their own (see `isolated`).
"""

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import ray
import yaml
from ray.cluster_utils import Cluster
from rich.console import Console

from sweeps import _cluster
from sweeps._cluster import Resources
from sweeps._trainable import PopulationTrainable
from tests.test_sweeps import GRID, ROOT, TINY, descendants, kill
from tsrnn.config import RunConfig
from tsrnn.store import Store

# The route leads nowhere: Ray takes the address that it would use to the outside for the machine's own.
_OWN_LOOPBACK = 'ip link set lo up && ip route add default dev lo && exec "$@"'
SWEEP = [sys.executable, "sweeps/fixed_tau.py"]


def isolated(command: Sequence[str | Path]) -> list[str]:
    """Return a command that runs another with its own processes and network, which end with it."""
    own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net"]
    return [*own, "sh", "-c", _OWN_LOOPBACK, "sh", *map(str, command)]


def environment(folder: Path) -> dict[str, str]:
    """The environment of a cluster with a home folder, a token and a temporary folder of its own."""
    home = folder / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    (home / ".ray" / "auth_token").chmod(0o600)
    return os.environ | {
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(home / ".ray" / "auth_token"),
        "RAY_TMPDIR": str(folder),
        "RAY_raylet_start_wait_time_s": "180",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


class Recorded(PopulationTrainable):
    """Stands in for training on a GPU, which is not here: says where and when it ran."""

    def setup(self, config):
        self._trial = config["trial"]
        self._folder = Path(self._trial["folder"])
        self._began = time.time()
        (self._folder / f"began-{self._trial['index']}").touch()

    def reset_config(self, new_config):
        self.setup(new_config)
        return True

    def step(self):
        # The first trials wait for each other: processes may take longer to start than a trial takes.
        while len(list(self._folder.glob("began-*"))) < 4 and time.time() < self._began + 120:
            time.sleep(0.05)
        time.sleep(1.0)
        found = {"gpus": ray.get_gpu_ids(), "began": self._began, "ended": time.time(), "asked": self._trial["gpus"]}
        path = self._folder / f"{self._trial['index']}.json"
        path.write_text(json.dumps(found | {"device": self._trial["device"]}))
        return {"networks": {}, "warnings": [], "done": True}


def shared_gpus(folder: Path) -> None:
    """Eight trials of half a GPU on two declared ones."""
    _cluster.PopulationTrainable = Recorded
    Store(folder / "sweep").create()
    ray.init(address="local", num_cpus=16, num_gpus=2, log_to_driver=False, logging_level="ERROR")
    groups = [[RunConfig(seed=seed)] for seed in range(8)]
    assert _cluster.run(groups, folder / "sweep", Resources(1, 0.5), Console(file=io.StringIO())) == {}


def node_killed(folder: Path) -> None:
    """Two nodes with a trial each; one is killed with its workers, and the other trains both."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    sweep = subprocess.Popen(
        [*SWEEP, *GRID, "--storage", folder / "storage", "--address", cluster.address],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    trained = folder / "storage" / "fixed_tau" / "epochs"
    while not trained.is_dir() or len(pd.read_parquet(trained)) < 30:
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.2)
    (raylet,) = [process.process.pid for process in nodes[0].all_processes["raylet"]]
    victims = descendants(raylet)
    assert any("Trainable" in command for command in victims.values()), victims
    kill([raylet, *victims])
    _, errors = sweep.communicate(timeout=500)
    assert sweep.returncode == 0, errors
    assert "Ray cluster of 3 machines: 2 CPUs" in errors, errors
    alive = [node for node in ray_nodes(cluster.address) if node["Alive"]]
    assert len(alive) == 2, alive


def ray_nodes(address: str) -> list[dict[str, object]]:
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    return ray.nodes()


def autoscaled(folder: Path) -> None:
    """A head without CPUs starts two machines for two trials, and lets them go."""
    machine = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    config = {
        "cluster_name": "fake",
        "max_workers": 2,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {"ray.head.default": head, "worker": machine},
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }
    started = Path(os.environ["HOME"]) / "ray_bootstrap_config.yaml"
    started.write_text(yaml.safe_dump(config))
    own = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "0"}
    subprocess.run(
        ["ray", "start", "--head", "--num-cpus=0", "--port=6379", f"--autoscaling-config={started}"],
        env=os.environ | own, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    counts, ended = [len(ray_nodes("127.0.0.1:6379"))], threading.Event()

    def count() -> None:
        while not ended.wait(0.5):
            counts.append(sum(node["Alive"] for node in ray.nodes()))

    counting = threading.Thread(target=count)
    counting.start()
    sweep = subprocess.run(
        [*SWEEP, *GRID, "--storage", folder / "storage"], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert sweep.returncode == 0, sweep.stderr
    assert "machines: 0 CPUs, 0 GPUs, and up to 2 more machines as trials wait" in sweep.stderr, sweep.stderr
    end = time.monotonic() + 120
    while counts[-1] > 1 and time.monotonic() < end:
        time.sleep(1)
    ended.set()
    counting.join()
    ray.shutdown()
    print("machines, in turn:", [n for i, n in enumerate(counts) if i == 0 or n != counts[i - 1]])
    assert (counts[0], max(counts), counts[-1]) == (1, 3, 1), counts


def unshared(folder: Path) -> None:
    """A second machine that has another folder under the same name: the sweep is refused."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = [sys.executable, "-m", "tests.cluster_scenarios", "other_machine", str(folder), cluster.address]
    node = subprocess.Popen(["unshare", "--mount", *other])
    end = time.monotonic() + 120
    while len(ray_nodes(cluster.address)) < 2:
        assert time.monotonic() < end
        time.sleep(0.5)
    sweep = subprocess.run(
        [*SWEEP, *TINY, "--storage", folder / "storage", "--address", cluster.address],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    node.kill()
    print(sweep.stderr)
    assert sweep.returncode == 1, sweep.stderr
    assert re.search(
        r"error: storage = \S*: this machine does not see that folder; give --storage a folder that all machines of "
        r"the cluster share, or s3://BUCKET/PATH \(node [0-9.]+\)\n",
        sweep.stderr,
    ), sweep.stderr
    assert len(pd.read_parquet(folder / "storage" / "fixed_tau" / "epochs")) == 0


def other_machine(folder: Path, address: str) -> None:
    """Join a cluster as a node that has an empty disk where the driver has its results."""
    (folder / "storage").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", folder / "storage"], check=True)
    os.execvp("ray", ["ray", "start", f"--address={address}", "--num-cpus=1", "--block"])


if __name__ == "__main__":
    scenario = {one.__name__: one for one in (shared_gpus, node_killed, autoscaled, unshared)}
    if sys.argv[1] == "other_machine":
        other_machine(Path(sys.argv[2]), sys.argv[3])
    scenario[sys.argv[1]](Path(sys.argv[2]))
