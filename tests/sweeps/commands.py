"""Sweeps' command lines in processes of their own, and what they leave, for the tests that share them."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from tests.processes import kill_everything, trials

ROOT = Path(__file__).resolve().parents[2]
SWEEP = [sys.executable, "sweeps/fixed_tau.py"]
QUICK = ["--scale", "quick", "--tasks", "parity", "--curricula", "multi"]
TINY = [*QUICK, "--hidden", "8"]
GRID = [*TINY, "--taus", "1", "trained", "--replicates", "2"]
BUDGET = 12
SHORT = [*GRID, "--epochs", str(BUDGET)]
"""The grid with time to solve N = 2 (3 to 6 epochs), for tests that neither kill nor interrupt its sweep."""
TABLES = ("runs", "outcomes", "epochs", "solved", "heads")
ONE_AT_A_TIME = ("--cpus-per-trial", str(min(1.5, os.cpu_count() or 1)))
"""One trial at a time on two cores: for tests whose trials end before a second process has started."""
STARTED: list[subprocess.Popen[str]] = []
CLOCKS = ("wall_s", "device", "products", "versions", "commit")
NICENESS = "3"
TRACKERS = [
    name for name, package in (("tensorboard", "tensorboardX"), ("wandb", "wandb"), ("mlflow", "mlflow"))
    if find_spec(package)
]  # fmt: skip
"""What `--log` can follow a sweep with here."""


def command(options: tuple[str | Path, ...]) -> list[str]:
    """A sweep's command line, on a Ray of its own: a test must not run on a cluster that happens to be here."""
    return [*SWEEP, *map(str, options), *([] if "--address" in options else ["--address", "local"])]


def sweep(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(options), cwd=ROOT, capture_output=True, text=True, timeout=1500)


def start(*options: str | Path, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        command(options),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    return process


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    found = {name: pd.read_parquet(folder / name) for name in TABLES}
    keys = ["network_id", "epoch", "n"]
    return {
        name: frame.drop(columns=[c for c in CLOCKS if c in frame])
        .sort_values([key for key in keys if key in frame])
        .reset_index(drop=True)
        for name, frame in found.items()
    }


def assert_same_tables(folder: Path, expected: Path, *, rounding: bool = False) -> None:
    """Hold a sweep's tables against another's, bit for bit but for what tells the time and the machine.

    With `rounding`, floats agree as docs/reproducibility.md says of networks that were stacked otherwise.
    """
    ours, theirs = tables(folder), tables(expected)
    for name in TABLES:
        how = {"check_exact": False, "rtol": 1e-4} if rounding else {"check_exact": True}
        pd.testing.assert_frame_equal(ours[name], theirs[name], **how)


def one_line(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    assert errors.splitlines()[-1] == lines[0]
    assert "Traceback" not in errors
    return lines[0]


def wait_for(folder: Path, epochs: int) -> None:
    """Wait until the networks of a running sweep have trained this many epochs in all."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if (folder / "epochs").is_dir() and len(pd.read_parquet(folder / "epochs")) >= epochs:
            return
        time.sleep(0.05)
    raise TimeoutError(f"{folder}: fewer than {epochs} epochs after two minutes")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start_and_kill_half_way(storage: Path) -> None:
    process = start(*GRID, "--storage", storage)
    wait_for(storage / "fixed_tau", 40)
    kill_everything(process)


def niceness_of_trials(process: subprocess.Popen[str]) -> set[int]:
    """How nice the processes of a running sweep's trials are."""
    found = set()
    for pid in trials(process.pid):
        with suppress(ProcessLookupError):  # it ended meanwhile
            found.add(os.getpriority(os.PRIO_PROCESS, pid))
    return found
