"""What other code began: refused, allowed and told; and machines that have other code than the driver."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import ray

from sweeps.engine import shared
from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder
from sweeps.engine.same_code import require_same_code
from sweeps.engine.trainable import PopulationTrainable
from tests.processes import kill_everything
from tests.sweeps import invocations
from tests.sweeps.commands import GRID, ROOT, STARTED, one_line, sweep, wait_for
from tests.sweeps.test_reliability import SMALL, trial
from tsrnn import command_line, provenance
from tsrnn.config import RunConfig
from tsrnn.io.store import Store
from tsrnn.provenance import Code, code

OURS = """
from typing import Literal
import tsrnn
from tsrnn.tasks import Parity

@tsrnn.register_task
class Ours(Parity):
    kind: Literal["ours"] = "ours"
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second copy of the project, in which one file is edited."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("tsrnn", "sweeps", "analysis"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    edited = folder / "tsrnn" / "tasks" / "parity.py"
    edited.write_text("# Edited.\n" + edited.read_text())
    return folder


Invoke = Callable[..., tuple[int, str]]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Invoke:
    """This process trains as many epochs as asked; returned are the status and what was said."""

    def invoke(storage: Path, epochs: int, switch: str) -> tuple[int, str]:
        return invocations.invoke(storage, epochs, switch), "".join(capsys.readouterr())

    return invoke


@pytest.fixture(scope="module")
def invoke_copy(copy: Path) -> Iterator[Invoke]:
    """The code of the copy does, with plugins, in a process without what others have imported."""
    environment = os.environ | {"PYTHONPATH": f"{copy}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.sweeps.invocations"],
        cwd=copy,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def invoke(storage: Path, epochs: int, switch: str, *plugins: Path) -> tuple[int, str]:
        server.stdin.write(json.dumps([str(storage), epochs, switch, *map(str, plugins)]) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        said = (storage / "said").read_text()
        assert "Traceback" not in said, said
        return status, said

    yield invoke
    server.communicate()


def codes(storage: Path, table: str) -> list[str]:
    return pd.read_parquet(storage / "small" / table)["code"].tolist()


class TestResume:
    def test_the_same_code_goes_on_in_silence(self, tmp_path, invoke):
        assert invoke(tmp_path, 2, "refused") == (0, "")
        assert invoke(tmp_path, 9, "refused") == (0, "")
        assert codes(tmp_path, "runs") == codes(tmp_path, "outcomes") == [provenance.package_hash()]

    def test_other_code_is_refused_and_the_switch_allows_it(self, tmp_path, invoke, invoke_copy):
        assert invoke_copy(tmp_path, 2, "refused") == (0, "")
        (began,) = codes(tmp_path, "runs")
        assert began != provenance.package_hash()
        status, said = invoke(tmp_path, 9, "refused")
        assert status == 1
        assert said.count("\n") == 1
        assert (
            f"error: storage = {tmp_path}/small: 1 network would continue with code {provenance.package_hash()}" in said
        )
        assert f"and was begun with code {began}; use that code, another --storage, or allow both with" in said
        assert len(pd.read_parquet(tmp_path / "small" / "epochs")) == 2
        # The code that began it is not refused.
        assert invoke_copy(tmp_path, 1, "refused") == (0, "")
        status, said = invoke(tmp_path, 9, "allowed")
        assert (status, said.count("\n")) == (0, 1)
        assert f"small: 1 network was begun with code {began}; training continues with code" in said
        assert codes(tmp_path, "runs") == [began]
        assert codes(tmp_path, "outcomes") == [provenance.package_hash()]
        # What has ended is never refused.
        assert invoke_copy(tmp_path, 9, "refused") == (0, "")

    def test_a_plugin_that_changed_is_other_code(self, tmp_path, invoke_copy):
        plugin = tmp_path / "ours.py"
        plugin.write_text(OURS)
        assert invoke_copy(tmp_path, 2, "refused", plugin) == (0, "")
        before = pd.read_parquet(tmp_path / "small" / "runs")["plugins"].tolist()
        plugin.write_text(f"{OURS}    easier = 1\n")
        status, said = invoke_copy(tmp_path, 9, "refused", plugin)
        assert (status, said.count("\n")) == (1, 1)
        assert "ours.py" in said
        assert "would continue with" in said
        assert invoke_copy(tmp_path, 9, "allowed", plugin)[0] == 0
        after = pd.read_parquet(tmp_path / "small" / "outcomes")["plugins"].tolist()
        assert before[0].startswith('{"ours.py": "')
        assert before != after
        plugin.write_text(OURS)
        # The same file elsewhere is the same plugin.
        assert invoke_copy(tmp_path, 9, "refused", plugin) == (0, "")


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """A folder whose networks trained two epochs, and say other code than this."""
    folder = SweepFolder(str(tmp_path), "small")
    networks = SMALL.replicates(2)
    began = {network.network_id: Code("0123456789abcdef", "c" * 40) for network in networks}
    folder.write(Record("small", "quick", "paper", SMALL, tuple(networks)), began)
    return folder


def check(folder: SweepFolder, networks: list[RunConfig], allowed: bool = False) -> tuple[str, dict[str, Code]]:
    console = command_line.console(file=io.StringIO(), width=10_000)
    found = require_same_code(folder, folder.unfinished(networks), console, allowed=allowed)
    return console.file.getvalue(), found


def train(folder: SweepFolder, networks: list[RunConfig], epochs: int) -> None:
    trainable = PopulationTrainable(trial(folder.path, networks))
    for _ in range(epochs):
        trainable.step()


class TestNew:
    def test_a_folder_that_has_begun_nothing_takes_the_code_of_now(self, folder):
        said, found = check(folder, SMALL.replicates(2))
        assert said == ""
        folder.write(folder.read(), found)
        assert set(folder.recorded_code().values()) == {code()}

    def test_new_networks_beside_finished_ones_are_told_of_and_not_refused(self, folder):
        train(folder, SMALL.replicates(2), 4)
        assert check(folder, SMALL.replicates(2)) == ("", {})
        said, found = check(folder, SMALL.replicates(3))
        assert said.count("\n") == 1
        assert f"small: 2 networks in {folder.path} are of code 0123456789abcdef (commit cccccccccc); those" in said
        assert list(found) == [SMALL.replicates(3)[2].network_id]
        again = SweepFolder(str(folder.path.parent), "small")
        again.write(again.read().including(SMALL.replicates(3)), found)
        assert sorted(one.code for one in folder.recorded_code().values()) == sorted(
            ["0123456789abcdef"] * 2 + [provenance.package_hash()]
        )

    def test_one_of_two_has_begun(self, folder):
        begun, fresh = SMALL.replicates(2)
        train(folder, [begun], 1)
        with pytest.raises(SweepError, match="1 network would continue with"):
            check(folder, [begun, fresh])
        said, found = check(folder, [begun, fresh], allowed=True)
        assert "1 network was begun with code 0123456789abcdef" in said
        assert list(found) == [fresh.network_id]

    def test_a_network_that_is_to_be_trained_from_its_start_has_not_begun(self, folder):
        train(folder, SMALL.replicates(2), 1)
        shutil.rmtree(folder.path / "epochs")
        folder.store.create()
        assert check(folder, SMALL.replicates(2))[0] == ""


def test_a_folder_that_says_nothing_of_its_code_goes_on_and_says_so(tmp_path):
    storage = shutil.copytree(ROOT / "tests" / "data" / "0.1.0", tmp_path / "results")
    old = SweepFolder(str(storage), "sliding_window")
    networks = list(old.read().networks)
    said, found = check(old, networks)
    assert said.count("\n") == 1
    assert "sliding_window: it is not recorded which code began 2 networks; training continues with code" in said
    assert found == {}
    more = replace(networks[0], seed=17)
    said, found = check(old, [*[one for one in networks if one.network_id in old.store.finished()], more])
    assert said.count("\n") == 1
    assert "3 networks" not in said.split(" in ")[0].replace("5 networks", "")
    assert "are of code that is not recorded; those that are trained now are of code" in said
    assert list(found) == [more.network_id]


class TestMachines:
    def test_a_trial_on_a_machine_with_other_code_fails_and_names_it(self, tmp_path):
        settings = trial(tmp_path, [SMALL])
        settings["trial"]["code"] = asdict(Code("0123456789abcdef"))
        with pytest.raises(SweepError, match=r"has other code of tsrnn \(\w{16}\) than .*0123456789abcdef.*machine"):
            PopulationTrainable(settings)

    def test_a_trial_takes_the_commit_of_the_driver(self, tmp_path):
        settings = trial(tmp_path, [SMALL])
        settings["trial"]["code"] = asdict(replace(code(), commit="d" * 40))
        trainable = PopulationTrainable(settings)
        while not trainable.step()["done"]:
            pass
        assert pd.read_parquet(tmp_path / "outcomes")["commit"].tolist() == ["d" * 40]

    @pytest.mark.parametrize(("there", "says"), [("", "is absent from"), ("89ab", "differs on")])
    def test_a_plugin_is_held_to_the_drivers(self, there, says):
        here, found = (Code("01", plugins=f'{{"ours.py": "{one}"}}') for one in ("4567", there))
        assert f"plugin ours.py: {says} this machine" in shared.other_code(found, here)
        assert shared.other_code(here, here) == ""


class Cluster:
    """A stand-in for Ray whose nodes answer, die and hang."""

    def __init__(self, nodes: dict[str, Callable[[], object]]) -> None:
        self.nodes, self.dead, self.asked = nodes, set[str](), list[str]()
        self.exceptions = ray.exceptions

    def ray_nodes(self) -> list[dict[str, object]]:
        return [{"NodeID": 56 * one, "NodeManagerAddress": one, "Alive": one not in self.dead} for one in self.nodes]

    def remote(self, _: object) -> SimpleNamespace:
        def options(scheduling_strategy: object, **_: object) -> SimpleNamespace:
            return SimpleNamespace(remote=lambda *_: self._ask(scheduling_strategy.node_id[0]))

        return SimpleNamespace(options=options)

    def _ask(self, node: str) -> str:
        self.asked.append(node)
        return f"{node} {len(self.asked)}"

    def wait(self, references: list[str], **_: object) -> tuple[list[str], list[str]]:
        late = [one for one in references if self.nodes[one.split()[0]] is hangs]
        return [one for one in references if one not in late], late

    def get(self, reference: str) -> object:
        return self.nodes[reference.split()[0]]()

    def cancel(self, *_: object, **__: object) -> None:
        pass


def hangs() -> None:
    """Never called."""


class TestNodes:
    @pytest.fixture
    def ask(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, list[str]]]:
        """Ask the nodes of a cluster; return what was said, and who was asked."""
        monkeypatch.setattr(shared.time, "sleep", lambda _: None)

        def ask(patience: float = 300.0, **nodes: Callable[[], object]) -> tuple[str, list[str]]:
            cluster = Cluster(nodes)
            for name in ("remote", "wait", "get", "cancel"):
                monkeypatch.setattr(shared.ray, name, getattr(cluster, name))
            monkeypatch.setattr(shared.ray, "nodes", cluster.ray_nodes)
            monkeypatch.setattr(shared, "_PATIENCE", patience)
            self.cluster = cluster
            console = command_line.console(file=io.StringIO(), width=10_000)
            shared.require_shared("/results", "mark", (), console)
            return console.file.getvalue(), cluster.asked

        return ask

    @staticmethod
    def sees() -> tuple[str, Code]:
        return "", code()

    def dies(self) -> None:
        self.cluster.dead.add("b")
        raise ray.exceptions.NodeDiedError("node b died")

    def test_all_see_it(self, ask):
        assert ask(a=self.sees, b=self.sees) == ("", ["a", "b"])

    def test_one_that_dies_while_it_is_asked_is_no_reason(self, ask):
        assert ask(a=self.sees, b=self.dies, c=self.sees) == ("", ["a", "b", "c"])

    def test_one_whose_process_was_lost_is_asked_again(self, ask):
        lost = iter([ray.exceptions.WorkerCrashedError(), None])

        def crashes_once() -> tuple[str, Code]:
            if error := next(lost):
                raise error
            return self.sees()

        assert ask(a=self.sees, b=crashes_once) == ("", ["a", "b", "b"])

    def test_one_that_does_not_answer_is_told_of(self, ask):
        said, _ = ask(patience=0.0, a=self.sees, b=hangs)
        assert said.count("\n") == 1
        assert "warning: 1 of 2 machines did not say within 0 s whether they see /results (node b)" in said

    def test_one_that_does_not_see_it_is_refused(self, ask):
        with pytest.raises(SweepError, match=r"not there \(node b\)"):
            ask(a=self.dies, b=lambda: ("not there", code()))

    def test_one_with_other_code_is_refused(self, ask):
        with pytest.raises(SweepError, match=r"other code of tsrnn \(0123\).*bring the project .*\(node b\)"):
            ask(a=self.sees, b=lambda: ("", Code("0123")))


@pytest.mark.slow
def test_the_command(tmp_path, copy):
    """A sweep that other code began and a kill ended: the command of today refuses it, and finishes it if told to."""
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    options = [*GRID, "--storage", str(tmp_path / "results"), "--address", "local"]
    command = [sys.executable, str(copy / "sweeps" / "fixed_tau.py"), *options]
    process = subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    STARTED.append(process)
    folder = tmp_path / "results" / "fixed_tau"
    wait_for(folder, 40)
    kill_everything(process)
    began = set(pd.read_parquet(folder / "runs")["code"])
    assert len(began) == 1
    assert began != {provenance.package_hash()}
    refused = sweep(*options)
    assert refused.returncode == 1
    assert "allow both with --allow-other-code" in one_line(refused.stderr)
    assert "Ray" not in refused.stderr
    allowed = sweep(*options, "--allow-other-code")
    assert allowed.returncode == 0, allowed.stderr
    assert f"begun with code {began.pop()}" in allowed.stderr
    assert provenance.package_hash() in set(pd.read_parquet(folder / "outcomes")["code"])
    assert set(Store(folder).finished().values()) <= {"solved_all", "epochs"}
