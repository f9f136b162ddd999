"""The cost of a run apart from its training, in a sweep with many short runs.

    python benchmarks/many_runs.py [--runs 1000]

One sweep runs on its own Ray. Each run is a separate trial with 4 neurons, 2 optimiser steps and 1 epoch. The seconds
per run are measured from the first outcome to the last: trial, rows, checkpoint, outcome, and the training itself.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from sweeps.engine.grid import with_tau
from sweeps.engine.options import Axes
from sweeps.engine.runner import Sweep
from tsrnn.config import EndRules, RunConfig, Training

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "from benchmarks.many_runs import SWEEP; from sweeps.engine.runner import main; main(SWEEP)"

app = App(help=__doc__, help_format="plaintext")


def grid(base: RunConfig, axes: Axes) -> Iterator[RunConfig]:
    """Yield a short run for each tau."""
    training = Training(batch_size=4, steps_per_epoch=2, test_batches=1)
    base = replace(base, training=training, end=EndRules(max_epochs=1))
    for tau in axes.taus:
        yield with_tau(base, tau)


SWEEP = Sweep(name="many_runs", doc=__doc__, axes=Axes(taus=("1",)), grid=grid)


@dataclass(frozen=True)
class Measured:
    """The cost of many short runs.

    Attributes:
        runs: the number of runs.
        seconds_a_run: seconds per run, from the first outcome to the last.
        memory_mb: the memory of the driver when a tenth, half and all of the runs had ended.
        status: the sweep's exit status.
    """

    runs: int
    seconds_a_run: float
    memory_mb: tuple[int, int, int]
    status: int


def measure(runs: int, storage: Path) -> Measured:
    """Run the sweep and watch its outcomes and its driver's memory."""
    taus = [f"{1 + i / 100:g}" for i in range(runs)]
    options = ["--scale", "quick", "--hidden", "4", "--replicates", "1", "--address", "local"]
    command = [sys.executable, "-c", COMMAND, *options, "--storage", str(storage), "--taus", *taus]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    memory: dict[int, int] = {}
    times: dict[int, float] = {}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            ended = sum(1 for _ in storage.glob("many_runs/outcomes/n*"))
            if ended and ended not in times:
                times[ended], memory[ended] = time.monotonic(), _memory_mb(process.pid)
            time.sleep(0.1)
    first, last = min(times), max(times)
    seconds = (times[last] - times[first]) / (last - first)
    tenth, half = (min(n for n in memory if n >= share * last) for share in (0.1, 0.5))
    return Measured(last, seconds, (memory[tenth], memory[half], memory[last]), process.returncode)


def _memory_mb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


@app.default
def main(*, runs: int = 1000, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Measure.

    Args:
        runs: the number of runs.
        as_json: Print JSON.
    """
    with tempfile.TemporaryDirectory() as storage:
        found = vars(measure(runs, Path(storage)))
    print(json.dumps(found) if as_json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    app()
