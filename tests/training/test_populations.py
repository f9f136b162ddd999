"""Networks that are trained together or in two parts are those that are trained alone and in one go."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.oracles import plain
from tests.tolerances import TOLERANCES
from tests.training.runs import (
    CURRICULA,
    EACH_ONCE,
    OPTIMIZERS,
    SOLVES_ALWAYS,
    TINY,
    assert_close,
    assert_same,
    assert_same_runs,
    in_pairs,
    of,
    run,
    starts,
    uninterrupted,
)
from tsrnn.config import (
    DMS,
    GRU,
    LSTM,
    SOAP,
    Curriculum,
    FixedTau,
    GradientClip,
    Network,
    Optimizer,
    TrainedTau,
)
from tsrnn.config.presets import with_preset
from tsrnn.io.checkpoint import load, new, save
from tsrnn.training.loop import Trainer, train
from tsrnn.training.sampling import batches

TAUS = [TrainedTau(), TrainedTau(constraint="clamp_forward"), FixedTau(tau=2)]
CLIPS = [None, GradientClip(max_norm=0.3), GradientClip(counts="parameters_and_diagonal")]


class TestPopulations:
    @pytest.mark.parametrize(
        "config",
        [TINY, dataclasses.replace(TINY, task=DMS()), with_preset(TINY, "authors")],
        ids=["parity", "dms", "authors"],
    )
    def test_twenty_steps_are_those_of_single_networks(self, config, curriculum):
        alike = starts(dataclasses.replace(config, curriculum=curriculum))
        together = Trainer(alike)
        losses, norms, time_steps = together.train_steps(20)
        for r, one in enumerate(alike):
            alone = Trainer([one])
            loss, norm, steps = alone.train_steps(20)
            assert losses[r] == pytest.approx(loss[0], rel=TOLERANCES[torch.float64].training)
            assert norms[r] == pytest.approx(norm[0], rel=TOLERANCES[torch.float64].training)
            assert time_steps[r] == steps[0]
            assert_close(together.population.states()[r], alone.population.states()[0])

    @pytest.mark.parametrize(("optimizer", "tau", "clip"), in_pairs(OPTIMIZERS, TAUS, CLIPS), indirect=["optimizer"])
    def test_twenty_steps_are_the_oracles(self, tau, clip, optimizer):
        training = dataclasses.replace(TINY.training, clip=clip, optimizer=optimizer)
        config = dataclasses.replace(TINY, network=dataclasses.replace(TINY.network, tau=tau), training=training)
        alike = starts(config)
        trainer = Trainer(alike)
        addresses = [(one.config.seed, "train", one.progress.epoch + 1) for one in alike]
        drawn = list(batches(config.task, trainer.population, addresses, 20, training.batch_size))
        losses, norms, _ = trainer.train_steps(20)
        for r, one in enumerate(alike):
            own = [
                (
                    batch.inputs[len(batch.inputs) - batch.lengths[r] :, r].double(),
                    initial[r],
                    {n: batch.targets[:, r, k] for k, n in enumerate(one.progress.heads)},
                )
                for batch, initial in drawn
            ]
            expected, oracle_losses, oracle_norms = plain.train(config, one.network, own)
            assert losses[r] == pytest.approx(np.mean(oracle_losses), rel=TOLERANCES[torch.float64].training)
            assert norms[r] == pytest.approx(np.mean(oracle_norms), rel=TOLERANCES[torch.float64].training)
            assert_close(trainer.population.states()[r], expected)

    def test_whole_runs_are_those_of_single_networks(self, curriculum, optimizer):
        self.same_alone(TINY.network, curriculum, optimizer)

    # Optimisers and curricula meet in the heads, which are those of leaky networks: their pairs are tested above.
    @pytest.mark.parametrize(
        ("curriculum", "optimizer", "kind"),
        [(*pair, (GRU, LSTM)[i % 2]) for i, pair in enumerate(EACH_ONCE)],
        indirect=["curriculum", "optimizer"],
    )
    def test_whole_runs_of_gated_networks_too(self, curriculum, optimizer, kind):
        self.same_alone(kind(hidden=9), curriculum, optimizer)

    @staticmethod
    def same_alone(network: Network, curriculum: Curriculum, optimizer: Optimizer) -> None:
        training = dataclasses.replace(TINY.training, optimizer=optimizer)
        usual = TOLERANCES[torch.float64].training
        # SOAP's eigenvectors amplify rounding: by the ratio of the largest eigenvalue to the gap between two. This
        # matters much less for the steps that are taken in them.
        network_tolerance, state_tolerance = (1e-8, 1e-5) if isinstance(optimizer, SOAP) else (usual, usual)
        alike = starts(dataclasses.replace(TINY, curriculum=curriculum, network=network, training=training))
        together = uninterrupted(alike[0].config)
        assert len({report.n for report in together}) > 3
        for one in alike:
            own = run(Trainer([one]))
            assert len(of(together, one.config)) == len(own) == 6 - one.progress.epoch
            for a, b in zip(of(together, one.config), own, strict=True):
                assert (a.epoch, a.accuracies, a.outcome) == (b.epoch, b.accuracies, b.outcome)
                assert a.loss == pytest.approx(b.loss, rel=TOLERANCES[torch.float64].training)
                assert_close(a.checkpoint.network, b.checkpoint.network, network_tolerance)
                assert a.checkpoint.optimizer.keys() == b.checkpoint.optimizer.keys()
                for part, state in a.checkpoint.optimizer.items():
                    assert_close(state, b.checkpoint.optimizer[part], state_tolerance)

    def test_fixed_taus_may_differ(self):
        configs = [
            dataclasses.replace(TINY, network=dataclasses.replace(TINY.network, tau=FixedTau(tau=tau)))
            for tau in (1, 2, 3)
        ]
        together = list(train(configs))
        assert [report.tau_mean for report in together[:3]] == [1.0, 2.0, 3.0]
        assert {report.tau_sd for report in together} == {0.0}
        for config in configs:
            last, alone = of(together, config)[-1], list(train(config))[-1]
            assert_close(last.checkpoint.network, alone.checkpoint.network)

    def test_what_cannot_be_stacked_is_an_error(self):
        with pytest.raises(ValueError, match="at least one network"):
            Trainer([])
        with pytest.raises(ValueError, match="seed and in a fixed tau's value only"):
            Trainer([new(TINY), new(dataclasses.replace(TINY, task=DMS()))])


class TestInterruption:
    @pytest.mark.parametrize(
        ("curriculum", "optimizer", "epochs"),
        in_pairs(CURRICULA, OPTIMIZERS, [1, 3, 5]),
        indirect=["curriculum", "optimizer"],
    )
    def test_a_run_in_two_parts_is_the_run_bit_for_bit(self, curriculum, optimizer, tmp_path: Path, epochs: int):
        training = dataclasses.replace(TINY.training, optimizer=optimizer)
        alike = starts(dataclasses.replace(TINY, curriculum=curriculum, training=training))
        whole = uninterrupted(alike[0].config)
        assert sum(report.solved is not None for report in whole) > 4  # the curricula step
        assert any(report.solved is None for report in whole)

        reached = {one.config: one.progress.epoch + epochs for one in alike}
        stopped = [report for report in whole if report.epoch == reached[report.config] and not report.outcome]
        for i, report in enumerate(stopped):
            save(report.checkpoint, tmp_path / str(i))
        rest = run(Trainer([load(tmp_path / str(i)) for i in range(len(stopped))]))
        remaining = [report for report in whole if report.epoch > reached[report.config]]
        assert [report.config for report in rest] == [report.config for report in remaining]
        assert_same_runs(rest, remaining)

    def test_solved_checkpoints_can_be_saved(self, tmp_path: Path):
        for report in train(SOLVES_ALWAYS):
            save(report.solved, tmp_path / "file")
            assert_same(load(tmp_path / "file").network, report.solved.network)
