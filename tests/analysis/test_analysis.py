import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import tables
from analysis.__main__ import main
from analysis.data.frames import ResultsError, load
from analysis.data.study import Study
from analysis.stats.intervals import bootstrap
from analysis.tables import notes
from tsrnn import command_line
from tsrnn.config import EndState
from tsrnn.io.schemas import EPOCHS, OUTCOMES, RUNS, SOLVED, TABLES
from tsrnn.io.store import Store

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {"string": "text", "int64": 3, "float64": 0.25}


def row(table, **values):
    return {column.name: EXAMPLES[column.dtype] for column in table.columns} | values


class Sweep:
    """A sweep's folder, filled a network at a time."""

    def __init__(self, folder):
        self.store = Store(folder)
        self.store.create()
        self.networks = 0

    def add(self, task="parity", curriculum="multi", tau="1", solved=(), epochs=0, status=None, **run):
        self.networks += 1
        network_id = f"n{self.networks:02}"
        cell = {"task": task, "curriculum": curriculum, "tau": tau, "config": json.dumps({"seed": self.networks})} | run
        self.write(RUNS, network_id, [cell])
        self.write(SOLVED, network_id, [{"n": n} for n in solved])
        self.write(EPOCHS, network_id, [{"epoch": epoch} for epoch in range(1, epochs + 1)])
        if status is not None:
            outcome = {"status": status, "max_n": max(solved, default=0), "epochs": epochs}
            self.write(OUTCOMES, network_id, [outcome])

    def write(self, table, network_id, rows):
        self.store.write(table, network_id, [row(table, network_id=network_id, **values) for values in rows])

    def networks_frame(self):
        return Study(self.store.folder).networks

    def max_n(self):
        return Study(self.store.folder).max_n()


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path / "results" / "fixed_tau")


class TestLoad:
    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_an_empty_table(self, sweep, table):
        assert load(sweep.store.folder, table).columns.tolist() == [column.name for column in table.columns]

    def test_by_table_and_by_name(self, sweep):
        sweep.add(solved=[2, 3])
        by_name = load(str(sweep.store.folder), "solved")
        assert by_name["n"].tolist() == [2, 3]
        pd.testing.assert_frame_equal(by_name, load(sweep.store.folder, SOLVED))

    def test_a_folder_named_like_a_partition_adds_no_column(self, tmp_path):
        Store(tmp_path / "h=3").create()
        assert "h" not in load(tmp_path / "h=3", RUNS)

    @pytest.mark.parametrize(
        ("folder", "table", "message"),
        [
            (
                "results/fixed_tau",
                "colours",
                "no table 'colours': it has epochs, heads, outcomes, runs, solved",
            ),
            ("nowhere", "runs", "nowhere is not a folder"),
            (
                "results",
                "runs",
                "results is not the folder of a sweep but contains sweeps; give one of .*results/fixed_tau$",
            ),
            ("results/fixed_tau/runs", "runs", "runs has no tables"),
        ],
    )
    def test_errors_say_what_to_do(self, sweep, tmp_path, folder, table, message):
        with pytest.raises(ResultsError, match=message):
            load(tmp_path / folder, table)

    def test_a_damaged_file(self, sweep):
        (sweep.store.folder / "runs" / "n1.parquet").write_bytes(b"PAR1 half")
        with pytest.raises(ResultsError, match=r"^\S*n1\.parquet cannot be read .*verify .*--repair") as caught:
            load(sweep.store.folder, RUNS)
        assert "\n" not in str(caught.value)


class TestNetworks:
    @pytest.mark.parametrize("failed", ["curricula", "sliding_window"])
    def test_a_network_that_failed_in_one_sweep_has_the_outcome_of_another(self, tmp_path, failed):
        Sweep(tmp_path / failed).add(status="failed")
        Sweep(tmp_path / "fixed_tau").add(solved=[2, 3], epochs=5, status="epochs")
        (network,) = Study(tmp_path).networks.to_dict("records")
        assert (network["status"], network["max_n"]) == ("epochs", 3)

    def test_finished_running_and_untouched_networks(self, sweep):
        sweep.add(solved=[2, 3], epochs=5, status="epochs")
        sweep.add(solved=[2], epochs=4)
        sweep.add()
        frame = sweep.networks_frame()
        assert frame["status"].tolist() == ["epochs", "running", "running"]
        assert frame["max_n"].tolist() == [3, 2, 0]
        assert frame["epochs"].tolist() == [5, 4, 0]
        assert frame["settings"].tolist() == ["", "", ""]

    def test_a_failed_network_that_went_on_counts_with_what_it_has_now(self, sweep):
        sweep.add(solved=[2], epochs=3, status="failed")
        sweep.write(SOLVED, "n01", [{"n": 2}, {"n": 3}])
        sweep.write(EPOCHS, "n01", [{"epoch": epoch} for epoch in range(1, 7)])
        (network,) = sweep.networks_frame().to_dict("records")
        assert (network["status"], network["max_n"], network["epochs"]) == ("failed", 3, 6)

    def test_networks_with_and_without_confirmation_are_not_alike(self, sweep):
        sweep.add(config='{"training": {"confirm": {}}}')
        sweep.add(config="{}")
        assert sweep.networks_frame()["settings"].tolist() == ["training.confirm=yes", ""]
        assert len(sweep.max_n()) == 2


class TestMaxN:
    def test_a_network_that_was_trained_with_two_end_rules_counts_once(self, sweep):
        for limit, largest in ((20, 4), (30, 6)):
            config = json.dumps({"seed": 7, "end": {"max_epochs": limit}})
            sweep.add(solved=range(2, largest + 1), epochs=limit, status="epochs", config=config)
        (cell,) = sweep.max_n().to_dict("records")
        assert (cell["n"], cell["mean"]) == (1, 6.0)

    def test_numbers_by_hand(self, sweep):
        sweep.add(solved=range(2, 4), epochs=10, status="epochs")
        sweep.add(solved=range(2, 5), epochs=10, status="epochs")
        sweep.add(solved=range(2, 12), epochs=7, status="solved_all")
        sweep.add(solved=[2], epochs=1)
        (cell,) = sweep.max_n().to_dict("records")
        assert (cell["task"], cell["curriculum"], cell["tau"]) == ("parity", "multi", "1")
        assert (cell["n"], cell["finished"], cell["failed"]) == (4, 3, 0)
        assert (cell["out_of_epochs"], cell["solved_all"], cell["out_of_time"]) == (2, 1, 0)
        # max N is 3, 4, 11 and, so far, 2
        assert (cell["mean"], cell["median"], cell["min"], cell["max"]) == (5.0, 3.5, 2, 11)
        assert 2 <= cell["low"] < 5 < cell["high"] <= 11
        assert (cell["epochs_mean"], cell["epochs_max"]) == (7.0, 10)

    def test_every_end_has_its_column(self, sweep):
        states = [state for state in EndState if state is not EndState.RUNNING]
        for state in states:
            sweep.add(solved=[2], epochs=3, status=state.value)
        (cell,) = sweep.max_n().to_dict("records")
        assert [cell[state.label.replace(" ", "_")] for state in states] == [1] * len(states)
        assert cell["stalled"] == 1
        assert "1 stalled" in " ".join(notes(sweep.max_n()))

    def test_cells_are_ordered(self, sweep):
        for task in ("dms", "parity"):
            for curriculum in ("multi", "single"):
                for tau in ("trained", "10", "2", "1.5"):
                    sweep.add(task=task, curriculum=curriculum, tau=tau)
        frame = sweep.max_n()
        assert frame["tau"].tolist() == ["1.5", "2", "10", "trained"] * 4
        assert frame["curriculum"].tolist() == (["single"] * 4 + ["multi"] * 4) * 2
        assert frame["task"].tolist() == ["parity"] * 8 + ["dms"] * 8

    def test_curricula_are_ordered_by_kind_and_number(self, sweep):
        ordered = ["single", "sliding-3", "sliding-3-full", "sliding-20", "multi", "none-5", "none-10", "all-20"]
        for curriculum in sorted(ordered):
            sweep.add(curriculum=curriculum)
        assert sweep.max_n()["curriculum"].tolist() == ordered

    def test_other_columns_and_settings_part_cells(self, sweep):
        for seed in (0, 1):
            for batch in (8, 16):
                config = {"seed": seed, "training": {"batch_size": batch, "clip": None}}
                sweep.add(config=json.dumps(config), batch_size=batch, solved=[2])
        sweep.add(hidden=7, solved=[2, 3], batch_size=99, config='{"seed": 0}')
        frame = sweep.max_n()
        assert list(zip(frame["hidden"], frame["batch_size"], frame["settings"], frame["n"], strict=True)) == [
            (3, 16, "training.clip=None", 2),
            (3, 8, "training.clip=None", 2),
            (7, 99, "", 1),
        ]

    def test_architectures_without_a_choice(self, sweep):
        none = {"tau": None, "self_interaction": None, "nonlinearity": None}
        for architecture in ("lstm", "gru", "lstm"):
            sweep.add(architecture=architecture, solved=[2], epochs=1, status="epochs", **none)
        for tau in ("trained", "2"):
            sweep.add(architecture="leaky", tau=tau, solved=[2, 3])
        frame = sweep.max_n()
        columns = ["architecture", "n", "max"]
        assert frame[columns].values.tolist() == [["leaky", 1, 3], ["gru", 1, 2], ["lstm", 2, 2], ["leaky", 1, 3]]
        assert frame["tau"].tolist() == ["2", "", "", "trained"]
        console = command_line.console(file=io.StringIO(), width=200)
        tables.print_max_n(frame, console)
        lines = [line.split() for line in console.file.getvalue().splitlines()]
        assert ["parity", "multi", "-", "lstm", "-", "-"] in [line[:6] for line in lines]

    def test_a_sweep_without_networks(self, sweep):
        frame = sweep.max_n()
        assert len(frame) == 0
        assert {"task", "tau", "n", "mean", "low"} <= set(frame.columns)


class TestInterval:
    def test_one_network_has_none(self):
        assert np.isnan(bootstrap(np.array([4.0]))).all()

    def test_equal_values(self):
        assert bootstrap(np.array([4.0, 4.0, 4.0])) == (4.0, 4.0)

    def test_it_is_the_same_every_time(self):
        values = np.array([3.0, 4.0, 11.0, 2.0])
        assert bootstrap(values) == bootstrap(values)

    def test_it_covers_the_mean_as_often_as_it_says(self):
        # 20 normal values: the percentile bootstrap covers about 93 %; the bounds are 4 standard errors away.
        draws = np.random.default_rng(0).normal(size=(200, 20))
        intervals = [bootstrap(values) for values in draws]
        covered = np.mean([low <= 0 <= high for low, high in intervals])
        assert 0.86 <= covered <= 0.995


class TestPrintMaxN:
    def printed(self, frame):
        console = command_line.console(width=200)
        with console.capture() as capture:
            tables.print_max_n(frame, console)
        return capture.get()

    def test_a_partial_sweep(self, sweep):
        sweep.add(solved=[2, 3], epochs=5, status="epochs")
        sweep.add(solved=[2, 3, 4], epochs=5, status="failed")
        sweep.add(solved=[2], epochs=2)
        text = self.printed(sweep.max_n())
        assert "2 of 3 networks finished" in text
        assert "3 networks: 1 out of epochs, 1 failed, 1 not finished" in text
        assert "limited by the budget" in text
        assert "run the sweep again" in text
        assert "hidden" not in text
        assert "2 to 4" in text

    def test_a_finished_sweep_that_solved_all(self, sweep):
        sweep.add(solved=[2], epochs=5, status="solved_all")
        text = self.printed(sweep.max_n())
        assert "networks finished" not in text
        assert "budget" not in text

    def test_columns_that_vary_are_shown(self, sweep):
        sweep.add(hidden=7)
        sweep.add(hidden=8)
        text = self.printed(sweep.max_n())
        assert "hidden" in text
        assert "nonlinearity" not in text


class TestCommandLine:
    def test_json(self, sweep, capsys):
        sweep.add(solved=[2, 3], epochs=4, status="epochs")
        assert main(["max-n", str(sweep.store.folder), "--json"]) == 0
        (cell,) = json.loads(capsys.readouterr().out)["rows"]
        assert list(cell) == sweep.max_n().columns.tolist()
        assert (cell["max"], cell["mean"], cell["low"]) == (3, 3.0, None)

    def test_json_of_an_empty_sweep(self, sweep, capsys):
        assert main(["max-n", str(sweep.store.folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"rows": []}

    @pytest.mark.parametrize(
        ("arguments", "status", "message"),
        [
            (["max-n", "nowhere"], 1, "nowhere is not a folder"),
            (["max-n"], 2, "RESULTS"),
            (["max-n", "a", "--colour"], 2, "--colour"),
            (["min-n", "a"], 2, "min-n"),
        ],
    )
    def test_errors_are_one_line(self, capsys, arguments, status, message):
        assert main(arguments) == status
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("error: ")
        assert message in output.err
        assert output.err.count("\n") == 1

    def test_as_a_program(self, sweep, tmp_path):
        """Results are read without torch, which takes longer to import than all else: there is none here."""
        (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
        sweep.add(tau="trained", solved=[2, 3], epochs=4, status="epochs")
        # The mistake is one that is found before anything slow is imported.
        good, bad = (
            subprocess.run(
                [sys.executable, "-m", "analysis", *words], env=environment, capture_output=True, text=True, timeout=60
            )
            for words in (["max-n", str(sweep.store.folder)], ["timescales", str(sweep.store.folder), "--every", "0"])
        )
        assert (good.returncode, good.stderr) == (0, "")
        assert "\x1b" not in good.stdout
        assert "trained" in good.stdout
        assert (bad.returncode, bad.stdout) == (2, "")
        assert bad.stderr.startswith("error: ")
        assert bad.stderr.count("\n") == 1
