"""Whoever claims last writes alone: with processes that are stopped, go on, and are killed, at random moments."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.io.attempts import CONFIG, ENDED, KEY, LOST, WROTE, outcome, rows
from tests.object_store import object_store
from tsrnn.io import claims
from tsrnn.io.checkpoint import CheckpointFolder, load
from tsrnn.io.claims import DRIVER, Claim, ClaimLostError, rejoin, take
from tsrnn.io.files import Location, location
from tsrnn.io.schemas import ANALYSES, EPOCHS, HEADS, OUTCOMES, SOLVED
from tsrnn.io.store import Store, StoreError, encode, read_folder

ROOT = Path(__file__).resolve().parents[2]
EPOCHS_EACH = 12


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store() as endpoint:
        yield endpoint


@pytest.fixture(params=["folder", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A folder on each kind of storage; nothing is there."""
    if request.param == "folder":
        return location(tmp_path / "sweep")
    request.getfixturevalue("endpoint")
    return location(f"s3://bucket/{tmp_path.parent.name}-{tmp_path.name}")


class TestClaim:
    def test_the_newest_writes(self, folder):
        first = take(folder, DRIVER)
        first.write(folder / "file", b"1")
        first.write(folder / "file", b"2")
        second = take(folder, DRIVER)
        second.adopt(folder / "file", lambda data: data + b"!")
        with pytest.raises(ClaimLostError, match="another process has taken over this sweep; this one stops"):
            first.write(folder / "file", b"3")
        assert (folder / "file").read_bytes() in (b"2", b"2!")
        second.write(folder / "file", b"4")
        assert (folder / "file").read_bytes() == b"4"
        assert (first.number, second.number) == (1, 2)

    def test_a_file_that_was_not_there(self, folder):
        first = take(folder, DRIVER)
        take(folder, DRIVER)
        with pytest.raises(ClaimLostError):
            first.write(folder / "table" / "file", b"1")
        assert not (folder / "table" / "file").exists()

    def test_a_write_that_had_begun_when_the_claim_was_lost(self, folder, monkeypatch):
        """It is stopped between its last check and the moment that the file gets its name."""
        first = take(folder, DRIVER)
        first.write(folder / "file", b"1")
        if folder.is_file_system:
            fsync = os.fsync

            def late(descriptor: int) -> None:
                fsync(descriptor)
                monkeypatch.setattr(os, "fsync", fsync)
                take(folder, DRIVER)

            monkeypatch.setattr(os, "fsync", late)
        else:
            take(folder, DRIVER).adopt(folder / "file", lambda data: data + b"!")
        with pytest.raises(ClaimLostError):
            first.write(folder / "file", b"2")
        assert (folder / "file").read_bytes()[:1] == b"1"

    def test_a_successor_that_is_about_to_delete_the_folder(self, tmp_path, monkeypatch):
        """It has deleted the file that was to be renamed, and not yet the folder that it lies in."""
        first, fsync = take(tmp_path, DRIVER), os.fsync
        own = tmp_path / claims.CLAIMS / first.name

        def late(descriptor: int) -> None:
            fsync(descriptor)
            monkeypatch.setattr(os, "fsync", fsync)
            (own.parent / "000002-00000000").mkdir()
            for path in own.iterdir():
                path.unlink()

        monkeypatch.setattr(os, "fsync", late)
        with pytest.raises(ClaimLostError):
            first.write(location(tmp_path / "file"), b"1")
        assert own.exists()

    def test_other_subjects_are_apart(self, folder):
        one, other = take(folder, "timescales"), take(folder, "ablation")
        take(folder, "timescales")
        with pytest.raises(ClaimLostError, match="taken over timescales"):
            one.write(folder / "file", b"1")
        other.write(folder / "file", b"2")

    def test_parts_go_with_the_whole(self, folder):
        driver = take(folder, DRIVER)
        trial = driver.within("n1")
        trial.write(folder / "n1", b"1")
        again = driver.within("n1")
        again.adopt(folder / "n1", lambda data: data + b"!")
        with pytest.raises(ClaimLostError, match="taken over n1"):
            trial.write(folder / "n1", b"2")
        again.write(folder / "n1", b"3")
        assert (trial.attempt, again.attempt) == ("1.1", "1.2")
        later = take(folder, DRIVER)
        assert later.within("n1").attempt == "2.1"
        with pytest.raises(ClaimLostError):
            driver.within("n1")
        with pytest.raises(ClaimLostError):
            again.check()

    def test_another_process_uses_it_by_its_name(self, folder):
        driver = take(folder, DRIVER)
        rejoin(folder, driver.name).within("n1").write(folder / "n1", b"1")
        take(folder, DRIVER)
        with pytest.raises(ClaimLostError):
            rejoin(folder, driver.name)

    def test_a_folder_that_is_another(self, folder, tmp_path):
        driver = take(folder, DRIVER)
        for other in (folder.parent / "other", location(tmp_path / "elsewhere")):
            with pytest.raises(FileNotFoundError):
                rejoin(other, driver.name)

    def test_numbers_go_on(self, folder):
        assert take(folder, DRIVER, after=7).number == 8
        assert take(folder, DRIVER, after=3).number == 9

    def test_a_part_that_is_given_up_leaves_nothing(self, tmp_path):
        driver = take(tmp_path, DRIVER)
        driver.within("n1").release()
        assert [path.name for path in (tmp_path / claims.CLAIMS).rglob("*")] == ["driver", driver.name.split("/")[1]]

    def test_one_of_many_at_once(self, folder):
        """At the end one claim stands, and it is the newest."""
        taken: list[Claim] = []

        def run() -> None:
            with suppress(ClaimLostError):
                taken.append(take(folder, DRIVER))

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        def holds(claim: Claim) -> bool:
            with suppress(ClaimLostError):
                claim.check()
                return True
            return False

        assert [claim for claim in taken if holds(claim)] == [max(taken, key=lambda claim: claim.name)]

    def test_what_cannot_be_written_is_no_lost_claim(self, tmp_path):
        driver = take(tmp_path, DRIVER)
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(NotADirectoryError):
            driver.write(location(tmp_path / "file" / "below"), b"1")
        assert [path for path in tmp_path.rglob("*") if path.name.startswith("_below")] == []


class TestTables:
    def test_rows_say_which_attempt_wrote_them(self, tmp_path):
        claim = take(tmp_path, DRIVER).within(KEY)
        Store(tmp_path, claim).write(EPOCHS, KEY, rows(1)[EPOCHS])
        assert pq.read_metadata(tmp_path / "epochs" / f"{KEY}.parquet").metadata[b"attempt"] == b"1.1"

    def test_a_damaged_file_is_not_adopted(self, folder):
        (folder / "epochs" / f"{KEY}.parquet").write(b"PAR1 damaged")
        store = Store(folder, take(folder, DRIVER).within(KEY))
        if folder.is_file_system:
            store.adopt(KEY)
        else:
            with pytest.raises(StoreError, match="cannot be read"):
                store.adopt(KEY)
        assert (folder / "epochs" / f"{KEY}.parquet").read_bytes() == b"PAR1 damaged"

    def test_two_analyses_at_once_lose_no_row(self, folder):
        """The one that came first writes for another N, late; what the second has written stays."""

        def mark(n: int) -> object:
            return encode(ANALYSES, KEY, [_mark(n)])

        first = Store(folder, take(folder, "timescales"))
        first.write_solved(ANALYSES, KEY, 2, mark(2), "timescales")
        second = Store(folder, take(folder, "timescales"))
        second.write_solved(ANALYSES, KEY, 3, mark(3), "timescales")
        with pytest.raises(ClaimLostError):
            first.write_solved(ANALYSES, KEY, 4, mark(4), "timescales")
        second.write_solved(ANALYSES, KEY, 5, mark(5), "timescales")
        assert [one["n"] for one in Store(folder).read(ANALYSES, KEY, "timescales")] == [2, 3, 5]


def _mark(n: int) -> dict[str, object]:
    named = {"network_id": KEY, "analysis": "timescales", "n": n, "status": "done"}
    return named | {"message": "", "settings": "{}", "wall_s": 0.0}


class Processes:
    """Starts, stops, lets go on, kills and awaits the processes of `tests.io.attempts`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.io.attempts"]
        self._server = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | _ONE_THREAD
        )

    def _ask(self, **line: object) -> int:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(line) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def start(self, folder: Location, pace: float) -> int:
        return self._ask(folder=str(folder), epochs=EPOCHS_EACH, pace=pace)

    def wait(self, pid: int) -> int:
        return self._ask(wait=pid)

    def close(self) -> None:
        self._server.communicate()


_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def processes(endpoint: str) -> Iterator[Processes]:
    started = Processes()
    yield started
    started.close()


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def _reader(folder: Path, problems: list[str], ended: threading.Event) -> None:
    """Read as a user would, all the time: no epoch is there twice, and none is lost again that was trained to stay."""
    while not ended.is_set():
        for table in (EPOCHS, HEADS, SOLVED):
            if not (folder / table.name / "empty.parquet").exists():
                continue
            frame = pd.read_parquet(folder / table.name)
            if frame.duplicated(list(table.key)).any():
                problems.append(f"{table.name}: {frame.to_string()}")
        time.sleep(0.02)


def _contents(folder: Location) -> dict[str, bytes]:
    """Every file but the claims.

    In an object store a writer may still leave a resume checkpoint of its own name that it was about to write.
    """
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    own = () if folder.is_file_system else ("/epoch-",)
    return {name: data for name, data in found.items() if not any(part in name for part in ("/_", *own))}


@pytest.mark.parametrize("rounds", [5, pytest.param(90, marks=pytest.mark.slow)], indirect=True)
def test_torture(folder, processes, rounds, capsys):
    """Up to four writers of one network: each is stopped, killed or left alone; those stopped go on at some moment."""
    seed = random.SystemRandom().randrange(10**6)
    chance, ended, count = random.Random(seed), {}, {"stopped": 0, "killed": 0}
    expected = {table: [one for epoch in range(1, EPOCHS_EACH + 1) for one in rows(epoch)[table]] for table in rows(1)}
    for i in range(rounds):
        place = folder / f"round-{i}"
        Store(place).create()
        over, problems = threading.Event(), []
        reader = threading.Thread(target=_reader, args=(Path(str(place)), problems, over))
        if folder.is_file_system:
            reader.start()
        pace = 0.01 if folder.is_file_system else 0.05
        writers, stopped = [], []
        for _ in range(chance.randint(2, 4)):
            writers.append(processes.start(place, pace))
            time.sleep(chance.random() * EPOCHS_EACH * pace * 1.2)
            act = chance.choice(["stop", "stop", "kill", "leave"])
            if act == "stop":
                os.kill(writers[-1], signal.SIGSTOP)
                stopped.append(writers[-1])
                count["stopped"] += 1
            elif act == "kill":
                os.kill(writers[-1], signal.SIGKILL)
                count["killed"] += 1
            if stopped and chance.random() < 0.4:
                os.kill(stopped.pop(chance.randrange(len(stopped))), signal.SIGCONT)
        writers.append(processes.start(place, pace))
        late = stopped[: len(stopped) // 2 + 1]
        for pid in stopped[len(late) :]:
            time.sleep(chance.random() * EPOCHS_EACH * pace / 2)
            os.kill(pid, signal.SIGCONT)
        statuses = [processes.wait(pid) for pid in writers if pid not in late]
        if not {ENDED, WROTE} & set(statuses):  # the one that claimed last was killed, or is stopped
            statuses.append(processes.wait(processes.start(place, pace)))
        complete = _contents(place)
        for pid in late:
            os.kill(pid, signal.SIGCONT)
        came_late = [processes.wait(pid) for pid in late]
        # One of them may have written the outcome before it was stopped, and learns only now that it has.
        if ENDED not in came_late:  # one that was stopped before it claimed anything has the newest claim now
            assert _contents(place) == complete, (seed, i, statuses, came_late)
        statuses += came_late
        over.set()
        if folder.is_file_system:
            reader.join()
        where = f"seed {seed}, round {i}, {statuses}"
        assert not problems, (where, problems)
        assert set(statuses) <= {ENDED, WROTE, LOST, -signal.SIGKILL}, where
        assert statuses.count(WROTE) <= 1, where
        for status in statuses:
            ended[status] = ended.get(status, 0) + 1
        store = Store(place)
        for table, all_rows in expected.items():
            assert store.read(table, KEY) == sorted(all_rows, key=lambda one: [one[name] for name in table.key]), where
            assert read_folder(place / table.name).num_rows == len(all_rows), where
        assert store.read(OUTCOMES, KEY) == [outcome(EPOCHS_EACH)], where
        for one in expected[SOLVED]:
            assert load(place / one["checkpoint"]).progress.epoch == one["epoch"], where
        newest, warnings = CheckpointFolder(place, KEY).newest(CONFIG, EPOCHS_EACH)
        assert (newest.progress.epoch, warnings) == (EPOCHS_EACH, []), where
    with capsys.disabled():
        print(f"\n{rounds} rounds, seed {seed}: {count}, exit statuses {ended}")
    assert ended.get(LOST)
