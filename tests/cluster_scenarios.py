"""Clusters of several Ray nodes on one machine, each scenario a program of its own: `python -m tests.cluster_scenarios
NAME FOLDER`, run by tests/sweeps/test_cluster.py.

They end and start Ray as its owner would, so they run where no other Ray is: in Linux namespaces with processes and a
loopback of their own (see `isolated`).
"""

import getpass
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import venv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
import ray
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.cluster_utils import Cluster

from sweeps.engine import cluster as _cluster
from sweeps.engine.cluster import Resources
from sweeps.engine.shared import require_shared
from sweeps.engine.trainable import PopulationTrainable
from tests.processes import descendants, kill
from tests.sweeps.commands import GRID, ROOT, TINY
from tsrnn import command_line
from tsrnn.config import RunConfig
from tsrnn.io.claims import DRIVER, take
from tsrnn.io.files import location
from tsrnn.io.store import Store

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
    claim = take(location(folder / "sweep"), DRIVER)
    assert _cluster.run(groups, claim, Resources(1, 0.5), command_line.console(file=io.StringIO())) == {}


def wait_until_trained(sweep: subprocess.Popen[str], folder: Path, epochs: int) -> None:
    """Wait until the networks of a sweep that runs have trained this many epochs in all."""
    trained = folder / "storage" / "fixed_tau" / "epochs"
    while not trained.is_dir() or len(pd.read_parquet(trained)) < epochs:
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.2)


def node_killed(folder: Path) -> None:
    """Two nodes with a trial each; one is killed with its workers, and the other trains both."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    sweep = subprocess.Popen(
        [*SWEEP, *GRID, "--storage", folder / "storage", "--address", cluster.address],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until_trained(sweep, folder, 30)
    (raylet,) = [process.process.pid for process in nodes[0].all_processes["raylet"]]
    victims = descendants(raylet)
    # A worker has the name of its trial.
    assert any("ray::fixed_tau " in command for command in victims.values()), victims
    kill([raylet, *victims])
    _, errors = sweep.communicate(timeout=500)
    assert sweep.returncode == 0, errors
    assert "Ray cluster of 3 machines: 2 CPUs" in errors, errors
    # The sweep may end before Ray's health check has found the machine dead.
    end = time.monotonic() + 60
    while len(alive := [node for node in ray_nodes(cluster.address) if node["Alive"]]) != 2:
        assert time.monotonic() < end, alive
        time.sleep(0.5)


def terminated(folder: Path) -> None:
    """A batch system ends a job: SIGTERM to the driver and to all of its cluster's processes at once."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    sweep = subprocess.Popen(
        [*SWEEP, *GRID, "--storage", folder / "storage", "--address", cluster.address],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until_trained(sweep, folder, 10)
    began = time.monotonic()
    for pid in (*descendants(os.getpid()), sweep.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    _, errors = sweep.communicate(timeout=60)
    print(f"ended after {time.monotonic() - began:.0f} s\n{errors}")
    assert time.monotonic() - began < 30  # then Slurm kills
    assert sweep.returncode == 1, errors
    assert errors.splitlines()[-1] == "stopped by SIGTERM; the same command continues where it stopped", errors


def submitted(folder: Path) -> None:
    """A job that is submitted to a cluster, and brings its code along: nobody is in the project's folder."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        ["ray", "start", "--head", "--num-cpus=1", "--port=6379"],
        env=own, cwd=folder, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    submit = ["job", "submit", "--address", "http://127.0.0.1:8265", "--working-dir", ROOT, "--"]
    where = "import sweeps, tsrnn; print('imported from', sweeps.__path__[0], tsrnn.__path__[0])"
    print(said := ray_command(*submit, "python", "-c", where, cwd=folder))
    found = re.search(r"imported from (\S+)/sweeps (\S+)/tsrnn", said)
    assert found is not None
    assert {*found.groups()} & {str(ROOT)} == set(), said
    sweep = ["python", "sweeps/fixed_tau.py", *TINY, "--taus", "1", "--storage", folder / "storage"]
    print(said := ray_command(*submit, *sweep, cwd=folder))
    assert "Ray cluster of 1 machine: 1 CPUs" in said
    assert "Largest N solved" in said
    assert not (pd.read_parquet(folder / "storage" / "fixed_tau" / "outcomes")["status"] == "failed").any()
    ray_command("stop")


def ray_nodes(address: str) -> list[dict[str, object]]:
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    return ray.nodes()


def autoscaled_v1(folder: Path) -> None:
    """Ray's first autoscaler, which clusters/ssh.yaml has; the sweep finds what `ray up` leaves on a head."""
    said = autoscaled(folder, Path(os.environ["HOME"]) / "ray_bootstrap_config.yaml", {"RAY_enable_autoscaler_v2": "0"})
    assert "Ray cluster of 1 machine: 0 CPUs, 0 GPUs, and up to 2 more machines as trials wait" in said, said


def autoscaled_v2(folder: Path) -> None:
    """Ray's second autoscaler, as `ray up` starts it on AWS; the sweep is not told what it may start, and waits.

    It looks for a file of defaults that Ray's wheel does not have, but for a provider that is not Ray's own.
    """
    head = {"RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID}
    said = autoscaled(
        folder,
        folder / "autoscaler.yaml",
        {"RAY_enable_autoscaler_v2": "1", "RAY_NODE_TYPE_NAME": "ray.head.default"} | head,
        type="external",
        module="ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        launch_multiple=True,
        head_node_id=FAKE_HEAD_NODE_ID,
    )
    assert "no machine of the cluster has both yet; waiting for the cluster to start one" in said, said
    assert "there is no GPU yet, and this cluster does not say which machines it may start: trials use CPUs" in said, (
        said
    )


def autoscaled(folder: Path, told: Path, autoscaler: dict[str, str], **provider: object) -> str:
    """A head without CPUs starts two machines for two trials, and lets them go; returns what the sweep said."""
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
            **provider,
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
    told.write_text(yaml.safe_dump(config))
    own = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"} | autoscaler
    subprocess.run(
        ["ray", "start", "--head", "--num-cpus=0", "--port=6379", f"--autoscaling-config={told}"],
        env=os.environ | own, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    counts, ended = [len(ray_nodes("127.0.0.1:6379"))], threading.Event()

    def count() -> None:
        while not ended.wait(0.5):
            counts.append(sum(node["Alive"] for node in ray.nodes()))

    counting = threading.Thread(target=count, daemon=True)
    counting.start()
    sweep = subprocess.run(
        [*SWEEP, *GRID, "--storage", folder / "storage"], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert sweep.returncode == 0, sweep.stderr
    end = time.monotonic() + 120
    while counts[-1] > 1 and time.monotonic() < end:
        time.sleep(1)
    ended.set()
    counting.join()
    ray.shutdown()
    print("machines, in turn:", [n for i, n in enumerate(counts) if i == 0 or n != counts[i - 1]])
    assert (counts[0], max(counts), counts[-1]) == (1, 3, 1), counts
    return sweep.stderr


def unshared(folder: Path) -> None:
    """A second machine that has another folder under the same name: the sweep is refused."""
    refused_for(
        folder,
        "other_disk",
        r"error: storage = \S*: this machine does not see that folder; give --storage a folder that all machines of "
        r"the cluster share, or s3://BUCKET/PATH \(node [0-9.]+\)\n",
    )


def outdated(folder: Path) -> None:
    """A second machine on which one file of tsrnn is another: the sweep is refused."""
    refused_for(
        folder,
        "other_files",
        r"error: this machine has other code of tsrnn \(\w{16}\) than the program that runs the sweep had when it "
        r"began \(\w{16}\); bring the project there to the same state, .* \(node [0-9.]+\)\n",
    )


def dying(folder: Path) -> None:
    """A machine hangs when it is asked whether it sees the folder, and dies some seconds later: no reason to refuse."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    while len(ray_nodes(cluster.address)) < 3:
        time.sleep(0.5)
    Store(folder / "sweep").create()
    claim = take(location(folder / "sweep"), DRIVER)
    (raylet,) = [process.process.pid for process in nodes[0].all_processes["raylet"]]
    os.kill(raylet, signal.SIGSTOP)
    victims = [raylet, *descendants(raylet)]
    threading.Timer(8, kill, [victims]).start()
    console, began = command_line.console(file=io.StringIO(), width=200), time.monotonic()
    require_shared(location(folder / "sweep"), claim.name, (), console)
    print(f"asked for {time.monotonic() - began:.0f} s: {console.file.getvalue()!r}")
    assert time.monotonic() - began > 5
    assert console.file.getvalue() == ""
    assert sum(bool(node["Alive"]) for node in ray.nodes()) == 2


def refused_for(folder: Path, machine: str, says: str) -> None:
    """Run a sweep on a cluster whose second machine is one of the functions below."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = [sys.executable, "-m", "tests.cluster_scenarios", machine, str(folder), cluster.address]
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
    assert re.search(says, sweep.stderr), sweep.stderr
    assert len(pd.read_parquet(folder / "storage" / "fixed_tau" / "epochs")) == 0


def over_ssh(folder: Path) -> None:
    """`ray up` of clusters/ssh.yaml on two loopback addresses, again with a change, a sweep on both, `ray down`.

    Both machines are this one, so the file is changed in: addresses, user and key; the worker's `ray stop`, which would
    stop the head too; and the numbers of CPUs.
    """
    home = folder / "nodes"
    home.mkdir()
    node_environment(home)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    # The home folder that ssh and its server take: not $HOME, but what this file says.
    lines = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    moved = [[*fields[:5], str(home), *fields[6:]] if fields[0] == getpass.getuser() else fields for fields in lines]
    (folder / "passwd").write_text("".join(":".join(fields) + "\n" for fields in moved))
    subprocess.run(["mount", "--bind", folder / "passwd", "/etc/passwd"], check=True)
    passed = {
        "RAY_TMPDIR": home, "RAY_USAGE_STATS_ENABLED": 0, "RAY_raylet_start_wait_time_s": 180,
        "PIP_NO_INDEX": 1, "PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": 1,
    }  # fmt: skip
    Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "sshd_config").write_text(
        "ListenAddress 127.0.0.2\nListenAddress 127.0.0.3\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nPidFile none\n"
        f"SetEnv {' '.join(f'{name}={value}' for name, value in passed.items())}\n"
    )
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"])
    config = yaml.safe_load((ROOT / "clusters" / "ssh.yaml").read_text())
    config["provider"] |= {"head_ip": "127.0.0.2", "worker_ips": ["127.0.0.3"]}
    config["auth"] = {"ssh_user": getpass.getuser(), "ssh_private_key": f"{folder}/user"}
    config |= {"min_workers": 1, "max_workers": 1}
    stop, start = config["head_start_ray_commands"]
    config["head_start_ray_commands"] = [stop, f"{start} --node-ip-address=127.0.0.2 --num-cpus=1"]
    stop, start = config["worker_start_ray_commands"]
    config["worker_start_ray_commands"] = [f"{start} --node-ip-address=127.0.0.3 --num-cpus=1"]
    file = folder / "cluster.yaml"
    began = time.monotonic()
    for storage in ("elsewhere", "storage"):
        changed = [
            line.replace("RAY_AUTH_MODE=token", f"RAY_AUTH_MODE=token TSRNN_STORAGE={folder}/{storage}")
            for line in config["setup_commands"]
        ]
        file.write_text(yaml.safe_dump(config | {"setup_commands": changed}))
        print(ray_command("up", "--yes", "--no-config-cache", file))
        # The head's `ray stop` ends the worker too, on this machine: the autoscaler finds it dead, and starts it again.
        end = time.monotonic() + 400
        while not re.search(r"127\.0\.0\.3 .*ALIVE", status := ray_command("exec", file, "ray list nodes")):
            assert time.monotonic() < end, status
            time.sleep(2)
        print(f"{storage}: up after {time.monotonic() - began:.0f} s")
    sweep = f"cd ~/tsrnn && python sweeps/fixed_tau.py {' '.join(GRID)}"
    said = ray_command("exec", file, sweep)
    print(said)
    assert "Ray cluster of 2 machines: 2 CPUs" in said
    assert "Largest N solved" in said
    assert any("raylet" in command for command in descendants(1).values())
    print(ray_command("down", "--yes", file))
    left = [command for command in descendants(1).values() if "raylet" in command or "gcs_server" in command]
    assert left == [], left
    server.kill()


def node_environment(home: Path) -> None:
    """Make the environment that the file's set-up would download, of the packages that are here."""
    venv.create(home / "tsrnn-venv", with_pip=True)
    (packages,) = (home / "tsrnn-venv" / "lib").glob("python*/site-packages")
    for old in (*packages.glob("setuptools*"), *packages.glob("*distutils*"), *packages.glob("pkg_resources")):
        shutil.rmtree(old) if old.is_dir() else old.unlink()  # the one that is here is to be found
    (packages / "here.pth").write_text(sysconfig.get_path("purelib"))
    command = home / "tsrnn-venv" / "bin" / "ray"
    command.write_text(f"#!{home}/tsrnn-venv/bin/python\nfrom ray.scripts.scripts import main\nmain()\n")
    command.chmod(0o755)
    (home / ".bashrc").touch()


def ray_command(*words: str | Path, cwd: Path = ROOT) -> str:
    """Run a `ray` command as on the user's own machine, and return what it said."""
    done = subprocess.run(["ray", *words], cwd=cwd, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def other_disk(folder: Path, address: str) -> None:
    """Join a cluster as a node that has an empty disk where the driver has its results."""
    (folder / "storage").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", folder / "storage"], check=True)
    os.execvp("ray", ["ray", "start", f"--address={address}", "--num-cpus=1", "--block"])


def other_files(folder: Path, address: str) -> None:
    """Join a cluster as a node on which a file of tsrnn was edited."""
    file = ROOT / "tsrnn" / "tasks" / "parity.py"
    (folder / "parity.py").write_text(f"# Edited.\n{file.read_text()}")
    subprocess.run(["mount", "--bind", folder / "parity.py", file], check=True)
    os.execvp("ray", ["ray", "start", f"--address={address}", "--num-cpus=1", "--block"])


if __name__ == "__main__":
    scenarios = (
        shared_gpus, node_killed, terminated, submitted, autoscaled_v1, autoscaled_v2, unshared, outdated, dying,
        over_ssh,
    )  # fmt: skip
    if len(sys.argv) > 3:
        {one.__name__: one for one in (other_disk, other_files)}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
    {one.__name__: one for one in scenarios}[sys.argv[1]](Path(sys.argv[2]))
