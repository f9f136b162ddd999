"""Two drivers of one sweep, where locks do not keep them apart: whoever came last ends it, alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pandas as pd
import pytest

from analysis.__main__ import main as analysis
from analysis.data.frames import load
from sweeps.engine.folder import Record, SweepFolder
from tests.object_store import object_store
from tests.processes import descendants, kill_everything
from tests.sweeps.commands import CLOCKS, GRID, ROOT, STARTED, TABLES
from tsrnn.config import EndState, Leaky, RunConfig
from tsrnn.io.claims import ClaimLostError
from tsrnn.io.files import Location, location
from tsrnn.io.local import LocalPath
from tsrnn.io.rows import outcomes_row
from tsrnn.io.schemas import EPOCHS, OUTCOMES
from tsrnn.io.store import Store
from tsrnn.training.reports import Outcome

KEYS = ("network_id", "epoch", "n")
SMALL = RunConfig(network=Leaky(hidden=3))
NETWORKS = tuple(SMALL.replicates(4))


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


def wait_for_lock(folder: Location, process: subprocess.Popen[str]) -> None:
    """Wait until this driver holds the lock of the folder, or has ended: one that goes on before may keep its own."""
    end = time.monotonic() + 180
    while process.poll() is None:
        with suppress(OSError, ValueError):
            if json.loads((folder / "_lock").read_bytes().partition(b"\n")[0])["process"] == process.pid:
                return
        assert time.monotonic() < end, f"{folder}: the second driver has no lock after three minutes"
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


def record(networks: Sequence[RunConfig]) -> Record:
    return Record("small", "quick", "paper", SMALL, tuple(networks))


def test_a_record_loses_no_network(storage):
    """The first driver goes on when the second has added networks to those that it found."""
    first, second = SweepFolder(str(storage), "small"), SweepFolder(str(storage), "small")
    first.write(record(NETWORKS[:2]))
    assert second.claim.number == first.claim.number + 1
    second.write(second.read().including(NETWORKS[2:3]))
    with pytest.raises(ClaimLostError, match=r"small: another process has taken over this sweep; this one stops"):
        first.write(record([*NETWORKS[:2], NETWORKS[3]]))
    assert second.read().networks == NETWORKS[:3]
    assert SweepFolder(str(storage), "small").claim.number == 3


def test_what_a_trial_has_ended_does_not_fail(storage):
    """Its machine was given up for lost; the driver records a failure, and then another one that is none."""
    folder = SweepFolder(str(storage), "small")
    folder.write(record(NETWORKS[:2]))
    zombies = [Store(folder.path, folder.claim.within(network.network_id)) for network in NETWORKS[:2]]
    for network, zombie in zip(NETWORKS[:2], zombies, strict=True):
        zombie.adopt(network.network_id)
    ended, late = (outcomes_row(network, Outcome(EndState.EPOCHS, "")) for network in NETWORKS[:2])
    zombies[0].write(OUTCOMES, NETWORKS[0].network_id, [ended])
    for network in NETWORKS[:2]:
        folder.fail(network, "its machine was lost")
    with pytest.raises(ClaimLostError):
        zombies[1].write(OUTCOMES, NETWORKS[1].network_id, [late])
    assert list(folder.store.finished().values()) in (["epochs", "failed"], ["failed", "epochs"])
    assert folder.unfinished(NETWORKS[:2]) == [NETWORKS[1]]


def test_a_sweep_that_may_be_running_is_not_repaired(storage, monkeypatch, capsys):
    folder = SweepFolder(str(storage), "small")
    folder.write(record(NETWORKS[:2]))
    (folder.path / "epochs" / f"{NETWORKS[0].network_id}.parquet").write(b"PAR1 damaged")
    before = {str(path): path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with folder:
        folder.acquire()
        assert analysis(["verify", str(folder.path), "--repair"]) == 1
        assert "repair it when this process has ended" in capsys.readouterr().err
        folder.claim.check()
    if folder.path.is_file_system:
        monkeypatch.setattr(LocalPath, "lock", lambda path, content: None)
        assert analysis(["verify", str(folder.path), "--repair"]) == 1
        assert "its file system has no locks" in capsys.readouterr().err
    after = {str(path): path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert {name: data for name, data in after.items() if name in before} == before
    assert not (folder.path / "_damaged").exists()


def test_a_repair_ends_what_a_trial_that_comes_back_may_do(storage):
    folder = SweepFolder(str(storage), "small")
    folder.write(record(NETWORKS[:1]))
    key = NETWORKS[0].network_id
    zombie = Store(folder.path, folder.claim.within(key))
    zombie.adopt(key)
    (folder.path / "epochs" / f"{key}.parquet").write(b"PAR1 damaged")
    assert analysis(["verify", str(folder.path), "--repair"]) == 0
    with pytest.raises(ClaimLostError):
        zombie.write(EPOCHS, key, [])
    assert not (folder.path / "epochs" / f"{key}.parquet").exists()
    assert folder.read() is not None


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 10], ids=["once", "often"])
def test_two_drivers(storage, rounds, undisturbed, capsys):
    """The first is stopped, whole or its driver alone, or its driver is killed; it goes on at any moment of the second.

    The lock of a folder is taken away, as a file system would do that forgets it; that of a bucket expires.
    """
    seed = random.SystemRandom().randrange(10**6)
    chance, ends = random.Random(seed), []
    expected = tables(location(undisturbed) / "fixed_tau")
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
            wait_for_lock(folder, second)
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
