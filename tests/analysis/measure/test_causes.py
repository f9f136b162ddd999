"""Changed and retrained copies of checkpoints, and what the command makes of a folder with both curricula."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from analysis.__main__ import main
from analysis.data.frames import load
from analysis.measure.causes import RETRAINED, SHARES, Protocol, measure
from analysis.measure.causes_results import _tests
from analysis.measure.interventions import InTime
from tests.trained import trained_sweep
from tsrnn import FixedTau, Leaky, MultiHead, RunConfig, SingleHead
from tsrnn.io import checkpoint as checkpoints
from tsrnn.io.checkpoint import Checkpoint, Progress
from tsrnn.io.schemas import CAUSES, RUNS, SOLVED
from tsrnn.networks import initial_network, population
from tsrnn.training.evaluation import in_time_accuracy
from tsrnn.training.loop import Trainer

SHORT = Protocol(steps=3, shuffles=2, sequences=4, in_time=InTime(trials=2, steps=200))
PARTS = ("nothing", "readout", *RETRAINED)


def made(curriculum: SingleHead | MultiHead, **changes) -> Checkpoint:
    """A small network that counts as having solved N = 3."""
    config = RunConfig(network=Leaky(hidden=16, **changes), curriculum=curriculum)
    heads = (2, 3) if isinstance(curriculum, MultiHead) else (3,)
    # Other weights than those of the other curriculum with the same seed; without biases answers depend on the bits.
    own = initial_network(replace(config, seed=len(heads)), heads)
    own = {name: tensor * (0.0 if name.endswith("bias") else 1.5) for name, tensor in own.items()}
    own["input.weight"] -= own["input.weight"].mean()
    return Checkpoint(config, Progress(heads=heads, solved=heads, epoch=7), own)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint, dict]:
    """Two networks, and where the partner of the first is."""
    one, other = made(MultiHead()), made(SingleHead())
    path = tmp_path_factory.mktemp("partner") / "other.safetensors"
    checkpoints.save(other, path)
    return one, other, {(one.config.network_id, 3): path}


@pytest.fixture(scope="module")
def rows(pair) -> dict[tuple[str, float, int, str], dict]:
    one, _, partners = pair
    found = measure(one, 3, partners=partners, protocol=SHORT)[CAUSES]
    return {tuple(row[name] for name in ("change", "share", "draw", "retrained")): row for row in found}


def accuracy(checkpoint: Checkpoint, network: dict[str, torch.Tensor]) -> float:
    """The accuracy of some tensors on the sequences that copies of a checkpoint's network hear."""
    one = population(checkpoint.config.network, [network], [(3,)])
    task = checkpoint.config.task.balanced()
    (found,) = in_time_accuracy(one, task, [(checkpoint.config.seed, "causes 3", 0)], steps=200, trials=2)
    return found[3].accuracy


class TestMeasure:
    def test_every_change_is_asked_and_retrained(self, rows):
        whole = [("none", 0), ("tau_1", 0), ("shuffled_taus", 0), ("shuffled_taus", 1)]
        whole += [("other_taus", 0), ("other_weights", 0)]
        kinds = [(change, 1.0, draw) for change, draw in whole]
        kinds += [(change, share, 0) for change in ("singular_values", "schur_modes") for share in SHARES]
        assert list(rows) == [(*kind, part) for part in PARTS for kind in kinds]
        assert rows["none", 1.0, 0, "nothing"]["relative_accuracy"] == 1
        assert all(0 <= row["accuracy"] <= 1 for row in rows.values())

    def test_at_once_copies_are_what_they_say(self, pair, rows):
        one, other, _ = pair
        tau = one.network["tau"]
        body = {name: tensor for name, tensor in other.network.items() if not name.startswith("heads.")}
        changed = {
            "none": {},
            "tau_1": {"tau": torch.ones_like(tau)},
            "other_taus": {"tau": other.network["tau"]},
            "other_weights": body | {"tau": tau},
        }
        found = {change: rows[change, 1.0, 0, "nothing"]["accuracy"] for change in changed}
        assert found == {change: accuracy(one, one.network | own) for change, own in changed.items()}
        assert len(set(found.values())) == 4

    def test_a_part_is_retrained_on_the_batches_that_training_has_next(self, pair, rows):
        """As the training of the network alone would go on, with one head, and all but the part frozen."""
        one, _, _ = pair
        going_on = replace(one, progress=Progress(heads=(3,), epoch=7))
        frozen = Trainer([going_on]).population
        for part, starts in {"weights": ("recurrent.", "input."), "taus": ("tau",)}.items():
            trainer = Trainer([going_on], only=[name for name in frozen.trained if name.startswith(starts)])
            trainer.train_steps(SHORT.steps)
            for name, tensor in frozen.parameters.items():
                assert torch.equal(trainer.population.parameters[name], tensor) != name.startswith(starts), name
            (state,) = trainer.population.states()
            assert rows["none", 1.0, 0, part]["accuracy"] == accuracy(one, state)

    def test_the_parts_are_all_parameters(self, pair):
        assert set(RETRAINED["everything"]) == set(pair[0].population().trained)

    def test_of_silent_states_no_new_readout_tells_anything(self, pair):
        one, _, partners = pair
        silent = {name: torch.zeros_like(tensor) for name, tensor in one.network.items()} | {"tau": torch.ones(16)}
        found = measure(replace(one, network=silent), 3, partners=partners, protocol=SHORT)[CAUSES]
        (row,) = (row for row in found if row["change"] == "none" and row["retrained"] == "readout")
        assert row["accuracy"] == pytest.approx(0.5, abs=0.1)

    def test_what_cannot_be_measured_says_why(self, pair):
        one, _, partners = pair
        fixed = replace(one.config, network=replace(one.config.network, tau=FixedTau(tau=1.0)))
        with pytest.raises(ValueError, match=r"network\.tau: fixed; allowed are trained taus"):
            measure(replace(one, config=fixed), 3, partners=partners, protocol=SHORT)
        with pytest.raises(ValueError, match="n = 9: the checkpoint has no such head; it has 2, 3"):
            measure(one, 9, partners={(one.config.network_id, 9): partners[one.config.network_id, 3]}, protocol=SHORT)


def test_what_no_network_of_a_curriculum_has_a_value_of_is_not_compared():
    """Such as a new readout of states that are not finite."""
    kinds = [("none", "nothing", 1.0), ("tau_1", "nothing", 0.7), ("tau_1", "readout", 0.9)]
    rows = pd.DataFrame(
        [
            {"group": "g", "curriculum": name, "n": 5, "network_id": f"{name} {seed}", "share": 1.0, "change": change}
            | {"retrained": part, "accuracy": value - seed / 100}
            for name in ("single", "multi")
            for seed in range(4)
            for change, part, value in kinds
            if (name, part) != ("single", "readout")
        ]
    )
    found, notes = _tests(rows)
    assert found[["change", "retrained"]].to_numpy().tolist() == [["tau_1", "nothing"]]
    assert notes == []


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")


class TestCommand:
    COMMAND = ("--n", "2", "--steps", "2", "--shuffles", "1", "--trials", "1", "--address", "local", "--workers", "1")

    def test_it_measures_pairs_once_and_compares_curricula(self, results: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["causes", str(results), *self.COMMAND, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        kinds = {(row["change"], row["share"], row["retrained"]) for row in found["summary"]}
        assert len(kinds) == 11 * 5
        assert {(row["curriculum"], row["networks"]) for row in found["summary"]} == {("single", 2), ("multi", 2)}
        assert len(found["tests"]) == 11 * 5 - 1
        accuracies = {(row["change"], row["retrained"]): row["accuracy"] for row in found["summary"]}
        assert accuracies["none", "readout"] > 0.9
        # The curricula begin alike: at N = 2 the two networks of a seed are the same, and an exchange changes nothing.
        for change in ("other_taus", "other_weights"):
            assert accuracies[change, "nothing"] == accuracies["none", "nothing"]
        assert any("seed 7 is left out: it has only multi" in note for note in found["notes"])
        written = {path: path.stat().st_mtime_ns for path in (results / CAUSES.name).glob("n*.parquet")}
        assert len(load(results, CAUSES)["network_id"].unique()) == 4
        assert main(["causes", str(results), *self.COMMAND]) == 0
        assert "curricula compared" in capsys.readouterr().out
        assert {path: path.stat().st_mtime_ns for path in written} == written

    def test_an_n_that_not_all_have_solved_is_left_out(self, results: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["causes", str(results), "--n", "40", *self.COMMAND[2:]]) == 1
        error = capsys.readouterr().err
        assert "nothing to measure" in error
        assert "N = 40 is left out: not all of its networks have solved it" in error

    def test_without_a_pair_it_says_what_is_needed(
        self, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        folder = tmp_path / "single"
        shutil.copytree(results, folder)
        runs = load(results, RUNS)
        for key in runs.loc[runs["curriculum"] == "multi", "network_id"]:
            for table in (RUNS, SOLVED, CAUSES):
                for path in (folder / table.name).rglob(f"{key}*"):
                    path.unlink()
        assert main(["causes", str(folder), *self.COMMAND]) == 1
        error = capsys.readouterr().err
        assert "nothing to measure: the command needs single- and multi-head networks with trained taus" in error
        assert "it has only single" in error
