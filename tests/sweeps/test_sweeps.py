"""Sweeps as their user runs them: real processes, a real Ray, real kills."""

import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from analysis.quantities.reach import max_n
from analysis.verify import verification
from sweeps.curricula import SWEEP as SWEEP_OF_CURRICULA
from sweeps.engine import cluster as _cluster
from sweeps.engine.errors import SweepError, UsageError
from sweeps.engine.estimate import estimate, operations
from sweeps.engine.folder import Record, SweepFolder, require_same_base
from sweeps.engine.grid import axes_of, title, with_curriculum, with_network, with_tau, with_time
from sweeps.engine.options import Options
from sweeps.engine.plan import groups_of, storage_of
from sweeps.engine.progress import Progress
from sweeps.engine.reuse import finished_elsewhere, take_over
from sweeps.engine.runner import Axes, Sweep, main, run
from sweeps.engine.scales import base_config
from sweeps.engine.trainable import PopulationTrainable
from sweeps.fixed_tau import SWEEP as SWEEP_OF_TAUS
from tests.processes import descendants, kill, kill_everything
from tsrnn.__main__ import main as evaluate
from tsrnn.config import (
    GRU,
    LSTM,
    SGD,
    Adam,
    EndRules,
    FixedTau,
    Leaky,
    LeakyReLU,
    ReLU,
    RunConfig,
    Tanh,
    Time,
    Training,
)
from tsrnn.io.checkpoint import load, new
from tsrnn.io.files import open_sealed_json, sealed_json
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import EPOCHS, OUTCOMES, RUNS
from tsrnn.io.store import Store
from tsrnn.tasks import Sines
from tsrnn.training.loop import Trainer, train
from tsrnn.training.sampling import TaskBatch

ROOT = Path(__file__).resolve().parents[2]
SWEEP = [sys.executable, "sweeps/fixed_tau.py"]
QUICK = ["--scale", "quick", "--tasks", "parity", "--curricula", "multi"]
TINY = [*QUICK, "--hidden", "8"]
GRID = [*TINY, "--taus", "1", "trained", "--replicates", "2"]
TABLES = ("runs", "outcomes", "epochs", "solved", "heads")
STARTED: list[subprocess.Popen[str]] = []
CLOCKS = ("wall_s", "device", "products", "versions")
NICENESS = "3"


def command(options: tuple[str | Path, ...]) -> list[str]:
    """A sweep's command line, on a Ray of its own: a test must not run on a cluster that happens to be here."""
    return [*SWEEP, *map(str, options), *([] if "--address" in options else ["--address", "local"])]


def sweep(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(options), cwd=ROOT, capture_output=True, text=True, timeout=1500)


def start(*options: str | Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        command(options),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    return process


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    found = {name: pd.read_parquet(folder / name) for name in TABLES}
    keys = ["network_id", "epoch", "n"]
    return {
        name: frame.drop(columns=[c for c in CLOCKS if c in frame])
        .sort_values([key for key in keys if key in frame])
        .reset_index(drop=True)
        for name, frame in found.items()
    }


def assert_same_tables(folder: Path, expected: Path, *, rounding: bool = False) -> None:
    """Hold a sweep's tables against another's, bit for bit but for what tells the time and the machine.

    With `rounding`, floats agree as docs/reproducibility.md says of networks that were stacked otherwise.
    """
    ours, theirs = tables(folder), tables(expected)
    for name in TABLES:
        how = {"check_exact": False, "rtol": 1e-4} if rounding else {"check_exact": True}
        pd.testing.assert_frame_equal(ours[name], theirs[name], **how)


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == lines[0]
    assert "Traceback" not in result.stderr
    return lines[0]


def wait_for(folder: Path, epochs: int) -> None:
    """Wait until the networks of a running sweep have trained this many epochs in all."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if (folder / "epochs").is_dir() and len(pd.read_parquet(folder / "epochs")) >= epochs:
            return
        time.sleep(0.05)
    raise TimeoutError(f"{folder}: fewer than {epochs} epochs after two minutes")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process; returns exit status, output and errors."""

    def run(*options: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fixed_tau.py", *map(str, options)])
        with pytest.raises(SystemExit) as end:
            main(SWEEP_OF_TAUS)
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """End what a failed test started and did not see end."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            kill_everything(process)


def start_and_kill_half_way(storage: Path) -> None:
    process = start(*GRID, "--storage", storage)
    wait_for(storage / "fixed_tau", 40)
    kill_everything(process)


def niceness_of_trials(process: subprocess.Popen[str]) -> set[int]:
    """How nice the processes of a running sweep's trials are."""
    trials = [pid for pid, command in descendants(process.pid).items() if re.match("ray::.*Trainable", command)]
    found = set()
    for pid in trials:
        with suppress(ProcessLookupError):  # it ended meanwhile
            found.add(os.getpriority(os.PRIO_PROCESS, pid))
    return found


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Path, str, str, int], set[int]]:
    """A sweep that ran undisturbed while its tables were read; and how nice its trials' processes were."""
    storage = tmp_path_factory.mktemp("finished")
    process = start(*GRID, "--storage", storage, "--niceness", NICENESS)
    reads, niceness = 0, set()
    while process.poll() is None:
        folder = storage / "fixed_tau"
        if (folder / "sweep.json").exists():
            for name in TABLES:
                frame = pd.read_parquet(folder / name)
                reads += 1
                if name == "epochs":
                    for _, own in frame.groupby("network_id"):
                        assert sorted(own["epoch"]) == list(range(1, len(own) + 1))
            niceness |= niceness_of_trials(process)
        time.sleep(0.02)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return (storage, output, errors, reads), niceness


@pytest.fixture(scope="module")
def finished(watched) -> tuple[Path, str, str, int]:
    """A sweep that ran undisturbed while its tables were read: its storage, output, errors and reads."""
    return watched[0]


class TestRun:
    def test_ends_with_the_table_and_says_what_is_inconclusive(self, finished):
        _, output, errors, _ = finished
        assert "Largest N solved" in output
        assert "parity multi      trained" in output
        assert "local Ray: " in errors
        assert "Traceback" not in errors

    def test_its_trials_are_as_nice_as_was_asked(self, watched):
        assert watched[1] == {os.nice(0) + int(NICENESS)}

    def test_tables_were_read_while_they_were_written(self, finished):
        assert finished[3] > 50

    def test_tables_hold_the_grid(self, finished):
        found = {name: pd.read_parquet(finished[0] / "fixed_tau" / name) for name in TABLES}
        assert sorted(zip(found["runs"]["tau"], found["runs"]["seed"], strict=True)) == [
            ("1", 0), ("1", 1), ("trained", 0), ("trained", 1)
        ]  # fmt: skip
        assert set(found["outcomes"]["network_id"]) == set(found["runs"]["network_id"])
        assert set(found["outcomes"]["status"]) == {"epochs"}
        assert len(found["epochs"]) == 4 * 40
        assert not found["epochs"].duplicated(["network_id", "epoch"]).any()
        assert not found["heads"].duplicated(["network_id", "epoch", "n"]).any()
        for text, key in zip(found["runs"]["config"], found["runs"]["network_id"], strict=True):
            assert RunConfig.from_json(text).network_id == key
        for path in found["solved"]["checkpoint"]:
            assert (finished[0] / "fixed_tau" / path).is_file()

    def test_the_same_command_again_says_that_all_is_done(self, finished):
        result = sweep(*GRID, "--storage", finished[0], "--json")
        assert result.returncode == 0
        assert "all 4 networks have ended already" in " ".join(result.stderr.split())
        assert "Ray" not in result.stderr
        assert [row["tau"] for row in json.loads(result.stdout)["rows"]] == ["1", "trained"]

    @pytest.mark.parametrize(
        ("options", "runs"),
        [
            ([], [("tau 1", 2), ("tau trained", 2)]),
            (["--replicates", "3"], [("tau 1", 3), ("tau trained", 3)]),
            (["--taus", "3"], [("tau 1", 2), ("tau trained", 2), ("tau 3", 2)]),
            (["--seed", "7"], [("tau 1", 4), ("tau trained", 4)]),
        ],
    )
    def test_resume_takes_what_is_not_given_from_the_folder(self, finished, here, options, runs):
        status, output, _ = here("--resume", *options, "--dry-run", "--json", "--storage", finished[0])
        assert status == 0
        found = [(run["title"], len(run["network_ids"])) for run in json.loads(output)["runs"]]
        assert found == [(f"parity multi {tau}", count) for tau, count in runs]

    def test_resume_with_a_scale_keeps_the_recorded_size(self, finished, here):
        plans = []
        for scale in ([], ["--scale", "quick"]):
            status, output, errors = here("--resume", *scale, "--dry-run", "--json", "--storage", finished[0])
            assert (status, errors) == (0, "")
            plans.append(json.loads(output)["runs"])
        assert plans[0] == plans[1]
        status, _, errors = here("--resume", "--scale", "laptop", "--dry-run", "--storage", finished[0])
        assert status == 1
        assert "differs in " in errors
        assert "hidden" not in errors

    def test_every_row_says_the_preset(self, finished):
        assert set(pd.read_parquet(finished[0] / "fixed_tau" / "runs")["preset"]) == {"paper"}

    def test_another_size_in_the_same_folder_is_refused(self, finished):
        before = contents(finished[0])
        result = sweep(*QUICK, "--hidden", "9", "--storage", finished[0])
        assert result.returncode == 1
        assert "network.hidden (8, now 9)" in one_line(result)
        assert contents(finished[0]) == before


class TestTrainedOnce:
    """What a sweep asks for that another sweep of the same storage has finished."""

    CURRICULA = ("--scale", "quick", "--hidden", "8", "--tasks", "parity", "--curricula", "multi", "--replicates", "2")

    @pytest.fixture
    def storage(self, finished, tmp_path) -> Path:
        shutil.copytree(finished[0], tmp_path / "storage")
        return tmp_path / "storage"

    def test_it_is_copied_without_training(self, storage, capsys, monkeypatch):
        monkeypatch.setattr(_cluster, "connect", None)  # Ray is not even started
        assert run(SWEEP_OF_CURRICULA, [*self.CURRICULA, "--storage", str(storage)]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert "curricula: 2 networks are taken over from other sweeps" in said
        assert "0 of 2 networks to train" in said
        ours, theirs = tables(storage / "curricula"), tables(storage / "fixed_tau")
        keys = set(ours["runs"]["network_id"])
        assert len(keys) == 2
        assert set(ours["runs"]["sweep"]) == {"curricula"}
        for name in ("outcomes", "epochs", "solved", "heads"):
            own = theirs[name][theirs[name]["network_id"].isin(keys)].reset_index(drop=True)
            pd.testing.assert_frame_equal(ours[name], own, check_exact=True)
        assert len(ours["solved"])
        for path in ours["solved"]["checkpoint"]:
            assert (storage / "curricula" / path).samefile(storage / "fixed_tau" / path)
        (found,) = verification.sweeps_below(storage / "curricula")
        assert verification.verify(found).problems == []
        # The folder is whole by itself.
        shutil.rmtree(storage / "fixed_tau")
        assert run(SWEEP_OF_CURRICULA, [*self.CURRICULA, "--storage", str(storage)]) == 0

    def test_what_is_damaged_or_not_finished_is_not(self, storage):
        folder = SweepFolder(str(storage), "curricula")
        networks = [RunConfig.from_json(text) for text in pd.read_parquet(storage / "fixed_tau" / "runs")["config"]]
        theirs = Store(storage / "fixed_tau")
        damaged, failed, lacking, whole = (network.network_id for network in networks)
        heads = storage / "fixed_tau" / "heads" / f"{damaged}.parquet"
        heads.write_bytes(heads.read_bytes()[:-9])
        (outcome,) = theirs.read(OUTCOMES, failed)
        theirs.write(OUTCOMES, failed, [outcome | {"status": "failed"}])
        for path in (storage / "fixed_tau" / "checkpoints" / lacking).glob("n-*"):
            path.unlink()
        folder.write(Record("curricula", "quick", "paper", networks[0], tuple(networks)))
        found = finished_elsewhere(folder, networks)
        assert found.keys() == {damaged, lacking, whole}
        assert take_over(folder, found) == [whole]
        assert {network.network_id for network in folder.unfinished(networks)} == {damaged, failed, lacking}
        assert folder.store.read(EPOCHS, damaged) == []

    def test_other_folders_beside_it_are_no_sweeps(self, tmp_path):
        (tmp_path / "notes").mkdir()
        (tmp_path / "file").write_text("")
        assert finished_elsewhere(SweepFolder(str(tmp_path), "curricula"), [RunConfig()]) == {}


class TestDryRun:
    def test_without_a_scale_it_is_the_papers(self, tmp_path):
        result = sweep("--dry-run", "--json", "--taus", "1", "--tasks", "dms", "--storage", tmp_path / "none")
        found = json.loads(result.stdout)
        assert (result.returncode, found["scale"], found["networks"]) == (0, "paper", 8)
        assert found["operations"] > 1e17
        assert not (tmp_path / "none").exists()

    def test_the_grid_is_a_table(self, tmp_path):
        result = sweep(*GRID, "--dry-run", "--storage", tmp_path / "none")
        assert "parity multi tau 1" in result.stdout
        assert "4 networks in 2 trials" in result.stdout
        assert not (tmp_path / "none").exists()


def test_help_explains_every_option():
    text = sweep("--help").stdout
    for name in [
        "scale",
        "preset",
        "tasks",
        "curricula",
        "taus",
        "replicates",
        "seed",
        "hidden",
        "storage",
        "address",
        "cpus-per-trial",
        "gpus-per-trial",
        "niceness",
        "resume",
        "dry-run",
        "json",
    ]:
        assert f"--{name}" in text


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--bogus", "1"], 2, "--bogus"),
        (["stray"], 2, "stray"),
        (["--taus", "0.5"], 2, "tau = 0.5: Input should be greater than or equal to 1"),
        (["--taus", "nan"], 2, "tau = nan"),
        (["--taus", "inf"], 2, "tau = inf"),
        (["--taus", "long"], 2, "taus = 'long'"),
        (["--taus"], 2, "taus"),
        (["--tasks", "sums"], 2, "tasks = 'sums': allowed are parity, dms, sines"),
        (["--preset", "copy"], 2, '"paper", "authors"'),
        (["--replicates", "0"], 2, "replicates = 0"),
        (["--hidden", "0"], 2, "hidden = 0"),
        (["--precision", "float16"], 2, '"float32", "bfloat16"'),
        (["--products", "mkl"], 2, '"blas", "onednn"'),
        (["--seed", "-1"], 2, "seed = -1"),
        (["--cpus-per-trial", "0"], 2, "cpus-per-trial = 0"),
        (["--cpus-per-trial", "nan"], 2, "cpus-per-trial = nan"),
        (["--cpus-per-trial", "0.00001"], 2, "cpus-per-trial = 1e-05: allowed are numbers from 0.0001 on"),
        (["--gpus-per-trial", "-1"], 2, "gpus-per-trial = -1"),
        (["--gpus-per-trial", "1.5"], 2, "gpus-per-trial = 1.5"),
        (["--niceness", "-1"], 2, "niceness = -1: allowed are whole numbers from 0 to 19"),
        (["--niceness", "20"], 2, "niceness = 20"),
        (["--niceness", "0.5"], 2, "niceness"),
        (["--seed", "2.7"], 2, "allowed are whole numbers"),
        (["--taus", "-1"], 2, "tau = -1"),
        (["--seed", str(2**63 - 1), "--replicates", "2"], 2, f"seed = {2**63}"),
        (["--address", "nowhere"], 2, "HOST:PORT"),
        (["--address", "127.0.0.1:99999"], 2, "HOST:PORT"),
        (["--address", "127.0.0.1:1"], 1, "no Ray cluster answers"),
        (["--resume"], 1, "nothing to resume"),
    ],
)
def test_bad_input_is_one_line(tmp_path, here, options, status, says):
    found, output, errors = here("--scale", "quick", *options, "--storage", tmp_path / "storage")
    assert found == status
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert says in errors
    assert output == ""
    assert not (tmp_path / "storage").exists()


@pytest.mark.parametrize("storage", ["gs://bucket/results", "~nobody-of-this-name/results"])
def test_a_storage_that_is_no_folder(tmp_path, monkeypatch, here, storage):
    monkeypatch.chdir(tmp_path)
    status, output, errors = here("--dry-run", "--storage", storage)
    assert (status, output) == (2, "")
    assert errors.startswith(f"error: storage = {storage}: ")
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_needs_no_ray_does_not_wait_for_it():
    code = "import sys, sweeps.fixed_tau; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_an_interrupt_at_any_time_says_how_to_continue(tmp_path, monkeypatch, here):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeps.engine.runner.SweepFolder", interrupted)
    status, _, errors = here("--storage", tmp_path)
    assert (status, errors) == (130, "error: interrupted; the same command continues where it stopped\n")


def test_bad_input_in_a_real_process(tmp_path):
    result = sweep(*TINY, "--taus", "0.5", "--storage", tmp_path / "storage")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: tau = 0.5: Input should be greater than or equal to 1\n"


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--cpus-per-trial", "--gpus-per-trial"])
def test_more_than_the_machine_has(tmp_path, option):
    result = sweep(*GRID, option, "10000", "--storage", tmp_path / "storage")
    assert result.returncode == 1
    assert f"{option.removeprefix('--')} = 10000: this cluster has" in one_line(result)
    assert not (tmp_path / "storage").exists()


class TestStorage:
    def test_without_one_the_folder_says_the_scale(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("TSRNN_STORAGE", raising=False)
        assert storage_of(Options(), "fixed_tau") == "results/paper"
        assert storage_of(Options(scale="quick"), "fixed_tau") == "results/quick"
        assert storage_of(Options(scale="quick", storage="here"), "fixed_tau") == "here"

    def test_what_is_resumed_is_found_at_its_scale(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        resume = Options(resume=True)

        def hold(storage: str) -> None:
            SweepFolder(storage, "fixed_tau").write(Record("fixed_tau", "quick", "paper", RunConfig(), ()))

        assert storage_of(resume, "fixed_tau") == "results/paper"
        hold("results/quick")
        assert storage_of(resume, "fixed_tau") == "results/quick"
        assert storage_of(resume, "curricula") == "results/paper"
        assert storage_of(Options(resume=True, scale="laptop"), "fixed_tau") == "results/laptop"
        hold("results")
        with pytest.raises(UsageError, match="results/quick and results hold the sweep fixed_tau; give --storage one"):
            storage_of(resume, "fixed_tau")

    def test_other_files_are_left_alone(self, tmp_path):
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "thesis.txt").write_text("mine")
        result = sweep(*TINY, "--storage", tmp_path)
        assert result.returncode == 1
        assert "choose another --storage" in one_line(result)
        assert [p.name for p in (tmp_path / "fixed_tau").iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize("text", ["{", "[]", '{"sweep": "fixed_tau"}', '{"sweep": "fixed_tau", "scale": "huge"}'])
    def test_a_damaged_record_is_named(self, tmp_path, text):
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "sweep.json").write_text(text)
        result = sweep(*TINY, "--storage", tmp_path)
        assert result.returncode == 1
        assert "sweep.json" in one_line(result)

    def test_another_sweep_is_refused(self, finished, tmp_path):
        record = open_sealed_json((finished[0] / "fixed_tau" / "sweep.json").read_bytes()) | {"sweep": "curricula"}
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "sweep.json").write_bytes(sealed_json(record))
        result = sweep(*GRID, "--storage", tmp_path)
        assert result.returncode == 1
        assert "holds the sweep curricula" in one_line(result)

    def test_an_unwritable_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        result = sweep(*TINY, "--storage", tmp_path / "file")
        assert result.returncode == 1
        assert "cannot be written" in one_line(result)


@pytest.mark.slow
class TestKills:
    def test_everything_killed_then_resumed_is_the_undisturbed_sweep(self, finished, tmp_path):
        start_and_kill_half_way(tmp_path)
        assert not (tmp_path / "fixed_tau" / "outcomes").exists() or len(tables(tmp_path / "fixed_tau")["outcomes"]) < 4
        result = sweep("--resume", "--storage", tmp_path)
        assert result.returncode == 0, result.stderr
        assert_same_tables(tmp_path / "fixed_tau", finished[0] / "fixed_tau")

    def test_a_damaged_checkpoint_costs_an_epoch_and_is_reported(self, finished, tmp_path):
        start_and_kill_half_way(tmp_path)
        newest = max((tmp_path / "fixed_tau" / "checkpoints").glob("*/epoch-*"), key=lambda path: path.name)
        content = bytearray(newest.read_bytes())
        content[-5] ^= 0xFF
        newest.write_bytes(content)
        result = sweep("--resume", "--storage", tmp_path)
        assert result.returncode == 0, result.stderr
        assert result.stderr.count("warning: ") == 1
        assert "damaged (its contents do not match its checksum); continuing from epoch" in result.stderr
        assert_same_tables(tmp_path / "fixed_tau", finished[0] / "fixed_tau")

    def test_a_killed_worker_is_replaced(self, finished, tmp_path):
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 10)
        workers = [pid for pid, command in descendants(process.pid).items() if re.match("ray::.*Trainable", command)]
        assert workers
        assert niceness_of_trials(process) == {os.nice(0)}
        kill(workers[:1])
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert_same_tables(tmp_path / "fixed_tau", finished[0] / "fixed_tau")

    def test_auto_does_not_join_the_private_ray_of_another_program(self, tmp_path):
        other = start(*GRID, "--storage", tmp_path / "other")
        wait_for(tmp_path / "other" / "fixed_tau", 1)
        mine = start(*GRID, "--storage", tmp_path / "mine", "--address", "auto")
        wait_for(tmp_path / "mine" / "fixed_tau", 1)
        kill_everything(other)
        _, errors = mine.communicate(timeout=300)
        assert mine.returncode == 0, errors
        assert "local Ray: " in errors

    def test_an_extension_leaves_the_files_of_others_alone(self, finished, tmp_path):
        shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
        before = contents(tmp_path)
        assert sweep(*TINY, "--taus", "1", "3", "--replicates", "3", "--storage", tmp_path).returncode == 0
        after = contents(tmp_path)
        changed = {name for name in before if after[name] != before[name]}
        assert changed == {"fixed_tau/sweep.json"}
        assert len(pd.read_parquet(tmp_path / "fixed_tau" / "outcomes")) == 4 + 1 + 3

    def test_a_failure_is_told_of_the_networks_that_failed(self, finished, tmp_path):
        """Of a trial that never reported, Tune knows no config, or that of another trial."""
        shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
        folder = tmp_path / "fixed_tau"
        runs = pd.read_parquet(folder / "runs").set_index("network_id")
        for network_id in runs.index:
            (folder / "outcomes" / f"{network_id}.parquet").unlink()
        broken = set(runs.index[runs["tau"] == "trained"])
        for network_id in broken:
            (folder / "epochs" / f"{network_id}.parquet").unlink()
        for process in ("reused", "fresh"):
            result = sweep("--resume", "--cpus-per-trial", "2", "--storage", tmp_path)
            assert result.returncode == 1, process
            assert "Traceback" not in result.stderr
            assert set(re.findall("failed: (n[0-9a-f]{16})", result.stderr)) == broken
            outcomes = pd.read_parquet(folder / "outcomes").set_index("network_id")
            assert set(outcomes.index[outcomes["status"] == "failed"]) == broken
            assert set(outcomes["status"].drop(list(broken))) == {"epochs"}

    def test_sigterm_stops_a_sweep_as_an_interrupt_does(self, tmp_path):
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 10)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "continues them" in errors
        assert "SIGTERM" not in errors

    def test_interrupted_then_extended(self, tmp_path):
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 10)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (1, 130)
        assert "continue" in errors
        assert "Traceback" not in errors
        result = sweep(*TINY, "--taus", "1", "3", "--replicates", "3", "--storage", tmp_path)
        assert result.returncode == 0, result.stderr
        runs = pd.read_parquet(tmp_path / "fixed_tau" / "runs")
        assert sorted(runs["tau"]) == ["1"] * 3 + ["3"] * 3 + ["trained"] * 2
        assert sweep("--resume", "--storage", tmp_path).returncode == 0
        assert len(pd.read_parquet(tmp_path / "fixed_tau" / "outcomes")) == 8

    def test_a_failed_trial_is_named_and_can_be_repaired(self, tmp_path):
        found = json.loads(sweep(*GRID, "--dry-run", "--json").stdout)
        victim = found["runs"][0]["network_ids"][0]
        sweep(*TINY, "--taus", "trained", "--replicates", "1", "--storage", tmp_path)
        (tmp_path / "fixed_tau" / "checkpoints" / victim).write_text("in the way")
        result = sweep(*GRID, "--storage", tmp_path)
        assert result.returncode == 1
        assert f"failed: {victim}" in result.stderr
        outcomes = pd.read_parquet(tmp_path / "fixed_tau" / "outcomes").set_index("network_id")
        assert outcomes.loc[victim, "status"] == "failed"
        assert len(outcomes) == 4
        (tmp_path / "fixed_tau" / "checkpoints" / victim).unlink()
        assert sweep(*GRID, "--storage", tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (["--taus", "1", "2"], "taus = 1 2"),
        (["--self-interactions", "outside"], "self-interactions = outside"),
        (["--tasks", "dms"], "tasks = dms"),
    ],
)
def test_an_option_that_a_grid_does_not_vary_is_refused(monkeypatch, capsys, tmp_path, option, named):
    def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
        for name in axes.curricula:
            yield with_curriculum(base, name)

    def run(*given: str) -> tuple[int, str, str]:
        where = ["--scale", "quick", "--storage", str(tmp_path), "--dry-run", "--json"]
        monkeypatch.setattr(sys, "argv", ["one_axis.py", *where, *given])
        with pytest.raises(SystemExit) as end:
            main(Sweep("one_axis", "One axis.", Axes(curricula=("single", "multi")), grid))
        return end.value.code, *capsys.readouterr()

    status, output, errors = run(*option)
    assert (status, output) == (2, "")
    assert errors == (
        f"error: {named}: the sweep one_axis does not vary this option; leave it out (allowed here: curricula)\n"
    )
    status, output, _ = run("--curricula", "multi")
    assert status == 0
    assert [one["title"] for one in json.loads(output)["runs"]] == ["parity multi tau trained"]


def test_titles_tell_nonlinearities_and_weight_decay_apart():
    cases = [(LeakyReLU(), ""), (LeakyReLU(slope=0.01), " slope 0.01"), (ReLU(), " relu"), (Tanh(), " tanh")]
    for phi, words in cases:
        assert title(with_network(RunConfig(), nonlinearity=phi)) == f"parity multi tau trained{words}"
    decayed = RunConfig(training=Training(optimizer=SGD(weight_decay=1e-4)))
    assert title(decayed) == "parity multi tau trained weight decay 0.0001"
    gated = replace(decayed, network=GRU())
    assert title(gated) == "parity multi gru weight decay 0.0001"


class TestParts:
    def test_with_tau(self):
        assert with_tau(RunConfig(), "2").network.tau == FixedTau(tau=2)
        assert with_tau(RunConfig(), "trained") == RunConfig()

    def test_axes_give_the_grid_back(self):
        networks = [with_tau(RunConfig(), tau) for tau in ("1", "1.2345678", "trained")]
        found = axes_of([*networks, networks[0]])
        assert (found["tasks"], found["curricula"], found["self_interactions"]) == (["parity"], ["multi"], ["inside"])
        assert [with_tau(RunConfig(), tau) for tau in found["taus"]] == networks

    @pytest.mark.parametrize("network", [GRU(), LSTM()], ids=lambda network: network.kind)
    def test_an_architecture_without_tau(self, network):
        config = RunConfig(network=network)
        with pytest.raises(ValueError, match=f"taus = '2': a {network.kind} has no tau"):
            with_tau(config, "2")
        with pytest.raises(ValidationError, match="self_interaction"):
            with_network(config, self_interaction="outside")
        assert with_network(config, hidden=9).network == replace(network, hidden=9)
        assert axes_of([config]) == {"tasks": ["parity"], "curricula": ["multi"]}
        assert axes_of([config, RunConfig()])["taus"] == ["trained"]
        assert title(config) == f"parity multi {network.kind}"
        runs = [*RunConfig().replicates(2), *config.replicates(2), with_tau(RunConfig(), "1")]
        assert [[run.seed for run in group] for group in groups_of(runs)] == [[0, 1], [0, 1], [0]]

    @pytest.mark.parametrize("name", ["single", "multi", "sliding-5", "sliding-10-by-5-full", "none-12", "all-20"])
    def test_a_curriculum_by_its_name(self, name: str):
        config = with_curriculum(RunConfig(), name)
        assert axes_of([config])["curricula"] == [name]
        assert title(config) == f"parity {name} tau trained"

    def test_a_curriculum_of_one_step_is_estimated_at_its_n(self):
        for name, n in (("none-30", 30), ("all-30", 30), ("sliding-3", 5)):
            config = with_curriculum(RunConfig(), name)
            assert operations(config, 5) == operations(RunConfig(), n)
            assert operations(config, 5) > 0

    def test_networks_too_large_for_this_machine(self, monkeypatch):
        def allocate(config: RunConfig) -> None:
            raise RuntimeError("not enough memory")

        monkeypatch.setattr("sweeps.engine.estimate.new", allocate)
        with pytest.raises(SweepError, match=r"hidden = 500: .*\(not enough memory\)"):
            estimate([[RunConfig()]], 5)

    @pytest.mark.parametrize(
        ("config", "replicates"),
        [
            (RunConfig(), 4),
            (with_time(with_network(RunConfig(), self_interaction="outside"), Time(k=(10,), dt="1/k")), 4),
            (RunConfig(network=Leaky(hidden=200_000)), 2),
            (RunConfig(network=LSTM()), 4),
            (RunConfig(network=Leaky(hidden=8)), 1000),
            (RunConfig(task=Sines(steps=5000)), 4),
            (with_curriculum(base_config("paper", "tuned"), "multi-ahead-5"), 4),
        ],
        ids=lambda value: (
            f"{value.network.kind} {value.network.hidden}" if isinstance(value, RunConfig) else str(value)
        ),
    )
    def test_an_estimate_measures_a_small_piece(self, monkeypatch, config, replicates):
        measured, step = [], Trainer.step

        def watched(self: Trainer, batch: TaskBatch, initial: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            people = self.population
            steps, networks, sequences = batch.inputs.shape
            elements = sum(p.numel() for name, p in people.parameters.items() if p.dim() == 3) / networks
            numbers = sum(p.numel() for p in people.parameters.values())
            measured.append((6 * steps * networks * sequences * elements, numbers))
            return step(self, batch, initial)

        monkeypatch.setattr(Trainer, "step", watched)
        monkeypatch.setattr("sweeps.engine.estimate._RATES", {})
        found = estimate([config.replicates(replicates)], 50)
        expected = replicates * operations(config, 50)
        assert found.operations == pytest.approx(expected)
        assert 0 < found.core_seconds < math.inf
        assert 2 <= len(measured) <= 31
        for operations_of_it, numbers in measured:
            assert operations_of_it < 8e9
            assert numbers < 2e7

    def test_what_is_alike_is_measured_once(self, monkeypatch):
        monkeypatch.setattr("sweeps.engine.estimate._RATES", {})
        made = []
        monkeypatch.setattr("sweeps.engine.estimate.new", lambda config: made.append(config) or new(config))
        small = base_config("quick", "paper", 8)
        estimate([with_tau(small, tau).replicates(2) for tau in ("1", "2", "trained")], 5)
        assert len(made) == 2
        estimate([replace(small, network=GRU(hidden=8)).replicates(2)], 5)
        assert len(made) == 4

    def test_operations_of_the_papers_epoch(self):
        # 1000 epochs of 600 steps and 50 tests, M = 13.5 on average at N = 5.
        expected = 1000 * (6 * 600 + 2 * 50) * 13.5 * 256 * 500**2
        assert operations(RunConfig(), 5) == expected
        assert operations(RunConfig(network=GRU()), 5) == 3 * expected
        assert operations(RunConfig(network=LSTM()), 5) == 4 * expected

    def test_an_absent_folder_holds_nothing(self, tmp_path):
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        assert folder.read() is None
        assert folder.unfinished([RunConfig()]) == [RunConfig()]

    def test_the_precision_is_the_bases(self):
        coarse, fine = (base_config("quick", "tuned", 9, precision) for precision in ("bfloat16", None))
        assert (coarse.training.precision, fine.training.precision) == ("bfloat16", "float32")
        assert replace(coarse, training=replace(coarse.training, precision="float32")) == fine

    def test_the_optimisers_own_products_are_counted(self):
        tuned = base_config("quick", "tuned")
        adam = replace(tuned, training=replace(tuned.training, optimizer=Adam()))
        steps = tuned.end.max_epochs * tuned.training.steps_per_epoch
        assert operations(tuned, 5) - operations(adam, 5) == steps * 5 * 3 * 2 * 64**3

    def test_rows_of_an_earlier_version_get_their_preset(self, tmp_path):
        base = RunConfig(network=Leaky(hidden=3))
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        folder.store.create()
        for config, preset in zip(base.replicates(2), (None, "paper"), strict=True):
            folder.store.write(RUNS, config.network_id, [runs_row(config, "fixed_tau", "quick", preset)])
        as_it_was = {path: path.read_bytes() for path in (folder.path / "runs").glob("n*")}
        folder.write(Record("fixed_tau", "quick", "paper", base, tuple(base.replicates(3))))
        runs = pd.read_parquet(folder.path / "runs")
        assert runs["preset"].tolist() == ["paper"] * 3
        assert sorted(runs["seed"]) == [0, 1, 2]
        assert sum(path.read_bytes() == content for path, content in as_it_was.items()) == 1

    def test_another_base_is_named(self, tmp_path):
        base = RunConfig()
        record = Record("fixed_tau", "paper", "paper", base, ())
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        require_same_base(folder, record, RunConfig())
        with pytest.raises(SweepError, match=r"network.hidden \(default, now 9\)"):
            require_same_base(folder, record, base.with_hidden(9))


def seen(epoch: int, n: int, ended: str = "") -> dict[str, object]:
    return {"epoch": epoch, "n": n, "accuracy": 0.9, "ended": ended}


class TestProgress:
    def test_headline_and_summary(self):
        networks = RunConfig().replicates(2)
        console = Console(file=io.StringIO(), markup=False)
        progress = Progress([networks], console)
        trial = SimpleNamespace(
            trial_id="a", config={"trial": {"index": 0}}, run_metadata=SimpleNamespace(num_failures=2)
        )
        progress.on_trial_start(0, [], trial)
        assert progress._running["a"].summary() == ("starting", "", "")
        latest = {one.network_id: seen(100 + i, 4 + i) for i, one in enumerate(networks)}
        for _ in range(2):
            progress.on_trial_result(0, [], trial, {"networks": latest, "warnings": ["epoch-7: damaged [/x]"]})
        assert trial.run_metadata.num_failures == 0
        # The epochs of an earlier run say nothing about the time that this one takes.
        assert progress._headline() == "0 of 2 networks done, 2 running, 0:00 passed"
        assert progress._running["a"].summary() == ("101/1000", "4-5", "90.0 %")
        assert console.file.getvalue().count("warning: epoch-7: damaged [/x]") == 1
        halfway = {one.network_id: seen(550 + i, 8) for i, one in enumerate(networks)}
        progress._began = time.monotonic() - 60
        progress.on_trial_result(0, [], trial, {"networks": halfway, "warnings": []})
        assert progress._headline() == "0 of 2 networks done, 2 running, 1:00 passed, about 1:00 left"
        progress.on_trial_result(0, [], trial, {"networks": latest, "warnings": []})
        latest[networks[1].network_id] = seen(101, 5, "epochs")
        assert progress._running["a"].summary() == ("100/1000", "4", "90.0 %")
        progress.on_trial_complete(0, [], trial)
        assert progress._headline().startswith("2 of 2 networks done, 0 running")


@pytest.mark.parametrize("network", [GRU(hidden=4), LSTM(hidden=4)], ids=lambda network: network.kind)
def test_a_trial_of_gated_networks(tmp_path, network):
    """Trained in two parts, the second from the checkpoints of the first; then read, and its checkpoint asked."""
    training = Training(batch_size=4, steps_per_epoch=2, test_batches=1, solved_accuracy=1e-9)
    configs = RunConfig(network=network, training=training, end=EndRules(max_epochs=4)).replicates(2)
    SweepFolder(str(tmp_path), "gated").store.create()
    where = tmp_path / "gated"
    settings = {"plugins": [], "folder": str(where), "threads": 1, "gpus": 0, "mark": "runs"}
    trial = {"index": 0, "networks": [one.to_json() for one in configs], **settings}
    first = PopulationTrainable({"trial": trial | {"device": "cpu"}})
    first.step()
    second = PopulationTrainable({"trial": trial | {"device": "cpu"}})
    while not (result := second.step())["done"]:
        pass
    assert result["warnings"] == []
    for config in configs:
        Store(where).write(RUNS, config.network_id, [runs_row(config, sweep="gated", scale="quick")])
    expected = [report for report in train(configs) if report.outcome]
    for report in expected:
        found = load(where / "checkpoints" / report.config.network_id / "epoch-000004.safetensors")
        assert found.network.keys() == report.checkpoint.network.keys()
        assert all(torch.equal(found.network[name], tensor) for name, tensor in report.checkpoint.network.items())
    runs = pd.read_parquet(where / "runs")
    assert set(runs["architecture"]) == {network.kind}
    assert runs[["tau", "nonlinearity", "self_interaction"]].isna().all(axis=None)
    assert pd.read_parquet(where / "epochs")[["tau_mean", "tau_sd"]].isna().all(axis=None)
    assert max_n(where)[["architecture", "n", "finished", "max"]].values.tolist() == [[network.kind, 2, 2, 5]]
    for protocol in ("end", "in-time"):
        path = where / "checkpoints" / configs[0].network_id / "n-005.safetensors"
        assert evaluate(["evaluate", str(path), "--protocol", protocol]) == 0


def test_a_reused_process_gives_the_numbers_of_a_fresh_one(tmp_path):
    training = Training(batch_size=4, steps_per_epoch=2, test_batches=1)
    small = RunConfig(network=Leaky(hidden=4), training=training, end=EndRules(max_epochs=2))

    def trial(folder: str, seed: int) -> dict[str, object]:
        SweepFolder(str(tmp_path / folder), "fixed_tau").store.create()
        networks = [one.to_json() for one in replace(small, seed=seed).replicates(2)]
        where = str(tmp_path / folder / "fixed_tau")
        settings = {"plugins": [], "folder": where, "device": "cpu", "threads": 1, "gpus": 0, "mark": "runs"}
        return {"trial": {"index": 0, "networks": networks, **settings}}

    reused = PopulationTrainable(trial("reused", 0))
    while not reused.step()["done"]:
        pass
    assert reused.reset_config(trial("reused", 7))
    fresh = PopulationTrainable(trial("fresh", 7))
    for trainable in (reused, fresh):
        while not trainable.step()["done"]:
            pass
    expected, found = tables(tmp_path / "fresh" / "fixed_tau"), tables(tmp_path / "reused" / "fixed_tau")
    for name in ("outcomes", "epochs", "solved", "heads"):
        own = found[name][found[name]["network_id"].isin(expected["outcomes"]["network_id"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, expected[name], check_exact=True)
