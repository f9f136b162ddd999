"""Parquet files carry a checksum of all their bytes; other programs read them as they read any."""

import hashlib
import io
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.io.test_store import row
from tsrnn.io.files import location
from tsrnn.io.parquet import StoreError, from_bytes, read_folder, to_bytes
from tsrnn.io.schemas import OUTCOMES, SOLVED
from tsrnn.io.store import Store

ROWS = pa.table({"network_id": ["n1", "n1", "n2"], "n": [2, 3, 2], "tau_mean": [1.5, None, 2.25]})


class TestChecksum:
    def test_every_flipped_bit_is_refused(self):
        data = to_bytes(ROWS)
        for bit in range(8 * len(data)):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ValueError, match="its contents do not match its checksum"):
                from_bytes(bytes(changed))

    def test_pages_alone_would_not_tell(self):
        """So the test above is not about the checksums that Parquet has by itself."""
        data, others = to_bytes(ROWS), 0
        for bit in range(8 * len(data)):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                with pq.ParquetFile(io.BytesIO(changed), page_checksum_verification=True) as file:
                    others += not file.read().equals(ROWS)
            except (pa.ArrowException, OSError, ValueError):
                pass
        assert others > 100

    def test_it_is_the_digest_that_the_module_describes(self):
        data = to_bytes(ROWS)
        digits = pq.read_metadata(io.BytesIO(data)).metadata[b"tsrnn.checksum"].removeprefix(b"tsrnn:sha256:")
        assert data.count(digits) == 1
        assert hashlib.sha256(data.replace(digits, b"0" * 64)).hexdigest().encode() == digits

    def test_text_that_looks_like_one_is_text(self):
        texts = ["tsrnn:sha256:" + "0" * 64, "tsrnn.checksum"]
        rows = pa.table({"reason": texts})
        assert from_bytes(to_bytes(rows)).equals(rows)

    def test_the_same_rows_are_the_same_bytes(self):
        assert to_bytes(ROWS) == to_bytes(ROWS)

    def test_units_are_in_the_file_without_rows(self, tmp_path: Path):
        store = Store(tmp_path)
        store.create([SOLVED])
        store.write(SOLVED, "n1", [row(SOLVED, network_id="n1")])
        described = pyarrow.dataset.dataset(tmp_path / "solved").schema
        assert described.field("tau_mean").metadata[b"unit"] == b"time steps"
        assert pq.read_schema(tmp_path / "solved" / "n1.parquet").field("tau_mean").metadata is None

    def test_what_pyarrow_reads_and_writes_again_has_none(self):
        again = io.BytesIO()
        pq.write_table(pq.read_table(io.BytesIO(to_bytes(ROWS))), again)
        assert b"tsrnn.checksum" not in again.getvalue()
        assert from_bytes(again.getvalue()).equals(ROWS)

    def test_entries_of_the_footer_are_of_the_file_and_not_of_its_rows(self):
        data = to_bytes(ROWS, {"attempt": "3"})
        assert pq.read_metadata(io.BytesIO(data)).metadata[b"attempt"] == b"3"
        assert b"attempt" not in to_bytes(from_bytes(data))

    def test_frames_keep_what_pandas_notes(self, tmp_path: Path):
        frame = pd.DataFrame({"x": pd.Categorical(["a", "b"])}, index=pd.Index([3, 4], name="key"))
        path = tmp_path / "frame.parquet"
        path.write_bytes(to_bytes(pa.Table.from_pandas(frame)))
        pd.testing.assert_frame_equal(pd.read_parquet(path), frame)

    def test_other_programs_read_it(self, tmp_path: Path):
        path = tmp_path / "rows.parquet"
        path.write_bytes(to_bytes(ROWS, {"attempt": "3"}))
        expected = ROWS.to_pydict()
        assert pl.read_parquet(path).to_dict(as_series=False) == expected
        assert duckdb.sql(f"SELECT * FROM '{path}'").to_arrow_table().to_pydict() == expected
        pd.testing.assert_frame_equal(pd.read_parquet(path), ROWS.to_pandas())


class TestFolders:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        store = Store(tmp_path / "sweep")
        store.create()
        for i in range(50):
            key = f"n{i}"
            store.write(OUTCOMES, key, [row(OUTCOMES, network_id=key, max_n=i)])
            store.write(SOLVED, key, [row(SOLVED, network_id=key, n=n) for n in (2, 3)])
        return store

    def test_columns_and_conditions(self, store: Store):
        """Columns of the condition need not be among those that are read."""
        found = read_folder(store.folder / "outcomes", ["network_id"], pa.compute.field("max_n") >= 48)
        assert sorted(found.to_pylist(), key=str) == [{"network_id": "n48"}, {"network_id": "n49"}]
        every = read_folder(store.folder / "solved")
        assert every.num_rows == 100
        assert every.schema.names == [column.name for column in SOLVED.columns]
        assert read_folder(store.folder / "solved", ["n"]).schema.names == ["n"]

    def test_files_that_are_left_out_are_not_read(self, store: Store):
        (Path(str(store.folder)) / "outcomes" / "n3.parquet").write_bytes(b"PAR1 half")
        with pytest.raises(StoreError, match=r"n3\.parquet cannot be read"):
            store.finished()
        others = {f"n{i}" for i in range(50)} - {"n3", "n7"}
        assert store.finished(without={"n3"}).keys() == others | {"n7"}
        assert store.finished(without=others | {"n3"}) == {"n7": "text"}
        everything = others | {"n3", "n7", "empty"}
        assert read_folder(store.folder / "outcomes", ["status"], without=everything).to_pydict() == {"status": []}

    def test_a_file_of_another_table_is_refused(self, store: Store):
        folder = Path(str(store.folder))
        (folder / "solved" / "n3.parquet").write_bytes((folder / "outcomes" / "n3.parquet").read_bytes())
        with pytest.raises(StoreError, match=r"solved cannot be read: a file has no column 'n', which every row needs"):
            read_folder(store.folder / "solved")

    def test_what_is_no_column_is_named(self, store: Store):
        with pytest.raises(StoreError, match="wrong_name"):
            read_folder(store.folder / "solved", ["wrong_name"])

    def test_files_of_other_programs(self, store: Store):
        """Narrower numbers, columns in another order, and one that no version knows."""
        rows = pa.table({"more": ["x"], "max_n": pa.array([7], pa.int32()), "network_id": ["other"]})
        pq.write_table(rows, Path(str(store.folder), "outcomes", "other.parquet"))
        found = read_folder(store.folder / "outcomes", where=pa.compute.field("max_n") == 7).to_pylist()
        assert [one["network_id"] for one in found] == ["n7", "other"]
        assert list(found[1]) == [column.name for column in OUTCOMES.columns]

    def test_values_of_another_type_are_an_error(self, store: Store):
        rows = pa.table({"network_id": ["other"], "max_n": ["many"]})
        pq.write_table(rows, Path(str(store.folder), "outcomes", "other.parquet"))
        with pytest.raises(StoreError, match="outcomes cannot be read"):
            read_folder(store.folder / "outcomes", ["network_id", "max_n"])

    def test_no_folder_and_no_file(self, tmp_path: Path):
        for folder in (tmp_path / "absent", tmp_path):
            with pytest.raises(StoreError):
                read_folder(location(folder))
