"""The Tune trainable: one trial trains the replicates of one combination as one population.

Everything is kept under a network's own key: a trial that is retried, moved to another node or started by a
later invocation continues each network from its newest valid checkpoint.
"""

import platform
from typing import Any

import torch
from ray import tune

from tsrnn.checkpoint import Checkpoint, CheckpointFolder
from tsrnn.config import RunConfig
from tsrnn.files import location
from tsrnn.plugins import import_file
from tsrnn.records import OUTCOMES
from tsrnn.store import NetworkTables, Store
from tsrnn.tabulate import epochs_row, heads_rows, outcomes_row, solved_rows
from tsrnn.training import EpochReport, Outcome, Trainer, ended


class PopulationTrainable(tune.Trainable):
    """One step is one epoch of the population.

    Its Tune config holds one entry "trial": "networks" (RunConfigs as JSON), "plugins" (the files with their
    tasks and networks that tsrnn has not), "folder" (the sweep's), "device" and "threads".
    """

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
        self._warnings: list[str] = []
        for file in config["plugins"]:
            import_file(file)
        starts = []
        for text in config["networks"]:
            run = RunConfig.from_json(text)
            key = run.network_id
            self._folders[key] = CheckpointFolder(location(config["folder"]), key)
            start, warnings = self._folders[key].newest(run)
            self._warnings += [f"{warning}; continuing from epoch {start.progress.epoch}" for warning in warnings]
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
        return {
            "networks": self._last,
            "warnings": self._warnings,
            "done": not (self._trainer and self._trainer.networks),
        }

    def _keep(self, report: EpochReport) -> None:
        """Write an epoch in the order that a crash at any point leaves nothing lost and nothing doubled.

        Rows come before the checkpoint: rows of an epoch that will be redone are replaced, whereas a
        checkpoint without its rows would lose them. The outcome comes last.
        """
        key = report.config.network_id
        folder, tables = self._folders[key], self._tables[key]
        paths = {n: folder.save_solved(report.solved, n) for n in report.newly_solved} if report.solved else {}
        tables.add(epochs_row(report), heads_rows(report), solved_rows(report, paths))
        tables.flush()
        if report.outcome is None or report.outcome.status != "diverged":
            folder.save_resume(report.checkpoint)
        if report.outcome:
            self._write_outcome(report.checkpoint, report.outcome)

    def _write_outcome(self, checkpoint: Checkpoint, outcome: Outcome) -> None:
        row = outcomes_row(checkpoint.config, outcome, checkpoint.progress, self._processor)
        self._store.write(OUTCOMES, checkpoint.config.network_id, [row])
