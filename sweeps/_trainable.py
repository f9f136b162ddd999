"""The Tune trainable: one trial trains the replicates of one combination as one population.

Everything is kept under a network's own key: a trial that is retried, moved to another node or started by a
later invocation continues each network from its newest valid checkpoint.
"""

import platform
import time
from pathlib import Path
from typing import Any, ClassVar

import torch
from ray import tune

from tsrnn.checkpoint import Checkpoint, CheckpointFolder
from tsrnn.config import RunConfig
from tsrnn.plugins import import_file
from tsrnn.records import OUTCOMES
from tsrnn.store import NetworkTables, Store
from tsrnn.tabulate import epochs_row, heads_rows, outcomes_row, solved_rows
from tsrnn.training import EpochReport, Outcome, Trainer, ended


class PopulationTrainable(tune.Trainable):
    """One step is one epoch of the population.

    Its Tune config holds one entry "trial": "networks" (RunConfigs as JSON), "plugins" (the files with their
    tasks and networks that tsrnn has not), "folder" (the sweep's), "device" and "threads".

    Attributes:
        keep_every_s: seconds between two times that epochs are written down; 0 is after each.
    """

    keep_every_s: ClassVar[float] = 0.0

    def setup(self, config: dict[str, Any]) -> None:
        """Load or make every network."""
        config = config["trial"]
        torch.set_num_threads(config["threads"])
        if config["device"] == "cpu":
            self._processor = f"cpu: {platform.processor() or platform.machine()}"
        else:
            self._processor = f"cuda: {torch.cuda.get_device_name()}"
        self._store = Store(config["folder"])
        self._folders: dict[str, CheckpointFolder] = {}
        self._tables: dict[str, NetworkTables] = {}
        self._last: dict[str, dict[str, Any]] = {}
        self._started: dict[str, int] = {}
        self._warnings: list[str] = []
        self._unwritten: dict[str, Checkpoint | None] = {}
        self._written_at = time.monotonic()
        for file in config["plugins"]:
            import_file(file)
        starts = []
        for text in config["networks"]:
            run = RunConfig.from_json(text)
            key = run.network_id
            self._folders[key] = CheckpointFolder(Path(config["folder"]), key)
            start, warnings = self._folders[key].newest(run)
            self._warnings += [f"{warning}; continuing from epoch {start.progress.epoch}" for warning in warnings]
            self._started[key] = start.progress.epoch
            self._tables[key] = NetworkTables(self._store, key, through_epoch=start.progress.epoch)
            outcome = ended(run, start.progress)
            if outcome is None:
                starts.append(start)
            else:
                self._write_outcome(start, outcome)
        self._trainer = Trainer(starts, config["device"]) if starts else None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same process: nothing of the last one stays."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and write it down."""
        for report in self._trainer.run_epoch() if self._trainer else ():
            self._keep(report)
            self._last[report.config.network_id] = {
                "epoch": report.epoch,
                "n": report.n,
                "accuracy": report.accuracy,
                "ended": report.outcome.status if report.outcome else "",
            }
        if time.monotonic() - self._written_at >= self.keep_every_s:
            self._write()
        return {
            "networks": self._last,
            "warnings": self._warnings,
            "done": not (self._trainer and self._trainer.networks),
        }

    def _keep(self, report: EpochReport) -> None:
        """Take an epoch; write it where the network has ended. The outcome comes last, when all else is there."""
        key = report.config.network_id
        paths = self._save_solved(report)
        self._tables[key].add(epochs_row(report), heads_rows(report), solved_rows(report, paths))
        diverged = report.outcome is not None and report.outcome.status == "diverged"
        self._unwritten[key] = None if diverged else report.checkpoint
        if report.outcome:
            self._write()
            self._write_outcome(report.checkpoint, report.outcome)

    def _save_solved(self, report: EpochReport) -> dict[int, str]:
        """Save the weights that solved an N; return where, by N."""
        folder = self._folders[report.config.network_id]
        return {n: folder.save_solved(report.solved, n) for n in report.newly_solved} if report.solved else {}

    def _write(self) -> None:
        """Write the epochs taken, in the order that a crash at any point leaves nothing lost and nothing doubled.

        Rows come before the checkpoint: rows of an epoch that will be redone are replaced, whereas a
        checkpoint without its rows would lose them.
        """
        for key, checkpoint in self._unwritten.items():
            self._tables[key].flush()
            if checkpoint is not None:
                self._folders[key].save_resume(checkpoint)
        self._unwritten = {}
        self._written_at = time.monotonic()

    def _write_outcome(self, checkpoint: Checkpoint, outcome: Outcome) -> None:
        row = outcomes_row(checkpoint.config, outcome, checkpoint.progress, self._processor)
        self._store.write(OUTCOMES, checkpoint.config.network_id, [row])
