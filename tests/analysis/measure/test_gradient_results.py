"""From checkpoints to gradients and curvature, and what the command makes of a folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from analysis.__main__ import main
from analysis.data.frames import load
from analysis.measure.gradients import OLDER, Protocol, _as_in_training, measure
from tests.oracles.plain import leaky_states, logits
from tests.trained import trained_sweep
from tsrnn import GRU, Leaky, MultiHead, RunConfig, Sines, SingleHead, Time
from tsrnn.io.checkpoint import Checkpoint, Progress, new
from tsrnn.io.schemas import CURVATURE, GRADIENT_COSINES, GRADIENTS
from tsrnn.networks import initial_network

SHORT = Protocol(batches=2, batch_size=16)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")


def made(curriculum: str) -> tuple[Checkpoint, int]:
    """A small network that counts as having solved N = 4."""
    own = {"single": SingleHead(), "multi": MultiHead()}[curriculum]
    config = RunConfig(network=Leaky(hidden=8), curriculum=own)
    heads = (2, 3, 4) if curriculum == "multi" else (4,)
    return Checkpoint(config, Progress(heads=heads, solved=heads), initial_network(config, heads)), 4


def plain_gradient(checkpoint: Checkpoint, n: int, head: int) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of one head on the sequences that are measured, and its gradients, as one writes them first."""
    tensors = {name: tensor.double().requires_grad_() for name, tensor in checkpoint.network.items()}
    losses = []
    for batch, initial in _as_in_training(checkpoint, n, SHORT):
        bits = batch.inputs[:, 0].double()
        said = logits(tensors, head, leaky_states(checkpoint.config.network, tensors, bits, initial[0])[-1])
        losses.append(F.cross_entropy(said, bits[-head:].sum(0).long() % 2))
    loss = sum(losses) / len(losses)
    names = ("recurrent.weight", "tau")
    found = dict(zip(names, torch.autograd.grad(loss, [tensors[name] for name in names]), strict=True))
    found["recurrent.weight"].fill_diagonal_(0.0)
    return loss.item(), found


class TestMeasure:
    def test_a_multi_head_network_has_every_loss(self):
        checkpoint, n = made("multi")
        found = measure(checkpoint, n, protocol=SHORT)
        assert [(row["loss"], row["delay"]) for row in found[GRADIENTS]] == [
            (loss, delay) for loss in ("newest", "trained", "next") for delay in range(n + 1)
        ]
        for row in found[GRADIENTS]:
            assert row["norm"] > 0
        pairs = {(row["head"], row["other"]) for row in found[GRADIENT_COSINES]}
        whole = range(2, n + 2)
        assert pairs == {(a, b) for a in whole for b in whole if b < a} | {(a, OLDER) for a in whole if a > 2}

    @pytest.mark.parametrize("curriculum", ["single", "multi"])
    def test_losses_and_cosines_are_those_of_autograd(self, curriculum: str):
        checkpoint, n = made(curriculum)
        found = measure(checkpoint, n, protocol=SHORT)
        plain = {head: plain_gradient(checkpoint, n, head) for head in checkpoint.progress.heads}
        values = {row["loss"]: row["value"] for row in found[CURVATURE]}
        assert values["newest"] == pytest.approx(plain[n][0])
        assert values.get("trained", values["newest"]) == pytest.approx(sum(loss for loss, _ in plain.values()))
        for row in found[GRADIENT_COSINES]:
            if row["head"] > n:
                continue
            older = [head for head in plain if head < row["head"]] if row["other"] == OLDER else [row["other"]]
            for column, name in (("cosine_weights", "recurrent.weight"), ("cosine_taus", "tau")):
                one = plain[row["head"]][1][name].flatten()
                other = sum(plain[head][1][name].flatten() for head in older)
                assert row[column] == pytest.approx(F.cosine_similarity(one, other, 0).item(), abs=1e-6)

    def test_the_next_head_of_a_single_head_network_is_its_own(self):
        checkpoint, n = made("single")
        found = measure(checkpoint, n, protocol=SHORT)
        handed = {name.replace(f"heads.{n}.", f"heads.{n + 1}."): tensor for name, tensor in checkpoint.network.items()}
        loss, gradients = plain_gradient(replace(checkpoint, network=checkpoint.network | handed), n, n + 1)
        (value,) = (row["value"] for row in found[CURVATURE] if row["loss"] == "next")
        assert value == pytest.approx(loss)
        (cosine,) = (row["cosine_weights"] for row in found[GRADIENT_COSINES] if row["other"] == n)
        weights = [one["recurrent.weight"].flatten() for one in (gradients, plain_gradient(checkpoint, n, n)[1])]
        assert cosine == pytest.approx(F.cosine_similarity(*weights, 0).item(), abs=1e-6)

    def test_a_network_that_explodes_has_empty_rows(self):
        checkpoint, n = made("single")
        wild = torch.full_like(checkpoint.network["recurrent.weight"], 1e30).fill_diagonal_(0)
        found = measure(replace(checkpoint, network=checkpoint.network | {"recurrent.weight": wild}), n, protocol=SHORT)
        assert all(row["sharpness"] is None for row in found[CURVATURE] if row["loss"] == "newest")

    def test_what_cannot_be_measured_says_why(self):
        checkpoint, n = made("multi")
        for config, why in (
            (replace(checkpoint.config, time=Time(k=(2,))), r"time\.k = "),
            (replace(checkpoint.config, task=Sines()), "task = sines"),
        ):
            with pytest.raises(ValueError, match=why):
                measure(replace(checkpoint, config=config), n, protocol=SHORT)
        with pytest.raises(ValueError, match="n = 9: the checkpoint has no such head; it has 2"):
            measure(checkpoint, 9, protocol=SHORT)
        with pytest.raises(ValueError, match=f"delays = 99: allowed are 0 to {4 * n}"):
            measure(checkpoint, n, protocol=replace(SHORT, delays=99))
        gated = replace(new(RunConfig(network=GRU(hidden=4))), progress=Progress(heads=(2,)))
        with pytest.raises(TypeError, match="gru has no W"):
            measure(gated, 2, protocol=SHORT)


class TestCommand:
    def test_it_measures_once_and_sums_up(self, results: Path, capsys: pytest.CaptureFixture[str]):
        command = ["gradients", str(results), "--n", "2", "--batches", "1", "--address", "local", "--workers", "1"]
        assert main([*command, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["summary"]
        assert {(row["curriculum"], row["n"]) for row in rows} == {("single", 2), ("multi", 2)}
        assert all(row["gradient_reach"] > 0 and row["sharpness"] is not None for row in rows)
        assert main(command) == 0
        assert "gradient reach" in capsys.readouterr().out
        assert set(load(results, GRADIENTS)["n"]) == {2}

    def test_an_n_that_nothing_has_solved_is_one_line(self, results: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["gradients", str(results), "--n", "40", "50"]) == 1
        assert "nothing to measure: no network has solved N = 40, 50" in capsys.readouterr().err
