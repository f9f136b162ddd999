"""The Tune trainable: one trial trains the replicates of one combination as one population.

Everything is stored under the network's own key. A trial that is retried, moved to another node or started by a later
invocation continues each network from its newest valid checkpoint.
"""

import socket
import time
from typing import Any

import torch
from ray import tune

from sweeps.engine.errors import SweepError
from sweeps.engine.folder import has_ended
from sweeps.engine.grid import title
from sweeps.engine.metrics import Metrics
from sweeps.engine.shared import other_code, unseen
from tsrnn.config import EndState, RunConfig
from tsrnn.distributed.ray_internals import name_process
from tsrnn.io.checkpoint import Checkpoint, CheckpointError, CheckpointFolder
from tsrnn.io.claims import Claim, ClaimLostError, rejoin
from tsrnn.io.files import Location, location
from tsrnn.io.rows import epochs_row, heads_rows, outcomes_row, solved_rows
from tsrnn.io.schemas import OUTCOMES
from tsrnn.io.store import NetworkTables, Store, StoreError
from tsrnn.networks.choice import processor
from tsrnn.plugins import import_file
from tsrnn.provenance import Code, code
from tsrnn.training.loop import Trainer
from tsrnn.training.reports import EpochReport, Outcome, ended


class PopulationTrainable(tune.Trainable):
    """A trial, of which one step is one epoch of the population.

    Its Tune config has one entry "trial" with these keys: "networks" (RunConfigs as JSON), "plugins" (the files that
    define tasks and networks outside tsrnn), "folder" (of the sweep), "claim" (the name of the driver's claim),
    "device", "gpus", "threads", "products" (unless they are to be measured), and "code" (of the driver, with which this
    process's code is compared).
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Load or create every network."""
        config = config["trial"]
        torch.set_num_threads(config["threads"])
        self._processor = _processor(config["device"], config["gpus"])
        self._products = ""
        if reason := unseen(
            config["folder"], config["claim"]
        ):  # on a machine that was added after the start of the sweep
            raise SweepError(reason)
        self._code = code(config["plugins"])
        if "code" in config:
            expected = Code(**config["code"])
            if reason := other_code(self._code, expected):
                raise SweepError(f"{reason} (machine {socket.gethostname()})")
            self._code = expected  # with the commit, which a copy of the files does not have
        self._driver = rejoin(config["folder"], config["claim"])
        self._metrics = Metrics(location(config["folder"]).name)
        self._claims: dict[str, Claim] = {}
        self._stores: dict[str, Store] = {}
        self._folders: dict[str, CheckpointFolder] = {}
        self._tables: dict[str, NetworkTables] = {}
        self._last: dict[str, dict[str, Any]] = {}
        self._warnings: list[str] = []
        self._unusable: list[Exception] = []
        self._started: dict[str, int] = {}
        for file in config["plugins"]:
            import_file(file)
        starts = []
        runs = [RunConfig.from_json(text) for text in config["networks"]]
        self._name = f"{location(config['folder']).name} {title(runs[0])}"
        for run in runs:
            try:
                start = self._start(run, location(config["folder"]))
                if start is not None:
                    starts.append(start)
            except (ClaimLostError, CheckpointError, StoreError, OSError) as error:
                self._unusable.append(error)
        going_on = []
        for start in self._aligned(starts):
            outcome = ended(start.config, start.progress)
            if outcome is None:
                going_on.append(start)
                continue
            try:
                self._write_outcome(start, outcome)
            except (ClaimLostError, StoreError, OSError) as error:
                self._unusable.append(error)
        self._trainer = Trainer(going_on, config["device"], config.get("products")) if going_on else None
        if self._trainer and self._trainer.computed.plan:
            self._products = str(self._trainer.computed.plan)

    def _start(self, run: RunConfig, folder: Location) -> Checkpoint | None:
        """Claim a network, and return its start: the newest valid checkpoint whose epochs have rows.

        Returns:
            None for a network that had ended before this trial failed and was started again.
        """
        key = run.network_id
        if has_ended(Store(folder), key):
            return None
        claim = self._driver.within(key)
        store = Store(folder, claim)
        store.adopt(key)
        if has_ended(store, key):
            claim.release()
            return None
        self._claims[key], self._stores[key] = claim, store
        self._folders[key] = CheckpointFolder(folder, key, claim)
        start, warnings = self._folders[key].newest(run, store.last_epoch(key))
        self._warnings += [f"{warning}; continuing from epoch {start.progress.epoch}" for warning in warnings]
        if start.computed and start.computed.processor != self._processor:
            self._warnings.append(
                f"networks that began on {start.computed.processor} continue on {self._processor}: "
                "their numbers agree with those of one machine except for rounding, not bit for bit"
            )
        self._tables[key] = NetworkTables(store, key, through_epoch=start.progress.epoch)
        self._started[key] = start.progress.epoch
        return start

    def _aligned(self, starts: list[Checkpoint]) -> list[Checkpoint]:
        """Take networks that a kill left one epoch ahead of the others in their trial back by one epoch.

        With the same stack as before, their numbers are the same to the last bit. This includes networks that would end
        with that epoch, since outcomes are written when all networks have the epoch.
        """
        first = min((start.progress.epoch for start in starts), default=0)
        for i, start in enumerate(starts):
            if start.progress.epoch == first + 1:
                key = start.config.network_id
                before, _ = self._folders[key].newest(start.config, first)
                if before.progress.epoch == first:
                    self._tables[key] = NetworkTables(self._stores[key], key, through_epoch=first)
                    starts[i] = before
        return starts

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in the same process; nothing of the last one remains."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and write its results.

        Raises:
            StoreError, CheckpointError, OSError: the files of a network cannot be read or written. This is raised after
                the epoch of the other networks is written, or after all their training if the network cannot be begun.
            ClaimLostError: another process has taken over a network.
        """
        name_process(self._name)
        broken: list[Exception] = []
        ending: list[tuple[Checkpoint, Outcome]] = []
        began = time.perf_counter()
        reports = self._trainer.run_epoch() if self._trainer else ()
        elapsed = time.perf_counter() - began
        for report in reports:
            self._metrics.show(report, report.config.training.steps_per_epoch / elapsed)
            try:
                self._keep(report)
            except (ClaimLostError, StoreError, OSError) as error:
                broken.append(error)
                continue
            if report.outcome:
                ending.append((report.checkpoint, report.outcome))
            self._last[report.config.network_id] = {
                "epoch": report.epoch,
                "n": report.n,
                "accuracy": report.accuracy,
                "ended": report.outcome.status if report.outcome else "",
            }
        for checkpoint, outcome in ending:
            try:
                self._write_outcome(checkpoint, outcome)
            except (ClaimLostError, StoreError, OSError) as error:
                broken.append(error)
        done = not (self._trainer and self._trainer.networks)
        if done:
            broken += self._unusable
        if broken:
            raise broken[0]
        return {"networks": self._last, "warnings": self._warnings, "products": self._products, "done": done}

    def _keep(self, report: EpochReport) -> None:
        """Write an epoch, in an order in which a crash at any point neither loses nor duplicates anything.

        Outcomes are written after the epoch of all networks.
        """
        self._claims[report.config.network_id].check()
        paths = self._save_solved(report)
        tables = self._tables[report.config.network_id]
        tables.add(epochs_row(report), heads_rows(report), solved_rows(report, paths))
        self._write(report)

    def _save_solved(self, report: EpochReport) -> dict[int, str]:
        """Save the weights that solved an N; return their paths by N."""
        folder = self._folders[report.config.network_id]
        return {n: folder.save_solved(report.solved, n) for n in report.newly_solved} if report.solved else {}

    def _write(self, report: EpochReport) -> None:
        """Write the rows, then the checkpoint.

        Rows of an epoch that is trained again are replaced, whereas a checkpoint without its rows would lose the rows.
        """
        key = report.config.network_id
        self._tables[key].flush()
        if report.outcome is None or report.outcome.status is not EndState.DIVERGED:
            self._folders[key].save_resume(report.checkpoint)

    def _write_outcome(self, checkpoint: Checkpoint, outcome: Outcome) -> None:
        row = outcomes_row(checkpoint.config, outcome, checkpoint.progress, self._processor, self._products, self._code)
        key = checkpoint.config.network_id
        self._stores[key].write(OUTCOMES, key, [row])
        self._claims[key].release()


def _processor(device: str, gpus: float) -> str:
    """Return the device, and limit a trial with a share of a GPU to the same share of its memory.

    Ray only counts shares, so without this limit one trial could use the memory of all trials.
    """
    if device != "cpu":
        torch.cuda.set_per_process_memory_fraction(min(gpus, 1.0))
    return processor(torch.device(device))
