"""How products are chosen: measured at the shapes in hand, kept, and said."""

import dataclasses
import io
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from sweeps.engine.progress import Progress
from sweeps.engine.trainable import PopulationTrainable
from tests.sweeps.test_reliability import trial
from tests.tolerances import TOLERANCES
from tsrnn import command_line
from tsrnn.config import GRU, EndRules, Leaky, RunConfig, Training
from tsrnn.io.checkpoint import load, new, save
from tsrnn.io.schemas import OUTCOMES
from tsrnn.io.store import Store
from tsrnn.networks import choice, initial_network, onednn, population
from tsrnn.networks.choice import Computed, Plan
from tsrnn.networks.planning import plan_for
from tsrnn.training.loop import Trainer

CPU = torch.device("cpu")
SMALL = RunConfig(
    network=Leaky(hidden=8),
    training=Training(batch_size=8, steps_per_epoch=4, test_batches=1),
    end=EndRules(max_epochs=3),
)


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_CHOSEN", {})


def shape(**changes: object) -> dict:
    whole = {"dtype": torch.float32, "device": CPU, "products": torch.float32}
    return whole | {"self_interaction": "inside", "gradient": True} | changes


class TestFastest:
    PLANS = (Plan("blas", 1), Plan("blas", 4), Plan("onednn", 1))

    def measured(self, monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[Plan]:
        made: list[Plan] = []
        monkeypatch.setattr(choice, "_measured", lambda works: list(seconds))
        self.make = lambda plan: made.append(plan) or (lambda: None)
        return made

    @pytest.mark.parametrize(
        ("seconds", "best"),
        [((1.0, 2.0, 3.0), 0), ((3.0, 2.0, 1.0), 2), ((1.02, 1.0, 1.0), 0), ((1.05, 1.0, 1.01), 1)],
    )
    def test_the_first_unless_another_is_clearly_faster(self, monkeypatch, seconds, best):
        self.measured(monkeypatch, *seconds)
        assert choice.fastest("shape", self.PLANS, self.make) == self.PLANS[best]

    def test_a_shape_is_measured_once(self, monkeypatch):
        made = self.measured(monkeypatch, 2.0, 2.0, 1.0)
        for _ in range(2):
            assert choice.fastest("a", self.PLANS, self.make) == self.PLANS[2]
        assert len(made) == 3
        choice.fastest("b", self.PLANS, self.make)
        assert len(made) == 6

    def test_where_there_is_no_choice_nothing_is_measured(self, monkeypatch):
        made = self.measured(monkeypatch)
        assert choice.fastest("a", (self.PLANS[0], self.PLANS[0]), self.make) == self.PLANS[0]
        assert not made

    def test_it_is_logged(self, monkeypatch, caplog):
        self.measured(monkeypatch, 2.0, 2.0, 1.0)
        with caplog.at_level(logging.INFO, "tsrnn"):
            choice.fastest("a", self.PLANS, self.make)
        assert "products: onednn, 1 together (blas, 1 together: 2000.00 ms" in caplog.text

    def test_the_faster_work_is_found(self):
        def make(plan: Plan) -> Callable[[], object]:
            return lambda: time.sleep(0.001 if plan.library == "onednn" else 0.003)

        assert choice.fastest("a", self.PLANS, make).library == "onednn"


class TestPlan:
    @pytest.mark.parametrize(("library", "together", "named"), [("mkl", 1, "products"), ("blas", 0, "together")])
    def test_what_is_not_known_is_named(self, library, together, named):
        with pytest.raises(ValueError, match=named):
            Plan(library, together)

    def test_small_networks_are_not_measured(self, monkeypatch):
        monkeypatch.setattr(choice, "fastest", None)
        assert plan_for(4, 8, 8, **shape()) == Plan("blas", 4)

    def test_large_ones_are(self):
        assert plan_for(2, 32, 128, **shape()).together in (1, 2)
        assert len(choice._CHOSEN) == (1 if len(choice.libraries(torch.float32, CPU)) > 1 else 0)

    def test_networks_that_do_not_fit_the_cache_are_stepped_alone(self):
        assert plan_for(2, 8, 400, **shape(library="blas")) == Plan("blas", 1)

    @pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
    def test_onednn_is_for_float32(self, precision):
        dtype = torch.float64 if precision == torch.float64 else torch.float32
        with pytest.raises(ValueError, match="products = 'onednn': not for"):
            plan_for(1, 8, 8, **shape(dtype=dtype, products=precision, library="onednn"))

    def test_gated_networks_leave_the_choice_to_torch(self):
        config = dataclasses.replace(SMALL, network=GRU(hidden=8))
        people = population(config.network, [initial_network(config, (2,))], [(2,)])
        assert people.plan_for(8) is None
        with pytest.raises(ValueError, match="products = 'onednn': a gru"):
            people.plan_for(8, "onednn")


class TestOneDNN:
    def test_operators_that_are_absent_or_changed_are_not_used(self, monkeypatch):
        for broken in (lambda *_: torch.zeros(1, 2, 4), raise_it):
            onednn.available.cache_clear()
            monkeypatch.setattr(onednn, "times", broken)
            assert not onednn.available()
            assert "onednn" not in choice.libraries(torch.float32, CPU)
        onednn.available.cache_clear()

    def test_the_installed_torch_has_them(self):
        """A canary: with another torch this fails, and the public products are used until it is mended."""
        onednn.available.cache_clear()
        assert onednn.available() == torch.backends.mkldnn.is_available()


def raise_it(*_: object) -> None:
    raise AttributeError("no such operator")


class TestBFloat16:
    def test_a_processor_that_emulates_it_refuses(self, monkeypatch):
        monkeypatch.setattr(choice, "bfloat16_is_faster", lambda: False)
        config = dataclasses.replace(SMALL, training=dataclasses.replace(SMALL.training, precision="bfloat16"))
        with pytest.raises(ValueError, match=r"^precision = 'bfloat16': this processor .* allowed here is 'float32'$"):
            Trainer([new(config)])

    def test_it_is_measured(self):
        choice.bfloat16_is_faster.cache_clear()
        instructions = torch.cpu.get_capabilities()
        if torch.backends.cpu.get_cpu_capability() != "AVX512" and instructions["architecture"] == "x86_64":
            assert not choice.bfloat16_is_faster()
        elif instructions.get("amx_bf16") or instructions.get("avx512_bf16"):
            assert choice.bfloat16_is_faster()


class TestWhatARunTakes:
    def test_checkpoints_say_it_and_a_resumed_run_takes_it(self, tmp_path, monkeypatch):
        trainer = Trainer([new(SMALL)], products="onednn" if onednn.available() else "blas")
        (report,) = trainer.run_epoch()
        assert report.checkpoint.computed == trainer.computed
        assert trainer.computed.processor == choice.processor(CPU)
        save(report.checkpoint, tmp_path / "a.safetensors")
        again = load(tmp_path / "a.safetensors")
        assert again.computed == trainer.computed
        assert Trainer([again]).computed == trainer.computed
        # What is asked for goes before what was, and another processor's plan means nothing here.
        assert Trainer([again], products="blas").computed.plan == Plan("blas", 1)
        other = dataclasses.replace(again, computed=Computed("another", Plan("blas", 7)))
        assert Trainer([other]).computed.plan == Plan("blas", 1)

    def test_checkpoints_of_older_versions_say_nothing(self, tmp_path):
        save(new(SMALL), tmp_path / "a.safetensors")
        assert load(tmp_path / "a.safetensors").computed is None

    def test_what_an_epoch_changes_keeps_it(self):
        config = dataclasses.replace(SMALL, training=dataclasses.replace(SMALL.training, solved_accuracy=1e-9))
        trainer = Trainer([new(config)])
        (report,) = trainer.run_epoch()
        assert report.newly_solved
        assert report.checkpoint.computed == trainer.computed


class TestASweepsTrial:
    """What a trial tells of what multiplies, and of a folder that was begun elsewhere."""

    def test_outcomes_say_what_multiplied(self, tmp_path):
        settings = trial(tmp_path, [SMALL])
        settings["trial"]["products"] = "blas"
        trainable = PopulationTrainable(settings)
        while not (result := trainable.step())["done"]:
            pass
        assert result["products"] == "blas, 1 together"
        (row,) = Store(tmp_path).read(OUTCOMES, SMALL.network_id)
        assert (row["products"], row["device"]) == ("blas, 1 together", choice.processor(CPU))

    def test_a_folder_begun_on_another_processor(self, tmp_path, monkeypatch):
        """One line says so, however many networks; what was trained is kept."""
        networks = SMALL.replicates(2)
        with monkeypatch.context() as elsewhere:
            for module in ("tsrnn.training.loop", "sweeps.engine.trainable"):
                elsewhere.setattr(f"{module}.processor", lambda device: "cpu: another, AVX512")
            PopulationTrainable(trial(tmp_path, networks)).step()
        trainable = PopulationTrainable(trial(tmp_path, networks))
        result = trainable.step()
        expected = f"networks that began on cpu: another, AVX512 continue on {choice.processor(CPU)}: "
        assert len(set(result["warnings"])) == 1
        assert result["warnings"][0].startswith(expected)
        assert {seen["epoch"] for seen in result["networks"].values()} == {2}
        assert PopulationTrainable(trial(tmp_path, networks)).step()["warnings"] == []

    def test_verbose_says_it_once_a_trial(self):
        console = command_line.console(file=io.StringIO(), markup=False)
        progress = Progress([[SMALL]], console, verbose=True)
        one = SimpleNamespace(
            trial_id="a", config={"trial": {"index": 0}}, run_metadata=SimpleNamespace(num_failures=0)
        )
        progress.on_trial_start(0, [], one)
        seen = {SMALL.network_id: {"epoch": 1, "n": 2, "accuracy": 0.5, "ended": ""}}
        for _ in range(2):
            result = {"networks": seen, "warnings": [], "products": "blas, 1 together"}
            progress.on_trial_result(0, [], one, result)
        assert console.file.getvalue().count("products: blas, 1 together") == 1


SIZES = {(7, 5): False, (16, 16): True, (64, 64): True, (128, 32): True, (500, 16): True}
"""H and B, and whether the bits are the same in every stack: see docs/reproducibility.md."""


@pytest.mark.parametrize("library", choice.LIBRARIES)
@pytest.mark.parametrize(("hidden", "batch"), SIZES)
def test_a_networks_numbers_do_not_depend_on_its_stack(hidden, batch, library):
    """Equal but for rounding over twelve steps; bit for bit where docs/reproducibility.md says so."""
    if library not in choice.libraries(torch.float32, CPU):
        pytest.skip(f"this torch has no {library}")
    training = Training(batch_size=batch, steps_per_epoch=12, test_batches=1)
    config = RunConfig(network=Leaky(hidden=hidden), training=training)
    runs = config.replicates(4)

    def trained(*places: int) -> tuple[list[float], list[float], list[dict[str, torch.Tensor]]]:
        trainer = Trainer([new(runs[i]) for i in places], products=library)
        losses, norms, _ = trainer.train_steps(12)
        return losses, norms, trainer.population.states()

    stacked = trained(0, 1, 2, 3)
    exact = SIZES[hidden, batch] and torch.backends.cpu.get_cpu_capability() == "AVX2"
    for places in ((1,), (1, 3), (3, 0, 1)):
        for position, place in enumerate(places):
            alone = trained(*places)
            for found, expected in zip(alone[:2], stacked[:2], strict=True):
                if exact:
                    assert found[position] == expected[place]
                assert found[position] == pytest.approx(expected[place], rel=TOLERANCES[torch.float32].training)
            for name, tensor in alone[2][position].items():
                if exact:
                    assert torch.equal(tensor, stacked[2][place][name]), name
                torch.testing.assert_close(tensor, stacked[2][place][name], rtol=1e-3, atol=1e-5)
