"""A cluster: finding it, placing trials on it, seeing one folder from it, and what a sweep shows while it runs."""

import io
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from sweeps.engine import cluster as _cluster
from sweeps.engine import trainable as _trainable
from sweeps.engine.cluster import Resources
from sweeps.engine.errors import SweepError
from sweeps.engine.folder import SweepFolder
from sweeps.engine.metrics import GAUGES, LABELS
from sweeps.engine.options import Execution
from sweeps.engine.shared import unseen
from tests.browser import chromium
from tests.cluster_scenarios import environment, isolated
from tests.processes import descendants, kill
from tests.sweeps.commands import GRID, ROOT, STARTED, assert_same_tables, start, sweep, tables, wait_for
from tsrnn import command_line
from tsrnn.distributed import discovery as _ray
from tsrnn.errors import Failure, UsageError
from tsrnn.io.claims import DRIVER, take


class TestFinding:
    @pytest.fixture(autouse=True)
    def no_cluster(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))

    def test_none_here(self):
        assert _ray.find("auto") is None
        assert _ray.find("local") is None

    def test_a_ray_that_does_not_start_is_one_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        """Seen on a machine that was too busy: Ray gave up after half a minute, with a traceback."""

        def init(**_: object) -> None:
            raise Exception("The current node timed out during startup. This could happen\n because of ...")

        for name, value in (("HOME", str(tmp_path)), ("RAY_worker_niceness", "0")):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(_cluster.ray_internals, "listen_on_loopback_only", lambda: None)
        monkeypatch.setattr(_cluster.ray, "init", init)
        with pytest.raises(SweepError, match=r"Ray could not be started .*timed out during startup.*same command") as e:
            _cluster.connect(Execution(address="local"), command_line.console(file=io.StringIO()))
        assert "\n" not in str(e.value)

    @pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", ":1", "host:"])
    def test_no_address(self, address):
        with pytest.raises(UsageError, match=r"allowed are auto, local and HOST:PORT"):
            _ray.find(address)

    def test_a_port_where_nobody_listens(self, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Failure, match=rf"{address}: no Ray cluster answers there .*--address local"):
            _ray.find(address)
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(Failure, match=address):
            _ray.find("auto")

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
    def test_a_port_where_something_else_listens(self, monkeypatch, answer):
        """Ray itself waits for minutes there."""
        monkeypatch.setattr(_ray, "_PATIENCE", 1.0)
        with socket.create_server(("127.0.0.1", 0)) as server:
            ended = threading.Event()

            def serve() -> None:
                connections = []
                while not ended.is_set():
                    if select.select([server], [], [], 0.1)[0]:
                        connections.append(server.accept()[0])
                        connections[-1].sendall(answer)
                for connection in connections:
                    connection.close()

            thread = threading.Thread(target=serve)
            thread.start()
            began = time.monotonic()
            with pytest.raises(Failure, match="something listens there, and did not answer as Ray does"):
                _ray.find(f"127.0.0.1:{server.getsockname()[1]}")
            assert time.monotonic() - began < 5
            ended.set()
            thread.join()


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Resources, str]]:
    """Joins a cluster that has these machines, and may start those that the autoscaler's file says."""

    def join(
        machines: list[dict[str, float]], cpus: float, gpus: float | None, niceness: int | None = None, **types: object
    ) -> tuple[Resources, str]:
        monkeypatch.setenv("HOME", str(tmp_path))
        if types:
            config = {"head_node_type": "head", "max_workers": 16, "available_node_types": {"head": {}} | types}
            (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(config))
        nodes = [{"Alive": True, "Resources": one} for one in machines] + [{"Alive": False, "Resources": {"CPU": 99}}]
        monkeypatch.setattr(_cluster, "find", lambda address: "auto")
        monkeypatch.setattr(_cluster, "stop_on_sigterm", lambda: None)
        context = SimpleNamespace(dashboard_url="127.0.0.1:8265")
        monkeypatch.setattr(_cluster, "ray", SimpleNamespace(init=lambda **_: context))
        monkeypatch.setattr("sweeps.engine.machines.ray", SimpleNamespace(nodes=lambda: nodes))
        console = command_line.console(file=io.StringIO(), width=200)
        execution = Execution(cpus_per_trial=cpus, gpus_per_trial=gpus, niceness=niceness)
        return _cluster.connect(execution, console), console.file.getvalue()

    return join


GPU_MACHINES = {"min_workers": 0, "max_workers": 8, "resources": {"CPU": 4, "GPU": 1}}


class TestPlaces:
    def test_gpus_are_used_where_there_are_some(self, joined):
        assert joined([{"CPU": 4}], 1, None)[0] == Resources(1, 0, room=4)
        found, said = joined([{"CPU": 4}, {"CPU": 8, "GPU": 2}], 1, None)
        assert found == Resources(1, 0.25, room=8)
        assert "Ray cluster of 2 machines: 12 CPUs, 2 GPUs\n" in said
        assert joined([{"CPU": 8, "GPU": 2}], 1, 0)[0] == Resources(1, 0, room=8)

    def test_the_niceness_of_a_joined_cluster_is_its_own(self, joined, monkeypatch):
        monkeypatch.delenv("RAY_worker_niceness", raising=False)
        assert "niceness" not in joined([{"CPU": 4}], 1, None)[1]
        said = joined([{"CPU": 4}], 1, None, 3)[1]
        assert (
            "niceness = 3: not used; a cluster that is joined has the niceness that it was started with "
            "(RAY_worker_niceness)\n"
        ) in said
        assert "RAY_worker_niceness" not in os.environ

    @pytest.mark.parametrize(
        ("given", "before", "expected"), [(None, None, "0"), (None, "7", "7"), (3, None, "3"), (0, "7", "0")]
    )
    def test_the_niceness_of_a_ray_of_its_own(self, monkeypatch, given, before, expected):
        monkeypatch.setenv("RAY_worker_niceness", before or "")
        if before is None:
            monkeypatch.delenv("RAY_worker_niceness")
        _cluster._choose_niceness(given)
        assert os.environ[_cluster._NICENESS] == expected

    def test_a_cluster_that_has_no_machines_yet(self, joined):
        """A head without CPUs, and an autoscaler that waits for trials."""
        found, said = joined([{}], 1, None, gpu=GPU_MACHINES)
        assert found == Resources(1, 0.25, room=32)
        assert "Ray cluster of 1 machine: 0 CPUs, 0 GPUs, and up to 8 more machines as trials wait" in said
        with pytest.raises(SweepError, match="gpus-per-trial = 2: no machine of this cluster has more than 1 GPUs"):
            joined([{}], 1, 2, gpu=GPU_MACHINES)

    def test_a_trial_must_fit_one_machine(self, joined):
        """Two machines of one CPU do not run a trial of two: Tune would wait for ever."""
        with pytest.raises(SweepError, match="cpus-per-trial = 2: no machine of this cluster has more than 1 CPUs"):
            joined([{"CPU": 1}, {"CPU": 1}], 2, None)
        with pytest.raises(SweepError, match=r"gpus-per-trial = 0\.5: no machine of this cluster has more than 0 GPUs"):
            joined([{"CPU": 1}], 1, 0.5)
        with pytest.raises(SweepError, match="cpus-per-trial = 8, gpus-per-trial = 1: no machine of this cluster has"):
            joined([{"CPU": 8}, {"CPU": 2, "GPU": 1}], 8, 1)

    def test_where_the_dashboard_is_and_its_token_but_not_what_it_is(self, joined, monkeypatch, tmp_path):
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        (tmp_path / "token").write_text("secret")
        monkeypatch.setattr(_cluster.ray_internals, "asks_for_token", lambda: True)
        said = joined([{"CPU": 1}], 1, None)[1]
        assert "dashboard: http://127.0.0.1:8265 (it asks for the token in " in said
        assert f"{tmp_path}/token; `ray get-auth-token` prints it)" in said
        assert "secret" not in said
        monkeypatch.setattr(_cluster.ray_internals, "asks_for_token", lambda: False)
        assert "token" not in joined([{"CPU": 1}], 1, None)[1]

    @pytest.mark.parametrize(("gpus", "share"), [(0.25, 0.25), (1.0, 1.0), (2.0, 1.0)])
    def test_a_trial_is_held_to_its_share_of_a_gpus_memory(self, monkeypatch, gpus, share):
        """No GPU is here: what is tested is what PyTorch is told."""
        told = []
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.append)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
        assert _trainable._processor("cuda", gpus) == "cuda: a GPU"
        assert told == [share]
        assert _trainable._processor("cpu", 0).startswith("cpu: ")
        assert told == [share]


class TestSharedFolder:
    def test_a_folder_is_known_by_its_driver_s_claim(self, tmp_path):
        earlier = take(tmp_path / "sweep", DRIVER).name
        shutil.copytree(tmp_path / "sweep", tmp_path / "copy")
        claim = take(tmp_path / "sweep", DRIVER).name
        assert unseen(str(tmp_path / "sweep"), claim) == ""
        for other in ("other", "copy"):
            found = unseen(str(tmp_path / other), claim)
            assert "give --storage a folder that all machines of the cluster share, or s3://" in found
        assert "another process has taken over this sweep" in unseen(str(tmp_path / "sweep"), earlier)

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "sweep").write_text("a file")
        with pytest.raises(SweepError, match=r"sweep: cannot be written .*--storage"):
            SweepFolder(str(tmp_path), "sweep").claim  # noqa: B018


@pytest.fixture
def scenario() -> Iterator[Callable[[str], Path]]:
    """Runs one of tests/cluster_scenarios.py, apart from any other Ray here; returns its folder."""
    tried = subprocess.run(isolated(["true"]), capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"Linux namespaces cannot be made here, for Rays of their own: {tried.stderr.strip()}")
    folder = Path(tempfile.mkdtemp(prefix="c"))  # short: the names of Ray's sockets must fit

    def run(name: str) -> Path:
        command = isolated([sys.executable, "-m", "tests.cluster_scenarios", name, folder])
        result = subprocess.run(
            command, cwd=ROOT, env=environment(folder), capture_output=True, text=True, timeout=1800
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return folder

    yield run
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("undisturbed")
    result = sweep(*GRID, "--storage", storage)
    assert result.returncode == 0, result.stderr
    return storage / "fixed_tau"


@pytest.mark.slow
def test_the_trials_of_a_killed_machine_finish_on_another(scenario, undisturbed):
    """No row is lost or doubled: the tables are those of an undisturbed sweep, bit for bit."""
    assert_same_tables(scenario("node_killed") / "storage" / "fixed_tau", undisturbed)


@pytest.mark.slow
def test_a_batch_system_that_ends_a_job_is_a_calm_stop(scenario):
    scenario("terminated")


@pytest.mark.slow
def test_a_job_that_is_submitted_brings_its_code(scenario):
    scenario("submitted")


@pytest.mark.slow
@pytest.mark.parametrize("autoscaler", ["v1", "v2"])
def test_machines_come_for_waiting_trials_and_go(scenario, undisturbed, autoscaler):
    assert_same_tables(scenario(f"autoscaled_{autoscaler}") / "storage" / "fixed_tau", undisturbed)


@pytest.mark.slow
def test_a_folder_that_a_machine_does_not_see_is_refused(scenario):
    scenario("unshared")


@pytest.mark.slow
def test_a_machine_with_other_code_is_refused(scenario):
    scenario("outdated")


@pytest.mark.slow
def test_a_machine_that_dies_while_it_is_asked_is_passed_over(scenario):
    scenario("dying")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="no sshd here: install openssh-server")
@pytest.mark.skipif(shutil.which("rsync") is None, reason="no rsync here")
def test_ray_up_over_ssh(scenario, undisturbed):
    found, expected = (tables(one) for one in (scenario("over_ssh") / "storage" / "fixed_tau", undisturbed))
    assert {name: len(frame) for name, frame in found.items()} == {name: len(one) for name, one in expected.items()}


@pytest.mark.slow
def test_trials_share_declared_gpus(scenario):
    """Eight trials of half a GPU on two: four at a time, two on each, and each is told its share."""
    folder = scenario("shared_gpus") / "sweep"
    found = [json.loads((folder / f"{i}.json").read_text()) for i in range(8)]
    assert {one["device"] for one in found} == {"cuda"}
    assert {one["asked"] for one in found} == {0.5}
    assert {str(one["gpus"]) for one in found} == {"[0]", "[1]"}
    at_once = [[two for two in found if two["began"] <= one["ended"] - 0.5 < two["ended"]] for one in found]
    assert max(len(together) for together in at_once) == 4
    for together in at_once:
        assert max(sum(one["gpus"] == [gpu] for one in together) for gpu in (0, 1)) <= 2


def test_the_dashboard_shows_the_gauges_there_are():
    board = json.loads((ROOT / "clusters" / "grafana.json").read_text())
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    asked += " ".join(str(one.get("query")) for one in board["templating"]["list"])
    assert set(re.findall(r"ray_(tsrnn_\w+)", asked)) == set(GAUGES)
    by = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", asked) + re.findall(r"(\w+)=~", asked))))
    assert by <= set(LABELS)
    assert by >= {"sweep", "run"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Callable[[], str]]]:
    """A sweep that runs until the module's end: its storage, its Ray's temporary folder, what it said."""
    storage = tmp_path_factory.mktemp("running")
    temporary = Path(tempfile.mkdtemp(prefix="r"))  # short: the names of Ray's sockets must fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(temporary))
        process = start(
            "--scale", "laptop", "--tasks", "parity", "--taus", "1", "--replicates", "2", "--storage", storage
        )
    STARTED.remove(process)  # the end of a test is not this one's
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")))
    reader.start()
    wait_for(storage / "fixed_tau", 1)
    yield storage, temporary, lambda: "".join(lines)
    kill([process.pid, *descendants(process.pid)])
    process.wait()
    reader.join()
    process.stdout.close()
    process.stderr.close()
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.mark.slow
def test_a_sweep_can_be_scraped_while_it_runs(running):
    _, temporary, _ = running
    (discovery,) = temporary.glob("ray/session_2*/prom_metrics_service_discovery.json")
    wanted = {f"ray_{name}" for name in GAUGES}
    found: dict[str, list[str]] = {}
    end = time.monotonic() + 120
    while set(found) != wanted:
        assert time.monotonic() < end, found
        time.sleep(2)
        for target in json.loads(discovery.read_text())[0]["targets"]:
            # One may be listed before it listens, or be slow on a busy machine.
            with suppress(OSError), urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("ray_tsrnn_"):
                        found.setdefault(line.partition("{")[0], []).append(line)
    for line in found["ray_tsrnn_accuracy"]:
        assert 'sweep="fixed_tau"' in line
        assert re.search(r'run="parity (single|multi) tau 1"', line)
        assert re.search(r'seed="[01]"', line)
        assert re.search(r'network_id="n[0-9a-f]{16}"', line)
        assert 0 <= float(line.rsplit(" ", 1)[1]) <= 1
    assert all(float(line.rsplit(" ", 1)[1]) > 0 for name in wanted for line in found[name])


@pytest.mark.slow
def test_the_dashboard_shows_the_job_and_its_actors(running):
    """A user's way: the address that the sweep prints, the token that it says where to find."""
    *_, said = running
    address, token = re.search(r"dashboard: (http://[\d.:]+) \(it asks for the token in (\S+);", said()).groups()
    headers = {"Authorization": f"Bearer {Path(token).expanduser().read_text().strip()}"}
    with chromium() as browser:
        page = browser.new_context(extra_http_headers=headers).new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{address}/#/jobs")
        page.get_by_text("fixed_tau.py").first.wait_for()
        page.goto(f"{address}/#/actors")
        page.get_by_text("fixed_tau", exact=True).first.wait_for()
        page.goto(f"{address}/#/cluster")
        page.get_by_text(re.compile(r"ray::fixed_tau parity (single|multi) tau 1")).first.wait_for()
