"""From checkpoints to memory capacities, and what the command makes of a folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from analysis.__main__ import main
from analysis.data.frames import load
from analysis.measure.memory import Protocol, measure
from tests.trained import trained_sweep
from tsrnn import Sines, Time
from tsrnn.io.checkpoint import Checkpoint, save
from tsrnn.io.checkpoint import load as load_checkpoint
from tsrnn.io.files import RECORD, location
from tsrnn.io.published import publish
from tsrnn.io.schemas import MEMORY, SOLVED

SHORT = Protocol(steps=1500, trials=4, burn_in=50, longest=10, pairs=5)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")


@pytest.fixture(scope="module")
def trained(results: Path) -> Checkpoint:
    row = load(results, SOLVED).query("n == 2").iloc[0]
    return load_checkpoint(results / row["checkpoint"])


class TestMeasure:
    def test_a_network_that_has_learnt_the_parity_of_two_bits_holds_it(self, trained: Checkpoint):
        frame = pd.DataFrame(measure(trained, 2, protocol=SHORT)[MEMORY])
        assert not frame.duplicated(["bits", "nearest", "farthest"]).any()
        assert len(frame) == 10 + 10 + 8
        held = frame.set_index(["bits", "nearest", "farthest"])["capacity"]
        # A readout that is right in 98 % of cases explains most of the parity, and of no parity of eight bits.
        assert held[2, 0, 1] > 0.7
        assert abs(held[8, 0, 7]) < 0.1
        assert held[1, 0, 0] > held[1, 9, 9]

    def test_the_same_numbers_again(self, trained: Checkpoint):
        assert measure(trained, 2, protocol=SHORT) == measure(trained, 2, protocol=SHORT)

    def test_a_network_that_explodes_has_empty_rows(self, trained: Checkpoint):
        weights = torch.full_like(trained.network["recurrent.weight"], 5.0).fill_diagonal_(0)
        wild = replace(trained, network=trained.network | {"recurrent.weight": weights})
        assert {row["capacity"] for row in measure(wild, 2, protocol=SHORT)[MEMORY]} == {None}

    def test_what_cannot_be_measured_says_why(self, trained: Checkpoint):
        held = replace(trained, config=replace(trained.config, time=Time(k=(2,))))
        with pytest.raises(ValueError, match=r"time\.k = "):
            measure(held, 2, protocol=SHORT)
        sines = replace(trained, config=replace(trained.config, task=Sines()))
        with pytest.raises(ValueError, match="task = sines"):
            measure(sines, 2, protocol=SHORT)
        with pytest.raises(ValueError, match="simulate longer"):
            measure(trained, 2, protocol=replace(SHORT, steps=20, trials=2))


def test_the_command_measures_once_and_sums_up(results: Path, capsys: pytest.CaptureFixture[str]):
    command = ["memory", str(results), "--every", "1", "--steps", "400", "--trials", "2", "--longest", "8"]
    command += ["--address", "local", "--workers", "1"]
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["summary"]
    assert {(row["curriculum"], row["n"]) for row in rows} >= {("single", 2), ("multi", 2)}
    assert all(row["networks"] >= 1 and row["memory_of_bits"] > 1 for row in rows)
    table = load(results, MEMORY)
    assert set(table["n"]) <= {2, 3}
    assert main(command) == 0
    assert "Memory capacity" in capsys.readouterr().out
    pd.testing.assert_frame_equal(load(results, MEMORY), table)


def test_a_network_that_explodes_is_left_out_by_name(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "sweep"
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("memory", "analyses"))
    row = load(folder, SOLVED).query("n == 2").iloc[0]
    checkpoint = load_checkpoint(folder / row["checkpoint"])
    weights = torch.full_like(checkpoint.network["recurrent.weight"], 5.0).fill_diagonal_(0)
    save(replace(checkpoint, network=checkpoint.network | {"recurrent.weight": weights}), folder / row["checkpoint"])
    command = ["memory", str(folder), "--every", "1", "--steps", "400", "--trials", "2", "--longest", "8"]
    assert main([*command, "--address", "local", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    line = (
        f"{row['network_id']} N = 2: memory_of_bits, memory_of_parities, memory_of_trained_parity not finite, as where"
    )
    assert line in " ".join(told.split())
    assert told.count("left out") == 1
    assert main(["spectra", str(folder), "--every", "1", "--steps", "400", "--address", "local", "--workers", "1"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"{row['network_id']} N = 2: " in told
    assert told.count("not finite, as where activity grows without limit; its other values count") == 1


def test_too_few_steps_are_known_at_once(results: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["memory", str(results), "--steps", "64"]) == 2
    assert capsys.readouterr().err == ("error: steps = 64: allowed are numbers above the longest delay, --longest 64\n")


def test_a_published_folder_without_checkpoints_is_an_error(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = tmp_path / "sweep"
    shutil.copytree(results, source, ignore=shutil.ignore_patterns("memory", "analyses"))
    (source / RECORD).touch()
    publish(location(source), location(tmp_path / "published"), set())
    assert main(["memory", str(tmp_path / "published"), "--address", "local"]) == 1
    assert "nothing was measured: the checkpoints of these N were not published with it" in capsys.readouterr().err
