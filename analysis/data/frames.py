"""The only reader of results: it reads tables from the folder of a sweep as frames."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow.parquet import filters_to_expression

from tsrnn.errors import Failure
from tsrnn.io.files import Location, location
from tsrnn.io.schemas import RUNS, Table
from tsrnn.io.store import StoreError, read_folder


class ResultsError(Failure):
    """A folder of results cannot be read as requested; the message is one line that says what to do."""


def load(
    results: str | Location,
    table: str | Table,
    columns: Sequence[str] | None = None,
    where: Sequence[tuple[str, str, Any]] | None = None,
) -> pd.DataFrame:
    """Read one table of a sweep, finished or still running.

    Args:
        results: The sweep's folder, which has one folder for each table, such as `results/fixed_tau` or
            `s3://BUCKET/PATH/fixed_tau`.
        table: The table or its name.
        columns: The columns to read; all by default.
        where: Conditions for the rows to read, such as ("n", "in", {5, 30}); all rows by default.

    Returns:
        One row for each row of the table, in any order, with the columns in `tsrnn.io.schemas`.

    Raises:
        ResultsError: the folder does not exist or is not that of a sweep, or the table is missing or damaged.
    """
    folder = location(results)
    name = table.name if isinstance(table, Table) else table
    tables = tables_of(folder)
    if name not in tables:
        raise ResultsError(f"{folder} has no table {name!r}: it has {', '.join(tables)}")
    try:
        wanted = None if where is None else filters_to_expression(list(where))
        frame: pd.DataFrame = read_folder(folder / name, columns, wanted).to_pandas()
        return frame
    except StoreError as error:  # it names the file, and says what to do
        raise ResultsError(str(error)) from error
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(f"{folder / name} cannot be read: {' '.join(str(error).split())}") from error


def sweeps_of(results: str | Location) -> list[Location]:
    """Return the folders of sweeps: the folder itself if it is one, otherwise its direct subfolders that are.

    Raises:
        ResultsError: there is no such folder, or no sweep in it.
    """
    folder = location(results)
    try:
        if not folder.is_dir():
            raise ResultsError(f"{folder} is not a folder; give the folder of a sweep")
        if _has(folder, RUNS.name):
            return [folder]
        if sweeps := [path for path in _folders(folder) if _has(path, RUNS.name)]:
            return sweeps
    except OSError as error:
        raise ResultsError(f"{folder} cannot be read: {' '.join(str(error).split())}") from error
    raise ResultsError(f"{folder} has no tables; give the folder of a sweep, which contains {RUNS.name}/")


def tables_of(folder: Location) -> list[str]:
    """Return the names of a sweep's tables.

    Raises:
        ResultsError: it is not a sweep's folder.
    """
    sweeps = sweeps_of(folder)
    if sweeps != [folder]:
        raise ResultsError(
            f"{folder} is not the folder of a sweep but contains sweeps; give one of "
            f"{', '.join(str(sweep) for sweep in sweeps)}"
        )
    return [path.name for path in _folders(folder) if _has(folder, path.name)]


def _has(folder: Location, table: str) -> bool:
    return any((folder / table).glob("*.parquet"))


def _folders(folder: Location) -> list[Location]:
    return sorted((path for path in folder.iterdir() if path.is_dir()), key=str)
