import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.data.frames import load as load_frame
from tsrnn.io.files import write_atomically
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, RUNS, SOLVED, TABLES
from tsrnn.io.store import NetworkTables, Store, StoreError, schema

EXAMPLES = {"string": "text", "int64": 3, "float64": 0.25}
PANDAS_DTYPES = {"string": "str", "int64": "int64", "float64": "float64"}


def row(table, **values):
    return {column.name: EXAMPLES[column.dtype] for column in table.columns} | values


def epochs_row(epoch, network_id="n1", **values):
    return row(EPOCHS, network_id=network_id, epoch=epoch, **values)


def heads_rows(epoch, count, network_id="n1", **values):
    return [row(HEADS, network_id=network_id, epoch=epoch, n=n, **values) for n in range(2, 2 + count)]


def solved_row(n, epoch, network_id="n1", **values):
    return row(SOLVED, network_id=network_id, n=n, epoch=epoch, **values)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "sweep")
    store.create()
    return store


def frame(store, table):
    return pd.read_parquet(store.folder / table.name)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestWriteAtomically:
    def test_makes_the_folder_and_replaces_the_file(self, tmp_path):
        path = tmp_path / "a" / "b" / "file"
        write_atomically(path, b"old")
        write_atomically(path, b"new")
        assert path.read_bytes() == b"new"
        assert names(path.parent) == ["file"]

    def test_a_failure_leaves_the_old_file_and_no_temporary_one(self, tmp_path, monkeypatch):
        path = tmp_path / "file"
        write_atomically(path, b"old")

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["file"]


class TestSchema:
    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_fields_say_unit_and_meaning_and_keys_are_not_nullable(self, table):
        for column, field in zip(table.columns, schema(table), strict=True):
            assert field.name == column.name
            assert field.nullable is not column.key
            assert field.metadata == {b"unit": column.unit.encode(), b"meaning": column.meaning.encode()}

    def test_metadata_reach_the_file(self, store):
        field = pq.read_schema(store.folder / "epochs" / "empty.parquet").field("tau_mean")
        assert field.metadata[b"unit"] == b"time steps"


class TestStore:
    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_an_empty_table_reads_as_an_empty_frame_with_dtypes(self, store, table):
        empty = frame(store, table)
        assert len(empty) == 0
        expected = {column.name: PANDAS_DTYPES[column.dtype] for column in table.columns}
        assert {name: str(dtype) for name, dtype in empty.dtypes.items()} == expected

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_round_trip(self, store, table):
        rows = [row(table, network_id="n1")]
        store.write(table, "n1", rows)
        assert store.read(table, "n1") == rows
        read = frame(store, table)
        assert read.to_dict("records") == rows
        pd.testing.assert_series_equal(read.dtypes, frame(store, table).dtypes)

    def test_rows_are_ordered_by_key_and_rewritten_whole(self, store):
        store.write(HEADS, "n1", [*heads_rows(2, 2)[::-1], *heads_rows(1, 2)])
        assert [(r["epoch"], r["n"]) for r in store.read(HEADS, "n1")] == [(1, 2), (1, 3), (2, 2), (2, 3)]
        store.write(HEADS, "n1", heads_rows(5, 1))
        assert [r["epoch"] for r in store.read(HEADS, "n1")] == [5]

    def test_writing_the_same_again_changes_nothing(self, store):
        for _ in range(2):
            store.write(EPOCHS, "n1", [epochs_row(1), epochs_row(2)])
        assert len(frame(store, EPOCHS)) == 2
        assert names(store.folder / "epochs") == ["empty.parquet", "n1.parquet"]

    def test_nan_and_none_are_kept_apart(self, store):
        store.write(EPOCHS, "n1", [epochs_row(1, loss=float("nan"), grad_norm=None)])
        (read,) = store.read(EPOCHS, "n1")
        assert read["loss"] != read["loss"]
        assert read["grad_norm"] is None

    def test_a_network_without_rows_has_none(self, store):
        assert store.read(SOLVED, "n1") == []
        store.write(SOLVED, "n1", [])
        assert store.read(SOLVED, "n1") == []

    def test_creating_again_keeps_results(self, store):
        store.write(EPOCHS, "n1", [epochs_row(1)])
        store.create()
        assert len(frame(store, EPOCHS)) == 1

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([{k: v for k, v in solved_row(2, 1).items() if k != "tau_sd"}], "lacks column tau_sd"),
            ([solved_row(2, 1, colour="red")], "unknown column colour"),
            ([solved_row(2, 1, network_id="n2")], "column network_id must be n1"),
            ([solved_row(2, 1), solved_row(2, 4)], "same network_id, n"),
            ([solved_row(None, 1)], "column n is a key"),
            ([solved_row(2.5, 1)], "column n must be int64"),
            ([solved_row(2, 1, accuracy="high")], "column accuracy must be float64"),
            ([solved_row(2, 1, checkpoint=3)], "column checkpoint must be string"),
        ],
    )
    def test_rows_that_do_not_fit_name_the_column(self, store, rows, message):
        with pytest.raises(ValueError, match=message):
            store.write(SOLVED, "n1", rows)
        assert names(store.folder / "solved") == ["empty.parquet"]

    @pytest.mark.parametrize("network_id", ["", "empty", "_n1", ".n1", "../n1", "a/b"])
    def test_ids_that_cannot_name_a_file(self, store, network_id):
        with pytest.raises(ValueError, match="network_id"):
            store.write(SOLVED, network_id, [])

    def test_finished_gives_the_statuses(self, store):
        assert store.finished() == {}
        for network_id, status in (("n1", "epochs"), ("n2", "failed")):
            store.write(OUTCOMES, network_id, [row(OUTCOMES, network_id=network_id, status=status)])
        assert store.finished() == {"n1": "epochs", "n2": "failed"}

    @pytest.mark.parametrize("content", [b"", b"PAR1 not really"])
    def test_a_damaged_file_is_named(self, store, content):
        path = store.folder / "outcomes" / "n7.parquet"
        path.write_bytes(content)
        for read in (lambda: store.read(OUTCOMES, "n7"), store.finished):
            with pytest.raises(
                StoreError, match=r"outcomes/n7\.parquet cannot be read .* `python -m analysis verify .* --repair`"
            ) as caught:
                read()
            assert "\n" not in str(caught.value)

    def test_a_file_with_other_columns_is_named(self, store):
        source = store.folder / "runs" / "empty.parquet"
        (store.folder / "epochs" / "n1.parquet").write_bytes(source.read_bytes())
        with pytest.raises(StoreError, match=r"epochs/n1\.parquet has other columns"):
            store.read(EPOCHS, "n1")

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StoreError, match=r"cannot write .*choose a folder"):
            Store(tmp_path / "file" / "sweep").create()

    def test_finished_without_a_folder(self, tmp_path):
        with pytest.raises(StoreError, match="does not exist"):
            Store(tmp_path).finished()


class TestNetworkTables:
    def test_flush_writes_what_was_added(self, store):
        tables = NetworkTables(store, "n1", 0)
        tables.add(epochs_row(1), heads_rows(1, 1), [])
        assert store.read(EPOCHS, "n1") == []
        tables.flush()
        tables.add(epochs_row(2), heads_rows(2, 1), [solved_row(2, 2)])
        tables.add(epochs_row(3), heads_rows(3, 2), [])
        tables.flush()
        assert store.read(EPOCHS, "n1") == [epochs_row(1), epochs_row(2), epochs_row(3)]
        assert store.read(HEADS, "n1") == heads_rows(1, 1) + heads_rows(2, 1) + heads_rows(3, 2)
        assert store.read(SOLVED, "n1") == [solved_row(2, 2)]

    def test_flush_writes_only_what_changed(self, store):
        tables = NetworkTables(store, "n1", 0)
        tables.add(epochs_row(1), heads_rows(1, 1), [solved_row(2, 1)])
        tables.flush()
        before = {table: (store.folder / table.name / "n1.parquet").stat().st_ino for table in (EPOCHS, SOLVED)}
        tables.add(epochs_row(2), heads_rows(2, 1), [])
        tables.flush()
        after = {table: (store.folder / table.name / "n1.parquet").stat().st_ino for table in before}
        assert after[EPOCHS] != before[EPOCHS]
        assert after[SOLVED] == before[SOLVED]

    @pytest.mark.parametrize("flush_between", [True, False])
    def test_n_may_be_solved_several_at_once_and_in_any_order(self, store, flush_between):
        tables = NetworkTables(store, "n1", 0)
        for epoch, solved in ((1, [5, 2]), (2, []), (3, [4]), (4, [7, 3])):
            tables.add(epochs_row(epoch), heads_rows(epoch, 6), [solved_row(n, epoch) for n in solved])
            if flush_between:
                tables.flush()
        tables.flush()
        found = [(r["n"], r["epoch"]) for r in store.read(SOLVED, "n1")]
        assert found == [(2, 1), (3, 4), (4, 3), (5, 1), (7, 4)]
        resumed = NetworkTables(store, "n1", 3)
        resumed.flush()
        assert [r["n"] for r in store.read(SOLVED, "n1")] == [2, 4, 5]

    @pytest.mark.parametrize("flush_between", [True, False])
    def test_an_epoch_added_again_replaces(self, store, flush_between):
        tables = NetworkTables(store, "n1", 0)
        for epoch in (1, 2, 3):
            tables.add(epochs_row(epoch), heads_rows(epoch, 3), [solved_row(epoch + 1, epoch)])
            if flush_between:
                tables.flush()
        tables.add(epochs_row(2, loss=9.0), heads_rows(2, 1, accuracy=1.0), [solved_row(3, 2, accuracy=1.0)])
        tables.flush()
        assert [r["loss"] for r in store.read(EPOCHS, "n1")] == [0.25, 9.0, 0.25]
        assert [(r["epoch"], r["accuracy"]) for r in store.read(HEADS, "n1")] == [
            *[(1, 0.25)] * 3,
            (2, 1.0),
            *[(3, 0.25)] * 3,
        ]
        assert [(r["n"], r["accuracy"]) for r in store.read(SOLVED, "n1")] == [(2, 0.25), (3, 1.0), (4, 0.25)]

    def test_resuming_drops_later_epochs_and_goes_on(self, store):
        tables = NetworkTables(store, "n1", 0)
        for epoch in range(1, 6):
            tables.add(epochs_row(epoch), heads_rows(epoch, 2), [solved_row(epoch + 1, epoch)])
        tables.flush()
        resumed = NetworkTables(store, "n1", 3)
        resumed.add(epochs_row(4, loss=4.0), heads_rows(4, 2), [])
        resumed.flush()
        assert [(r["epoch"], r["loss"]) for r in store.read(EPOCHS, "n1")] == [
            *[(epoch, 0.25) for epoch in (1, 2, 3)],
            (4, 4.0),
        ]
        assert [r["epoch"] for r in store.read(HEADS, "n1")] == [1, 1, 2, 2, 3, 3, 4, 4]
        assert [(r["n"], r["epoch"]) for r in store.read(SOLVED, "n1")] == [(2, 1), (3, 2), (4, 3)]

    def test_resuming_from_the_start_drops_all(self, store):
        tables = NetworkTables(store, "n1", 0)
        tables.add(epochs_row(1), heads_rows(1, 2), [solved_row(2, 1)])
        tables.flush()
        NetworkTables(store, "n1", 0).flush()
        assert [store.read(table, "n1") for table in (EPOCHS, HEADS, SOLVED)] == [[], [], []]

    def test_resuming_beyond_the_rows_is_an_error(self, store):
        tables = NetworkTables(store, "n1", 0)
        tables.add(epochs_row(1), [], [])
        tables.flush()
        with pytest.raises(StoreError, match="end at epoch 1, but its checkpoint is of epoch 2"):
            NetworkTables(store, "n1", 2)

    def test_a_row_that_does_not_fit_leaves_the_tables_as_they_were(self, store):
        tables = NetworkTables(store, "n1", 0)
        with pytest.raises(ValueError, match="heads: column network_id"):
            tables.add(epochs_row(1), heads_rows(1, 2, network_id="n2"), [])
        tables.flush()
        assert store.read(EPOCHS, "n1") == []


# Kills one writer after another with SIGKILL. Each writes its own file for ever; rows of a generation share a
# number. Forked, not started afresh, so that many can be killed in a second.
KILL_WRITERS = """
import itertools, os, pathlib, random, signal, sys, time
from tsrnn.io.schemas import HEADS
from tsrnn.io.store import Store
store = Store(sys.argv[1])
delays = random.Random(0)
def write(name, generation):
    rows = [{"network_id": name, "epoch": generation, "n": n, "accuracy": 0.5} for n in range(1000)]
    store.write(HEADS, name, rows)
write("n0", -1)  # what is imported when it is needed is imported now, not by every writer
for number in range(1, 21):
    name = f"n{number}"
    writer = os.fork()
    if writer == 0:
        for generation in itertools.count():
            write(name, generation)
    while not pathlib.Path(store.folder, "heads", f"{name}.parquet").exists():
        time.sleep(0.001)
    time.sleep(delays.uniform(0, 0.02))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
"""

# Trains, so to speak, one network after another: 30 epochs each, flushed at every epoch.
TRAIN = """
import itertools, sys
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, RUNS, SOLVED
from tsrnn.io.store import NetworkTables, Store
folder, name = sys.argv[1:]
values = {"string": "text", "int64": 3, "float64": 0.25}
def row(table, **keys):
    return {column.name: values[column.dtype] for column in table.columns} | keys
store = Store(folder)
for number in itertools.count():
    network_id = f"{name}{number}"
    store.write(RUNS, network_id, [row(RUNS, network_id=network_id)])
    tables = NetworkTables(store, network_id, 0)
    for epoch in range(1, 31):
        keys = {"network_id": network_id, "epoch": epoch}
        heads = [row(HEADS, **keys, n=n) for n in range(2, 7)]
        tables.add(row(EPOCHS, **keys), heads, [row(SOLVED, **keys, n=epoch + 1)])
        tables.flush()
    store.write(OUTCOMES, network_id, [row(OUTCOMES, network_id=network_id)])
"""


@contextmanager
def training(folder, names):
    processes = [subprocess.Popen([sys.executable, "-c", TRAIN, folder, name]) for name in names]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for(path: Path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.005)


def test_a_killed_writer_leaves_a_whole_file(store):
    subprocess.run([sys.executable, "-c", KILL_WRITERS, store.folder], check=True, timeout=60)
    networks = list(frame(store, HEADS).groupby("network_id"))
    assert len(networks) == 21
    for _, rows in networks:
        assert rows["n"].tolist() == list(range(1000))
        assert rows["epoch"].nunique() == 1


def test_what_a_killed_writer_left_behind_is_not_read(store):
    store.write(OUTCOMES, "n1", [row(OUTCOMES, network_id="n1")])
    (store.folder / "outcomes" / "_n1.parquet.123.0a0b0c0d").write_bytes(b"PAR1 half")
    assert len(frame(store, OUTCOMES)) == len(store.finished()) == 1


def test_tables_can_be_read_while_they_are_written(store):
    trained: dict[str, int] = {}
    reads = 0
    with training(store.folder, ["na", "nb"]) as writers:
        wait_for(store.folder / "epochs" / "na0.parquet")
        began = time.monotonic()
        # Three seconds of reading; more where a busy machine writes little in them.
        while (passed := time.monotonic() - began) < 3 or (min(reads / 6, len(trained) / 4) < 1 and passed < 60):
            tables = {table: frame(store, table) for table in (OUTCOMES, EPOCHS, SOLVED, HEADS, RUNS)}
            reads += 1
            for network_id, rows in tables[EPOCHS].groupby("network_id"):
                assert rows["epoch"].tolist() == list(range(1, len(rows) + 1))
                assert len(rows) >= trained.get(network_id, 0)
                trained[network_id] = len(rows)
            for network_id, rows in tables[HEADS].groupby("network_id"):
                # Read after epochs and written before it: it has at least the epochs seen there.
                assert rows["n"].tolist() == [2, 3, 4, 5, 6] * (len(rows) // 5)
                assert len(rows) // 5 >= trained.get(network_id, 0)
            for _, rows in tables[SOLVED].groupby("network_id"):
                assert rows["n"].tolist() == list(range(2, len(rows) + 2))
            assert set(tables[OUTCOMES]["network_id"]) <= set(tables[RUNS]["network_id"])
        assert all(writer.poll() is None for writer in writers)
    assert reads > 5
    assert len(trained) > 3


class TestColumnsThatCameLater:
    """A folder of an older version is read, added to and queried: what it lacks is empty."""

    @pytest.fixture
    def older(self, store):
        store.write(OUTCOMES, "n1", [row(OUTCOMES, network_id="n1", products=None)])
        for path in (store.folder / OUTCOMES.name).glob("*.parquet"):
            pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["products"]), path)
        return store

    def test_they_are_empty(self, older):
        assert older.read(OUTCOMES, "n1") == [row(OUTCOMES, network_id="n1", products=None)]
        assert older.finished() == {"n1": "text"}

    def test_new_rows_beside_old_ones_have_them(self, older):
        older.write(OUTCOMES, "n2", [row(OUTCOMES, network_id="n2", products="blas, 1 together")])
        older.write(OUTCOMES, "n0", [row(OUTCOMES, network_id="n0", products="onednn, 1 together")])
        found = load_frame(older.folder, OUTCOMES).set_index("network_id")["products"]
        assert found.dropna().to_dict() == {"n0": "onednn, 1 together", "n2": "blas, 1 together"}
        assert found.isna().to_dict() == {"n0": False, "n1": True, "n2": False}
        assert older.finished().keys() == {"n0", "n1", "n2"}

    def test_a_key_must_be_there(self, older):
        path = older.folder / OUTCOMES.name / "n1.parquet"
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["network_id"]), path)
        with pytest.raises(StoreError, match="other columns"):
            older.read(OUTCOMES, "n1")
