"""The overhead of a sweep compared with a plain training loop on the same core.

    python benchmarks/sweep.py [--scale quick] [--hidden 256] [--rounds 2]

It runs in turn one trial (multi-head parity, trained tau) of `sweeps/fixed_tau.py` with Ray Tune, tables and
checkpoints, and the same networks in a plain loop. Both do the same work, bit for bit. Optimiser steps per second are
measured from the end of the first epoch to the end of the last one, so that they do not include starting Ray.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
from cyclopts import App, Parameter

from sweeps.engine.scales import SCALES, base_config
from tsrnn.io.checkpoint import new
from tsrnn.training.loop import Trainer

app = App(help=__doc__, help_format="plaintext")
_SWEEP = Path(__file__).resolve().parent.parent / "sweeps" / "fixed_tau.py"


def bare_rate(scale: Literal["quick", "laptop"], hidden: int) -> tuple[float, float]:
    """Return the steps per second of a plain loop, and its seconds."""
    config = base_config(scale, "paper", hidden)
    trainer = Trainer([new(run) for run in config.replicates(SCALES[scale].replicates)])
    ends = []
    while trainer.networks:
        trainer.run_epoch()
        ends.append(time.perf_counter())
    return (len(ends) - 1) * config.training.steps_per_epoch / (ends[-1] - ends[0]), ends[-1] - ends[0]


def sweep_rate(scale: Literal["quick", "laptop"], hidden: int) -> tuple[float, float]:
    """Return the steps per second of a trial of the sweep, measured by its checkpoints, and its seconds."""
    steps = base_config(scale, "paper", hidden).training.steps_per_epoch
    with tempfile.TemporaryDirectory() as storage:
        options = [
            "--tasks",
            "parity",
            "--curricula",
            "multi",
            "--taus",
            "trained",
            "--address",
            "local",
            "--hidden",
            str(hidden),
        ]
        command = [sys.executable, str(_SWEEP), "--scale", scale, "--storage", storage, *options]
        seen: dict[int, float] = {}
        with subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None:
                for path in Path(storage).glob("*/checkpoints/*/epoch-*.safetensors"):
                    seen.setdefault(int(path.stem.removeprefix("epoch-")), time.perf_counter())
                time.sleep(0.05)
        if process.returncode:
            raise SystemExit(f"the sweep ended with status {process.returncode}; run it: {' '.join(command)}")
    first, last = min(seen), max(seen)
    return (last - first) * steps / (seen[last] - seen[first]), seen[last] - seen[first]


@app.default
def main(
    *,
    scale: Literal["quick", "laptop"] = "quick",
    hidden: int = 256,
    rounds: int = 2,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compare.

    Args:
        scale: the scale of the budget.
        hidden: H.
        rounds: how often the two take turns.
        as_json: Print JSON.
    """
    torch.set_num_threads(1)
    bare, sweep = [], []
    for _ in range(rounds):
        bare.append(bare_rate(scale, hidden))
        sweep.append(sweep_rate(scale, hidden))
    fractions = [b[0] / a[0] for a, b in zip(bare, sweep, strict=True)]
    result = {
        "sweep_fraction": {
            "min": min(fractions),
            "median": statistics.median(fractions),
            "max": max(fractions),
        },
        "bare_steps_per_s": [rate for rate, _ in bare],
        "sweep_steps_per_s": [rate for rate, _ in sweep],
        "seconds": [seconds for _, seconds in sweep],
    }
    print(json.dumps(result) if as_json else "\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    app()
