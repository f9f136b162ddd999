import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from sweeps.engine.runner import main
from sweeps.fixed_tau import SWEEP as SWEEP_OF_TAUS
from tests.processes import kill_everything
from tests.sweeps.commands import (
    GRID,
    NICENESS,
    ROOT,
    SHORT,
    STARTED,
    TABLES,
    TRACKERS,
    command,
    niceness_of_trials,
    start,
    sweep,
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process, which saves its imports; returns exit status, output and errors."""

    def run(*options: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", command(options)[1:])
        with pytest.raises(SystemExit) as end:
            main(SWEEP_OF_TAUS)
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """End what a failed test started and did not see end."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            kill_everything(process)


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Path, str, str, int], set[int]]:
    """A sweep that ran undisturbed while its tables were read; and how nice its trials' processes were.

    Every installed tracker followed it, offline.
    """
    storage = tmp_path_factory.mktemp("finished")
    offline = {"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": f"sqlite:///{storage}/mlflow.db"}
    options = ["--niceness", NICENESS, *(["--log", *TRACKERS] if TRACKERS else [])]
    process = start(*SHORT, "--storage", storage, *options, PYTHONPATH=str(ROOT), **offline)
    reads, niceness = 0, set()
    while process.poll() is None:
        folder = storage / "fixed_tau"
        if (folder / "sweep.json").exists():
            for name in TABLES:
                frame = pd.read_parquet(folder / name)
                reads += 1
                if name == "epochs":
                    for _, own in frame.groupby("network_id"):
                        assert sorted(own["epoch"]) == list(range(1, len(own) + 1))
            niceness |= niceness_of_trials(process)
        time.sleep(0.3)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return (storage, output, errors, reads), niceness


@pytest.fixture(scope="session")
def finished(watched) -> tuple[Path, str, str, int]:
    """A sweep that ran undisturbed while its tables were read: its storage, output, errors and reads."""
    return watched[0]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of the grid's sweep with the whole budget of its scale: what one that was disturbed ends as."""
    storage = tmp_path_factory.mktemp("undisturbed")
    done = sweep(*GRID, "--storage", storage)
    assert done.returncode == 0, done.stderr
    return storage
