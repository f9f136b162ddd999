"""Two drivers of one sweep, where locks do not keep them apart: whoever came last ends it, alone."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pandas as pd
import pytest

from analysis.__main__ import main as analysis
from analysis.data.frames import load
from tests.object_store import object_store
from tests.processes import descendants, kill_everything
from tests.sweeps.commands import CLOCKS, GRID, ROOT, STARTED, TABLES
from tsrnn.io.files import Location, location

KEYS = ("network_id", "epoch", "n")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store() as endpoint:
        yield endpoint


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path) -> Location:
    if request.param == "folder":
        return location(tmp_path)
    request.getfixturevalue("endpoint")
    return location(f"s3://bucket/{tmp_path.name}")


def drive(storage: Location) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.sweeps.impatient", *GRID, "--address", "local", "--storage", str(storage)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    STARTED.append(process)
    return process


def wait_for(folder: Location, epochs: int, process: subprocess.Popen[str]) -> None:
    """Wait until networks have trained this many epochs in all, or all have ended."""
    end = time.monotonic() + 180
    while process.poll() is None:
        with suppress(Exception):
            if (folder / "sweep.json").exists() and len(load(folder, "epochs", ["epoch"])) >= epochs:
                return
        assert time.monotonic() < end, f"{folder}: fewer than {epochs} epochs after three minutes"
        time.sleep(0.1)


def signal_to(process: subprocess.Popen[str], what: signal.Signals, *, only_driver: bool) -> None:
    """Send a signal to a driver; and to its Ray and its trials, if not to the driver alone."""
    for pid in [process.pid, *([] if only_driver else descendants(process.pid))]:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


def tables(folder: Location) -> dict[str, pd.DataFrame]:
    found = {name: load(folder, name) for name in TABLES}
    return {
        name: frame.drop(columns=[clock for clock in CLOCKS if clock in frame])
        .sort_values([key for key in KEYS if key in frame])
        .reset_index(drop=True)
        for name, frame in found.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 10], ids=["once", "often"])
def test_two_drivers(storage, rounds, finished, capsys):
    """The first is stopped, whole or its driver alone, or its driver is killed; it goes on at any moment of the second.

    The lock of a folder is taken away, as a file system would do that forgets it; that of a bucket expires.
    """
    seed = random.SystemRandom().randrange(10**6)
    chance, ends = random.Random(seed), []
    expected = tables(location(finished[0]) / "fixed_tau")
    for i in range(rounds):
        place = storage / f"round-{i}"
        folder = place / "fixed_tau"
        first = drive(place)
        wait_for(folder, chance.randint(1, 120), first)
        how = chance.choice(["stop all", "stop the driver", "kill the driver"])
        what = signal.SIGKILL if "kill" in how else signal.SIGSTOP
        signal_to(first, what, only_driver=how != "stop all")
        if folder.is_file_system:
            (folder / "_lock").unlink(missing_ok=True)
        else:
            time.sleep(4.5)
        second = drive(place)
        moment = chance.choice(["early", "late", "after"])
        if moment != "after":
            wait_for(folder, 1 if moment == "early" else 120, second)
            time.sleep(chance.random() * 3)
        else:
            second.wait(timeout=400)
        signal_to(first, signal.SIGCONT, only_driver=False)
        _, errors = second.communicate(timeout=400)
        where = f"seed {seed}, round {i}: {how}, {moment}"
        assert second.returncode == 0, (where, errors)
        if "kill" in how:
            first.communicate()
        else:
            _, told = first.communicate(timeout=400)
            assert first.returncode in (0, 1), (where, told)
            if first.returncode:
                lines = [line for line in told.splitlines() if line.startswith("error: ")]
                assert len(lines) == 1, (where, told)
                assert "another process has taken over this sweep; this one stops" in lines[0], (where, told)
        kill_everything(first)
        for name, frame in tables(folder).items():
            pd.testing.assert_frame_equal(frame, expected[name], check_exact=True, obj=f"{where}: {name}")
        assert analysis(["verify", str(folder)]) == 0, where
        ends.append((how, moment, first.returncode))
    with capsys.disabled():
        print(f"\nseed {seed}: {ends}")
