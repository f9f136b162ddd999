"""The rows of the tables in `tsrnn.io.schemas` that a run writes."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from tsrnn.config import SGD, FixedTau, Leaky, LeakyReLU, RunConfig
from tsrnn.io.schemas import Row
from tsrnn.provenance import UNKNOWN, Code

if TYPE_CHECKING:
    # These import torch, without which results are read.
    from tsrnn.io.checkpoint import Progress
    from tsrnn.training.reports import EpochReport, Outcome


def runs_row(config: RunConfig, sweep: str, scale: str, preset: str | None = None, code: Code = UNKNOWN) -> Row:
    """Return a network's row of `runs`; `code` is the code that its training begins with, if known."""
    return {"sweep": sweep, "scale": scale, "preset": preset} | run_columns(config) | code_columns(code)


CODE: Final = ("code", "commit", "plugins")
"""The columns of `runs` and `outcomes` that say which code it was."""


def code_columns(code: Code) -> Row:
    """Return the columns that record the code; what is not known is empty."""
    return {name: getattr(code, name) or None for name in CODE}


def recorded_code(row: Mapping[str, Any]) -> Code:
    """Return the code that a row of `runs` or `outcomes` records; rows of earlier versions record none."""
    return Code(**{name: row.get(name) or "" for name in CODE})


def run_columns(config: RunConfig) -> Row:
    """Return the columns of `runs` that follow from a network's configuration, also for older rows that lack some."""
    network, training, optimizer = config.network, config.training, config.training.optimizer
    self_interaction = nonlinearity = tau = slope = None
    if isinstance(network, Leaky):
        self_interaction, nonlinearity = network.self_interaction, network.nonlinearity.kind
        tau = f"{network.tau.tau:g}" if isinstance(network.tau, FixedTau) else network.tau.kind
        slope = network.nonlinearity.slope if isinstance(network.nonlinearity, LeakyReLU) else None
    return {
        "network_id": config.network_id,
        "task": config.task.kind,
        "curriculum": config.curriculum.name,
        "architecture": network.kind,
        "self_interaction": self_interaction,
        "nonlinearity": nonlinearity,
        "tau": tau,
        "hidden": network.hidden,
        "seed": config.seed,
        "precision": training.precision,
        "slope": slope,
        "k": ",".join(map(str, config.time.k)),
        "dt": config.time.dt,
        "optimizer": optimizer.kind,
        "learning_rate": optimizer.learning_rate,
        "momentum": optimizer.momentum if isinstance(optimizer, SGD) else None,
        "weight_decay": optimizer.weight_decay,
        "batch_size": training.batch_size,
        "steps_per_epoch": training.steps_per_epoch,
        "max_steps": config.end.max_epochs * training.steps_per_epoch,
        "config": config.to_json(),
    }


def outcomes_row(
    config: RunConfig,
    outcome: "Outcome",
    progress: "Progress | None" = None,
    device: str | None = None,
    products: str | None = None,
    code: Code = UNKNOWN,
) -> Row:
    """Return a network's row of `outcomes`; without `progress`, its columns for progress are empty."""
    import torch

    return {
        "network_id": config.network_id,
        "status": outcome.status,
        "reason": outcome.reason,
        "max_n": progress and progress.max_n,
        "epochs": progress and progress.epoch,
        "steps": progress and progress.steps,
        "operations": progress and progress.operations,
        "wall_s": progress and progress.wall_s,
        "confirm_operations": progress and progress.confirm_operations,
        "device": device,
        "products": products or None,
        "versions": json.dumps(
            {"tsrnn": version("tsrnn"), "torch": torch.__version__, "python": platform.python_version()}
        ),
    } | code_columns(code)


def epochs_row(report: "EpochReport") -> Row:
    """Return an epoch's row of `epochs`."""
    progress = report.checkpoint.progress
    return {
        "network_id": report.config.network_id,
        "epoch": report.epoch,
        "n_min": min(report.accuracies),
        "n_max": report.n,
        "loss": report.loss,
        "accuracy_newest": report.accuracy,
        "accuracy_mean": report.accuracy_mean,
        "grad_norm": report.grad_norm,
        "tau_mean": report.tau_mean,
        "tau_sd": report.tau_sd,
        "steps": progress.steps,
        "operations": progress.operations,
        "wall_s": progress.wall_s,
        "confirm_operations": progress.confirm_operations,
    }


def heads_rows(report: "EpochReport") -> list[Row]:
    """Return an epoch's rows of `heads`, one for each N that was tested."""
    key = {"network_id": report.config.network_id, "epoch": report.epoch}
    return [key | {"n": n, "accuracy": accuracy} for n, accuracy in report.accuracies.items()]


def solved_rows(report: "EpochReport", checkpoints: Mapping[int, str]) -> list[Row]:
    """Return an epoch's rows of `solved`, one for each N solved in it; `checkpoints` has the paths of its weights."""
    return [
        solved_row(
            report.config.network_id,
            n,
            checkpoint=checkpoints[n],
            epoch=report.epoch,
            epochs_taken=report.epochs_taken,
            accuracy=report.accuracies[n],
            tau_mean=report.tau_mean,
            tau_sd=report.tau_sd,
        )
        for n in report.newly_solved
    ]


def solved_row(
    network_id: str,
    n: int,
    *,
    checkpoint: str,
    epoch: int | None = None,
    epochs_taken: int | None = None,
    accuracy: float | None = None,
    tau_mean: float | None = None,
    tau_sd: float | None = None,
) -> Row:
    """Return a row of `solved`; what is not known of the epoch that solved N is left empty."""
    return {
        "network_id": network_id,
        "n": n,
        "epoch": epoch,
        "epochs_taken": epochs_taken,
        "accuracy": accuracy,
        "tau_mean": tau_mean,
        "tau_sd": tau_sd,
        "checkpoint": checkpoint,
    }
