"""The only reader of results: a table of a sweep's folder as a frame."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from tsrnn.records import RUNS, Table


class ResultsError(Exception):
    """A folder of results cannot be read as asked; the message is one line that says what to do."""


def load(results: str | Path, table: str | Table) -> pd.DataFrame:
    """Read one table of a sweep, finished or still running.

    Args:
        results: The sweep's folder, which has one folder a table, such as `results/fixed_tau`.
        table: The table or its name.

    Returns:
        One row a row of the table, in no promised order; columns as in `tsrnn.records`.

    Raises:
        ResultsError: there is no such folder, it is not a sweep's, or the table is missing or damaged.
    """
    folder = Path(results)
    name = table.name if isinstance(table, Table) else table
    tables = _tables(folder)
    if name not in tables:
        raise ResultsError(f"{folder} has no table {name!r}: it has {', '.join(tables)}")
    try:
        return pd.read_parquet(folder / name, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(f"{folder / name} cannot be read: {' '.join(str(error).split())}") from error


def _tables(folder: Path) -> list[str]:
    """Return the names of a sweep's tables."""
    if not folder.is_dir():
        raise ResultsError(f"{folder} is not a folder: give the folder of a sweep")
    tables = [path.name for path in _folders(folder) if any(path.glob("*.parquet"))]
    if RUNS.name in tables:
        return tables
    sweeps = [str(path) for path in _folders(folder) if any((path / RUNS.name).glob("*.parquet"))]
    if sweeps:
        raise ResultsError(f"{folder} is not a sweep, it holds sweeps: give one of {', '.join(sweeps)}")
    raise ResultsError(f"{folder} has no tables: give the folder of a sweep, the one that has {RUNS.name}/ in it")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())
