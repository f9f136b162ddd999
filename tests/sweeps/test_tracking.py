"""`--log`: what trackers show of a sweep, held against its tables."""

import struct
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from ray.tune.logger import LoggerCallback
from tensorboardX.proto.event_pb2 import Event

from analysis.verify.verification import verify
from sweeps.engine.options import require_installed
from sweeps.engine.tracking import Tracked, callbacks, measured, settings
from tests.sweeps.commands import BUDGET, TRACKERS
from tsrnn import command_line
from tsrnn.config import Leaky, RunConfig
from tsrnn.errors import UsageError
from tsrnn.io.files import location

TRIALS = ("parity_multi_tau_1", "parity_multi_tau_trained")
NETWORKS = [RunConfig(network=Leaky(hidden=3), seed=seed) for seed in (0, 4)]


def needs(tracker: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(tracker not in TRACKERS, reason=f"the package of {tracker} is not installed")


@pytest.fixture
def logged(finished: tuple[Path, str, str, int]) -> Path:
    """The folder of a sweep that every installed tracker has followed; two networks in each of two trials."""
    folder, _, errors, _ = finished
    assert "log " not in errors
    return folder


def expected(folder: Path, trial: str) -> dict[str, list[float]]:
    """The curves of a trial, by the tables: the newest N and its accuracy, by network and their mean."""
    runs = pd.read_parquet(folder / "fixed_tau" / "runs")
    runs = runs[runs["tau"] == trial.rpartition("_")[2]]
    epochs = pd.read_parquet(folder / "fixed_tau" / "epochs").merge(runs[["network_id", "seed"]]).sort_values("epoch")
    curves = {}
    for name, column in (("n", "n_max"), ("accuracy", "accuracy_newest")):
        curves[name] = epochs.groupby("epoch")[column].mean().tolist()
        for seed in (0, 1):
            curves[f"{name}/seed-{seed}"] = epochs[epochs["seed"] == seed][column].tolist()
    return curves


def scalars(file: Path) -> dict[str, list[tuple[int, float]]]:
    """Read TensorBoard's file: records of a length, its checksum, an event, its checksum."""
    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag.removeprefix("ray/tune/"), []).append((event.step, value.simple_value))
        at += length + 16
    return found


@needs("tensorboard")
@pytest.mark.parametrize("trial", TRIALS)
def test_tensorboard(logged: Path, trial: str):
    (file,) = (logged / "fixed_tau" / "tensorboard" / trial).iterdir()
    curves = scalars(file)
    for name, values in expected(logged, trial).items():
        assert [step for step, _ in curves[name]] == list(range(1, BUDGET + 1))
        assert [value for _, value in curves[name]] == pytest.approx(values, rel=1e-6)


@needs("wandb")
@pytest.mark.parametrize("trial", TRIALS)
def test_wandb(logged: Path, trial: str):
    (file,) = (logged / "fixed_tau" / "wandb" / trial / "wandb").glob("offline-run-*/*.wandb")
    for name in expected(logged, trial):
        assert file.read_bytes().count(name.encode()) >= BUDGET


@needs("mlflow")
@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.filterwarnings("ignore")
def test_mlflow(logged: Path, trial: str):
    client = pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{logged}/mlflow.db")
    experiment = client.get_experiment_by_name("fixed_tau")
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{trial}'")
    assert run.info.status == "FINISHED"
    assert (run.data.params["tau"], run.data.params["seeds"]) == (trial.rpartition("_")[2], "0 1")
    for name, values in expected(logged, trial).items():
        history = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in history] == list(range(1, BUDGET + 1))
        assert [metric.value for metric in history] == values


def test_logs_are_no_damage(logged: Path):
    assert verify(location(logged / "fixed_tau")).problems == []


def test_a_package_that_is_not_installed_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, here, tmp_path: Path):
    monkeypatch.setattr("sweeps.engine.options.find_spec", lambda package: None if package == "wandb" else package)
    require_installed(["tensorboard", "mlflow"])
    status, output, errors = here("--scale", "quick", "--storage", tmp_path / "results", "--log", "mlflow", "wandb")
    assert (status, output) == (2, "")
    assert errors == (
        "error: log = wandb: the package wandb is not installed; run `pip install --editable '.[wandb]'`, "
        "or leave --log out\n"
    )
    assert not (tmp_path / "results").exists()


def test_an_unknown_tracker_is_refused(here):
    status, _, errors = here("--log", "paper")
    assert status == 2
    assert '"tensorboard", "wandb", "mlflow"' in errors


def test_files_cannot_lie_in_a_bucket():
    with pytest.raises(UsageError, match="log = tensorboard: its files cannot lie in s3://bucket/fixed_tau"):
        callbacks(["tensorboard"], location("s3://bucket/fixed_tau"), command_line.console(file=StringIO()))


@needs("wandb")
def test_weights_and_biases_without_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"log = wandb: cannot be used .*; WANDB_MODE=offline needs no account"):
        callbacks(["wandb"], location(tmp_path), command_line.console(file=StringIO()))


def test_settings_are_those_that_the_networks_share():
    found = settings("fixed_tau", NETWORKS)
    assert found["sweep"] == "fixed_tau"
    assert (found["task"], found["curriculum"], found["tau"], found["hidden"]) == ("parity", "multi", "trained", 3)
    assert (found["seeds"], found["network_ids"]) == ("0 4", " ".join(config.network_id for config in NETWORKS))
    assert not {"seed", "network_id", "config"} & found.keys()


def test_steps_are_epochs_so_that_a_resumed_sweep_continues_its_curves():
    first, second = (config.network_id for config in NETWORKS)
    report = {
        "training_iteration": 1,
        "time_total_s": 2.0,
        "networks": {first: {"epoch": 7, "n": 3, "accuracy": 0.5}, second: {"epoch": 8, "n": 6, "accuracy": 0.75}},
    }
    assert measured(NETWORKS, report) == {
        "training_iteration": 8, "time_total_s": 2.0,
        "n": 4.5, "n/seed-0": 3, "n/seed-4": 6, "accuracy": 0.625, "accuracy/seed-0": 0.5, "accuracy/seed-4": 0.75,
    }  # fmt: skip
    del report["networks"][first]  # it had ended before
    assert measured(NETWORKS, report)["n"] == 6


class Broken(LoggerCallback):
    """A tracker whose server goes away after the first epoch."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def log_trial_result(self, iteration: int, trial: object, result: dict) -> None:
        self.asked.append(trial)
        if len(self.asked) == 2:
            raise ConnectionError("no answer from [red]server")

    def log_trial_end(self, trial: object, failed: bool = False) -> None:
        raise AssertionError("asked after it failed")


def test_a_tracker_that_fails_is_said_once_and_stops_nothing(tmp_path: Path):
    output, inner = StringIO(), Broken()
    tracked = Tracked("mlflow", inner, location(tmp_path), command_line.console(file=output, width=200))
    config = {"trial": {"networks": [network.to_json() for network in NETWORKS]}}
    trial = SimpleNamespace(trial_id="1", config=config)
    for epoch in range(1, 4):
        seen = {"epoch": epoch, "n": 2, "accuracy": 0.5}
        result = {"time_total_s": 1.0, "networks": {NETWORKS[0].network_id: seen}}
        tracked.on_trial_result(epoch, [trial], trial, result)
    tracked.on_trial_complete(4, [trial], trial)
    tracked.on_experiment_end([trial])
    assert len(inner.asked) == 2
    assert inner.asked[0] is inner.asked[1]  # callbacks keep their files by it
    assert output.getvalue() == (
        "log mlflow: ended (no answer from [red]server); training continues, and the tables have every epoch\n"
    )
