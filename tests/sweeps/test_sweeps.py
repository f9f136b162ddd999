"""Sweeps as their user runs them: real processes, a real Ray."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from sweeps.engine.folder import Record, SweepFolder
from sweeps.engine.options import Options
from sweeps.engine.plan import storage_of
from tests.sweeps.commands import BUDGET, GRID, NICENESS, QUICK, ROOT, SHORT, TABLES, TINY, contents, one_line, sweep
from tsrnn.config import (
    RunConfig,
)
from tsrnn.errors import UsageError
from tsrnn.io.files import open_sealed_json, sealed_json


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
        assert len(found["epochs"]) == 4 * BUDGET
        assert not found["epochs"].duplicated(["network_id", "epoch"]).any()
        assert not found["heads"].duplicated(["network_id", "epoch", "n"]).any()
        for text, key in zip(found["runs"]["config"], found["runs"]["network_id"], strict=True):
            assert RunConfig.from_json(text).network_id == key
        for path in found["solved"]["checkpoint"]:
            assert (finished[0] / "fixed_tau" / path).is_file()

    def test_the_same_command_again_says_that_all_is_done(self, finished, here):
        status, output, errors = here(*SHORT, "--storage", finished[0], "--json")
        assert status == 0
        assert "all 4 networks have ended already" in " ".join(errors.split())
        assert "Ray" not in errors
        assert [row["tau"] for row in json.loads(output)["rows"]] == ["1", "trained"]

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

    def test_another_size_in_the_same_folder_is_refused(self, finished, here):
        before = contents(finished[0])
        status, _, errors = here(*QUICK, "--hidden", "9", "--storage", finished[0])
        assert status == 1
        assert "network.hidden (8, now 9)" in one_line(errors)
        assert contents(finished[0]) == before


class TestDryRun:
    def test_without_a_scale_it_is_quick_on_one_machine(self, tmp_path, here):
        options = ("--address", "local", "--taus", "1", "--tasks", "dms", "--storage", tmp_path / "none")
        status, output, errors = here("--dry-run", "--json", *options)
        found = json.loads(output)
        assert (status, found["scale"], found["networks"]) == (0, "quick", 8)
        assert "scale quick, since no Ray cluster was found; --scale paper" in errors
        assert not (tmp_path / "none").exists()

    def test_the_grid_is_a_table(self, tmp_path, here):
        _, output, _ = here(*GRID, "--dry-run", "--storage", tmp_path / "none")
        assert "parity multi tau 1" in output
        assert "4 networks in 2 trials" in output
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
        (["--truncation", "16"], 2, "training.truncation = 16: the heads of the task in training are read out at 1"),
        (["--preset", "tuned", "--truncation", "0"], 2, "truncation = 0"),
        (["--products", "mkl"], 2, '"blas", "onednn"'),
        (["--seed", "-1"], 2, "seed = -1"),
        (["--cpus-per-trial", "0"], 2, "cpus-per-trial = 0"),
        (["--cpus-per-trial", "nan"], 2, "cpus-per-trial = nan"),
        (["--cpus-per-trial", "0.00001"], 2, "cpus-per-trial = 1e-05: allowed are numbers of at least 0.0001"),
        (["--gpus-per-trial", "-1"], 2, "gpus-per-trial = -1"),
        (["--gpus-per-trial", "1.5"], 2, "gpus-per-trial = 1.5"),
        (["--niceness", "-1"], 2, "niceness = -1: allowed are whole numbers from 0 to 19"),
        (["--niceness", "20"], 2, "niceness = 20"),
        (["--niceness", "0.5"], 2, "niceness"),
        (["--seed", "2.7"], 2, "--seed: '2.7': allowed are whole numbers"),
        (["--epochs", "0"], 2, "--epochs. allowed are numbers of at least 1"),
        (["--stall", "0"], 2, "--stall. allowed are numbers of at least 1"),
        (["--curricula", "sliding-0"], 2, "curricula = 'sliding-0': width = 0: Input should be greater"),
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
    assert f"{option.removeprefix('--')} = 10000: this cluster has" in one_line(result.stderr)
    assert not (tmp_path / "storage").exists()


class TestStorage:
    def test_without_one_the_folder_says_the_scale(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("TSRNN_STORAGE", raising=False)
        assert storage_of(Options(scale="paper"), "fixed_tau") == "results/paper"
        assert storage_of(Options(scale="quick"), "fixed_tau") == "results/quick"
        assert storage_of(Options(scale="quick", storage="here"), "fixed_tau") == "here"

    def test_what_is_resumed_is_found_at_its_scale(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        resume = Options(resume=True)

        def hold(storage: str) -> None:
            SweepFolder(storage, "fixed_tau").write(Record("fixed_tau", "quick", "paper", RunConfig(), ()))

        assert storage_of(resume, "fixed_tau") == "results/quick"
        hold("results/quick")
        assert storage_of(resume, "fixed_tau") == "results/quick"
        assert storage_of(resume, "curricula") == "results/quick"
        assert storage_of(Options(resume=True, scale="laptop"), "fixed_tau") == "results/laptop"
        hold("results")
        with pytest.raises(UsageError, match="results/quick and results hold the sweep fixed_tau; give --storage one"):
            storage_of(resume, "fixed_tau")

    def test_other_files_are_left_alone(self, tmp_path, here):
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "thesis.txt").write_text("mine")
        status, _, errors = here(*TINY, "--storage", tmp_path)
        assert status == 1
        assert "choose another --storage" in one_line(errors)
        assert [p.name for p in (tmp_path / "fixed_tau").iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize("text", ["{", "[]", '{"sweep": "fixed_tau"}', '{"sweep": "fixed_tau", "scale": "huge"}'])
    def test_a_damaged_record_is_named(self, tmp_path, here, text):
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "sweep.json").write_text(text)
        status, _, errors = here(*TINY, "--storage", tmp_path)
        assert status == 1
        assert "sweep.json" in one_line(errors)

    def test_another_sweep_is_refused(self, finished, tmp_path, here):
        record = open_sealed_json((finished[0] / "fixed_tau" / "sweep.json").read_bytes()) | {"sweep": "curricula"}
        (tmp_path / "fixed_tau").mkdir()
        (tmp_path / "fixed_tau" / "sweep.json").write_bytes(sealed_json(record))
        status, _, errors = here(*GRID, "--storage", tmp_path)
        assert status == 1
        assert "holds the sweep curricula" in one_line(errors)

    def test_an_unwritable_folder(self, tmp_path, here):
        (tmp_path / "file").write_text("")
        status, _, errors = here(*TINY, "--storage", tmp_path / "file")
        assert status == 1
        assert "cannot be written" in one_line(errors)
