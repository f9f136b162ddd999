"""Results and checkpoints in an object store: what a folder does, on a real S3 server on the loopback."""

import io
import itertools
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import torch

from analysis.data.frames import ResultsError, load
from analysis.measure import jobs as _jobs
from analysis.options import Execution
from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder
from tests.analysis.measure.test_jobs import CONFIGS, MEASURED, analysis, expected, found, row
from tests.object_store import object_store
from tests.processes import kill_everything
from tests.sweeps.commands import GRID, TABLES, command, start
from tsrnn import command_line
from tsrnn.config import Leaky, RunConfig
from tsrnn.errors import UsageError
from tsrnn.io import checkpoint, objects
from tsrnn.io.checkpoint import CheckpointError, CheckpointFolder
from tsrnn.io.files import Location, location, write_atomically
from tsrnn.io.lock import FolderLock, LockedError
from tsrnn.io.objects import ObjectPath
from tsrnn.io.schemas import EPOCHS, OUTCOMES, RUNS, SOLVED
from tsrnn.io.store import Store, StoreError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store() as endpoint:
        yield endpoint


@pytest.fixture
def folder(endpoint: str, request: pytest.FixtureRequest) -> ObjectPath:
    """A name of this test's own; nothing is there."""
    return location(f"s3://bucket/{abs(hash(request.node.name))}")


class TestNames:
    @pytest.mark.parametrize("name", ["s3://bucket/results", "s3://bucket/a/b", "s3://bucket"])
    def test_a_name_is_what_it_prints(self, name):
        assert str(location(name)) == name
        assert location(location(name)) == location(name)
        # Names go to workers and other processes, which pickles what they are handed.
        assert pickle.loads(pickle.dumps(location(name))) == location(name)

    @pytest.mark.parametrize("name", ["gs://bucket/x", "http://host/x", "s3://", "s3:///x", "s3://bucket/../other"])
    def test_other_urls_are_refused(self, name):
        with pytest.raises(ValueError, match=r"allowed are folders of a file system and s3://BUCKET/PATH"):
            location(name)
        with pytest.raises(UsageError, match=rf"storage = {name}"):
            SweepFolder(name, "fixed_tau")

    def test_paths_stay_paths(self, tmp_path):
        assert location(tmp_path) == location(str(tmp_path)) == tmp_path

    def test_parts(self):
        path = location("s3://bucket/results") / "fixed_tau" / "sweep.json"
        assert (path.name, path.stem, path.parent.name) == ("sweep.json", "sweep", "fixed_tau")


class TestFiles:
    def test_what_is_written_is_found(self, folder):
        assert not folder.exists()
        assert list(folder.iterdir()) == list(folder.glob("*")) == list(folder.rglob("*")) == []
        for name in ("a/one.txt", "a/two.txt", "b/one.txt", "c.txt"):
            path = folder
            for part in name.split("/"):
                path = path / part
            write_atomically(path, name.encode())
            assert path.read_text() == name
        assert folder.is_dir()
        assert not folder.is_file()
        assert (folder / "c.txt").is_file()
        assert not (folder / "c.txt").is_dir()
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c.txt"]
        assert sorted(map(str, folder.glob("*/one.txt"))) == [f"{folder}/a/one.txt", f"{folder}/b/one.txt"]
        assert sorted(path.name for path in folder.glob("[!a]*")) == ["b", "c.txt"]
        assert sorted(path.name for path in folder.rglob("*.txt")) == ["c.txt", "one.txt", "one.txt", "two.txt"]

    def test_a_file_is_replaced_and_deleted(self, folder):
        path = folder / "file"
        write_atomically(path, b"old")
        write_atomically(path, b"new")
        assert path.read_bytes() == b"new"
        path.unlink()
        path.unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError):
            path.read_bytes()

    def test_a_reader_sees_the_old_content_or_the_new(self, folder):
        """Contents of one letter each and of several lengths, replaced every 20 ms."""
        path, ended = folder / "file", threading.Event()
        contents = [bytes([i]) * (200_000 + 50_000 * (i % 3)) for i in range(256)]
        write_atomically(path, contents[0])
        seen: set[bytes] = set()

        def replace() -> None:
            for i in itertools.count():
                write_atomically(path, contents[i % 256])
                time.sleep(0.02)
                if len(seen) >= 10:
                    break
            ended.set()

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(replace)
            while not ended.is_set():
                seen.add(path.read_bytes())
            writer.result()
        assert seen <= set(contents)

    def test_a_bucket_that_is_not_there(self, endpoint):
        with pytest.raises(OSError, match="bucket does not exist"):
            write_atomically(location("s3://nowhere/file"), b"data")


def epochs(count: int, network_id: str) -> list[dict[str, object]]:
    examples = {"string": "text", "int64": 3, "float64": 0.25}
    values = {column.name: examples[column.dtype] for column in EPOCHS.columns}
    return [values | {"network_id": network_id, "epoch": i + 1} for i in range(count)]


class TestTables:
    def test_what_is_written_is_read_as_from_a_folder(self, folder, tmp_path):
        for where in (folder, tmp_path):
            store = Store(where)
            store.create()
            for network_id in ("n1", "n2"):
                store.write(EPOCHS, network_id, epochs(3, network_id))
            store.write(OUTCOMES, "n1", [])
        assert Store(folder).read(EPOCHS, "n1") == Store(tmp_path).read(EPOCHS, "n1")
        assert Store(folder).read(EPOCHS, "n3") == []
        assert Store(folder).finished() == {}
        for table in (EPOCHS, OUTCOMES, SOLVED):
            pd.testing.assert_frame_equal(load(str(folder), table), load(tmp_path, table))
        options = {"columns": ["loss", "network_id"], "where": [("epoch", "in", {1, 3}), ("network_id", "==", "n2")]}
        pd.testing.assert_frame_equal(load(folder, EPOCHS, **options), load(tmp_path, EPOCHS, **options))

    def test_tables_are_read_while_they_grow(self, folder):
        store, ended = Store(folder), threading.Event()
        store.create()

        lengths: list[int] = []

        def grow() -> None:
            count = 0
            while len(set(lengths)) < 10:
                count += 40
                store.write(EPOCHS, "n1", epochs(count, "n1"))
                time.sleep(0.02)
            ended.set()

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(grow)
            while not ended.is_set():
                lengths.append(len(load(folder, EPOCHS)))
            writer.result()
        assert lengths == sorted(lengths)
        assert {length % 40 for length in lengths} == {0}

    def test_a_damaged_file_is_named(self, folder):
        store = Store(folder)
        store.create()
        write_atomically(folder / "epochs" / "n1.parquet", b"PAR1 damaged")
        with pytest.raises(StoreError, match=rf"{folder}/epochs/n1.parquet cannot be read"):
            store.read(EPOCHS, "n1")
        with pytest.raises(ResultsError, match=rf"{folder}/epochs/n1.parquet cannot be read"):
            load(folder, EPOCHS)

    def test_no_results_there(self, folder):
        with pytest.raises(ResultsError, match=rf"{folder} is not a folder"):
            load(folder, EPOCHS)


class TestCheckpoints:
    def test_a_network_comes_back(self, folder):
        config = RunConfig(network=Leaky(hidden=3))
        start = checkpoint.new(config)
        kept = CheckpointFolder(folder, config.network_id)
        assert kept.newest(config)[0].progress.epoch == 0
        kept.save_resume(start)
        path = kept.save_solved(start, 5)
        again = checkpoint.load(f"{folder}/{path}")
        assert again.config == config
        assert all(torch.equal(again.network[name], tensor) for name, tensor in start.network.items())
        assert kept.newest(config)[0].config == config

    def test_none_there(self, folder):
        with pytest.raises(CheckpointError, match=rf"{folder}/none: no such checkpoint"):
            checkpoint.load(folder / "none")

    def test_a_damaged_one(self, folder):
        write_atomically(folder / "damaged", b"12345678 no header")
        with pytest.raises(CheckpointError, match=rf"{folder}/damaged: not a readable safetensors file"):
            checkpoint.load(folder / "damaged")


def test_an_analysis_of_checkpoints(folder, tmp_path):
    store = Store(folder)
    store.create()
    for config in CONFIGS:
        store.write(RUNS, config.network_id, [row(RUNS, config)])
        paths = {
            n: CheckpointFolder(folder, config.network_id).save_solved(checkpoint.new(config), n) for n in (2, 3, 4)
        }
        store.write(SOLVED, config.network_id, [row(SOLVED, config, n=n, checkpoint=path) for n, path in paths.items()])
    options = {"execution": Execution(workers=2, address="local"), "console": command_line.console(file=io.StringIO())}
    summary = _jobs.run(folder, analysis(tmp_path), **options)
    assert (summary.done, summary.skipped, summary.failed) == (6, 0, {})
    assert found(folder) == expected()
    assert len(load(folder, MEASURED)) == 6
    assert _jobs.run(folder, analysis(tmp_path), **options).skipped == 6


def test_a_sweep_s_record(folder):
    base = RunConfig(network=Leaky(hidden=3))
    record = Record("fixed_tau", "quick", "paper", base, tuple(base.replicates(3)))
    kept = SweepFolder(str(folder), "fixed_tau")
    assert kept.read() is None
    kept.require_writable()
    kept.write(record)
    kept.write(record)
    assert kept.read() == record
    assert sorted(load(kept.path, RUNS)["seed"]) == [0, 1, 2]
    assert kept.unfinished(record.networks) == list(record.networks)
    kept.fail(record.networks[0], "why")
    assert kept.store.finished() == {record.networks[0].network_id: "failed"}


def test_a_bucket_that_cannot_be_written(endpoint):
    base = RunConfig(network=Leaky(hidden=3))
    kept = SweepFolder("s3://nowhere/results", "fixed_tau")
    with pytest.raises(SweepError, match=r"storage = s3://nowhere/results/fixed_tau: .*choose another --storage"):
        kept.write(Record("fixed_tau", "quick", "paper", base, (base,)))


def sweep(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(options), cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_a_sweep_in_a_bucket_killed_and_resumed_is_that_in_a_folder(folder, tmp_path):
    """The whole way, ended by commands that read the tables and a checkpoint."""
    storage = str(folder)
    process = start(*GRID, "--storage", storage)
    while not (folder / "fixed_tau" / "sweep.json").exists() or len(load(f"{storage}/fixed_tau", EPOCHS)) < 40:
        assert process.poll() is None
        time.sleep(0.2)
    kill_everything(process)
    assert len(load(f"{storage}/fixed_tau", OUTCOMES)) < 4
    again = sweep("--resume", "--storage", storage)
    assert again.returncode == 0, again.stderr
    local = sweep(*GRID, "--storage", str(tmp_path))
    assert local.returncode == 0, local.stderr
    for name in TABLES:
        key = [column for column in ("network_id", "epoch", "n") if column in load(tmp_path / "fixed_tau", name)]
        ours, theirs = (load(f"{where}/fixed_tau", name).sort_values(key) for where in (storage, tmp_path))
        clocks = [column for column in ("wall_s", "device", "products", "versions", "commit") if column in ours]
        pd.testing.assert_frame_equal(
            *(frame.drop(columns=clocks).reset_index(drop=True) for frame in (ours, theirs)), check_exact=True
        )
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "max-n", f"{storage}/fixed_tau", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [one["tau"] for one in json.loads(done.stdout)["rows"]] == ["1", "trained"]
    solved = load(f"{storage}/fixed_tau", SOLVED)["checkpoint"].iloc[0]
    done = subprocess.run(
        [sys.executable, "-m", "tsrnn", "evaluate", f"{storage}/fixed_tau/{solved}", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["heads"]


class TestLock:
    def test_one_holder_at_a_time(self, folder):
        with FolderLock(folder) as first:
            assert first.acquire()
            assert first.acquire()
            with pytest.raises(LockedError, match=f"process {os.getpid()} on "):
                FolderLock(folder).acquire()
            assert FolderLock(folder, "other").acquire()
        with FolderLock(folder) as again:
            assert again.acquire()
        assert [path.name for path in folder.iterdir()] == ["_other"]

    def test_what_a_killed_process_left_is_taken_over_when_it_was_not_renewed(self, folder, monkeypatch):
        (folder / "_lock").write(b'{"process": 123, "host": "gone"}\nanother 1')
        lock = FolderLock(folder)
        with pytest.raises(LockedError, match="process 123 on gone"):
            lock.acquire()
        assert [path.name for path in folder.iterdir()] == ["_lock"]
        monkeypatch.setattr(objects, "LEASE_S", 1.0)
        time.sleep(2.1)  # the store's clock has seconds
        with lock:
            assert lock.acquire()
            with pytest.raises(LockedError, match=f"process {os.getpid()}"):
                FolderLock(folder).acquire()

    def test_what_a_process_of_this_machine_left_is_taken_over_at_once(self, folder):
        ended = subprocess.Popen(["true"])
        ended.wait()
        (folder / "_lock").write(json.dumps({"process": ended.pid, "host": socket.gethostname()}).encode() + b"\na 1")
        with FolderLock(folder) as lock:
            assert lock.acquire()

    def test_a_holder_renews_it(self, folder, monkeypatch):
        monkeypatch.setattr(objects, "LEASE_S", 2.0)
        with FolderLock(folder) as lock:
            lock.acquire()
            time.sleep(4.5)
            with pytest.raises(LockedError):
                FolderLock(folder).acquire()

    def test_a_holder_that_lost_it_says_so_and_leaves_the_others(self, folder, monkeypatch, capfd):
        monkeypatch.setattr(objects, "LEASE_S", 1.0)
        with FolderLock(folder) as lock:
            lock.acquire()
            (folder / "_lock").write(b'{"process": 123, "host": "other"}\nanother 1')
            time.sleep(0.5)
        assert f"warning: {folder}/_lock: the lock was lost" in capfd.readouterr().err
        assert (folder / "_lock").exists()

    def test_of_many_at_once_one_gets_it(self, folder):
        locks = [FolderLock(folder) for _ in range(8)]

        def take(lock: FolderLock) -> bool:
            try:
                return lock.acquire()
            except LockedError:
                return False

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, locks)) == 1
        for lock in locks:
            lock.release()


class TestBothKindsOfStorage:
    @pytest.fixture(params=["file system", "object store"])
    def place(self, request, tmp_path, folder) -> Location:
        return location(tmp_path) if request.param == "file system" else folder

    def test_a_copy_is_the_file_and_stays_when_it_is_replaced(self, place):
        first, second = place / "a" / "one", place / "b" / "two"
        first.write(b"old")
        second.write(b"in the way")
        first.copy_to(second)
        assert second.read_bytes() == b"old"
        first.write(b"new")
        assert second.read_bytes() == b"old"
        assert [path.name for path in (place / "b").iterdir()] == ["two"]
        with pytest.raises(FileNotFoundError):
            (place / "none").copy_to(second)
        assert second.read_bytes() == b"old"

    def test_a_file_has_a_path_of_this_machine(self, place):
        (place / "file").write(b"content")
        with (place / "file").as_file() as path:
            assert Path(path).read_bytes() == b"content"
        with pytest.raises(FileNotFoundError), (place / "none").as_file() as path:
            path.read_bytes()

    def test_names(self, place):
        assert place.absolute() == place.expanduser() == place
        assert pickle.loads(pickle.dumps(place / "x")) == place / "x"
        assert type(pickle.loads(pickle.dumps(place))) is type(place)
        assert place.obstacle() is None
