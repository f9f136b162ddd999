"""Tables as Parquet files with a checksum of the whole file, and folders of such files.

The checksum is in the footer of the file, in the metadata entry `tsrnn.checksum`. It is the SHA-256 of all bytes of the
file, in which its own 64 digits are replaced by zeros. For other programs, the file is an ordinary Parquet file. The
readers in this module read the whole file, compare it with its checksum, and only then parse it. A changed bit anywhere
is therefore an error: in pages, which have their own checksums, and in dictionaries, statistics, the schema and the
footer, which do not.
"""

import hashlib
import io
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsrnn.errors import Failure
from tsrnn.io.location import Location
from tsrnn.io.schemas import BY_NAME, Table

_ARROW_TYPES: Final = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}

PUBLISHED: Final = "published.parquet"
"""The file of a published table, which holds the rows of all networks; see `tsrnn.io.published`."""

# Both mark a file that has a checksum: a flipped bit leaves at least one of them, so that no damaged file passes for
# one that never had any. A table that pyarrow reads and writes again keeps neither.
_ENTRY: Final = b"tsrnn.checksum"
_PREFIX: Final = b"tsrnn:sha256:"
_ZEROS: Final = b"0" * 64

# Requests to an object store at the same time.
_REQUESTS: Final = 32
# Files that one task reads: fewer would cost more than the reading, more would leave threads without work.
_FILES_A_TASK: Final = 16


class StoreError(Failure):
    """A folder or file of results cannot be used; the message names it and says what to do."""


class DamagedFileError(StoreError):
    """The file of a table does not have the content that was written: it is missing, truncated, or was changed."""


def schema(table: Table) -> pa.Schema:
    """Return a table's Arrow schema: keys are not nullable, metadata holds each column's unit and meaning."""
    return pa.schema(
        [
            pa.field(
                column.name,
                _ARROW_TYPES[column.dtype],
                nullable=not column.key,
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for column in table.columns
        ]
    )


def to_bytes(rows: pa.Table, metadata: Mapping[str, str] | None = None, *, small: bool = False) -> bytes:
    """Return the Parquet file of some rows, with its checksum.

    Args:
        rows: The rows; metadata that their schema has is written too.
        metadata: Entries of the footer's metadata, which only `pyarrow.parquet.read_metadata` and its like show.
        small: Make the file as small as possible, which takes longer: for tables that are written once.
    """
    buffer = io.BytesIO()
    # Most files are small. For each column of each file zstd would take longer to set up than to read it, and
    # dictionaries of what hardly repeats are pages more. Units and meanings, a third of such a file, are in the one
    # without rows.
    if rows.num_rows:
        bare = pa.schema([field.remove_metadata() for field in rows.schema], rows.schema.metadata)
        rows = pa.Table.from_arrays(rows.columns, schema=bare)
    texts = [field.name for field in rows.schema if pa.types.is_string(field.type) and rows.num_rows > 1]
    form: dict[str, Any] = {"compression": "snappy", "use_dictionary": texts, "write_page_checksum": True}
    if small:
        # Of floats whose last digits are noise, only the first bytes can be compressed: all first bytes together.
        floats = {field.name: "BYTE_STREAM_SPLIT" for field in rows.schema if pa.types.is_floating(field.type)}
        form |= {"compression": "zstd", "compression_level": 19, "column_encoding": floats}
    with pq.ParquetWriter(buffer, rows.schema, **form) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({**(metadata or {}), _ENTRY.decode(): (_PREFIX + _ZEROS).decode()})
    data = buffer.getbuffer()
    at = _digits(data)
    data[at : at + len(_ZEROS)] = _checksum(data, at)
    return bytes(data)


def from_bytes(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a Parquet file, after comparing the file with its checksum.

    A file without one, from an earlier version or another program, is checked against the checksums of its pages.

    Args:
        data: The whole file.
        columns: Those to read, of which the file may lack some; all by default.

    Returns:
        The rows, without the entries of the footer's metadata.

    Raises:
        ValueError: the data is not what was written; the message says why.
    """
    at = _digits(data)
    sealed = at >= 0 or _ENTRY in data
    if sealed and (at < 0 or data[at : at + len(_ZEROS)] != _checksum(data, at)):
        raise ValueError("its contents do not match its checksum")
    try:
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=not sealed)
        rows = file.read(columns=None if columns is None else list(columns), use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(one_line(error)) from error
    return rows.replace_schema_metadata(None)


def read_file(path: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file and compare it with its checksum; see `from_bytes`.

    Raises:
        DamagedFileError: it is absent or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(path, error) from error
    return decoded(path, data, columns)


def decoded(path: Location, data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a Parquet file whose bytes have been read; see `from_bytes`.

    Raises:
        DamagedFileError: the data is not what was written.
    """
    try:
        return from_bytes(data, columns)
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Location, error: Exception) -> DamagedFileError:
    remedy = "get it from its source again" if path.name == PUBLISHED else repair(path.parent.parent)
    return DamagedFileError(f"{path} cannot be read ({one_line(error)}): {remedy}")


def read_rows(path: Location, table: Table) -> pa.Table:
    """Read one file of a table and compare it with its checksum.

    A column that is missing, because an earlier version wrote the file, is empty. Key columns are never missing.

    Raises:
        DamagedFileError: it is absent or damaged.
        StoreError: it has other columns than this version knows.
    """
    return completed(path, read_file(path), table)


def completed(path: Location, rows: pa.Table, table: Table) -> pa.Table:
    """Return a file's rows with the columns that the table has today; see `read_rows`.

    Raises:
        StoreError: it has other columns than this version knows.
    """
    expected = schema(table)
    if rows.schema.equals(expected):
        return rows
    for column in table.columns:
        if not column.key and column.name not in rows.schema.names:
            field = expected.field(column.name)
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    if set(rows.schema.names) == set(expected.names):
        rows = rows.select(expected.names)
    if not rows.schema.equals(expected):
        raise StoreError(f"{path} has other columns than this version of tsrnn writes: use a new folder")
    return rows


def read_folder(
    folder: Location,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
    without: Collection[str] = (),
) -> pa.Table:
    """Read every file of a table's folder, and compare each with its checksum, while other processes may replace some.

    A column that is missing from a file, because an earlier version wrote it, is empty. Columns that this version does
    not know are left out.

    Args:
        folder: A folder that `Store.create` made.
        columns: The columns to read; all by default.
        where: What holds for the rows that are read; all by default.
        without: Names, without their suffix, of files that are left out.

    Returns:
        All rows, in no promised order.

    Raises:
        StoreError: a file is damaged, or has columns of other types than the rest; or there is none.
    """
    expected = schema(BY_NAME[folder.name]) if folder.name in BY_NAME else None
    needed = columns if where is None else None

    def part(paths: Sequence[Location]) -> pa.Table:
        rows = _joined([read_file(path, needed) for path in paths], expected, needed)
        rows = rows if where is None else rows.filter(where)
        return rows if columns is None else rows.select(list(columns))

    try:
        found = (path for path in folder.iterdir() if path.name.endswith(".parquet") and path.name[0] not in "_.")
        paths = sorted(found, key=lambda path: path.name)
        if not paths:
            raise StoreError(f"{folder} has no Parquet file: create the store before reading it")
        paths = [path for path in paths if path.stem not in without]
        if not paths and expected is not None:
            return expected.empty_table().select(expected.names if columns is None else list(columns))
        tasks = [paths[i : i + _FILES_A_TASK] for i in range(0, len(paths), _FILES_A_TASK)]
        with ThreadPoolExecutor((os.cpu_count() or 1) if folder.is_file_system else _REQUESTS) as pool:
            return _joined(list(pool.map(part, tasks)), None, None)
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        raise StoreError(f"{folder} cannot be read: {one_line(error)}") from error


def _joined(parts: Sequence[pa.Table], expected: pa.Schema | None, columns: Sequence[str] | None) -> pa.Table:
    """Return the rows of several files as one table, with the columns that they are expected to have."""
    if expected is None:
        return pa.concat_tables(parts, promote_options="default")
    if columns is not None:
        expected = pa.schema([expected.field(name) for name in columns])
    if all(rows.schema.equals(parts[0].schema) for rows in parts):
        return _conformed(pa.concat_tables(parts), expected)
    return pa.concat_tables([_conformed(rows, expected) for rows in parts])


def _conformed(rows: pa.Table, expected: pa.Schema) -> pa.Table:
    if rows.schema.equals(expected):
        return rows
    for field in expected:
        if field.name not in rows.schema.names:
            if not field.nullable:
                raise ValueError(f"a file has no column {field.name!r}, which every row needs")
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(expected.names).cast(expected)


def _digits(data: bytes | memoryview) -> int:
    """Return where the digits of a file's checksum begin; -1 where it has none.

    What follows the footer's metadata holds no text of a user's: the last occurrence is the checksum's.
    """
    found = bytes(data).rfind(_PREFIX)
    return -1 if found < 0 else found + len(_PREFIX)


def _checksum(data: bytes | memoryview, at: int) -> bytes:
    """Return the digits of a file's checksum, which lie `at` this place in it."""
    view = memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(_ZEROS)
    digest.update(view[at + len(_ZEROS) :])
    return digest.hexdigest().encode()


def repair(folder: Location) -> str:
    """Return what an error message says to do about a damaged file of a sweep's folder."""
    return f"run `python -m analysis verify {folder} --repair`, then resume the sweep"


def one_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split())
