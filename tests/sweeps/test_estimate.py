"""What a dry run says that a sweep costs."""

import math
from dataclasses import replace

import pytest
import torch

from sweeps.engine.errors import SweepError
from sweeps.engine.estimate import estimate, operations
from sweeps.engine.grid import with_curriculum, with_network, with_tau, with_time, with_training
from sweeps.engine.scales import base_config
from tsrnn.config import (
    GRU,
    LSTM,
    Adam,
    EndRules,
    Leaky,
    RunConfig,
    Time,
)
from tsrnn.io.checkpoint import new
from tsrnn.tasks import Sines
from tsrnn.training.loop import Trainer
from tsrnn.training.sampling import TaskBatch


class TestEstimate:
    def test_a_curriculum_of_one_step_is_estimated_at_its_n(self):
        for name, n in (("none-30", 30), ("all-30", 30), ("sliding-3", 5)):
            config = with_curriculum(RunConfig(), name)
            assert operations(config, 5) == operations(RunConfig(), n)
            assert operations(config, 5) > 0

    def test_truncated_steps_are_estimated_as_they_are_counted(self):
        config = with_curriculum(base_config("paper", "tuned"), "all-30")
        config = with_training(config.with_hidden(8), truncation=6, screening_batches=None, confirm=None)
        (report,) = Trainer([new(replace(config, end=EndRules(max_epochs=1)))]).run_epoch()
        expected = operations(replace(config, end=EndRules(max_epochs=1)), 5)
        assert report.checkpoint.progress.operations == expected

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

    def test_the_optimisers_own_products_are_counted(self):
        tuned = base_config("quick", "tuned")
        adam = replace(tuned, training=replace(tuned.training, optimizer=Adam()))
        steps = tuned.end.max_epochs * tuned.training.steps_per_epoch
        assert operations(tuned, 5) - operations(adam, 5) == steps * 5 * 3 * 2 * 64**3
