"""The cluster files: what Ray and AWS's stand-in say of them, and every line of them run, twice.

The lines run as Ray runs them on a machine, in a home folder of their own: what they call that is not here, or would
change this machine, is a stub that writes down how it was called and with which environment.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.command_runner import _with_interactive
from ray.autoscaler._private.util import hash_runtime_conf, prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from tests.sweeps.stubs import ROOT, read, write_stub

FILES = ("cluster.yaml", "clusters/ssh.yaml")
# What interactive shells of Debian and Ubuntu begin with.
BASHRC = "case $- in\n    *i*) ;;\n      *) return;;\nesac\nexport OWN=mine\n"

STUBS = {
    "sudo": 'exec "$@"\n',
    "sleep": "",
    # Another program holds the lock, twice.
    "apt-get": """
if [ "$1" = update ]; then
  echo >> ~/updates
  [ "$(wc -l < ~/updates)" -gt 2 ] || { echo 'E: Could not get lock' >&2; exit 100; }
else
  touch ~/has-venv
fi
""",
    "python3": """
case "$*" in
  "-c import ensurepip") [ -e ~/has-venv ] ;;
  "-m venv "*) [ -e ~/has-venv ] && mkdir -p "$3/bin" && cp "$STUBS/pip" "$STUBS/ray" "$3/bin/" ;;
  *) exit 64 ;;
esac
""",
    "pip": '[ -s "$HOME/tsrnn/constraints.txt" ]\n',
    "ray": 'env > "$HOME/seen-by-ray-$1"\n',
    # The daemon goes on by itself, under this name.
    "nvidia-cuda-mps-control": """
[ "$*" = -d ] || exit 1
[ -d "$CUDA_MPS_LOG_DIRECTORY" ] && [ -d "$CUDA_MPS_PIPE_DIRECTORY" ] || exit 1
(exec -a nvidia-cuda-mps-control /bin/sleep 600) < /dev/null > /dev/null 2>&1 &
echo $! >> ~/daemons
""",
}


class Machine:
    """A machine whose commands Ray runs over ssh."""

    def __init__(self, folder: Path) -> None:
        """Make its home folder and its stubs."""
        self.home, self._stubs, self._log = folder / "home", folder / "stubs", folder / "log"
        self.home.mkdir()
        self._stubs.mkdir()
        for name, does in STUBS.items():
            write_stub(self._stubs / name, does)
        # A login shell sets the path anew, and then reads this.
        (self.home / ".profile").write_text(f"export PATH={self._stubs}:$PATH\n")
        (self.home / ".bashrc").write_text(BASHRC)
        (self.home / "tsrnn").mkdir()
        shutil.copy(ROOT / "constraints.txt", self.home / "tsrnn")

    def without(self, name: str) -> None:
        """Take a program away."""
        (self._stubs / name).unlink()

    def run(self, command: str) -> str:
        """Run a command as Ray does."""
        shell = " ".join(_with_interactive(command))
        environment = {"HOME": str(self.home), "STUB_LOG": str(self._log), "STUBS": str(self._stubs), "TERM": "dumb"}
        done = subprocess.run(
            ["bash", "-c", f"export RAY_HEAD_IP=192.0.2.1; {shell}"],
            env=environment | {"PATH": os.environ["PATH"]}, cwd=self.home, capture_output=True, text=True, timeout=60,
            start_new_session=True,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def set_up(self, config: dict[str, Any], part: str) -> list[str]:
        """Run what `ray up` runs on a head, or on a worker; return the calls of this time."""
        before = len(self.calls)
        for commands in ("setup_commands", f"{part}_setup_commands", f"{part}_start_ray_commands"):
            for command in config.get(commands, []):
                self.run(command)
        return self.calls[before:]

    @property
    def calls(self) -> list[str]:
        """How the stubs were called, in turn."""
        text = self._log.read_text() if self._log.exists() else ""
        return text.replace(str(self.home), "~").splitlines()

    def seen(self, command: str = "start") -> dict[str, str]:
        """The environment in which Ray was called last."""
        lines = (self.home / f"seen-by-ray-{command}").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def daemons(self) -> list[int]:
        """The processes of NVIDIA's stand-in."""
        path = self.home / "daemons"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for pid in made.daemons:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_it(name):
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", ["head", "worker"])
class TestSetUp:
    def test_a_machine_is_set_up_and_again(self, machine, name, part):
        config = read(name)
        venv, extra = ("~/venv", "[aws]") if name == "cluster.yaml" else ("~/tsrnn-venv", "")
        if name != "cluster.yaml":
            (machine.home / "has-venv").touch()
        first, again = (machine.set_up(config, part) for _ in range(2))
        install = f"pip install -q --constraint ~/tsrnn/constraints.txt --editable ~/tsrnn{extra}"
        (start,) = [call for call in first if call.startswith("ray start ")]
        for calls in (first, again):
            assert [call for call in calls if call.startswith(("pip", "ray"))] == [install, "ray stop", start]
        assert f"python3 -m venv {venv}" in first
        assert f"python3 -m venv {venv}" not in again
        if part == "head":
            assert "--head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml" in start
            assert "--dashboard-host=127.0.0.1" in start
        else:
            assert start == "ray start --address=192.0.2.1:6379"

    def test_its_shells_find_ray_and_keep_what_was_there(self, machine, name, part):
        (machine.home / "has-venv").touch()
        for _ in range(2):
            machine.set_up(read(name), part)
        seen = machine.seen()
        assert seen["PATH"].startswith(f"{machine.home}/{'venv' if name == 'cluster.yaml' else 'tsrnn-venv'}/bin:")
        assert seen["RAY_AUTH_MODE"] == "token"
        assert seen.get("RAY_worker_niceness") == ("0" if name == "clusters/ssh.yaml" else None)
        assert (machine.home / ".bashrc").read_text() == f". ~/tsrnn-env.sh\n{BASHRC}"
        assert machine.run("echo $OWN").endswith("mine\n")
        # As `ray down` does: this shell stops at the first lines of the user's own.
        bare = subprocess.run(
            ["bash", "-c", "source ~/.bashrc; command -v ray"],
            env={"HOME": str(machine.home), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert bare.stdout == seen["PATH"].partition(":")[0] + "/ray\n"

    def test_a_machine_without_a_bashrc(self, machine, name, part):
        (machine.home / "has-venv").touch()
        (machine.home / ".bashrc").unlink()
        (machine.home / ".profile").write_text((machine.home / ".profile").read_text() + "touch ~/.bashrc\n")
        for _ in range(2):
            machine.set_up(read(name), part)
        assert (machine.home / ".bashrc").read_text() == ". ~/tsrnn-env.sh\n"

    def test_what_is_mounted_is_what_the_project_is_installed_from(self, name, part, tmp_path):
        """And nothing that changes while one works: Ray would set every machine up again."""
        for path in ("tsrnn", "sweeps", "analysis"):
            shutil.copytree(ROOT / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__"))
        for path in ("README.md", "pyproject.toml", "constraints.txt", "docs/fidelity.md"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
        mounts = read(name)["file_mounts"]
        token = mounts.pop("~/.ray/auth_token")
        assert token == "~/.ray/auth_token"
        assert {remote.removeprefix("~/tsrnn/") for remote in mounts} == set(mounts.values())
        assert {path.parts[0] for path in map(Path, mounts.values())} == {path.name for path in tmp_path.iterdir()}

        def of_ray() -> str:
            local = {remote: str(tmp_path / path) for remote, path in mounts.items()}
            from ray.autoscaler._private import util

            util._hash_cache.clear()
            return hash_runtime_conf(local, None, part)[0]

        before = of_ray()
        for path in (".git/index", ".venv/bin/python", "results/quick/fixed_tau/sweep.json", "tests/test_new.py"):
            (tmp_path / path).parent.mkdir(parents=True)
            (tmp_path / path).write_text("new")
        assert of_ray() == before
        (tmp_path / "tsrnn" / "new.py").touch()
        assert of_ray() != before


class TestAws:
    def test_a_bucket_that_is_changed_is_used(self, machine):
        (machine.home / "has-venv").touch()
        text = (ROOT / "cluster.yaml").read_text()
        for bucket in ("first", "second"):
            machine.set_up(yaml.safe_load(text.replace("YOUR-BUCKET", bucket)), "head")
            assert machine.seen()["TSRNN_STORAGE"] == f"s3://{bucket}/tsrnn"
            assert machine.seen("stop")["TSRNN_STORAGE"] == f"s3://{bucket}/tsrnn"

    def test_a_machine_that_has_just_booted_updates_itself(self, machine):
        """Its own updates hold apt's locks: one is waited for, the other tried again."""
        first, again = (machine.set_up(read("cluster.yaml"), "worker") for _ in range(2))
        asked = [call for call in first if call.startswith("apt-get")]
        assert asked == ["apt-get update -q"] * 3 + [
            "apt-get install -qy -o DPkg::Lock::Timeout=600 python3-venv",
        ]
        assert not [call for call in again if call.startswith(("sudo", "apt-get"))]

    def test_mps_is_started_once_on_a_worker(self, machine):
        (machine.home / "has-venv").touch()
        for _ in range(2):
            calls = machine.set_up(read("cluster.yaml"), "worker")
            assert calls.index("ray stop") < len(calls) - 1
        assert [call for call in machine.calls if "mps" in call] == ["nvidia-cuda-mps-control -d"]
        (daemon,) = machine.daemons
        assert machine.seen()["CUDA_MPS_PIPE_DIRECTORY"] == f"{machine.home}/.mps"
        # One that died is started again.
        os.kill(daemon, signal.SIGKILL)
        machine.set_up(read("cluster.yaml"), "worker")
        assert len(machine.daemons) == 2

    def test_mps_is_not_started_on_the_head_nor_where_there_is_none(self, machine):
        (machine.home / "has-venv").touch()
        machine.set_up(read("cluster.yaml"), "head")
        machine.without("nvidia-cuda-mps-control")
        machine.set_up(read("cluster.yaml"), "worker")
        assert not [call for call in machine.calls if "mps" in call]

    @pytest.mark.parametrize(
        ("spot", "expected"), [(None, {"gpu-spot": 2}), (0.0, {"gpu-on-demand": 2}), (1.0, {"gpu-spot": 2})]
    )
    def test_workers_are_spot_and_on_demand_where_those_were_not_to_be_had(self, spot, expected):
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
        request = ResourceRequestUtil.group_by_count(
            [ResourceRequestUtil.make({"CPU": 1, "GPU": 0.25}) for _ in range(8)]
        )
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

    def test_the_image_may_be_used_in_place_of_an_installation(self):
        text = (ROOT / "cluster.yaml").read_text()
        found = re.search(r"^# docker:\n(# .*\n)+", text, re.MULTILINE)[0]
        config = yaml.safe_load(text.replace(found, found.replace("# ", "")))
        validate_config(prepare_config(config))
        assert config["docker"] == {
            "image": "YOUR-REGISTRY/tsrnn:cuda", "container_name": "tsrnn", "pull_before_run": True,
        }  # fmt: skip

    def test_no_trial_runs_on_the_head(self):
        assert read("cluster.yaml")["available_node_types"]["head"]["resources"] == {"CPU": 0}

    @mock_aws
    def test_ray_opens_no_port_and_gives_workers_a_role_of_their_own(self, monkeypatch, tmp_path):
        """What Ray asks of AWS before it starts anything, of a stand-in for AWS."""
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)  # other tests' own store
        config = prepare_config(read("cluster.yaml"))
        ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
        (vpc,) = ec2.describe_vpcs()["Vpcs"]
        group = ec2.create_security_group(GroupName="mine", Description="mine", VpcId=vpc["VpcId"])["GroupId"]
        for one in config["available_node_types"].values():
            assert one["node_config"]["SecurityGroupIds"] == ["sg-00000000000000000"]
            one["node_config"]["SecurityGroupIds"] = [group]
        groups = ec2.describe_security_groups()["SecurityGroups"]
        made = bootstrap_aws(config)["available_node_types"]
        assert ec2.describe_security_groups()["SecurityGroups"] == groups
        assert all(one["node_config"]["SecurityGroupIds"] == [group] for one in made.values())
        profiles = {
            name: one["node_config"]["IamInstanceProfile"]["Arn"].rpartition("/")[2] for name, one in made.items()
        }
        assert profiles == {"head": "tsrnn-head", "gpu-spot": "tsrnn-worker", "gpu-on-demand": "tsrnn-worker"}
        assert all(one["node_config"]["SubnetIds"] for one in made.values())

    def test_workers_may_use_the_bucket_and_the_head_may_start_them_too(self):
        def allowed(name: str) -> set[str]:
            statements = json.loads((ROOT / "clusters" / "aws" / f"{name}.json").read_text())["Statement"]
            actions = [one["Action"] for one in statements if one["Effect"] == "Allow"]
            return {action for one in actions for action in ([one] if isinstance(one, str) else one)}

        assert {action.partition(":")[0] for action in allowed("worker")} == {"s3"}
        assert allowed("head") - allowed("worker") == {
            "ec2:DescribeInstances", "ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances", "iam:PassRole",
        }  # fmt: skip
        assert allowed("worker") < allowed("head")


def test_a_bashrc_that_is_a_link_stays_one(machine):
    (machine.home / "has-venv").touch()
    (machine.home / "dotfiles").mkdir()
    (machine.home / ".bashrc").rename(machine.home / "dotfiles" / "bashrc")
    (machine.home / ".bashrc").symlink_to("dotfiles/bashrc")
    (machine.home / "dotfiles" / "bashrc").chmod(0o600)
    for _ in range(2):
        machine.set_up(read("clusters/ssh.yaml"), "worker")
    assert (machine.home / ".bashrc").is_symlink()
    assert (machine.home / "dotfiles" / "bashrc").read_text() == f". ~/tsrnn-env.sh\n{BASHRC}"
    assert (machine.home / "dotfiles" / "bashrc").stat().st_mode & 0o777 == 0o600
