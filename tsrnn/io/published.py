"""Published results: each table of a sweep as one file, and a selection of checkpoints.

The folder of a running sweep has one file for each network and table, so that nothing is ever partially written. After
the sweep has ended, one file for each table has the same content in a twentieth of the space. Such a folder is read,
verified and queried like any other, and is never trained in.
"""

from collections.abc import Collection

from tsrnn.io.files import RECORD, Location, write_atomically
from tsrnn.io.parquet import PUBLISHED, StoreError, read_folder, to_bytes
from tsrnn.io.schemas import BY_NAME, RUNS


def is_published(folder: Location) -> bool:
    """Return whether a sweep's folder is one that `publish` wrote."""
    return (folder / RUNS.name / PUBLISHED).is_file()


def publish(
    folder: Location, out: Location, checkpoints: Collection[str] = (), without: Collection[str] = ()
) -> list[Location]:
    """Copy the results of a sweep, each table as one file.

    Args:
        folder: The folder of the sweep, to which nothing is written any more.
        out: The target: a folder that is absent, empty, or was published before.
        checkpoints: Paths below the sweep's folder, as the table `solved` has them, of checkpoints to copy.
        without: Names of tables that are left out.

    Returns:
        The files.

    Raises:
        StoreError: `out` holds something else or is the sweep's own folder, a checkpoint is absent, or a file cannot be
            read or written.
    """
    if _overlap(folder, out):
        raise StoreError(f"{out} is in the folder of the results, {folder}: publish into a new folder")
    if out.is_dir() and not is_published(out) and any(True for _ in out.iterdir()):
        raise StoreError(f"{out} holds other files: publish into a new folder")
    if absent := sorted(path for path in checkpoints if not _within(folder, path).is_file()):
        also = f" and {len(absent) - 1} more" if absent[1:] else ""
        raise StoreError(f"{folder} lacks the checkpoint {absent[0]}{also}: select with --n and --where what it has")
    written = []
    try:
        for name in sorted(BY_NAME):
            if name in without or not (folder / name).is_dir():
                continue
            table = BY_NAME[name]
            rows = read_folder(folder / name).sort_by([(column, "ascending") for column in table.key])
            written.append(out / name / PUBLISHED)
            write_atomically(written[-1], to_bytes(rows, small=True))
        for path in sorted({RECORD, *checkpoints}):
            written.append(_within(out, path))
            write_atomically(written[-1], _within(folder, path).read_bytes())
    except OSError as error:
        raise StoreError(f"{folder} cannot be published in {out}: {error}") from error
    return written


def _overlap(folder: Location, out: Location) -> bool:
    """Return whether `out` is the folder or lies below it."""
    return f"{out.resolve()}/".startswith(f"{folder.resolve()}/")


def _within(folder: Location, path: str) -> Location:
    for name in path.split("/"):
        folder = folder / name
    return folder
