"""Publishes the results of a study; see `tsrnn.io.published`."""

from collections.abc import Collection

import pandas as pd

from analysis.data.frames import ResultsError
from analysis.data.study import Study
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
        where: The networks whose checkpoints are copied, as for `pandas.DataFrame.query`; all by default.
        without: The names of tables of measurements to leave out.

    Returns:
        The files.

    Raises:
        ResultsError: `where` is not valid, `without` names a table that does not exist or that every sweep needs, or
            results cannot be read.
        StoreError: `out` contains other files, or a file cannot be read or written.
    """
    allowed = sorted(BY_NAME.keys() - {table.name for table in TABLES})
    if wrong := sorted(set(without) - set(allowed)):
        raise ResultsError(f"without = {wrong[0]!r}: allowed are {', '.join(allowed)}")
    study = Study(results)
    networks = study.networks
    if where:
        try:
            networks = networks.query(where)
        except Exception as error:  # pandas raises any error of the expression
            said = " ".join(str(error).split())
            raise ResultsError(
                f"where = {where!r}: {said}; columns are {', '.join(map(str, study.networks.columns))}"
            ) from None
    written: list[Location] = []
    for sweep in study.sweeps:
        solved: pd.DataFrame = Study(sweep).load(SOLVED)
        kept = solved[solved["n"].isin(list(ns)) & solved["network_id"].isin(networks["network_id"])]
        target = location(out) if study.sweeps == (study.folder,) else location(out) / sweep.name
        written += publish_sweep(sweep, target, set(kept["checkpoint"]), without)
    return written
