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
        results: A sweep's folder, or the storage folder of several: what is copied lies alike below `out`.
        out: The folder to write: absent, empty, or published before.
        ns: The solved N whose checkpoints are copied.
        where: Of which networks, as `pandas.DataFrame.query` knows it; all by default.
        without: The names of tables of measurements that are left out.

    Returns:
        The files.

    Raises:
        ResultsError: `where` cannot be understood, `without` names a table that is none or that no sweep can do
            without, or results cannot be read.
        StoreError: `out` holds other files, or a file cannot be read or written.
    """
    allowed = sorted(BY_NAME.keys() - {table.name for table in TABLES})
    if wrong := sorted(set(without) - set(allowed)):
        raise ResultsError(f"without = {wrong[0]!r}: allowed are {', '.join(allowed)}")
    study = Study(results)
    networks = study.networks
    if where:
        try:
            networks = networks.query(where)
        except Exception as error:  # pandas raises whatever the expression's parts raise
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
