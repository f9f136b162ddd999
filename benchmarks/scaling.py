"""The constants of docs/scaling.md: the costs of reports for the driver, of writing for workers, and of reading tables.

`python benchmarks/scaling.py` takes a few minutes on 2 cores. Costs are processor time of a single process, on which
other programs on the machine have little effect; `--json` prints them for programs.
"""

import argparse
import hashlib
import io
import json
import logging
import random
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import ray
from rich.console import Console

from analysis.data.frames import load
from sweeps.engine import cluster as _cluster
from sweeps.engine.cluster import Resources
from sweeps.engine.progress import Progress
from sweeps.engine.trainable import PopulationTrainable
from tsrnn.config import EndState, Leaky, RunConfig, Training
from tsrnn.io.checkpoint import Checkpoint, CheckpointFolder
from tsrnn.io.claims import DRIVER, take
from tsrnn.io.files import location
from tsrnn.io.rows import epochs_row, heads_rows, outcomes_row, runs_row, solved_row
from tsrnn.io.schemas import EPOCHS, OUTCOMES, RUNS, SOLVED
from tsrnn.io.store import NetworkTables, Store
from tsrnn.training.loop import train
from tsrnn.training.reports import Outcome

REPORTS = 300


class Reporting(PopulationTrainable):
    """A trial that trains nothing, so that only the cost of its reports remains."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the trial's networks."""
        self._networks = [RunConfig.from_json(text).network_id for text in config["trial"]["networks"]]
        self._epoch = 0

    def step(self) -> dict[str, Any]:
        """Report an epoch."""
        self._epoch += 1
        seen = {"epoch": self._epoch, "n": 5, "accuracy": 0.9, "ended": ""}
        return {"networks": dict.fromkeys(self._networks, seen), "warnings": [], "done": self._epoch == REPORTS}


def driver(folder: Path) -> dict[str, float]:
    """Return the driver's processor time per report of four networks and per trial, with two trials at a time."""
    Store(folder).create()
    ray.init(address="local", num_cpus=2, log_to_driver=False, logging_level=logging.ERROR)
    groups = [RunConfig(seed=4 * i).replicates(4) for i in range(2)]
    began = time.process_time()
    with patch.object(_cluster, "PopulationTrainable", Reporting):
        _cluster.run(groups, take(location(folder), DRIVER), Resources(1, 0), Console(file=io.StringIO()))
    spent = time.process_time() - began
    ray.shutdown()
    return {"driver_ms_per_report": 1e3 * spent / (2 * REPORTS)}


def reports(trials: int) -> dict[str, float]:
    """Return the cost of progress for the reports of many trials of four networks, without Tune and actors.

    At the paper's size, each trial reports every 64 s (see docs/scaling.md). The share is that of one core, including
    the terminal that shows the progress.
    """
    groups = [RunConfig(seed=4 * i).replicates(4) for i in range(trials)]
    ids = [[network.network_id for network in group] for group in groups]
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    progress = Progress(groups, console)
    running = [SimpleNamespace(trial_id=str(i), config={"trial": {"index": i}}) for i in range(trials)]
    for trial in running:
        progress.on_trial_start(0, running, trial)

    def report(i: int) -> None:
        seen = {"epoch": 1 + i // trials, "n": 5, "accuracy": 0.9, "ended": ""}
        result = {"networks": dict.fromkeys(ids[i % trials], seen), "warnings": [], "products": ""}
        progress.on_trial_result(0, running, running[i % trials], result)

    cost(trials, report)
    a_report, a_look = cost(20 * trials, report), cost(100, lambda _: console.print(progress))
    share = 100 * (trials / 64 * a_report + 2 * a_look) / 1e3
    return {"progress_ms_per_report": a_report, "progress_ms_per_look": a_look, "progress_percent_of_core": share}


def cost(repeats: int, act: Callable[[int], object]) -> float:
    """Return milliseconds of processor time of one call."""
    began = time.process_time()
    for i in range(repeats):
        act(i)
    return 1e3 * (time.process_time() - began) / repeats


def worker(folder: Path) -> dict[str, float]:
    """Return the cost of an epoch of one network apart from its training: rows and checkpoint, at the paper's size."""
    config = RunConfig(training=Training(steps_per_epoch=1, test_batches=1, batch_size=2))
    (report,) = [one for one, _ in zip(train(config), range(1), strict=False)]
    store, kept = Store(folder), CheckpointFolder(folder, config.network_id)
    store.create()
    tables = NetworkTables(store, config.network_id, through_epoch=0)

    def flush(epoch: int) -> None:
        row = epochs_row(report) | {"epoch": epoch + 1}
        tables.add(row, [one | {"epoch": epoch + 1} for one in heads_rows(report)], [])
        tables.flush()

    checkpoint: Checkpoint = report.checkpoint
    found = {"flush_ms": cost(300, flush), "checkpoint_ms": cost(20, lambda _: kept.save_resume(checkpoint))}
    size = next((folder / "checkpoints" / config.network_id).iterdir()).stat().st_size
    return found | {"checkpoint_mb": size / 1e6}


def reader(folder: Path, networks: int) -> dict[str, float]:
    """Return the cost of reading `epochs` of many networks with 100 epochs each."""
    store = Store(folder)
    store.create()
    config = RunConfig(network=Leaky(hidden=4))
    (report,) = [one for one, _ in zip(train(config), range(1), strict=False)]
    for i in range(networks):
        key = f"n{i}"
        rows = [epochs_row(report) | {"network_id": key, "epoch": epoch} for epoch in range(1, 101)]
        store.write(EPOCHS, key, rows)
    store.write(RUNS, config.network_id, [runs_row(config, sweep="scaling", scale="quick")])
    return {"read_ms_per_network": cost(3, lambda _: load(str(folder), EPOCHS)) / networks}


def ended(folder: Path, networks: int) -> dict[str, float]:
    """Return the cost of reading `outcomes` and `solved` of many networks that have ended, with 30 solved N each.

    The elapsed time is measured with the files in memory, on all cores; the other values are processor time.
    """
    config, solved_n = RunConfig(network=Leaky(hidden=4)), range(2, 32)
    (report,) = [one for one, _ in zip(train(config), range(1), strict=False)]
    end = Outcome(EndState.EPOCHS, "trained for all its epochs")
    progress = replace(report.checkpoint.progress, max_n=max(solved_n))
    outcome = outcomes_row(config, end, progress, device="AMD EPYC", products="compiled: 4 together")
    draw = random.Random(0)
    store = Store(folder)
    store.create()
    store.write(RUNS, config.network_id, [runs_row(config, sweep="scaling", scale="quick")])
    with patch("os.fsync"):  # it does not affect what is read, and would take minutes
        for i in range(networks):
            key = f"n{i:016x}"
            store.write(OUTCOMES, key, [outcome | {"network_id": key, "wall_s": draw.random()}])
            rows = [
                solved_row(
                    key,
                    n,
                    checkpoint=f"checkpoints/{key}/n-{n:03d}.safetensors",
                    epoch=3 * n,
                    epochs_taken=3,
                    accuracy=draw.random(),
                    tau_mean=draw.random(),
                    tau_sd=draw.random(),
                )
                for n in solved_n
            ]
            store.write(SOLVED, key, rows)

    def read(_: int) -> None:
        for table in (OUTCOMES, SOLVED):
            load(str(folder), table)

    read(0)
    began, passed = time.process_time(), time.perf_counter()
    read(0)
    found = {"read_ended_s": time.perf_counter() - passed, "read_ended_cpu_s": time.process_time() - began}
    contents = [path.read_bytes() for table in (OUTCOMES, SOLVED) for path in (folder / table.name).glob("n*.parquet")]
    checked = cost(1, lambda _: [hashlib.sha256(content).hexdigest() for content in contents])
    return found | {"checksum_us_per_file": 1e3 * checked / len(contents)}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--networks", type=int, default=1000)
    options.add_argument("--ended", type=int, default=10_000, help="networks whose outcomes and solved N are read")
    options.add_argument("--trials", type=int, default=1000, help="trials that report to the driver's progress")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = worker(Path(scratch) / "worker") | reader(Path(scratch) / "reader", given.networks)
        found |= ended(Path(scratch) / "ended", given.ended)
        found |= reports(given.trials)
        found |= driver(Path(scratch) / "driver")
    found["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps(found) if given.json else "\n".join(f"{name:24} {value:10.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
