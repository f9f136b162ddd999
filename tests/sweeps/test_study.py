"""Every experiment of the study: its grid, what it says of itself before it runs, and how little its file holds."""

import ast
import importlib
import importlib.util
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from analysis.claims.catalogue import CLAIMS
from sweeps.engine.folder import SweepFolder
from sweeps.engine.grid import with_input_probability, with_network
from sweeps.engine.options import Options
from sweeps.engine.plan import plan_of
from sweeps.engine.runner import main
from sweeps.engine.scales import SCALES, base_config
from tests.processes import descendants, is_running
from tsrnn.command_line import run_resumable
from tsrnn.config import GRU, LSTM, Adam, BitTask, Leaky, RunConfig, Sines, Time
from tsrnn.config.presets import with_preset

ROOT = Path(__file__).resolve().parents[2]

# Combinations of each grid at the scale quick, and at the paper's.
GRIDS = {
    "fixed_tau": (16, 16),
    "curricula": (4, 4),
    "no_curriculum": (8, 18),
    "all_heads": (2, 2),
    "sliding_window": (8, 12),
    "nonlinearities": (10, 10),
    "weight_decay": (8, 8),
    "temporal_patterns": (2, 2),
    "architectures": (9, 9),
    "input_duration": (8, 8),
    "time_discretisation": (6, 6),
}


def load_all() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study", ROOT / "sweeps" / "all.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grid(name: str, scale: str = "quick", preset: str = "paper") -> list[RunConfig]:
    sweep = importlib.import_module(f"sweeps.{name}").SWEEP
    assert sweep.name == name
    return list(sweep.cells(base_config(scale, preset), sweep.axes_at(scale), scale))


def test_all_runs_every_sweep_there_is():
    files = {path.stem for path in (ROOT / "sweeps").glob("[!_]*.py")}
    # Retraining starts from another sweep's results; the search for hyperparameters is no part of the paper's study.
    assert set(load_all().SWEEPS) == files - {"all", "command", "retraining", "hyperparameters"} == set(GRIDS)


@pytest.mark.parametrize("name", GRIDS)
def test_every_sweep_can_be_tuned(name: str):
    tuned, paper = grid(name, preset="tuned"), grid(name)
    assert [(run.task, run.curriculum, run.network, run.time) for run in tuned] == [
        (run.task, run.curriculum, run.network, run.time) for run in paper
    ]
    preset = with_preset(RunConfig(), "tuned").training_task
    for run in tuned:
        other = run.training_task
        if isinstance(run.task, BitTask):
            readout_steps = preset.readout_steps if run.time.k == (1,) else 1
            assert (other.kind, other.lengths, other.readout_steps) == (run.task.kind, preset.lengths, readout_steps)
            assert other.input_probability == preset.input_probability
        else:
            assert other is None
        assert RunConfig.from_json(run.to_json()) == run


@pytest.mark.parametrize("name", GRIDS)
class TestSweeps:
    @pytest.mark.parametrize("preset", ["paper", "authors"])
    @pytest.mark.parametrize("scale", SCALES)
    def test_every_combination_is_another_network(self, name: str, scale: str, preset: str):
        networks = grid(name, scale, preset)
        assert len({config.network_id for config in networks}) == len(networks)
        if scale in ("quick", "paper"):
            assert len(networks) == GRIDS[name][scale == "paper"]

    def test_a_dry_run_states_runs_networks_and_operations(
        self, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ):
        options = ["--scale", "quick", "--replicates", "2", "--dry-run", "--json", "--storage", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
        with pytest.raises(SystemExit) as ended:
            main(importlib.import_module(f"sweeps.{name}").SWEEP)
        assert ended.value.code == 0
        plan = json.loads(capsys.readouterr().out)
        assert len(plan["runs"]) == GRIDS[name][0]
        assert len({run["title"] for run in plan["runs"]}) == GRIDS[name][0]
        assert plan["networks"] == 2 * GRIDS[name][0]
        assert plan["operations"] > 0
        assert plan["seconds"] > 0
        assert not list(tmp_path.iterdir())

    def test_the_file_is_short_and_imports_the_runner_and_the_configurations_only(self, name: str):
        text = (ROOT / "sweeps" / f"{name}.py").read_text()
        assert len(text.splitlines()) <= 60
        modules = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
        own = {module for module in modules if module and module.split(".")[0] in {"sweeps", "tsrnn", "analysis"}}
        assert own <= {
            "sweeps.engine.grid",
            "sweeps.engine.options",
            "sweeps.engine.readings",
            "sweeps.engine.runner",
            "sweeps.engine.scales",
            "tsrnn.config",
        }

    def test_its_text_says_what_it_asks_and_what_was_found(self, name: str):
        doc = importlib.import_module(f"sweeps.{name}").__doc__
        for part in ("\nQuestion: ", "\nGrid: ", "\nStop rule: ", "\nThe paper "):
            assert part in doc


@pytest.mark.parametrize("preset", ["paper", "tuned", "soap"])
def test_gated_networks_are_trained_by_adam_at_one_rate_with_every_preset(preset: str):
    for config in grid("architectures", "paper", preset):
        if not isinstance(config.network, Leaky):
            training = config.training
            assert (training.optimizer, training.rate_decay) == (Adam(learning_rate=1e-3), None)


def test_gated_networks_are_trained_by_adam_and_leaky_ones_by_the_scale():
    for config in grid("architectures", "paper", "authors"):
        if isinstance(config.network, Leaky):
            assert config.training == base_config("paper", "authors").training
        else:
            assert isinstance(config.network, GRU | LSTM)
            assert config.training.optimizer.kind == "adam"
            assert (config.training.batch_size, config.training.steps_per_epoch) == (64, 300)


@pytest.mark.parametrize("preset", ["paper", "authors", "tuned"])
def test_gated_networks_hear_fair_bits_from_states_of_zero(preset: str):
    """As in the authors' code; leaky networks beside them are those of the other sweeps."""
    for config in grid("architectures", preset=preset):
        tasks = [task for task in (config.task, config.training_task) if task is not None]
        if isinstance(config.network, Leaky):
            assert (config.network.initial_state, tasks[0].input_probability) == (0.1, "uniform")
        else:
            assert (config.network.initial_state, {task.input_probability for task in tasks}) == (0, {0.5})


def test_tasks_without_bits_have_no_input_probability():
    config = RunConfig(task=Sines())
    assert with_input_probability(config, 0.5) == config


def test_windows_have_all_their_heads_from_the_start():
    windows = {
        scale: [config.curriculum for config in grid("sliding_window", scale) if config.curriculum.kind == "sliding"]
        for scale in SCALES
    }
    assert {scale: sorted({window.width for window in own}) for scale, own in windows.items()} == {
        "quick": [3, 5],
        "overnight": [3, 5, 10],
        "laptop": [3, 5, 10],
        "paper": [3, 5, 10, 20],
    }
    for window in itertools.chain(*windows.values()):
        assert (window.name, window.begins) == (f"sliding-{window.width}-full", "full")
        assert window.first_heads == tuple(range(2, window.width + 2))


def test_the_windows_that_claims_are_about_are_trained():
    trained = {config.curriculum.name for config in grid("sliding_window", "laptop")}
    words = " ".join(measure.words for claim in CLAIMS for measure in claim.measures)
    claimed = set(re.findall(r"sliding-[\w-]+", words))
    assert {"sliding-3-full", "sliding-5-full", "sliding-10-full"} == claimed <= trained


def test_what_was_fixed_from_scratch_has_at_most_fifty_epochs():
    assert {config.end.max_epochs for config in grid("no_curriculum", "paper")} == {50}
    assert {config.end.max_epochs for config in grid("no_curriculum", "quick")} == {40}
    assert {config.end.max_epochs for config in grid("no_curriculum", "paper", "tuned")} == {50 * 600 // 20}


@pytest.mark.parametrize(
    ("name", "scale", "options", "field", "value"),
    [
        ("no_curriculum", "quick", {"epochs": 5}, "max_epochs", 5),
        ("no_curriculum", "paper", {"epochs": 60}, "max_epochs", 50),
        ("no_curriculum", "overnight", {"epochs": 45}, "max_epochs", 120),
        ("temporal_patterns", "quick", {"max_n": 4}, "max_n", 4),
        ("temporal_patterns", "quick", {"max_n": 20}, "max_n", 10),
    ],
)
def test_options_of_the_budget_count_where_a_sweep_has_its_own(tmp_path, name, scale, options, field, value):
    sweep = importlib.import_module(f"sweeps.{name}").SWEEP
    plan = plan_of(sweep, Options(scale=scale, dry_run=True, **options), SweepFolder(str(tmp_path), name))
    assert {getattr(config.end, field) for config in plan.networks} == {value}


class TestAll:
    def test_help(self):
        result = subprocess.run([sys.executable, "sweeps/all.py", "--help"], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0
        assert "The whole study" in result.stdout

    @pytest.mark.parametrize("json_asked", [False, True])
    def test_a_dry_run_ends_with_what_all_cost(self, tmp_path: Path, capsys, json_asked: bool):
        options = ["--scale", "quick", "--hidden", "8", "--replicates", "1", "--dry-run", "--storage", str(tmp_path)]
        assert run_resumable(load_all().app, [*options, *(["--json"] if json_asked else [])]) == 0
        output, errors = capsys.readouterr()
        assert list(dict.fromkeys(line.split()[1] for line in errors.splitlines())) == list(GRIDS)
        *each, last = output.splitlines()
        asked = [config.with_hidden(8).network_id for name in GRIDS for config in grid(name)]
        # Figure S11 is a second invocation of fixed_tau: both curricula with four kinds of taus.
        asked += [with_network(config, self_interaction="outside").with_hidden(8).network_id for config in main_cells()]
        networks = len(set(asked))
        assert networks < len(asked) == sum(quick for quick, _ in GRIDS.values()) + 8
        if json_asked:
            found, total = [json.loads(line) for line in each], json.loads(last)
            assert list(dict.fromkeys(one["sweep"] for one in found)) == list(GRIDS)
            assert total == {"sweep": "all"} | {
                part: sum(one[part] for one in found) for part in ("networks", "operations", "seconds")
            }
            assert total["networks"] == networks
            assert sum(one["shared"] for one in found) == len(asked) - networks
            trained = [key for one in found for run in one["runs"] for key in run["network_ids"]]
            assert len(trained) == len(set(trained)) == networks
        else:
            assert last.startswith(f"All {len(GRIDS)} sweeps, one after the other: {networks} networks, about ")
        assert not list(tmp_path.iterdir())

    def test_a_dry_run_does_not_look_at_what_a_folder_holds(self, tmp_path: Path, capsys):
        (tmp_path / "curricula").mkdir()
        (tmp_path / "curricula" / "thesis.txt").write_text("mine")
        options = ["--scale", "quick", "--hidden", "8", "--replicates", "1", "--dry-run", "--storage", str(tmp_path)]
        assert run_resumable(load_all().app, options) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"All {len(GRIDS)} sweeps")

    @pytest.mark.parametrize(("options", "sweeps"), [(["--scale", "huge"], 0), (["--tasks", "huge"], 1)])
    def test_a_bad_option_ends_it_at_once(self, options: list[str], sweeps: int):
        command = [sys.executable, "sweeps/all.py", *options]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert result.stderr.count("== ") == sweeps
        assert "huge" in result.stderr

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_a_signal_ends_the_sweep_that_is_running_and_begins_no_other(self, tmp_path: Path, number: signal.Signals):
        study = start_all(tmp_path)
        sweep = wait_for_child(study.pid)
        study.send_signal(number)
        # A signal in the first moments of a process may be lost: the sweep then ends by itself, and no other begins.
        _, errors = study.communicate(timeout=180)
        assert study.returncode == 128 + number
        assert errors.count("== ") == 1
        assert not Path(f"/proc/{sweep}").exists()

    @pytest.mark.slow
    def test_a_sweep_that_trains_is_told_to_stop_and_leaves_no_process(self, tmp_path: Path):
        study = start_all(tmp_path)
        sweep = wait_for_child(study.pid)
        end = time.monotonic() + 120
        while not list(tmp_path.glob("fixed_tau/checkpoints/*/epoch-*")):
            assert time.monotonic() < end
            time.sleep(0.05)
        processes = [sweep, *descendants(sweep)]
        study.terminate()
        _, errors = study.communicate(timeout=60)
        assert study.returncode == 128 + signal.SIGTERM
        assert "the same command, or --resume with the same --storage, continues" in errors
        assert "Traceback" not in errors
        assert [path.name for path in tmp_path.iterdir()] == ["fixed_tau"]
        time.sleep(2)
        assert not [pid for pid in processes if is_running(pid)]


def main_cells() -> list[RunConfig]:
    """Return the cells of Figure 4a."""
    return [config for config in grid("fixed_tau") if config.task.kind == "parity"]


@pytest.mark.parametrize("preset", ["paper", "momentum", "tuned", "soap"])
def test_the_scale_overnight_trains_what_its_budgets_say(preset: str):
    def steps(config: RunConfig) -> int:
        return config.end.max_epochs * config.training.steps_per_epoch

    def sequences(config: RunConfig) -> int:
        return steps(config) * config.training.batch_size

    found = {name: grid(name, "overnight", preset) for name in GRIDS}
    budgets = {name: {steps(config) for config in own} for name, own in found.items()}
    assert {name: own for name, own in budgets.items() if own != {45_000}} == {
        "no_curriculum": {steps(found["no_curriculum"][0])},
        "architectures": {45_000, 15_000},
        "input_duration": {15_000},
        "time_discretisation": {45_000, 15_000},
    }
    # As many sequences as 50 of the paper's epochs.
    assert {sequences(config) for config in found["no_curriculum"]} == {50 * 600 * 256}
    assert {steps(c) for c in found["architectures"] if isinstance(c.network, Leaky)} == {45_000}
    assert {steps(c) for c in found["time_discretisation"] if c.time == Time()} == {45_000}
    assert {c.training.optimizer.weight_decay for c in found["weight_decay"]} == {0, 1e-4}


def start_all(storage: Path) -> subprocess.Popen[str]:
    options = ["--scale", "quick", "--hidden", "8", "--replicates", "1", "--storage", str(storage)]
    command = [sys.executable, "sweeps/all.py", *options, "--address", "local"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_child(pid: int) -> int:
    """Return the first process that a process starts."""
    end = time.monotonic() + 60
    while not (found := [*descendants(pid)]):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found[0]
