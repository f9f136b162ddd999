"""The tables of a sweep: one file for each network and table, which is always rewritten as a whole.

A file `<folder>/<table>/<network_id>.parquet` is replaced atomically, and never appended to or deleted. Therefore, on a
file system, `pandas.read_parquet("<folder>/<table>")` in another process never fails and never sees a partial or
duplicate row, and writing the same rows again changes nothing. `empty.parquet` in the folder of each table has the
schema and no rows, so that a table without networks reads as an empty frame with the right dtypes.
"""

from collections.abc import Collection, Sequence
from numbers import Integral

import pyarrow as pa
import pyarrow.compute as pc

from tsrnn.io.claims import Claim
from tsrnn.io.files import AnyLocation, Location, location, write_atomically
from tsrnn.io.parquet import (
    DamagedFileError,
    StoreError,
    completed,
    decoded,
    one_line,
    read_folder,
    read_rows,
    repair,
    schema,
    to_bytes,
)
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, SOLVED, TABLES, Row, Table
from tsrnn.untrusted import as_file_name

__all__ = [
    "DamagedFileError",
    "NetworkTables",
    "Store",
    "StoreError",
    "encode",
    "read_folder",
    "read_rows",
    "schema",
]


class Store:
    """The Parquet tables of one sweep, below one folder, local or in an object store.

    A network has one writer at a time; several networks may be written from several processes at once.

    Args:
        folder: The sweep's.
        claim: The claim through which files are written; None if no other process can write them.
    """

    def __init__(self, folder: AnyLocation, claim: Claim | None = None):
        self.folder = location(folder)
        self._claim = claim

    def adopt(self, network_id: str) -> None:
        """Take over the files of a network from earlier holders of its claim, which then can no longer replace them.

        Raises:
            ClaimLostError: another process has claimed the network since.
            StoreError: a file is damaged, or the folder cannot be written.
        """
        if self._claim is None:
            return
        for table in (EPOCHS, HEADS, SOLVED, OUTCOMES):
            path = self._path(table, network_id)

            def rewrite(data: bytes | None, table: Table = table, path: Location = path) -> bytes:
                return self._encoded(schema(table).empty_table() if data is None else decoded(path, data))

            try:
                self._claim.adopt(path, rewrite)
            except OSError as error:
                raise unwritable(path, error) from error

    def create(self, tables: Sequence[Table] = TABLES) -> None:
        """Create the folder of every table, and the file with which an empty table can be read.

        If the folder already has results, they are not changed.

        Args:
            tables: Which tables; those of a sweep by default.

        Raises:
            StoreError: the folder cannot be written.
        """
        for table in tables:
            _write_file(self.folder / table.name / "empty.parquet", schema(table).empty_table())

    def write(self, table: Table, network_id: str, rows: Sequence[Row]) -> None:
        """Write all rows that one network has in a table, replacing those written before.

        Args:
            table: Which table.
            network_id: The network; every row's `network_id` must be this.
            rows: The rows in any order, each with exactly the table's columns.

        Raises:
            ValueError: a row lacks a column, has an unknown one, a value of the wrong type or another id for
                the network, or two rows share a key; the message names the column.
            ClaimLostError: another process has made a newer claim.
            StoreError: the folder cannot be written.
        """
        self._put(table, network_id, encode(table, network_id, rows))

    def write_solved(self, table: Table, network_id: str, n: int, rows: pa.Table, writer: str = "") -> None:
        """Write the rows of one network at one solved N, keeping its rows at other N.

        Args:
            table: Which table; it has a column `n`.
            network_id: The network.
            n: The N; every row's `n` must be this.
            rows: What `encode` returned for the rows.
            writer: Distinguishes programs that write rows of the same network into the same table, perhaps at the
                same time: each has its own file.

        Raises:
            ClaimLostError: another process has claimed what the store's claim is of.
            StoreError: the folder cannot be written, or the network's file is damaged or has other columns.
        """
        path = self._path(table, network_id, writer)

        def whole(before: pa.Table) -> pa.Table:
            merged = pa.concat_tables([before.filter(pc.field("n") != n), rows])
            return merged.sort_by([(name, "ascending") for name in table.key])

        if self._claim is None:
            self._put(table, network_id, whole(self._get(table, network_id, writer)), writer)
            return

        def change(data: bytes | None) -> bytes:
            before = schema(table).empty_table() if data is None else completed(path, decoded(path, data), table)
            return self._encoded(whole(before))

        try:
            self._claim.update(path, change)
        except OSError as error:
            raise unwritable(path, error) from error

    def read(self, table: Table, network_id: str, writer: str = "") -> list[Row]:
        """Return the rows one network has in a table, ordered by key; none if it was never written.

        Args:
            table: Which table.
            network_id: The network.
            writer: Whose rows; see `write_solved`.

        Raises:
            StoreError: the file is damaged, or has other columns than this version writes.
        """
        rows: list[Row] = self._get(table, network_id, writer).to_pylist()
        return rows

    def finished(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return the status of every network that has an outcome, by network_id.

        Args:
            without: Networks that are left out: their files are not read.

        Raises:
            StoreError: the folder was never created, or a file in it is damaged.
        """
        folder = self.folder / OUTCOMES.name
        if not folder.is_dir():
            raise StoreError(f"{folder} does not exist: create the store before reading it")
        outcomes = read_folder(folder, ["network_id", "status"], without=without)
        return dict(zip(outcomes["network_id"].to_pylist(), outcomes["status"].to_pylist(), strict=True))

    def last_epoch(self, network_id: str) -> int:
        """Return the last epoch of which a network has a row in `epochs`; 0 if it has none.

        Raises:
            StoreError: the file is damaged.
        """
        return pc.max(self._get(EPOCHS, network_id)["epoch"]).as_py() or 0

    def _path(self, table: Table, network_id: str, writer: str = "") -> Location:
        return self.folder / table.name / f"{as_file_name(network_id)}{writer and '.'}{writer}.parquet"

    def _put(self, table: Table, network_id: str, rows: pa.Table, writer: str = "") -> None:
        path = self._path(table, network_id, writer)
        if self._claim is None:
            _write_file(path, rows)
            return
        try:
            self._claim.write(path, self._encoded(rows))
        except OSError as error:
            raise unwritable(path, error) from error

    def _encoded(self, rows: pa.Table) -> bytes:
        """Return a file's content, which says which attempt wrote it."""
        # Rows that were read say which attempt had written them.
        rows = rows.replace_schema_metadata(None)
        return to_bytes(rows, {"attempt": self._claim.attempt} if self._claim else None)

    def _get(self, table: Table, network_id: str, writer: str = "") -> pa.Table:
        path = self._path(table, network_id, writer)
        if not path.exists():
            return schema(table).empty_table()
        return read_rows(path, table)


class NetworkTables:
    """The rows of one network in `epochs`, `heads` and `solved` during its training.

    Rows are kept encoded as Arrow columns, so that writing them does not build them again from Python objects.

    Args:
        store: Where the rows are read from, and flushed to.
        network_id: The network.
        through_epoch: Training resumes after this epoch (0: from the start). Rows of later epochs, which a
            crashed run wrote after its last checkpoint, are dropped: they will be trained again.

    Raises:
        StoreError: a file of this network is damaged, or its rows end before `through_epoch`.
    """

    def __init__(self, store: Store, network_id: str, through_epoch: int):
        self._store = store
        self._network_id = network_id
        # Each table in pieces, which together are ordered by key.
        self._pieces: dict[Table, list[pa.Table]] = {}
        self._changed: set[Table] = set()
        for table in (EPOCHS, HEADS, SOLVED):
            written = store._get(table, network_id)
            kept = written.filter(pc.less_equal(written["epoch"], through_epoch))
            self._pieces[table] = [kept]
            if kept.num_rows < written.num_rows:
                self._changed.add(table)
        last = pc.max(self._pieces[EPOCHS][0]["epoch"]).as_py() or 0
        if last < through_epoch:
            # Going on would leave a hole in the learning curve that nothing shows.
            raise StoreError(
                f"the rows of {network_id} in {store.folder / EPOCHS.name} end at epoch {last}, but its "
                f"checkpoint is of epoch {through_epoch}: {repair(store.folder)}"
            )

    def add(self, epochs_row: Row, heads_rows: Sequence[Row], solved_rows: Sequence[Row]) -> None:
        """Add the rows of one epoch; rows of the same epoch, or of the same solved N, are replaced.

        Args:
            epochs_row: The epoch's row of `epochs`.
            heads_rows: Its rows of `heads`, one for each N in training.
            solved_rows: Its rows of `solved`, one for each N solved in it.

        Raises:
            ValueError: a row does not fit its table (see `Store.write`); then nothing is added.
        """
        rows = {EPOCHS: [epochs_row], HEADS: heads_rows, SOLVED: solved_rows}
        added = {table: encode(table, self._network_id, rows[table]) for table in rows if rows[table]}
        for table, piece in added.items():
            self._pieces[table] = _extended(table, self._pieces[table], piece)
            self._changed.add(table)

    def flush(self) -> None:
        """Write the tables that have changed since the last flush.

        `epochs` is written last, so an epoch that can be read there has its rows in the other tables, too.

        Raises:
            StoreError: the folder cannot be written.
        """
        for table in (HEADS, SOLVED, EPOCHS):
            if table in self._changed:
                whole = pa.concat_tables(self._pieces[table]).combine_chunks()
                self._store._put(table, self._network_id, whole)
                self._pieces[table] = [whole]
                self._changed.remove(table)


def _extended(table: Table, pieces: list[pa.Table], piece: pa.Table) -> list[pa.Table]:
    """Return a network's rows with a piece added: in place of the rows of its epoch (or solved N), if any."""
    by = table.key[1]
    last = pieces[-1][by]
    if len(last) == 0 or last[-1].as_py() < piece[by][0].as_py():
        return [*pieces, piece] if len(last) else [piece]
    whole = pa.concat_tables(pieces)
    others = whole.filter(pc.invert(pc.is_in(whole[by], piece[by].combine_chunks())))
    return [pa.concat_tables([others, piece]).sort_by([(name, "ascending") for name in table.key])]


def encode(table: Table, network_id: str, rows: Sequence[Row]) -> pa.Table:
    """Return checked rows as Arrow columns, ordered by key.

    Raises:
        ValueError: the rows do not fit the table; see `Store.write`.
    """
    names = {column.name for column in table.columns}
    for row in rows:
        if missing := names - row.keys():
            raise ValueError(f"{table.name}: a row lacks column {', '.join(sorted(missing))}")
        if unknown := row.keys() - names:
            raise ValueError(f"{table.name}: a row has the unknown column {', '.join(sorted(unknown))}")
    arrays, expected = [], schema(table)
    for column in table.columns:
        values = [row[column.name] for row in rows]
        if column.key and None in values:
            raise ValueError(f"{table.name}: column {column.name} is a key and cannot be None")
        if column.name == "network_id" and any(value != network_id for value in values):
            raise ValueError(f"{table.name}: column network_id must be {network_id} in every row")
        if column.dtype == "int64" and not all(value is None or isinstance(value, Integral) for value in values):
            raise ValueError(f"{table.name}: column {column.name} must be int64")  # Arrow would truncate
        try:
            arrays.append(pa.array(values, expected.field(column.name).type))
        except (pa.ArrowException, TypeError) as error:
            raise ValueError(f"{table.name}: column {column.name} must be {column.dtype}: {error}") from error
    encoded = pa.Table.from_arrays(arrays, schema=expected)
    keys = [tuple(row[name] for name in table.key) for row in rows]
    if len(set(keys)) < len(keys):
        raise ValueError(f"{table.name}: two rows have the same {', '.join(table.key)}")
    return encoded.sort_by([(name, "ascending") for name in table.key])


def _write_file(path: Location, rows: pa.Table) -> None:
    try:
        write_atomically(path, to_bytes(rows))
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: AnyLocation, error: OSError) -> StoreError:
    """Return the error to raise where a file or folder cannot be written.

    Args:
        path: The file or folder.
        error: What the file system or the object store says.
    """
    return StoreError(f"cannot write {path}: {error.strerror or one_line(error)}; choose a folder that can be written")
