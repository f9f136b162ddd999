"""A checkpoint comes back bit for bit, or not at all and with one line that says why."""

import dataclasses
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

import tsrnn
from tsrnn.config import DMS, Adam, FixedTau, Leaky, RunConfig, Training, explain
from tsrnn.io.checkpoint import Checkpoint, CheckpointError, CheckpointFolder, Progress, load, new, save
from tsrnn.networks import NetworkState
from tsrnn.training.loop import Trainer, train

CONFIG = RunConfig(
    task=DMS(),
    network=Leaky(hidden=5),
    training=Training(batch_size=4, steps_per_epoch=2, test_batches=1, solved_accuracy=1e-9),
    seed=3,
)


PARTS = ["network", "optimizer/momentum"]


def trained(epochs: int = 1, config: RunConfig = CONFIG) -> Checkpoint:
    trainer = Trainer([new(config)])
    for _ in range(epochs):
        (report,) = trainer.run_epoch()
    return report.checkpoint


@pytest.fixture
def complete() -> Checkpoint:
    """A checkpoint with the optimiser's state of every tensor."""
    never = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, solved_accuracy=1 - 1e-9))
    return trained(2, never)


@pytest.fixture
def path(tmp_path: Path, complete: Checkpoint) -> Path:
    path = tmp_path / "good.safetensors"
    save(complete, path)
    return path


def assert_same(some: NetworkState, others: NetworkState) -> None:
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        assert tensor.dtype == others[name].dtype
        assert torch.equal(tensor, others[name]), name


def assert_same_checkpoint(some: Checkpoint, other: Checkpoint) -> None:
    assert (some.config, some.progress) == (other.config, other.progress)
    assert_same(some.network, other.network)
    assert some.optimizer.keys() == other.optimizer.keys()
    for part, state in some.optimizer.items():
        assert_same(state, other.optimizer[part])


def refusal(path: Path) -> str:
    """Return why the file is refused: one line that begins with its name."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def contents(path: Path) -> tuple[str, dict[str, torch.Tensor]]:
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata()["tsrnn"], load_file(path)


def write(path: Path, text: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write a file whose checksum is right, so that only its contents are wrong."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    save_file(tensors, path, {"tsrnn": text, "sha256": digest.hexdigest()})


def change_header(path: Path, **changes) -> None:
    text, tensors = contents(path)
    write(path, json.dumps(json.loads(text) | changes), tensors)


class TestRoundTrip:
    @pytest.mark.parametrize("precision", ["float32", "float64"])
    @pytest.mark.parametrize("tau", [Leaky().tau, FixedTau(tau=2.5)])
    def test_bit_for_bit(self, tmp_path: Path, precision: str, tau):
        config = dataclasses.replace(
            CONFIG,
            network=dataclasses.replace(CONFIG.network, tau=tau),
            training=dataclasses.replace(CONFIG.training, precision=precision),
        )
        saved = new(config)
        save(saved, tmp_path / "file")
        assert_same_checkpoint(load(tmp_path / "file"), saved)

    def test_with_momentum(self, path: Path, complete: Checkpoint):
        assert complete.optimizer.keys() == {"momentum"}
        assert_same_checkpoint(load(path), complete)

    def test_with_adams_moments_and_step_counts(self, tmp_path: Path):
        never = dataclasses.replace(CONFIG.training, solved_accuracy=1 - 1e-9, optimizer=Adam())
        saved = trained(2, dataclasses.replace(CONFIG, training=never))
        assert saved.optimizer.keys() == {"mean", "square", "steps"}
        assert {steps.item() for steps in saved.optimizer["steps"].values()} == {4}
        save(saved, tmp_path / "file")
        assert_same_checkpoint(load(tmp_path / "file"), saved)

    @pytest.mark.parametrize("epochs", [1, 2, 3])
    def test_after_a_step_of_the_curriculum(self, tmp_path: Path, epochs: int):
        saved = trained(epochs)
        assert saved.progress.heads == tuple(range(2, 3 + epochs))
        save(saved, tmp_path / "file")
        found = load(tmp_path / "file")
        assert (found.config, found.progress) == (saved.config, saved.progress)
        assert_same(found.network, saved.network)

    def test_special_numbers(self, tmp_path: Path, complete: Checkpoint):
        numbers = torch.tensor([float("nan"), float("inf"), -0.0, 1e-42, -3.4e38])
        saved = dataclasses.replace(complete, network=complete.network | {"input.bias": numbers})
        save(saved, tmp_path / "file")
        found = load(tmp_path / "file").network["input.bias"]
        assert found.numpy().tobytes() == numbers.numpy().tobytes()

    def test_progress(self, tmp_path: Path, complete: Checkpoint):
        progress = Progress(
            heads=(2,),
            solved=(2,),
            epoch=7,
            epochs_on_newest=3,
            max_n=2,
            steps=4200,
            operations=1.5e17,
            wall_s=0.1 + 0.2,
        )
        save(dataclasses.replace(complete, progress=progress), tmp_path / "file")
        assert load(tmp_path / "file").progress == progress

    def test_the_folder_is_made_and_nothing_else_is_left(self, tmp_path: Path, complete: Checkpoint):
        save(complete, tmp_path / "a" / "b" / "file")
        save(complete, tmp_path / "a" / "b" / "file")
        assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]

    def test_the_helper_of_these_tests_writes_what_save_writes(self, path: Path, complete: Checkpoint):
        change_header(path)
        assert_same_checkpoint(load(path), complete)


class TestRefusals:
    def test_saving_what_is_no_checkpoint(self, tmp_path: Path, complete: Checkpoint):
        with pytest.raises(TypeError, match=r"^checkpoint = RunConfig\(.*: allowed is a Checkpoint, such as"):
            save(complete.config, tmp_path / "file")  # type: ignore[arg-type]
        assert not any(tmp_path.iterdir())

    def test_no_file(self, tmp_path: Path):
        assert refusal(tmp_path / "none").endswith("no such checkpoint")

    def test_a_folder(self, tmp_path: Path):
        assert "no N was solved" in refusal(tmp_path)
        (tmp_path / "folder.safetensors").mkdir()
        assert "not a readable safetensors file" in refusal(tmp_path / "folder.safetensors")

    @pytest.mark.parametrize("content", [b"", b"hello\nworld\n" * 20, b"PK\x03\x04", bytes(range(256))])
    def test_not_safetensors(self, tmp_path: Path, content: bytes):
        (tmp_path / "file").write_bytes(content)
        assert "not a readable safetensors file" in refusal(tmp_path / "file")

    def test_a_foreign_safetensors_file(self, tmp_path: Path):
        save_file({"weight": torch.ones(3)}, tmp_path / "file")
        assert "not a tsrnn checkpoint" in refusal(tmp_path / "file")

    @pytest.mark.parametrize("kept", [0, 7, 8, 100, 0.5, -1])
    def test_truncated(self, path: Path, kept: float):
        data = path.read_bytes()
        path.write_bytes(data[: int(kept * len(data)) if kept == 0.5 else int(kept)])
        assert "not a readable safetensors file" in refusal(path)

    def test_a_flipped_bit_of_a_tensor(self, path: Path):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        assert "damaged" in refusal(path)

    @pytest.mark.parametrize("part", PARTS)
    @pytest.mark.parametrize("name", ["tau", "recurrent.weight", "heads.2.weight"])
    def test_a_missing_tensor(self, path: Path, part: str, name: str):
        text, tensors = contents(path)
        del tensors[f"{part}/{name}"]
        write(path, text, tensors)
        assert f"{part}/{name}" in refusal(path).replace(": missing or unknown tensors: ", "/")

    @pytest.mark.parametrize("part", PARTS)
    @pytest.mark.parametrize("name", ["gain", "heads.3.weight"])
    def test_an_extra_tensor(self, path: Path, part: str, name: str):
        text, tensors = contents(path)
        write(path, text, tensors | {f"{part}/{name}": torch.ones(2, 5)})
        assert f"{part}/{name}" in refusal(path).replace(": missing or unknown tensors: ", "/")

    def test_a_tensor_of_no_part(self, path: Path):
        text, tensors = contents(path)
        write(path, text, tensors | {"other/tau": torch.ones(5)})
        assert "unknown tensor other/tau; allowed are network/... and optimizer/..." in refusal(path)

    @pytest.mark.parametrize("part", PARTS)
    def test_a_tensor_of_another_shape_or_dtype(self, path: Path, part: str):
        text, tensors = contents(path)
        for wrong, said in ((torch.ones(6), "torch.float32 [6]"), (torch.ones(5).double(), "torch.float64 [5]")):
            write(path, text, tensors | {f"{part}/tau": wrong})
            assert f"{part}/tau is {said}; its configuration needs torch.float32 [5]" in refusal(path)

    def test_a_step_count_that_is_not_whole(self, tmp_path: Path):
        config = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, optimizer=Adam()))
        path = tmp_path / "file"
        save(trained(1, config), path)
        text, tensors = contents(path)
        write(path, text, tensors | {"optimizer/steps/tau": torch.ones(())})
        assert "optimizer/steps/tau is torch.float32 []; its configuration needs torch.int64 []" in refusal(path)

    def test_a_changed_step_count(self, tmp_path: Path):
        config = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, optimizer=Adam()))
        path = tmp_path / "file"
        save(trained(1, config), path)
        text, tensors = contents(path)
        with safetensors.safe_open(path, "pt") as file:
            digest = file.metadata()["sha256"]
        tensors["optimizer/steps/tau"] += 1
        save_file(tensors, path, {"tsrnn": text, "sha256": digest})
        assert "damaged" in refusal(path)

    def test_another_optimiser_than_the_states(self, path: Path):
        config = json.loads(contents(path)[0])["config"]
        adam = json.loads(RunConfig(training=Training(optimizer=Adam())).to_json())["training"]["optimizer"]
        change_header(path, config=config | {"training": config["training"] | {"optimizer": adam}})
        assert "optimizer: missing or unknown tensors: mean/" in refusal(path)

    @pytest.mark.parametrize("text", ["", "{", "nothing", "{'a': 1}"])
    def test_a_header_that_is_not_json(self, path: Path, text: str):
        write(path, text, contents(path)[1])
        assert "its header is not JSON" in refusal(path)

    @pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"format": "tsrnn-1"}'])
    def test_another_format(self, path: Path, text: str):
        write(path, text, contents(path)[1])
        assert "unknown format; this version reads tsrnn-2" in refusal(path)

    def test_an_invalid_configuration(self, path: Path):
        config = json.loads(contents(path)[0])["config"]
        change_header(path, config=config | {"seed": -1})
        assert refusal(path).endswith("seed = -1: Input should be greater than or equal to 0")
        change_header(path, config=config | {"colour": "red"})
        assert "colour = 'red'" in refusal(path)
        change_header(path, config=config | {"network": config["network"] | {"kind": "gru"}})
        assert "gru" in refusal(path)
        change_header(path, config=None)
        refusal(path)

    def test_invalid_progress(self, path: Path):
        change_header(path, progress={"heads": [2], "epoch": "many"})
        assert "epoch = 'many'" in refusal(path)
        change_header(path, progress={})
        assert "heads: Field required" in refusal(path)
        change_header(path, progress=None)
        refusal(path)

    @pytest.mark.parametrize(
        ("heads", "says"),
        [([], "heads = []"), ([3], "missing or unknown tensors"), ([2, 3], "missing or unknown tensors")],
    )
    def test_heads_that_are_not_the_tensors(self, path: Path, heads: list[int], says: str):
        change_header(path, progress=json.loads(contents(path)[0])["progress"] | {"heads": heads})
        assert says in refusal(path)

    def test_another_configuration_than_the_tensors(self, path: Path):
        config = json.loads(contents(path)[0])["config"]
        change_header(path, config=config | {"network": config["network"] | {"hidden": 6}})
        assert "its configuration needs torch.float32 [6" in refusal(path)

    def test_a_saved_file_that_was_changed_is_the_same_or_refused(self, path: Path, complete: Checkpoint):
        good = path.read_bytes()
        generator = np.random.default_rng(4)
        header = 8 + struct.unpack("<Q", good[:8])[0]
        outcomes = {"same": 0, "refused": 0}
        for i in range(200):
            data = bytearray(good)
            match i % 4:
                case 0:  # one byte of the header, where most of the structure is
                    data[generator.integers(header)] = generator.integers(256)
                case 1:  # some bytes anywhere
                    for at in generator.integers(len(data), size=3):
                        data[at] ^= int(generator.integers(1, 256))
                case 2:  # a piece cut out
                    at = int(generator.integers(len(data)))
                    del data[at : at + int(generator.integers(1, 40))]
                case 3:  # a piece twice
                    at = int(generator.integers(len(data)))
                    data[at:at] = data[at : at + int(generator.integers(1, 40))]
            path.write_bytes(data)
            if bytes(data) == good:
                assert_same_checkpoint(load(path), complete)
                outcomes["same"] += 1
            else:
                self.assert_same_or_refused(path, complete, outcomes)
        assert outcomes["refused"] > 150

    def assert_same_or_refused(self, path: Path, complete: Checkpoint, outcomes: dict[str, int]) -> None:
        with Refusals(path) as refusals:
            assert_same_checkpoint(load(path), complete)
        outcomes["refused" if refusals.seen else "same"] += 1


class Refusals:
    """Lets a CheckpointError pass if it is one line that names the file; every other error is one of the test."""

    def __init__(self, path: Path):
        self.path, self.seen = path, False

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback) -> bool:
        self.seen = isinstance(error, CheckpointError)
        if self.seen:
            assert str(error).startswith(f"{self.path}: ")
            assert "\n" not in str(error)
        return self.seen


@pytest.mark.parametrize("heads", [(), (2, 2), (3, 2), (1,)])
def test_impossible_heads(heads):
    with pytest.raises(ValidationError) as caught:
        Progress(heads=heads)
    assert "heads" in explain(caught.value)


@pytest.mark.parametrize("solved", [(4,), (3, 2), (2, 2)])
def test_solved_n_are_of_the_heads(solved):
    with pytest.raises(ValidationError, match="allowed are N of heads"):
        Progress(heads=(2, 3), solved=solved)


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> CheckpointFolder:
        return CheckpointFolder(tmp_path, CONFIG.network_id)

    def files(self, tmp_path: Path) -> list[str]:
        return sorted(path.name for path in (tmp_path / "checkpoints" / CONFIG.network_id).iterdir())

    def at(self, tmp_path: Path, epoch: int) -> Path:
        return tmp_path / "checkpoints" / CONFIG.network_id / f"epoch-{epoch:06d}.safetensors"

    def fill(self, folder: CheckpointFolder, epochs: int, config: RunConfig = CONFIG) -> list[Checkpoint]:
        config = dataclasses.replace(config, end=dataclasses.replace(config.end, max_n=101))
        starts = [
            dataclasses.replace(new(config), progress=Progress(heads=(2,), epoch=epoch))
            for epoch in range(1, epochs + 1)
        ]
        for one in starts:
            folder.save_resume(one)
        return starts

    def test_an_empty_folder_gives_a_new_network(self, folder: CheckpointFolder, tmp_path: Path):
        found, warnings = folder.newest(CONFIG)
        assert_same_checkpoint(found, new(CONFIG))
        assert warnings == []
        assert list(tmp_path.iterdir()) == []

    def test_the_newest_two_are_kept_and_the_newest_is_found(self, folder: CheckpointFolder, tmp_path: Path):
        saved = self.fill(folder, 12)
        assert self.files(tmp_path) == ["epoch-000011.safetensors", "epoch-000012.safetensors"]
        found, warnings = folder.newest(CONFIG)
        assert_same_checkpoint(found, saved[-1])
        assert warnings == []

    def test_solved_checkpoints_are_kept_apart(self, folder: CheckpointFolder, tmp_path: Path):
        saved = self.fill(folder, 1)[0]
        relative = folder.save_solved(saved, 5)
        assert relative == f"checkpoints/{CONFIG.network_id}/n-005.safetensors"
        assert_same_checkpoint(load(tmp_path / relative), saved)
        self.fill(folder, 4)
        assert self.files(tmp_path) == ["epoch-000003.safetensors", "epoch-000004.safetensors", "n-005.safetensors"]

    def test_a_damaged_one_is_passed_over_with_a_warning(self, folder: CheckpointFolder, tmp_path: Path):
        saved = self.fill(folder, 3)
        newest = self.at(tmp_path, 3)
        newest.write_bytes(newest.read_bytes()[:-1])
        found, warnings = folder.newest(CONFIG)
        assert_same_checkpoint(found, saved[1])
        assert len(warnings) == 1
        assert warnings[0].startswith(f"{newest}: ")

    def test_where_all_are_damaged_the_run_starts_anew(self, folder: CheckpointFolder, tmp_path: Path):
        self.fill(folder, 3)
        for epoch in (2, 3):
            self.at(tmp_path, epoch).write_bytes(b"")
        found, warnings = folder.newest(CONFIG)
        assert_same_checkpoint(found, new(CONFIG))
        assert len(warnings) == 2

    def test_one_of_another_configuration_is_passed_over(self, folder: CheckpointFolder):
        other = dataclasses.replace(CONFIG, seed=4)
        self.fill(folder, 2, config=other)
        found, warnings = folder.newest(CONFIG)
        assert_same_checkpoint(found, new(CONFIG))
        assert len(warnings) == 2
        assert all(warning.endswith(f"belongs to another configuration ({other.network_id})") for warning in warnings)

    def test_a_run_goes_on_from_where_it_was(self, folder: CheckpointFolder):
        # Every epoch solves its N: every resume checkpoint is one right after a step of the curriculum.
        config = dataclasses.replace(CONFIG, end=dataclasses.replace(CONFIG.end, max_epochs=4))
        whole = list(train(config))
        for report in whole[:2]:
            folder.save_resume(report.checkpoint)
        found, warnings = folder.newest(config)
        assert warnings == []
        assert found.progress.epoch == 2
        trainer = Trainer([found])
        for expected in whole[2:]:
            (report,) = trainer.run_epoch()
            assert_same(report.checkpoint.network, expected.checkpoint.network)
            assert report.accuracies == expected.accuracies


def test_a_checkpoint_rebuilds_its_network(path: Path, complete: Checkpoint):
    people = load(path).population()
    assert people.heads == ((2,),)
    assert people.network == complete.config.network
    assert_same(people.states()[0], complete.network)


class TestLoadingANetwork:
    """`tsrnn.load` of what a sweep leaves in a network's folder."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = CheckpointFolder(tmp_path, "n1")
        for n in (2, 3, 10):
            folder.save_solved(new(dataclasses.replace(CONFIG, seed=n)), n)
        folder.save_resume(new(dataclasses.replace(CONFIG, seed=99)))
        return tmp_path / "checkpoints" / "n1"

    def test_the_largest_n_unless_another_is_named(self, folder: Path):
        assert tsrnn.load(folder).config.seed == 10
        assert tsrnn.load(str(folder), n=3).config.seed == 3
        assert tsrnn.load(folder / "n-002.safetensors").config.seed == 2
        assert tsrnn.load(folder).population().replicates == 1

    def test_an_n_that_was_not_solved(self, folder: Path, tmp_path: Path):
        with pytest.raises(CheckpointError, match=r"N = 4 was not solved; allowed are 2, 3, 10$"):
            tsrnn.load(folder, n=4)
        with pytest.raises(CheckpointError, match="no N was solved; give the file of a checkpoint"):
            tsrnn.load(tmp_path)
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            tsrnn.load(tmp_path / "absent")
        with pytest.raises(ValueError, match=r"n = 3: .* is no folder of a network"):
            tsrnn.load(folder / "n-002.safetensors", n=3)

    def test_a_saved_checkpoint_comes_back(self, tmp_path: Path, complete: Checkpoint):
        tsrnn.save(complete, tmp_path / "network.safetensors")
        assert_same_checkpoint(tsrnn.load(tmp_path / "network.safetensors"), complete)

    def test_its_repr_leaves_the_numbers_out(self, complete: Checkpoint):
        assert "tensor(" not in repr(complete)
        assert "epoch=2" in repr(complete)
