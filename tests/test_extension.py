"""A task, a curriculum and a network in a file each, as docs/extending.md shows: learned, swept, measured, compared."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from analysis.__main__ import main as analysis
from analysis.figures import style
from sweeps.engine.estimate import estimate
from tests.sweeps.commands import ONE_AT_A_TIME
from tests.tolerances import TOLERANCES, distance
from tsrnn.__main__ import main
from tsrnn.config import (
    NETWORKS,
    EndRules,
    Leaky,
    MultiHead,
    Network,
    RunConfig,
    Training,
    register_network,
    stacking_key,
)
from tsrnn.curricula import CURRICULA, CurriculumState, named, order
from tsrnn.io.checkpoint import Checkpoint, CheckpointError, load, new, save
from tsrnn.kinds import Kinds
from tsrnn.networks import initial_network, population, population_class
from tsrnn.plugins import PluginError, files_of, import_file
from tsrnn.tasks import TASKS, BitTask, Parity, Sines, Task, register_task
from tsrnn.training.loop import train

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that docs/extending.md shows."""
    folder = tmp_path_factory.mktemp("files")
    for block in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", PAGE, flags=re.DOTALL):
        (folder / block[1]).write_text(block[0])
    return folder


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Forget what a test registered and imported."""
    kinds = [(known, dict(known._classes)) for known in (TASKS, NETWORKS, CURRICULA)]
    modules, path = set(sys.modules), list(sys.path)
    yield
    for known, classes in kinds:
        known._classes, known._adapter = classes, None
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and "files" in str(sys.modules[name].__file__):
            del sys.modules[name]
    sys.path[:] = path


def run_of(folder: Path, **settings) -> RunConfig:
    """Import both files and return a run of their kinds, by name."""
    import_file(folder / "majority.py")
    import_file(folder / "vanilla.py")
    text = {"task": {"kind": "majority"}, "network": {"kind": "vanilla", "hidden": 8}} | settings
    return RunConfig.from_json(json.dumps(text))


def run_python(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of ours in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def load_checkpoint(path: Path, folder: Path) -> Checkpoint:
    """Load a network that was trained by the curriculum of docs/extending.md."""
    import_file(folder / "doubling.py")
    return load(path)


class TestPage:
    def test_the_task_is_the_definition(self, folder: Path):
        task = run_of(folder).task
        bits = torch.randint(2, (9, 1, 50), generator=torch.Generator().manual_seed(0)).float()
        found = task.targets(bits, torch.tensor([[2, 3, 4, 9]]), range(8, 9))[0, 0]
        for k, n in enumerate((2, 3, 4, 9)):
            assert found[k].tolist() == [sum(sequence[-n:]) > n / 2 for sequence in bits[:, 0].T.tolist()]

    def test_the_network_is_torchs_rnn(self, folder: Path):
        run = run_of(folder, training={"precision": "float64"})
        lengths, heads = (6, 3), ((2,), (2, 3))
        states = [initial_network(one, ns) for one, ns in zip(run.replicates(2), heads, strict=True)]
        people = population(run.network, states, heads)
        assert type(people) is population_class(run.network)
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(6, 2, 5, generator=generator, dtype=torch.float64)
        inputs[:3, 1] = torch.nan
        initial = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
        leaves = {name: people.parameters[name].requires_grad_() for name in people.trained}
        last = people.last_states(inputs, lengths, initial)
        last.sin().sum().backward()
        for r in range(2):
            with torch.random.fork_rng():
                module = nn.RNN(1, 8, bias=False).double()
            module.weight_hh_l0.data = states[r]["recurrent.weight"]
            module.weight_ih_l0.data = states[r]["input.weight"][:, None]
            outputs, _ = module(inputs[6 - lengths[r] :, r, :, None], initial[None, r])
            assert distance(last[r], outputs[-1]) < TOLERANCES[torch.float64].forward
            outputs[-1].sin().sum().backward()
            for name, grad in (("recurrent", module.weight_hh_l0.grad), ("input", module.weight_ih_l0.grad[:, 0])):
                assert distance(leaves[f"{name}.weight"].grad[r], grad) < TOLERANCES[torch.float64].gradient
        several = people.all_states(inputs.nan_to_num(), initial)
        assert several.shape == (6, 2, 5, 8)
        assert torch.equal(several[-1, 0], last[0])

    @pytest.mark.parametrize("task", ["majority", "sines"])
    def test_both_train_together_and_come_back_from_a_checkpoint(self, folder: Path, tmp_path: Path, task: str):
        run = run_of(
            folder,
            task={"kind": task},
            training={"batch_size": 8, "steps_per_epoch": 20, "test_batches": 2, "solved_accuracy": 0.01},
            end={"max_epochs": 2},
        )
        assert stacking_key(run) == stacking_key(run.replicates(2)[1])
        reports = list(train(run.replicates(2)))
        assert [report.outcome and report.outcome.status for report in reports] == [None, None, "epochs", "epochs"]
        assert {report.tau_mean for report in reports} == {None}
        save(reports[-1].checkpoint, tmp_path / "file")
        found = load(tmp_path / "file")
        assert found.config == run.replicates(2)[1]
        assert found.network.keys() == reports[-1].checkpoint.network.keys()

    def test_a_dry_run_of_both(self, folder: Path):
        assert estimate([run_of(folder).replicates(2)], 5).core_seconds > 0

    def test_a_network_learns_the_task(self, folder: Path):
        import_file(folder / "majority.py")
        run = RunConfig(
            task=TASKS["majority"](),
            network=Leaky(hidden=24),
            curriculum=MultiHead(),
            training=Training(batch_size=32, steps_per_epoch=200, test_batches=8, solved_accuracy=0.95),
            end=EndRules(max_n=3, max_epochs=12),
        )
        assert list(train(run))[-1].outcome.status == "solved_all"


class TestCurriculum:
    def test_its_steps_and_its_name(self, folder: Path):
        import_file(folder / "doubling.py")
        curriculum = named("doubling")
        state = curriculum.first_state
        heads = [state.heads]
        for _ in range(3):
            step = curriculum.advance(CurriculumState(state.heads, state.heads))
            state = step.state
            heads.append(state.heads)
        assert heads == [(2,), (4,), (8,), (16,)]
        assert step.inherits == {16: 8}
        assert sorted(["doubling", "multi", "none-5"], key=order) == ["multi", "none-5", "doubling"]
        assert style.curricula(["doubling", "multi"]).keys() == {"doubling", "multi-head"}

    def test_unknown_without_its_file(self, folder: Path, tmp_path: Path):
        refused = run_python(tmp_path, ROOT / "sweeps" / "curricula.py", "--curricula", "multi", "doubling")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "curricula = 'doubling': allowed are " in refused.stderr


@dataclass(frozen=True)
class Swept:
    """A sweep of all three on Ray: the task and the network of its own file, the curriculum of a plugin."""

    command: list[str | Path]
    output: str
    results: Path
    plugins: list[str | Path]


@pytest.fixture(scope="class")
def swept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    place = tmp_path_factory.mktemp("swept")
    options = ["--scale", "quick", "--hidden", "16", "--curricula", "multi", "doubling", "--replicates", "2"]
    # Networks that no longer get further end before the budget does.
    options += ["--stall", "500", "--epochs", "8", *ONE_AT_A_TIME]
    plugins = [folder / f"{name}.py" for name in ("majority", "vanilla", "doubling")]
    command = [folder / "majority_sweep.py", *options, "--storage", "results", "--address", "local"]
    command += ["--plugin", plugins[-1]]
    done = run_python(place, *command)
    assert done.returncode == 0, done.stderr
    return Swept(command, done.stdout, place / "results" / "majority", ["--plugin", *plugins])


class TestSweep:
    """Commands that need no Ray run in this process, which forgets between tests what was imported."""

    def test_its_tables(self, swept: Swept, folder: Path):
        assert "majority" in swept.output
        tables = {name: pd.read_parquet(swept.results / name) for name in ("runs", "outcomes", "epochs", "solved")}
        runs, solved = tables["runs"], tables["solved"]
        assert sorted(zip(runs["task"], runs["architecture"], runs["curriculum"], runs["seed"], strict=True)) == [
            ("majority", architecture, curriculum, seed)
            for architecture in ("leaky", "vanilla")
            for curriculum in ("doubling", "multi")
            for seed in (0, 1)
        ]
        assert runs[runs["architecture"] == "vanilla"][["tau", "nonlinearity"]].isna().all(axis=None)
        ends = tables["outcomes"].set_index("network_id")
        assert set(ends["status"]) <= {"epochs", "stalled"}
        assert len(ends) == 8
        assert (ends.loc[ends["status"] == "epochs", "epochs"] == 8).all()
        epochs = tables["epochs"].groupby("network_id")["epoch"].apply(sorted)
        assert epochs.to_dict() == {key: list(range(1, last + 1)) for key, last in ends["epochs"].items()}
        own = solved.merge(runs[runs["curriculum"] == "doubling"], on="network_id")
        assert len(own)
        for found in own.groupby("network_id")["n"].apply(list):
            assert found == [2 ** (step + 1) for step in range(len(found))]
        for name in ("majority", "vanilla"):
            import_file(folder / f"{name}.py")
        found = load_checkpoint(swept.results / own["checkpoint"].iloc[0], folder)
        assert found.config.curriculum.kind == "doubling"

    def test_resumed_when_all_have_ended(self, swept: Swept, folder: Path, monkeypatch, capsys):
        file, *options = map(str, swept.command)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.chdir(swept.results.parents[1])
        monkeypatch.setattr(sys, "argv", [file, *options, "--resume"])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(file, run_name="__main__")
        assert end.value.code == 0
        assert "all 8 networks have ended already" in " ".join(capsys.readouterr().err.split())

    def test_one_of_its_networks_can_be_asked(self, swept: Swept, capsys):
        runs = pd.read_parquet(swept.results / "runs").query("architecture == 'vanilla' and curriculum == 'multi'")
        key = runs["network_id"].iloc[0]
        last = pd.read_parquet(swept.results / "outcomes").set_index("network_id").loc[key, "epochs"]
        (checkpoint,) = (swept.results / "checkpoints" / key).glob(f"epoch-{last:06}*")
        ask = ["evaluate", checkpoint, "--protocol", "in-time", "--json"]
        assert main([*map(str, ask)]) == 1
        refused = capsys.readouterr().err
        assert refused.count("\n") == 1
        assert "unknown kind 'majority'" in refused
        assert main([*map(str, [*ask, *swept.plugins])]) == 0
        assert 0.4 < json.loads(capsys.readouterr().out)["heads"][0]["accuracy"] <= 1

    def test_its_networks_are_measured(self, swept: Swept, capsys):
        measure = ["timescales", swept.results, "--steps", "200", "--trials", "2", "--address", "local", "--json"]
        assert analysis([*map(str, measure)]) == 1
        refused = capsys.readouterr().err
        assert refused.count("error: ") == 1
        assert re.search(r"unknown kind '(majority|vanilla|doubling)'", refused)
        assert analysis([*map(str, [*measure, *swept.plugins])]) == 0
        assert json.loads(capsys.readouterr().out)["failed"] == []
        solved = pd.read_parquet(swept.results / "solved")
        assert set(pd.read_parquet(swept.results / "timescales")["network_id"]) == set(solved["network_id"])
        assert len(solved)

    def test_its_curricula_are_tabulated_and_compared(self, swept: Swept, capsys):
        assert analysis([*map(str, ["max-n", swept.results, "--json", *swept.plugins])]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert {row["curriculum"] for row in rows} == {"doubling", "multi"}
        ask = ["interventions", swept.results, "--kinds", "ablation", "--trials", "2", "--address", "local", "--json"]
        assert analysis([*map(str, [*ask, *swept.plugins])]) == 0
        ablation = json.loads(capsys.readouterr().out)["kinds"]["ablation"]
        assert {row["curriculum"] for row in ablation["summary"]} == {"doubling", "multi"}
        assert {(row["curriculum_a"], row["curriculum_b"]) for row in ablation["tests"]} == {("doubling", "multi")}


class TestKinds:
    def test_one_class_a_kind(self):
        with pytest.raises(ValueError, match=r"the task kind 'parity' is taken by tsrnn\.tasks"):

            @register_task
            class Other(BitTask):
                kind: Literal["parity"] = "parity"

                def targets(self, inputs, heads, steps):
                    return inputs

        assert TASKS["parity"] is Parity

    def test_a_class_that_is_defined_again_replaces_the_one_before(self):
        def define() -> type[Network]:
            @register_network
            class Again(Network):
                kind: Literal["again"] = "again"

            return Again

        first, second = define(), define()
        assert NETWORKS["again"] is second
        assert RunConfig.from_json('{"network": {"kind": "again"}}').network == second()
        with pytest.raises(ValidationError, match="Input should be a registered network"):
            RunConfig(network=first())

    def test_what_a_class_lacks_is_named(self):
        with pytest.raises(TypeError, match=r'Nameless: a task needs a field such as kind: Literal\["name"\] = "name"'):

            @register_task
            class Nameless(Parity):
                kind = property(lambda self: "nameless")

        with pytest.raises(TypeError, match="Half: a task needs draw_inputs, lengths_for, loss, score, targets"):

            @register_task
            class Half(Task):
                kind: Literal["half"] = "half"
                head_width: ClassVar[int] = 1
                readout_steps: ClassVar[int] = 1

        assert "half" not in TASKS

    def test_settings_of_a_new_kind_are_checked_and_part_of_the_id(self):
        @register_task
        class Patient(Parity):
            kind: Literal["patient"] = "patient"
            patience: int = 3

        runs = [RunConfig(task=task) for task in (Parity(), Patient(), Patient(patience=4))]
        assert len({run.network_id for run in runs}) == 3
        assert [RunConfig.from_json(run.to_json()) for run in runs] == runs
        with pytest.raises(ValidationError, match=r"task\.patient\.patience"):
            RunConfig.from_json('{"task": {"kind": "patient", "patience": "much"}}')
        with pytest.raises(ValidationError, match="patience"):
            Patient(patience="much")

    def test_a_checkpoint_of_an_unknown_kind_is_refused_in_one_line(self, tmp_path: Path):
        @register_task
        class Gone(Parity):
            kind: Literal["gone"] = "gone"

        save(new(RunConfig(task=Gone(), network=Leaky(hidden=3))), tmp_path / "file")
        assert isinstance(load(tmp_path / "file").config.task, Gone)
        del TASKS._classes["gone"]
        with pytest.raises(
            CheckpointError, match=r"task: unknown kind 'gone'; known are 'parity'.*; import the module"
        ):
            load(tmp_path / "file")

    def test_a_network_that_nothing_implements(self):
        @register_network
        class Bare(Network):
            kind: Literal["bare"] = "bare"

        with pytest.raises(TypeError, match="network kind 'bare': nothing implements it"):
            new(RunConfig(network=Bare()))

    def test_looking_up(self):
        kinds: Kinds[Task] = Kinds("task")
        kinds.add(Parity)
        assert (list(kinds), kinds["parity"]) == (["parity"], Parity)
        with pytest.raises(ValueError, match="unknown kind 'sines'; known are 'parity'"):
            kinds["sines"]


class TestPlugins:
    def test_files_of_ours_are_none(self):
        assert files_of([RunConfig(), RunConfig(task=Sines())]) == []

    def test_files_of_a_run_define_its_task_and_its_network(self, folder: Path):
        run = run_of(folder)
        assert files_of([run, run]) == [str(folder / "majority.py"), str(folder / "vanilla.py")]

    def test_a_file_is_imported_once(self, folder: Path):
        for _ in range(2):
            import_file(folder / "majority.py")
        first = TASKS["majority"]
        import_file(folder / ".." / folder.name / "majority.py")
        assert TASKS["majority"] is first

    def test_a_file_named_as_another_module(self, folder: Path, tmp_path: Path):
        (tmp_path / "files").mkdir()
        path = tmp_path / "files" / "json.py"
        path.write_text((folder / "majority.py").read_text().replace("majority", "other"))
        import_file(path)
        assert TASKS["other"].__doc__.startswith("Are more than half")
        assert json.loads("1") == 1
        assert files_of([RunConfig(task=TASKS["other"]())]) == [str(path)]

    def test_a_file_in_a_package(self, folder: Path, tmp_path: Path):
        package = tmp_path / "files" / "mine"
        (package / "deeper").mkdir(parents=True)
        for place in (package, package / "deeper"):
            (place / "__init__.py").write_text("")
        (package / "names.py").write_text('KIND = "packed"\n')
        (package / "deeper" / "task.py").write_text(
            "from ..names import KIND\n"
            + (folder / "majority.py").read_text().replace('= "majority"', "= KIND").replace("majority", "packed")
        )
        import_file(package / "deeper" / "task.py")
        assert TASKS["packed"].__module__ == "mine.deeper.task"

    @pytest.mark.parametrize("name", ["none.py", "text.txt"])
    def test_what_is_no_python_file(self, tmp_path: Path, name: str, capsys):
        (tmp_path / "text.txt").write_text("")
        with pytest.raises(PluginError, match=f"{name}: no such Python file"):
            import_file(tmp_path / name)
        save(new(RunConfig(network=Leaky(hidden=3))), tmp_path / "file")
        assert main(["evaluate", str(tmp_path / "file"), "--plugin", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.endswith(f"{name}: no such Python file\n")

    def test_a_file_with_an_error_is_tried_again(self, folder: Path, tmp_path: Path):
        path = tmp_path / "broken_files.py"
        path.write_text("raise RuntimeError('broken')\n")
        for _ in range(2):
            with pytest.raises(PluginError, match=r"broken_files.py:1: RuntimeError: broken$"):
                import_file(path)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("x = 1\nraise ValueError('first\\nsecond')", ":2: ValueError: first second"),
            ("x = 1\n\nx = = 2", ":3: SyntaxError: invalid syntax (faulty_file.py, line 3)"),
            ("import no_such_package_at_all", ":1: ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ],
    )
    def test_an_error_in_a_file_is_one_line(self, tmp_path: Path, text: str, says: str, capsys):
        (path := tmp_path / "faulty_file.py").write_text(text)
        assert main(["evaluate", "nothing", "--plugin", str(path)]) == 2
        assert capsys.readouterr().err == f"error: plugin = {path}{says}\n"

    def test_a_class_typed_into_a_session_is_refused(self, monkeypatch: pytest.MonkeyPatch):
        """As in `__main__` of an interactive session, the module of the class has no file."""
        session = ModuleType("session")
        monkeypatch.setitem(sys.modules, "session", session)
        exec(PAGE.split("# majority.py\n")[1].split("```")[0], vars(session))
        with pytest.raises(PluginError, match="Majority: defined in no file; put it into one"):
            files_of([RunConfig(task=session.Majority())])
