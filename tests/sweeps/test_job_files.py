"""The files for Kubernetes and Slurm, and the image: what KubeRay's schema and Ray say of them, and every line run."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import jsonschema
import pytest
import ray

from sweeps.engine.machines import machines, share_out
from tests.sweeps.stubs import ROOT, read, write_stub
from tsrnn import command_line


class TestKubeRay:
    @pytest.fixture
    def job(self) -> dict[str, Any]:
        return read("clusters/kuberay.yaml")

    @pytest.fixture
    def schema(self) -> dict[str, Any]:
        """Trimmed from KubeRay's own, in which an unknown field is dropped without a word."""
        return json.loads((ROOT / "tests" / "data" / "rayjob.schema.json").read_text())

    def test_kuberay_accepts_it(self, job, schema):
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(job, schema)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("spec", "entryPoint"), "python"),
            (("spec", "shutdownAfterJobFinishes"), "true"),
            (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
            (("spec", "rayClusterSpec", "autoscalerOptions", "version"), "2"),
            (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
            (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"), "0"),
            (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "env"), {}),
        ],
    )
    def test_it_would_not_accept_a_mistake(self, job, schema, path, value):
        place = job
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(job, schema)

    def test_it_runs_what_the_image_has_and_ends(self, job):
        spec = job["spec"]
        program, script, *options = shlex.split(spec["entrypoint"])
        assert (program, options) == ("python", ["--storage", "s3://YOUR-BUCKET/tsrnn"])
        folder = re.search(r"WORKDIR (\S+)\n$", (ROOT / "clusters" / "Dockerfile").read_text())[1]
        assert (ROOT / Path(script).relative_to(folder)).exists()
        assert spec["shutdownAfterJobFinishes"] is True
        assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
        assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__
        pods = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
        assert len({pod["template"]["spec"]["containers"][0]["image"] for pod in pods}) == 1

    def test_its_command_is_a_sweep(self, job, tmp_path):
        """Run for real, as a dry run, from a folder that is not the project's."""
        command = job["spec"]["entrypoint"].replace("/home/tsrnn/tsrnn", str(ROOT)).replace("s3://YOUR-BUCKET", ".")
        command = command.replace("python", sys.executable, 1) + " --dry-run --json --scale quick --hidden 4"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["sweep"] == "fixed_tau"

    def test_its_workers_scale_from_zero_and_the_sweep_knows(self, job, monkeypatch):
        """As Ray reads it from Kubernetes, whose answer is what `kubectl create` gave it."""
        cluster = {"metadata": {"name": "tsrnn-abc", "namespace": "mine"}, "spec": job["spec"]["rayClusterSpec"]}
        asked = []

        def get(client: Any, path: str) -> dict[str, Any]:
            asked.append((client._namespace, path))
            return cluster

        monkeypatch.setattr("ray.autoscaler._private.kuberay.node_provider.KubernetesHttpApiClient.get", get)
        monkeypatch.setenv("RAY_CLUSTER_NAME", "tsrnn-abc")
        monkeypatch.setenv("RAY_CLUSTER_NAMESPACE", "mine")
        head = {"Alive": True, "Resources": {}, "Labels": {"ray.io/node-group": "headgroup"}}
        monkeypatch.setattr("sweeps.engine.machines.ray", SimpleNamespace(nodes=lambda: [head]))
        found = machines(private=False)
        assert asked == [("mine", "rayclusters/tsrnn-abc")]
        assert str(found) == "0 CPUs, 0 GPUs, and up to 16 more machines as trials wait"
        assert share_out(1, None, found, command_line.console(file=io.StringIO())) == 0.25
        assert found.room(1, 0.25) == 64
        cluster["spec"]["enableInTreeAutoscaling"] = False
        assert not machines(private=False).kinds


class TestImage:
    """The image is built nowhere here: what can be held is that its lines name what there is."""

    LINES: ClassVar = re.sub(r"\\\n", " ", (ROOT / "clusters" / "Dockerfile").read_text()).splitlines()

    def arguments(self, instruction: str) -> list[list[str]]:
        return [shlex.split(line)[1:] for line in self.LINES if line.startswith(f"{instruction} ")]

    def test_it_has_what_the_project_is_installed_from(self):
        ignored = (ROOT / "clusters" / "Dockerfile.dockerignore").read_text().split()
        copied = [word for words in self.arguments("COPY") for word in words[:-1] if not word.startswith("--")]
        assert {path.removesuffix("/**") for path in copied} == {
            one.removeprefix("!").removesuffix("/**") for one in ignored if one.startswith("!")
        }
        assert all((ROOT / path).exists() for path in copied)
        mounted = set(read("cluster.yaml")["file_mounts"].values()) - {"~/.ray/auth_token"}
        assert mounted <= set(copied)

    def test_its_shell_lines_run(self, tmp_path):
        """With stubs of what would change this machine or fetch anything."""
        stubs, log = tmp_path / "stubs", tmp_path / "log"
        stubs.mkdir()
        for name in ("apt-get", "useradd", "chmod", "rm", "python3", "pip"):
            write_stub(stubs / name, "")
        for line in self.LINES:
            if line.startswith("RUN "):
                subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", line.removeprefix("RUN ")],
                    env={"PATH": f"{stubs}:{os.environ['PATH']}", "TORCH": "INDEX", "STUB_LOG": str(log)},
                    cwd=tmp_path, check=True,
                )  # fmt: skip
        calls = log.read_text().splitlines()
        assert [call for call in calls if call.startswith("pip")] == [
            "pip install -q --no-cache-dir --constraint tsrnn/constraints.txt --index-url INDEX --no-deps torch",
            "pip install -q --no-cache-dir --constraint tsrnn/constraints.txt --editable tsrnn[aws]",
        ]
        assert "python3 -m venv venv" in calls

    def test_a_node_of_aws_finds_everything_installed_there(self):
        """Its set-up makes ~/venv where there is none: the image's user has it there."""
        assert ["python3", "-m", "venv", "venv"] in self.arguments("RUN")
        assert self.arguments("WORKDIR")[0] == ["/home/tsrnn"]
        (user,) = self.arguments("USER")
        assert user == ["tsrnn"]
        assert any("~/venv" in command for command in read("cluster.yaml")["setup_commands"])


class TestSlurm:
    """The script with stand-ins for Slurm's commands: srun runs its step here, once for each node."""

    STUBS: ClassVar = {
        "scontrol": "printf '%s\\n' node17 node18\n",
        # As from version 22.05 on: a step has one CPU a task unless it is told.
        "srun": """
cpus=1
while [[ "$1" == --* ]]; do [[ "$1" == --cpus-per-task=* ]] && cpus=${1#*=}; shift; done
for node in node17 node18; do SLURMD_NODENAME=$node STEP_CPUS=$cpus "$@" || exit; done
""",
        "ray": """
[ "$1" = symmetric-run ] || exit 64
[ "$SLURMD_NODENAME" = node17 ] || exit 0
env > seen-by-ray; stat -c %a "$RAY_AUTH_TOKEN_PATH" > mode; cp "$RAY_AUTH_TOKEN_PATH" token
while [ "$1" != -- ]; do shift; done; shift; exec "$@"
""",
        "python": 'exit "${SWEEP_STATUS:-0}"\n',
    }

    @pytest.fixture
    def job(self, tmp_path: Path) -> Path:
        """A copy of the project with an environment of stubs."""
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "activate").write_text(f"PATH={tmp_path}/.venv/bin:$PATH\n")
        for name, does in self.STUBS.items():
            write_stub(tmp_path / ".venv" / "bin" / name, does)
        shutil.copy(ROOT / "clusters" / "slurm.sh", tmp_path)
        return tmp_path

    def submit(self, job: Path, *words: str, number: int = 123, **more: str) -> subprocess.CompletedProcess[str]:
        (job / "log").unlink(missing_ok=True)
        given = {
            "SLURM_JOB_ID": str(number), "SLURM_JOB_NODELIST": "node[17-18]", "SLURM_NNODES": "2",
            "SLURM_CPUS_PER_TASK": "8", "STUB_LOG": str(job / "log"), "PATH": os.environ["PATH"],
        }  # fmt: skip
        return subprocess.run(
            ["bash", "slurm.sh", *words], cwd=job, env=given | more, capture_output=True, text=True, timeout=60
        )

    def test_it_runs_a_sweep_on_all_cores_of_all_nodes_and_again(self, job):
        for number in (123, 40123):
            done = self.submit(job, "fixed_tau", "--taus", "1 2", number=number, SLURM_GPUS_ON_NODE="4")
            assert done.returncode == 0, done.stderr
            step = (
                "ray symmetric-run --address node17:20123 --min-nodes 2 --num-cpus=8 --num-gpus=4 -- "
                "python sweeps/fixed_tau.py --taus 1 2"
            )
            assert (job / "log").read_text().splitlines() == [
                "scontrol show hostnames node[17-18]",
                f"srun --cpus-per-task=8 env {step}",
                step,
                "python sweeps/fixed_tau.py --taus 1 2",
                step,
            ]
            seen = dict(line.split("=", 1) for line in (job / "seen-by-ray").read_text().splitlines() if "=" in line)
            assert seen["STEP_CPUS"] == "8"
            assert seen["RAY_worker_niceness"] == "0"
            assert seen["RAY_AUTH_MODE"] == "token"
            assert (job / "mode").read_text() == "600\n"
            assert len((job / "token").read_text()) == 64
            assert not list(job.glob(".ray-token-*"))

    def test_an_image_in_place_of_an_environment(self, job):
        write_stub(
            job / ".venv" / "bin" / "apptainer", '[ "$*" ] && [ "$1 $2" = "exec --nv" ] || exit 64\nshift 3\n"$@"\n'
        )
        (job / ".venv" / "bin" / "activate").unlink()
        path = f"{job}/.venv/bin:{os.environ['PATH']}"
        done = self.submit(job, "fixed_tau", "--resume", TSRNN_IMAGE="tsrnn.sif", PATH=path)
        assert done.returncode == 0, done.stderr
        calls = (job / "log").read_text().splitlines()
        assert sum(call.startswith("apptainer exec --nv tsrnn.sif ray symmetric-run ") for call in calls) == 2
        assert "python /home/tsrnn/tsrnn/sweeps/fixed_tau.py --resume" in calls

    def test_ray_waits_longer_for_nodes_than_it_does_by_itself(self, job):
        self.submit(job, "fixed_tau")
        (line,) = [one for one in (job / "seen-by-ray").read_text().splitlines() if "CLUSTER_WAIT" in one]
        name, _, seconds = line.partition("=")
        script = "from ray.scripts.symmetric_run import CLUSTER_WAIT_TIMEOUT; print(CLUSTER_WAIT_TIMEOUT)"
        waits = [
            int(subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout)
            for environment in (os.environ, os.environ | {name: seconds})
        ]
        assert waits == [30, 600]

    def test_what_a_sweep_ends_with_is_what_the_job_ends_with(self, job):
        assert self.submit(job, "fixed_tau", SWEEP_STATUS="1").returncode == 1
        assert not list(job.glob(".ray-token-*"))

    def test_a_sweep_must_be_named(self, job):
        done = self.submit(job)
        assert done.returncode != 0
        assert "name a sweep: sbatch clusters/slurm.sh fixed_tau [options]" in done.stderr

    def test_git_ignores_the_secret(self):
        if not (ROOT / ".git").exists():
            pytest.skip("no git repository")
        subprocess.run(["git", "check-ignore", "-q", ".ray-token-123"], cwd=ROOT, check=True)
