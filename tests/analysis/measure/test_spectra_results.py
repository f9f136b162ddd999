"""From checkpoints to spectra, and what the command makes of a folder."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.__main__ import main
from analysis.data.frames import load
from analysis.measure.spectra import Protocol, measure
from tests.trained import trained_sweep
from tsrnn import GRU, RunConfig, Time
from tsrnn.io.checkpoint import Checkpoint, Progress, new
from tsrnn.io.checkpoint import load as load_checkpoint
from tsrnn.io.schemas import SOLVED, SPECTRA

SHORT = Protocol(steps=300, burn_in=50)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")


@pytest.fixture(scope="module")
def trained(results: Path) -> Checkpoint:
    row = load(results, SOLVED).query("n == 2").iloc[0]
    return load_checkpoint(results / row["checkpoint"])


def changed(checkpoint: Checkpoint, **tensors: torch.Tensor) -> Checkpoint:
    return replace(checkpoint, network=checkpoint.network | {k.replace("_", ".", 1): v for k, v in tensors.items()})


class TestMeasure:
    def test_a_trained_network_forgets(self, trained: Checkpoint):
        (row,) = measure(trained, 2, protocol=SHORT)[SPECTRA]
        assert row["lyapunov"] < 0
        assert 0 < row["departure"] < 1
        assert row["timescale_slowest"] == pytest.approx(-1 / math.log(row["spectral_radius"]))
        assert row["fisher_memory"] > 0
        assert row["fisher_delay"] > 0

    def test_without_recurrence_only_the_leak_is_left(self, trained: Checkpoint):
        """Neurons of one tau with states above 0: exponents, timescales and memory are those of the leak."""
        zeros = torch.zeros_like(trained.network["recurrent.bias"])
        alone = changed(
            trained,
            recurrent_weight=torch.zeros_like(trained.network["recurrent.weight"]),
            recurrent_bias=zeros + 1,
            input_weight=zeros + 1,
            input_bias=zeros,
        )
        alone = replace(alone, network=alone.network | {"tau": zeros + 4})
        (row,) = measure(alone, 2, protocol=SHORT)[SPECTRA]
        assert row["lyapunov"] == pytest.approx(math.log(0.75), abs=1e-6)
        assert row["timescale_slowest"] == pytest.approx(-1 / math.log(0.75))
        assert row["modes_slow"] == len(zeros)
        assert row["departure"] == pytest.approx(0, abs=1e-12)
        assert row["fisher_memory"] == pytest.approx(1)
        weights = 0.75 ** (2 * np.arange(400))
        assert row["fisher_delay"] == pytest.approx((weights @ np.arange(400)) / weights.sum())

    def test_a_network_that_explodes_has_an_empty_row(self, trained: Checkpoint):
        weights = torch.full_like(trained.network["recurrent.weight"], 5.0).fill_diagonal_(0)
        (row,) = measure(changed(trained, recurrent_weight=weights), 2, protocol=SHORT)[SPECTRA]
        assert row["fisher_memory"] is None
        assert row["timescale_slowest"] is None

    def test_what_cannot_be_measured_says_why(self, trained: Checkpoint):
        held = replace(trained, config=replace(trained.config, time=Time(k=(2,))))
        with pytest.raises(ValueError, match=r"time\.k = "):
            measure(held, 2, protocol=SHORT)
        gated = replace(new(RunConfig(network=GRU(hidden=4))), progress=Progress(heads=(2,)))
        with pytest.raises(TypeError, match="gru has no W"):
            measure(gated, 2, protocol=SHORT)


def test_the_command_measures_once_and_sums_up(results: Path, capsys: pytest.CaptureFixture[str]):
    command = ["spectra", str(results), "--every", "1", "--steps", "50", "--address", "local", "--workers", "1"]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    # Both curricula have solved N = 2 alone, where networks with the same seed are the same.
    assert printed["tests"] == []
    assert all(row["networks"] == 2 for row in printed["changes"])
    rows = printed["summary"]
    assert {(row["curriculum"], row["n"]) for row in rows} >= {("single", 2), ("multi", 2)}
    assert all(row["lyapunov"] < 0 < row["departure"] for row in rows)
    assert main(command) == 0
    lines = capsys.readouterr().out
    assert "Lyapunov" in lines
    assert set(load(results, SPECTRA)["n"]) <= {2, 3}
