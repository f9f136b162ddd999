"""Retraining from solved checkpoints: where a run starts, and the whole sweep on Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from analysis.data.frames import load
from sweeps.retraining import retrained
from tests.trained import trained_sweep
from tsrnn.config import NoCurriculum, RunConfig, stacking_key
from tsrnn.io.checkpoint import CheckpointError, new
from tsrnn.io.checkpoint import load as load_checkpoint
from tsrnn.io.schemas import RETRAINING, SOLVED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")


@pytest.fixture
def starts(results: Path):
    """Each network that solved N = 2, with where its retraining on N' = 5 starts."""
    rows = load(results, SOLVED).query("n == 2")
    sources = [load_checkpoint(results / path) for path in rows["checkpoint"]]
    return [(source, retrained(source, 2, 5, 20)) for source in sources]


class TestStart:
    def test_all_weights_are_the_sources_and_its_head_is_handed_on(self, starts):
        for source, start in starts:
            assert start.progress.heads == (5,)
            assert start.progress.epoch == 0
            assert torch.equal(start.network["heads.5.weight"], source.network["heads.2.weight"])
            assert torch.equal(start.network["heads.5.bias"], source.network["heads.2.bias"])
            for name in start.network.keys() - {"heads.5.weight", "heads.5.bias"}:
                assert torch.equal(start.network[name], source.network[name])

    def test_sources_tell_runs_apart_and_are_trained_together(self, starts):
        configs = [start.config for _, start in starts]
        assert len({config.network_id for config in configs}) == 4
        assert len({stacking_key(config) for config in configs}) == 1
        assert {config.curriculum for config in configs} == {NoCurriculum(n=5)}
        assert RunConfig.from_json(configs[0].to_json()) == configs[0]

    def test_without_its_checkpoint_a_run_is_not_started_from_initial_weights(self, starts):
        with pytest.raises(CheckpointError, match="starts from the checkpoint n"):
            new(starts[0][1].config)

    def test_a_run_from_initial_weights_keeps_its_id(self):
        assert RunConfig().network_id == RunConfig(source="").network_id != RunConfig(source="n1/2").network_id


def command(*options: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "sweeps/retraining.py", *map(str, options)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_the_sweep_and_again(results: Path):
    options = ("--n", "16", "--higher", "2", "--epochs", "2", "--trials", "2", "--address", "local", "--json")
    done = command(results, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    table = load(results, RETRAINING)
    (n,) = table["n"].unique()
    assert len(table) == 4 * 3
    assert set(table["retrained_n"]) == {n, n + 1, n + 2}
    assert (table.loc[table["retrained_n"] == n, "relative_accuracy"] == 1).all()
    assert table.loc[table["retrained_n"] > n, "epochs"].between(1, 2).all()
    assert {(row["curriculum"], row["networks"]) for row in found["summary"]} == {("single", 2), ("multi", 2)}
    assert [row["beyond"] for row in found["tests"]] == [1, 2]
    assert any("N = 16 is not solved by" in note for note in found["notes"])
    again = command(results, *options)
    assert "to train" not in again.stderr
    assert json.loads(again.stdout) == found


def test_nothing_there_is_one_line(tmp_path: Path):
    done = command(tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
