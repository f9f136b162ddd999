"""`python -m analysis memory`, `spectra` and `gradients`: measure a sweep's checkpoints, and summarise the results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pandas as pd

from analysis.data.frames import ResultsError
from analysis.data.study import Study
from analysis.measure import jobs as _jobs
from analysis.measure.jobs import Analysis
from analysis.options import Execution
from analysis.quantities.base import Quantity
from analysis.quantities.gradients import GRADIENTS
from analysis.quantities.memory import MEMORY
from analysis.quantities.spectra import SPECTRA
from analysis.stats.comparison import changes_over_n, compare_quantities, in_words, summarise
from tsrnn.io.files import Location
from tsrnn.io.schemas import SOLVED

VALUES: Final[Mapping[str, Sequence[Quantity]]] = {"memory": MEMORY, "spectra": SPECTRA, "gradients": GRADIENTS}
"""The quantities that are summarised for each analysis, by its name."""


@dataclass
class Results:
    """The results of the measurement.

    Attributes:
        summary: one row for each group, curriculum and N: networks, the mean over networks of each value, and `low` and
            `high`, the 95 % interval of the first.
        tests: the curricula compared in each value at each N; see `analysis.stats.comparison.compare_quantities`.
        changes: how each value changes with N; see `analysis.stats.comparison.changes_over_n`.
        notes: one line for each network whose measurement gave no finite value.
        failed: one line for each checkpoint that could not be measured.
    """

    summary: pd.DataFrame
    tests: pd.DataFrame
    changes: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(
    results: Location,
    analysis: Analysis,
    *,
    every: int,
    ns: Sequence[int] | None = None,
    execution: Execution,
) -> Results:
    """Measure what has not been measured yet, then summarise everything that was requested.

    Args:
        results: the sweep's folder.
        analysis: what is measured: memory, spectra or gradients.
        every: which solved N; see `analysis.measure.jobs.every_nth`.
        ns: the solved N, instead.
        execution: which networks are measured, and where.

    Raises:
        ResultsError: if no network has solved an N, or one of the requested N, or if none of their checkpoints has been
            published with the folder.
        StoreError: if the folder cannot be written.
    """
    study = Study(results, execution.where)
    solved = study.load(SOLVED)
    if solved.empty:
        raise ResultsError(f"{results}: nothing to measure: no network has solved an N yet")
    chosen = solved.loc[solved["n"].isin(ns), ["network_id", "n"]] if ns else _jobs.every_nth(solved, every)
    if chosen.empty:
        raise ResultsError(f"{results}: nothing to measure: no network has solved N = {', '.join(map(str, ns or ()))}")
    only = _jobs.keys_of(chosen)
    summary = _jobs.run(results, analysis, only=only, execution=execution)
    measured = Study(results)
    done = measured.load(analysis.tables[0].name)[["network_id", "n"]].drop_duplicates()
    rows, values = chosen.merge(done, on=["network_id", "n"]), VALUES[analysis.name]
    for value in values:
        rows = rows.merge(value.rows(measured).rename(columns={"value": value.name}), "left", ["network_id", "n"])
    groups = study.networks[["network_id", "curriculum"]].assign(group=in_words(study.networks))
    rows = rows.merge(groups, on="network_id")
    names = [value.name for value in values]
    notes = _not_finite(rows, names)
    rows = rows.dropna(subset=names[0])
    summed = summarise(rows, [], names).sort_values(["group", "curriculum", "n"], ignore_index=True)
    return Results(summed, compare_quantities(rows, names), changes_over_n(rows, names), notes, summary.failures)


def _not_finite(rows: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return one line for each network and N without a value that others of its curriculum have at this N.

    Args:
        rows: one row for each network and N, with `curriculum` and the values.
        names: of the values; a row without the first is left out of summaries.
    """
    known = rows.groupby(["curriculum", "n"])[list(names)].transform("count") > 0
    known[names[0]] = True
    missing = rows[list(names)].isna() & known
    lines = []
    for i in missing.index[missing.any(axis=1)]:
        place = f"{rows.loc[i, 'network_id']} N = {rows.loc[i, 'n']}"
        without = ", ".join(name for name in names if missing.loc[i, name])
        left_out = "it is left out" if missing.loc[i, names[0]] else "its other values count"
        lines.append(f"{place}: {without} not finite, as where activity grows without limit; {left_out}")
    return lines
