"""Against what the authors' own code computed with their networks, and against a recorded run from their start."""

import dataclasses
import json
import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from tests.tolerances import GOLDEN, distance
from tsrnn.config import SGD, Leaky, LeakyReLU, MultiHead, Parity, SingleHead
from tsrnn.io.checkpoint import Checkpoint, CheckpointError, Progress
from tsrnn.io.reference import read_reference
from tsrnn.networks import Population, population
from tsrnn.networks.base import READOUT_BIAS, READOUT_WEIGHT
from tsrnn.training.evaluation import Accuracy, end_accuracy, in_time_accuracy
from tsrnn.training.loop import Trainer
from tsrnn.training.sampling import TaskBatch

CURRICULA = {"single": SingleHead(), "multi": MultiHead()}

# The README's accuracies: on the training distribution, and in time at p = 0.5; by curriculum and N.
END = {("single", 5): 0.985, ("single", 10): 0.990, ("multi", 5): 1.000, ("multi", 10): 1.000}
IN_TIME = {("single", 5): 0.969, ("single", 10): 0.973, ("multi", 5): 1.000, ("multi", 10): 1.000}

# Their tensors in ours.
THEIRS = {
    "tau": "parameterlist.0",
    "input.weight": "modulelist.0.weight",
    "input.bias": "modulelist.0.bias",
    "recurrent.weight": "modulelist.1.weight",
    "recurrent.bias": "modulelist.1.bias",
    READOUT_WEIGHT: "modulelist.2.weight",
    READOUT_BIAS: "modulelist.2.bias",
}

RECORDED = Path(__file__).resolve().parents[2] / "docs" / "fidelity" / "epochs"


def trained(reference: Path, curriculum: str, n: int) -> Checkpoint:
    path = reference / "checkpoints" / f"{curriculum}_parity_N{n}.safetensors"
    return read_reference(path, Parity(), CURRICULA[curriculum], n)


def initial(reference: Path) -> Checkpoint:
    return read_reference(reference / "checkpoints" / "init.safetensors", Parity(), MultiHead(), 2)


class TestForward:
    @pytest.fixture(params=[0.01, 0.1])
    def slope(self, request) -> float:
        return request.param

    @pytest.fixture(params=["single", "multi"])
    def curriculum(self, request) -> str:
        return request.param

    @pytest.fixture
    def golden(self, reference: Path, curriculum: str) -> dict[str, torch.Tensor]:
        return load_file(reference / "golden" / f"forward_{curriculum}_N5.safetensors")

    @pytest.fixture
    def people(self, reference: Path, curriculum: str, slope: float) -> Population:
        found = trained(reference, curriculum, 5)
        network = dataclasses.replace(found.config.network, nonlinearity=LeakyReLU(slope=slope))
        return population(network, [found.network], [found.progress.heads])

    def test_states(self, golden, people: Population, slope: float):
        states = people.all_states(golden["input"].transpose(1, 2), golden["h0"][None])
        expected = golden[f"h_t_slope{slope}"]
        assert torch.equal(expected[0], golden["h0"])
        for t, state in enumerate(states[:, 0], start=1):
            assert distance(state, expected[t]) < GOLDEN.forward, t

    def test_last_state(self, golden, people: Population, slope: float):
        last = people.last_states(golden["input"].transpose(1, 2), [60], golden["h0"][None])
        assert distance(last[0], golden[f"h_t_slope{slope}"][60]) < GOLDEN.forward

    def test_logits(self, golden, people: Population, slope: float, curriculum: str):
        # Single: the one head is their head 0. Multi: their head k reads N = k + 2.
        heads = people.heads[0]
        assert heads == ((5,) if curriculum == "single" else (2, 3, 4, 5))
        states = people.all_states(golden["input"].transpose(1, 2), golden["h0"][None])
        expected = golden[f"logits_slope{slope}"][:, : len(heads)].transpose(1, 2)
        logits = torch.stack([people.logits(state)[0] for state in states])
        for k in range(len(heads)):
            assert distance(logits[:, :, k], expected[:, :, k]) < GOLDEN.forward


class TestTraining:
    """Five steps of SGD from the authors' start, on frozen batches."""

    @pytest.fixture
    def golden(self, reference: Path) -> dict[str, torch.Tensor]:
        return load_file(reference / "golden" / "training_steps_init_N2.safetensors")

    @pytest.fixture
    def info(self, reference: Path) -> list[dict[str, float]]:
        with safetensors.safe_open(reference / "golden" / "training_steps_init_N2.safetensors", "pt") as file:
            return json.loads(file.metadata()["info"])

    def batch(self, golden, i: int) -> tuple[TaskBatch, torch.Tensor]:
        inputs, targets = golden[f"input{i}"].transpose(1, 2).float(), golden[f"labels{i}"][None, None].bool()
        return TaskBatch(inputs, (len(inputs),), targets, (1,)), golden[f"h0_{i}"][None]

    def test_their_labels_are_the_parity_of_the_last_two_bits(self, golden):
        for i in range(5):
            bits = golden[f"input{i}"][-2:, :, 0]
            assert torch.equal(golden[f"labels{i}"][0], (bits[0] ^ bits[1]).long())

    def test_losses_norms_and_final_parameters(self, reference: Path, golden, info):
        trainer = Trainer([initial(reference)])
        for i in range(5):
            loss, norm = trainer.step(*self.batch(golden, i))
            assert loss.item() == pytest.approx(info[i]["loss"], rel=GOLDEN.training)
            assert norm.item() == pytest.approx(info[i]["grad_norm_preclip"], rel=GOLDEN.training)
        for ours, theirs in THEIRS.items():
            found, expected = trainer.population.parameters[ours].flatten(), golden[f"final.{theirs}"].flatten()
            if ours == "recurrent.weight":
                expected = golden[f"final.{theirs}"].clone().fill_diagonal_(0.0).flatten()
            assert distance(found, expected) < GOLDEN.training, ours

    def test_change_of_parameters_over_five_steps(self, reference: Path, golden):
        start = initial(reference)
        trainer = Trainer([start])
        before = {name: tensor.clone() for name, tensor in trainer.population.parameters.items()}
        for i in range(5):
            trainer.step(*self.batch(golden, i))
        for ours, theirs in THEIRS.items():
            expected = golden[f"final.{theirs}"].clone()
            if ours == "recurrent.weight":
                expected.fill_diagonal_(0.0)
            change = trainer.population.parameters[ours].flatten() - before[ours].flatten()
            # A change is a small difference of two float32 numbers: it carries their rounding.
            rounding = 1e-7 * torch.linalg.vector_norm(before[ours].flatten())
            error = torch.linalg.vector_norm(change - (expected.flatten() - before[ours].flatten()))
            assert error < 1e-4 * torch.linalg.vector_norm(change) + rounding, ours

    def test_first_gradients(self, reference: Path, golden):
        # In float64, without momentum and clipping, at rate 1, the change of a parameter is minus its gradient.
        start = initial(reference)
        training = dataclasses.replace(
            start.config.training, optimizer=SGD(learning_rate=1.0, momentum=0.0), clip=None, precision="float64"
        )
        config = dataclasses.replace(start.config, training=training)
        network = {name: tensor.double() for name, tensor in start.network.items()}
        trainer = Trainer([Checkpoint(config, start.progress, network)])
        before = {name: tensor.clone() for name, tensor in trainer.population.parameters.items()}
        batch, state = self.batch(golden, 0)
        trainer.step(batch, state.double())
        for ours, theirs in THEIRS.items():
            gradient = (before[ours] - trainer.population.parameters[ours]).flatten()
            expected = golden[f"grad0.{theirs}"].clone()
            if ours == "recurrent.weight":
                expected.fill_diagonal_(0.0)
            assert distance(gradient, expected.flatten()) < GOLDEN.gradient, ours


@pytest.mark.parametrize(("curriculum", "n"), END)
class TestAccuracy:
    def assert_near(self, found: Accuracy, expected: float):
        assert abs(found.accuracy - expected) < 3 * found.standard_error + 0.001

    def test_at_the_end_of_sequences(self, reference: Path, curriculum: str, n: int):
        found = trained(reference, curriculum, n)
        (heads,) = end_accuracy(found.population(), found.config.task, [(0, "test", 0)], 12, 256)
        assert tuple(heads) == found.progress.heads
        self.assert_near(heads[n], END[curriculum, n])

    def test_in_time(self, reference: Path, curriculum: str, n: int):
        found = trained(reference, curriculum, n)
        (heads,) = in_time_accuracy(found.population(), Parity(input_probability=0.5), [(0, "test", 0)])
        assert tuple(heads) == found.progress.heads
        self.assert_near(heads[n], IN_TIME[curriculum, n])


def small(heads: int = 3, hidden: int = 4) -> dict[str, torch.Tensor]:
    """Tensors by the authors' names."""
    generator = torch.Generator().manual_seed(5)
    shapes = {"parameterlist.0": (hidden,), "modulelist.0.weight": (hidden, 1), "modulelist.0.bias": (hidden,)}
    shapes |= {"modulelist.1.weight": (hidden, hidden), "modulelist.1.bias": (hidden,)}
    for k in range(heads):
        shapes |= {f"modulelist.{2 + k}.weight": (2, hidden), f"modulelist.{2 + k}.bias": (2,)}
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


class Hostile:
    """What a pickle can carry: a call, made by whoever loads it."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return Path.touch, (self.victim,)


class TestImport:
    def read(self, path: Path, n: int = 4) -> Checkpoint:
        return read_reference(path, Parity(), MultiHead(), n)

    def one_line(self, path: Path, n: int = 4) -> str:
        with pytest.raises(CheckpointError) as caught:
            self.read(path, n)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        return message

    def test_settings_and_heads_are_the_authors(self, tmp_path: Path):
        tensors = small()
        save_file(tensors, tmp_path / "theirs.safetensors")
        found = self.read(tmp_path / "theirs.safetensors")
        assert found.progress == Progress(heads=(2, 3, 4), solved=(2, 3, 4), max_n=4)
        assert found.config.network == Leaky(
            hidden=4,
            nonlinearity=LeakyReLU(slope=0.01),
            tau=dataclasses.replace(found.config.network.tau, constraint="clamp_forward"),
        )
        assert found.config.task.lengths.range_for(4) == (6, 17)
        assert torch.equal(found.network["heads.3.weight"], tensors["modulelist.3.weight"])
        assert torch.equal(found.network["tau"], tensors["parameterlist.0"])  # below 1: kept as it is
        expected = tensors["modulelist.1.weight"].clone().fill_diagonal_(0.0)
        assert torch.equal(found.network["recurrent.weight"], expected)

    def test_single_head_is_their_head_0(self, tmp_path: Path):
        tensors = small()
        save_file(tensors, tmp_path / "theirs.safetensors")
        found = read_reference(tmp_path / "theirs.safetensors", Parity(), SingleHead(), 9)
        assert found.progress.heads == (9,)
        assert torch.equal(found.network["heads.9.bias"], tensors["modulelist.2.bias"])

    @pytest.mark.parametrize("wrap", [lambda tensors: tensors, lambda tensors: {"state_dict": tensors}])
    def test_both_kinds_of_file_give_the_same_network(self, tmp_path: Path, wrap):
        save_file(small(), tmp_path / "theirs.safetensors")
        torch.save(wrap(small()), tmp_path / "theirs")
        one, other = self.read(tmp_path / "theirs.safetensors"), self.read(tmp_path / "theirs")
        assert (one.config, one.progress) == (other.config, other.progress)
        assert one.network.keys() == other.network.keys()
        assert all(torch.equal(one.network[name], other.network[name]) for name in one.network)

    def test_a_published_network_from_both_kinds_of_file(self, reference: Path, tmp_path: Path):
        path = reference / "checkpoints" / "multi_parity_N5.safetensors"
        torch.save({"state_dict": load_file(path)}, tmp_path / "theirs")
        one, other = self.read(path, 5), self.read(tmp_path / "theirs", 5)
        assert one.network.keys() == other.network.keys()
        assert all(torch.equal(one.network[name], other.network[name]) for name in one.network)

    @pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
    def test_a_hostile_pickle_is_refused_and_does_nothing(self, tmp_path: Path, save):
        victim = tmp_path / "victim"
        save({"state_dict": small() | {"parameterlist.0": Hostile(victim)}}, tmp_path / "theirs")
        assert "weights_only" not in self.one_line(tmp_path / "theirs")
        assert not victim.exists()
        # The file is as dangerous as it is meant to be:
        pickle.loads(pickle.dumps(Hostile(victim)))
        assert victim.exists()

    @pytest.mark.parametrize("name", ["theirs.safetensors", "theirs"])
    def test_files_that_are_none(self, tmp_path: Path, name: str):
        path = tmp_path / name
        assert "no such file" in self.one_line(path)
        for content in (b"", b"hello\nworld\n", bytes(range(256)) * 9):
            path.write_bytes(content)
            assert "not readable" in self.one_line(path)

    def test_a_folder(self, tmp_path: Path):
        self.one_line(tmp_path)

    @pytest.mark.parametrize("thing", [[torch.ones(2)], torch.ones(2), {"state_dict": {"epoch": 3}}, {"epoch": 3}])
    def test_other_things_than_tensors(self, tmp_path: Path, thing):
        torch.save(thing, tmp_path / "theirs")
        assert "other things than named tensors" in self.one_line(tmp_path / "theirs")

    def test_too_few_heads(self, tmp_path: Path):
        save_file(small(heads=2), tmp_path / "theirs.safetensors")
        assert "it lacks modulelist.4.bias, modulelist.4.weight" in self.one_line(tmp_path / "theirs.safetensors")

    @pytest.mark.parametrize("name", sorted(small(heads=3)))
    def test_a_missing_tensor(self, tmp_path: Path, name: str):
        save_file(
            {other: tensor for other, tensor in small().items() if other != name}, tmp_path / "theirs.safetensors"
        )
        assert f"it lacks {name}" in self.one_line(tmp_path / "theirs.safetensors")

    @pytest.mark.parametrize("name", sorted(small(heads=3)))
    def test_a_tensor_of_another_size(self, tmp_path: Path, name: str):
        save_file(small() | {name: torch.ones(3, 5)}, tmp_path / "theirs.safetensors")
        assert "do not fit" in self.one_line(tmp_path / "theirs.safetensors")

    def test_no_neurons(self, tmp_path: Path):
        save_file(small() | {"parameterlist.0": torch.ones(0)}, tmp_path / "theirs.safetensors")
        assert "it has no neurons" in self.one_line(tmp_path / "theirs.safetensors")


class TestRecordedRun:
    """docs/fidelity/epochs: benchmarks/authors_start.py on the authors' initial network, four seeds of the data."""

    @pytest.fixture
    def runs(self) -> list[list[dict]]:
        runs = [pq.read_table(path).to_pylist() for path in sorted(RECORDED.glob("*.parquet"))]
        assert len(runs) == 4
        return runs

    def test_every_epoch_is_there(self, runs):
        for run in runs:
            assert [row["epoch"] for row in run] == list(range(1, 13))
            assert {row["n_min"] for row in run} == {2}

    def test_the_first_epochs_mean_loss_is_theirs(self, runs):
        losses = [run[0]["loss"] for run in runs]
        assert 0.088 <= sum(losses) / len(losses) <= 0.095

    def test_most_solve_n_8_within_12_epochs(self, runs):
        # N is solved when both accuracies of the epoch that trains it as the newest exceed 98 %.
        solved = [
            max(row["n_max"] for row in run if min(row["accuracy_newest"], row["accuracy_mean"]) > 0.98) for run in runs
        ]
        assert sum(n >= 8 for n in solved) >= 3
