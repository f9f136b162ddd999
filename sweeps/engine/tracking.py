"""Reports of trials to TensorBoard, Weights & Biases and MLflow, through Ray Tune's callbacks.

The tables remain the record. A tracker shows the settings of each trial, and the newest N and the accuracy of its
networks by epoch. If a tracker fails, this is reported once, and training continues.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.logger import LoggerCallback
from rich.console import Console

from sweeps.engine.options import Tracker
from tsrnn.config import RunConfig
from tsrnn.errors import UsageError
from tsrnn.io.files import Location
from tsrnn.io.rows import run_columns


def callbacks(trackers: Sequence[Tracker], folder: Location, console: Console) -> list[Callback]:
    """Return the callbacks of Tune for these trackers.

    Args:
        trackers: The trackers, whose packages must be installed.
        folder: The folder of the sweep. Files of TensorBoard are in its subfolder `tensorboard`, and those of Weights &
            Biases in `wandb`. MLflow writes to MLFLOW_TRACKING_URI, by default to `mlflow.db` in the working folder.
        console: Where a tracker that fails is reported.

    Raises:
        UsageError: A tracker cannot be used, since its files cannot be in a bucket, or it has no account.
    """
    return [Tracked(tracker, _of_tune(tracker, folder), folder, console) for tracker in dict.fromkeys(trackers)]


def _of_tune(tracker: Tracker, folder: Location) -> LoggerCallback:
    """Return the configured callback of Tune for a tracker."""
    if tracker != "mlflow" and not folder.is_file_system:
        raise UsageError(f"log = {tracker}: its files cannot lie in {folder}; allowed is mlflow, or a --storage folder")
    made: LoggerCallback
    try:
        if tracker == "tensorboard":
            from ray.tune.logger import TBXLoggerCallback

            made = TBXLoggerCallback()
        elif tracker == "wandb":
            from ray.air.integrations.wandb import WandbLoggerCallback

            # The callback logs in its own process, which on a cluster does not have the environment of this one.
            project = os.environ.get("WANDB_PROJECT", "tsrnn")
            made = WandbLoggerCallback(project=project, mode=os.environ.get("WANDB_MODE"))
        else:
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", folder.name)
            made = MLflowLoggerCallback(os.environ.get("MLFLOW_TRACKING_URI"), experiment_name=experiment)
        made.setup()
    except Exception as error:  # packages of trackers raise various errors without an account, a server or a file
        hint = "; WANDB_MODE=offline needs no account" if tracker == "wandb" else ""
        raise UsageError(f"log = {tracker}: cannot be used ({error}){hint}") from None
    return made


class Tracked(LoggerCallback):
    """Wraps a callback of Tune, so that trials have readable names and an error in it does not stop the sweep.

    Args:
        tracker: The name of the tracker.
        inner: The configured callback of Tune.
        folder: The folder of the sweep.
        console: Where a failure is reported, once.
    """

    def __init__(self, tracker: Tracker, inner: LoggerCallback, folder: Location, console: Console) -> None:
        self._tracker, self._inner, self._folder, self._console = tracker, inner, folder, console
        self._shown: dict[str, _Shown] = {}
        self._failed = False

    def __getstate__(self) -> dict[str, object]:
        """Return an empty state for Tune, whose restore is not used here."""
        return {}

    def log_trial_start(self, trial: Any) -> None:
        """Begin to log a trial, or continue if the trial was started again."""
        self._call(self._inner.log_trial_start, self._known(trial))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Log an epoch."""
        shown = self._known(trial)
        self._call(self._inner.log_trial_result, iteration, shown, measured(shown.networks, result))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the log of a trial."""
        self._call(self._inner.log_trial_end, self._known(trial), failed)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Wait until everything is written."""
        self._call(self._inner.on_experiment_end, trials, **info)

    def _known(self, trial: Any) -> "_Shown":
        """Return the shown form of a trial: always the same object, since callbacks store their files by it."""
        return self._shown.setdefault(trial.trial_id, _Shown(trial, self._folder, self._tracker))

    def _call(self, log: Callable[..., None], *args: Any, **info: Any) -> None:
        if self._failed:
            return
        try:
            log(*args, **info)
        except Exception as error:  # such as a lost server or a full disk; the tables have every epoch nevertheless
            self._failed = True
            self._console.print(
                f"log {self._tracker}: ended ({error}); training continues, and the tables have every epoch",
                soft_wrap=True,
            )


class _Shown:
    """A trial of Tune with its own name, but with readable settings and a readable folder."""

    def __init__(self, trial: Any, folder: Location, tracker: Tracker) -> None:
        self._trial = trial
        self._folder, self._tracker = folder, tracker
        self.networks = [RunConfig.from_json(text) for text in trial.config["trial"]["networks"]]
        self.config = self.evaluated_params = settings(folder.name, self.networks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def __str__(self) -> str:
        return str(self._trial)

    @property
    def local_path(self) -> str:
        """The folder of the log, since Tune's own folder of a trial is removed when the sweep ends."""
        path = Path(str(self._folder)).absolute() / self._tracker / str(self._trial)
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def init_local_path(self) -> None:
        """Create the folder, as a trial does."""


def settings(sweep: str, networks: Sequence[RunConfig]) -> dict[str, str | int | float]:
    """Return the settings that the networks of a trial share, and their seeds and ids, as words and numbers."""
    shared = run_columns(networks[0])
    for name in ("network_id", "seed", "config"):
        del shared[name]
    return {
        "sweep": sweep,
        **{name: value for name, value in shared.items() if value is not None},
        "seeds": " ".join(str(network.seed) for network in networks),
        "network_ids": " ".join(network.network_id for network in networks),
    }


def measured(networks: Sequence[RunConfig], result: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a trial's report: newest N and accuracy, for each network and as a mean.

    Args:
        networks: The networks of the trial.
        result: The report, without networks that ended before the trial was started.
    """
    seen = {network.seed: result["networks"].get(network.network_id) for network in networks}
    found = {seed: values for seed, values in seen.items() if values}
    # Steps are epochs, so that a resumed sweep continues its curves.
    shown: dict[str, Any] = {"training_iteration": max((values["epoch"] for values in found.values()), default=0)}
    for name in ("n", "accuracy"):
        if found:
            shown[name] = sum(values[name] for values in found.values()) / len(found)
        shown |= {f"{name}/seed-{seed}": values[name] for seed, values in found.items()}
    return shown | {"time_total_s": result["time_total_s"]}
