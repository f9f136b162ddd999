"""Sweeps as their user runs them: real processes, a real Ray, real kills."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from sweeps._estimate import operations
from sweeps._folder import SweepFolder
from sweeps._grid import with_tau
from tsrnn.config import FixedTau, RunConfig

ROOT = Path(__file__).resolve().parents[1]
SWEEP = [sys.executable, "sweeps/fixed_tau.py"]
QUICK = ["--scale", "quick", "--tasks", "parity", "--curricula", "multi"]
TINY = [*QUICK, "--hidden", "8"]
GRID = [*TINY, "--taus", "1", "trained", "--replicates", "2"]
TABLES = ("runs", "outcomes", "epochs", "solved", "heads")
CLOCKS = ("wall_s", "device", "versions")


def sweep(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SWEEP, *map(str, options)], cwd=ROOT, capture_output=True, text=True, timeout=300)


def start(*options: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SWEEP, *map(str, options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    found = {name: pd.read_parquet(folder / name) for name in TABLES}
    keys = ["network_id", "epoch", "n"]
    return {
        name: frame.drop(columns=[c for c in CLOCKS if c in frame])
        .sort_values([key for key in keys if key in frame])
        .reset_index(drop=True)
        for name, frame in found.items()
    }


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


def ray_processes() -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        command = entry / "cmdline"
        if command.exists() and any(word in command.read_bytes() for word in (b"raylet", b"ray::", b"gcs_server")):
            found.add(int(entry.name))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, int]:
    """A sweep that ran undisturbed while its tables were read: its storage, output, errors and reads."""
    storage = tmp_path_factory.mktemp("finished")
    process = start(*GRID, "--storage", storage)
    reads = 0
    while process.poll() is None:
        folder = storage / "fixed_tau"
        if (folder / "sweep.json").exists():
            for name in TABLES:
                frame = pd.read_parquet(folder / name)
                reads += 1
                if name == "epochs":
                    for _, own in frame.groupby("network_id"):
                        assert sorted(own["epoch"]) == list(range(1, len(own) + 1))
        time.sleep(0.02)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return storage, output, errors, reads


class TestRun:
    def test_ends_with_the_table_and_says_what_is_inconclusive(self, finished):
        _, output, errors, _ = finished
        assert "Largest N solved" in output
        assert "parity multi      trained" in output
        assert "local Ray: " in errors
        assert "Traceback" not in errors

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

    def test_another_size_in_the_same_folder_is_refused(self, finished):
        before = tables(finished[0] / "fixed_tau")
        result = sweep(*QUICK, "--hidden", "9", "--storage", finished[0])
        assert result.returncode == 1
        assert "network.hidden (8, now 9)" in one_line(result)
        after = tables(finished[0] / "fixed_tau")
        assert all(before[name].equals(after[name]) for name in TABLES)


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
        "resume",
        "dry-run",
        "json",
    ]:
        assert f"--{name}" in text


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--bogus", "1"], 2, "--bogus"),
        (["--taus", "0.5"], 2, "tau = 0.5: Input should be greater than or equal to 1"),
        (["--taus", "nan"], 2, "tau = nan"),
        (["--taus", "long"], 2, "taus = 'long'"),
        (["--taus"], 2, "taus"),
        (["--preset", "copy"], 2, '"paper", "authors"'),
        (["--replicates", "0"], 2, "replicates = 0"),
        (["--hidden", "0"], 2, "hidden = 0"),
        (["--seed", "-1"], 2, "seed = -1"),
        (["--cpus-per-trial", "0"], 2, "cpus-per-trial = 0"),
        (["--address", "nowhere"], 2, "HOST:PORT"),
        (["--address", "127.0.0.1:1"], 1, "no Ray cluster answers"),
        (["--resume"], 1, "nothing to resume"),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, status, says):
    storage = tmp_path / "storage"
    result = sweep(*QUICK, *options, "--storage", storage)
    assert result.returncode == status
    assert says in one_line(result)
    assert not storage.exists()


class TestStorage:
    def test_other_files_are_left_alone(self, tmp_path):
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "thesis.txt").write_text("mine")
        result = sweep(*TINY, "--storage", tmp_path)
        assert result.returncode == 1
        assert "choose another --storage" in one_line(result)
        assert [p.name for p in (tmp_path / "fixed_tau").iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize("text", ["{", "[]", '{"sweep": "fixed_tau"}'])
    def test_a_damaged_record_is_named(self, tmp_path, text):
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "sweep.json").write_text(text)
        result = sweep(*TINY, "--storage", tmp_path)
        assert result.returncode == 1
        assert "sweep.json" in one_line(result)

    def test_another_sweep_is_refused(self, finished, tmp_path):
        record = json.loads((finished[0] / "fixed_tau" / "sweep.json").read_text()) | {"sweep": "curricula"}
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "sweep.json").write_text(json.dumps(record))
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
        before = ray_processes()
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 40)
        for victim in [process.pid, *(ray_processes() - before)]:
            os.kill(victim, signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "fixed_tau" / "outcomes").exists() or len(tables(tmp_path / "fixed_tau")["outcomes"]) < 4
        result = sweep("--resume", "--storage", tmp_path)
        assert result.returncode == 0, result.stderr
        expected, found = tables(finished[0] / "fixed_tau"), tables(tmp_path / "fixed_tau")
        for name in TABLES:
            pd.testing.assert_frame_equal(found[name], expected[name], check_exact=True)

    def test_a_damaged_checkpoint_costs_an_epoch_and_is_reported(self, finished, tmp_path):
        before = ray_processes()
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 40)
        for victim in [process.pid, *(ray_processes() - before)]:
            os.kill(victim, signal.SIGKILL)
        process.communicate()
        newest = max((tmp_path / "fixed_tau" / "checkpoints").glob("*/epoch-*"), key=lambda path: path.name)
        content = bytearray(newest.read_bytes())
        content[-5] ^= 0xFF
        newest.write_bytes(content)
        result = sweep("--resume", "--storage", tmp_path)
        assert result.returncode == 0, result.stderr
        assert "damaged" in result.stderr
        expected, found = tables(finished[0] / "fixed_tau"), tables(tmp_path / "fixed_tau")
        for name in TABLES:
            pd.testing.assert_frame_equal(found[name], expected[name], check_exact=True)

    def test_interrupted_then_extended(self, tmp_path):
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 10)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (1, 130)
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


class TestParts:
    def test_with_tau(self):
        assert with_tau(RunConfig(), "2").network.tau == FixedTau(tau=2)
        assert with_tau(RunConfig(), "trained") == RunConfig()

    def test_operations_of_the_papers_epoch(self):
        # 1000 epochs of 600 steps and 50 tests, M = 13.5 on average at N = 5.
        expected = 1000 * (6 * 600 + 2 * 50) * 13.5 * 256 * 500**2
        assert operations(RunConfig(), 5) == expected

    def test_an_absent_folder_holds_nothing(self, tmp_path):
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        assert folder.read() is None
        assert folder.unfinished([RunConfig()]) == [RunConfig()]
