"""Networks asked with time steps they were not trained with."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.data.frames import load
from tests.handmade import HandMade, config
from tsrnn import EndRules, Leaky, RunConfig, Time, Training, train
from tsrnn.config import TrainedTau
from tsrnn.io.checkpoint import CheckpointFolder
from tsrnn.io.checkpoint import load as load_checkpoint
from tsrnn.io.rows import solved_rows
from tsrnn.io.schemas import TIME_STEPS
from tsrnn.training.evaluation import end_accuracy


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt N = 2 with k = 2 and 3."""
    sweep = HandMade(tmp_path_factory.mktemp("time") / "sweep")
    run = RunConfig(
        network=Leaky(hidden=32, self_interaction="outside", tau=TrainedTau(least=0.5)),
        training=Training(batch_size=64, steps_per_epoch=100, test_batches=5),
        end=EndRules(max_epochs=12, max_n=2),
        time=Time(k=(2, 3), dt="1/k"),
    )
    rows = []
    for report in train([run]):
        if report.solved:
            paths = {n: CheckpointFolder(sweep.folder, run.network_id).save_solved(report.solved, n) for n in (2,)}
            rows += solved_rows(report, paths)
    assert [row["n"] for row in rows] == [2]
    sweep.add(run, [{name: value for name, value in row.items() if name != "network_id"} for row in rows])
    sweep.add(config("multi"), [])
    return sweep.folder


def test_it_answers_with_finer_steps_and_not_with_much_longer_ones(results: Path, capsys: pytest.CaptureFixture[str]):
    command = ["time-steps", str(results), "--ks", "1", "2", "3", "6", "--address", "local", "--workers", "1", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == []
    accuracy = {row["k"]: row["accuracy"] for row in found["rows"]}
    assert min(accuracy[2], accuracy[3], accuracy[6]) > 0.9
    assert accuracy[1] < accuracy[2]
    frame = load(results, TIME_STEPS)
    assert frame["n"].tolist() == [2] * 4
    assert set(frame["k"]) == {1, 2, 3, 6}
    written = next((results / TIME_STEPS.name).glob("n*.parquet")).stat().st_mtime_ns
    assert main(command) == 0
    assert next((results / TIME_STEPS.name).glob("n*.parquet")).stat().st_mtime_ns == written


def test_heads_and_sequences_as_in_training(results: Path, capsys: pytest.CaptureFixture[str]):
    """The authors' test: with p ~ U(0, 1) a wrong answer of the network is right by chance more often than not."""
    copy = results.parent / "copy"
    shutil.copytree(results, copy)
    command = ["time-steps", str(copy), "--ks", "1", "3", "--address", "local", "--workers", "1", "--json"]
    found = []
    for options in ([], ["--as-trained"], ["--as-trained"], []):
        assert main([*command, *options]) == 0
        found.append({row["k"]: row["accuracy"] for row in json.loads(capsys.readouterr().out)["rows"]})
    fair, trained, again, back = found
    assert trained == again != fair == back
    (path,) = (copy / "checkpoints").glob("*/n-002.safetensors")
    checkpoint = load_checkpoint(path)
    run = checkpoint.config
    (own,) = end_accuracy(checkpoint.population(), run.task, [(0, "time steps 2", 3)], 5, 64, replace(run.time, k=(3,)))
    assert trained[3] == pytest.approx(np.mean([accuracy.accuracy for accuracy in own.values()]))


def test_networks_at_dt_1_are_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweep = HandMade(tmp_path / "sweep")
    sweep.add(replace(config("single"), time=Time(k=(3,))), [])
    assert main(["time-steps", str(sweep.folder)]) == 1
    error = capsys.readouterr().err
    assert "sweeps/time_discretisation.py" in error
    assert error.count("\n") == 1
