"""Publishes the results of a study; see `tsrnn.io.published`."""

from collections.abc import Collection

from analysis.data.study import SelectionError, Study
from tsrnn.io.files import Location, location
from tsrnn.io.published import publish as publish_sweep
from tsrnn.io.schemas import BY_NAME, SOLVED, TABLES


def publish(
    results: str | Location,
    out: str | Location,
    ns: Collection[int] = (),
    where: str = "",
    without: Collection[str] = (),
) -> list[Location]:
    """Copy the tables of every sweep, each as one file, and some checkpoints.

    Args:
        results: A sweep's folder, or the storage folder of several; the copy has the same structure below `out`.
        out: The folder to write. It must not exist, be empty, or have been published before.
        ns: The solved N whose checkpoints are copied.
        where: The networks whose checkpoints are copied, as a condition for `pandas.DataFrame.query`; all by default.
        without: The names of tables of measurements to leave out.

    Returns:
        The files.

    Raises:
        SelectionError: `where` is not valid or is given without `ns`, no checkpoint is selected by `ns` and `where`, or
            `without` names a table that does not exist or that every sweep needs.
        ResultsError: results cannot be read.
        StoreError: `out` contains other files, or a file cannot be read or written.
    """
    allowed = sorted(BY_NAME.keys() - {table.name for table in TABLES})
    if wrong := sorted(set(without) - set(allowed)):
        raise SelectionError(f"without = {wrong[0]!r}: allowed are {', '.join(allowed)}")
    study = Study(results, where)
    if where and not ns:
        raise SelectionError(f"where = {where!r}: it selects checkpoints, and none are copied without an N; give --n")
    chosen = study.networks["network_id"]
    selected: dict[Location, set[str]] = {}
    for sweep in study.sweeps:
        solved = Study(sweep).load(SOLVED)
        kept = solved[solved["n"].isin(list(ns)) & solved["network_id"].isin(chosen)]
        selected[sweep] = set(kept["checkpoint"])
    if ns and not any(selected.values()):
        whose = f" where {where}" if where else ""
        raise SelectionError(f"n = {', '.join(map(str, sorted(ns)))}: no network{whose} has solved it")
    written: list[Location] = []
    for sweep, checkpoints in selected.items():
        target = location(out) if study.sweeps == (study.folder,) else location(out) / sweep.name
        written += publish_sweep(sweep, target, checkpoints, without)
    return written
