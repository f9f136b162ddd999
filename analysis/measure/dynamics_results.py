"""`python -m analysis timescales`: measure the checkpoints of a sweep, and summarise the results."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.data.frames import ResultsError
from analysis.data.study import Study
from analysis.measure import dynamics, dynamics_summary
from analysis.measure import jobs as _jobs
from analysis.measure.dynamics import Protocol
from analysis.options import Execution, TimescaleMethod
from analysis.stats.comparison import in_words
from tsrnn.io.files import Location
from tsrnn.io.schemas import CONNECTIVITY, DIMENSIONALITY, NEURONS, SOLVED, TIMESCALES


@dataclass
class Results:
    """The results of the measurement.

    Attributes:
        networks: one row for each network, N and method; see `analysis.measure.dynamics_summary.by_network`.
        summary: one row for each group, curriculum, method and N; see
            `analysis.measure.dynamics_summary.by_curriculum`.
        failed: one line for each checkpoint that could not be measured.
    """

    networks: pd.DataFrame
    summary: pd.DataFrame
    failed: list[str] = field(default_factory=list)


def run(
    results: Location,
    *,
    every: int,
    protocol: Protocol,
    methods: Sequence[TimescaleMethod],
    execution: Execution,
) -> Results:
    """Measure what has not been measured yet, then summarise everything that was requested.

    Args:
        results: the sweep's folder.
        every: which solved N; see `analysis.measure.jobs.every_nth`.
        protocol: how networks are driven.
        methods: how timescales are fitted.
        execution: which networks are measured, and where.

    Raises:
        ResultsError: if no network has solved an N.
        StoreError: if the folder cannot be written.
    """
    study = Study(results, execution.where)
    solved = study.load(SOLVED)
    if solved.empty:
        raise ResultsError(f"{results}: nothing to measure: no network has solved an N yet")
    chosen = _jobs.every_nth(solved, every)
    analysis = dynamics.analysis(protocol, methods)
    only = _jobs.keys_of(chosen)
    summary = _jobs.run(results, analysis, only=only, execution=execution)
    measured = Study(results)
    tables = {table: measured.load(table) for table in (TIMESCALES, NEURONS, DIMENSIONALITY, CONNECTIVITY)}
    networks = dynamics_summary.by_network(tables, chosen)
    groups = study.networks[["network_id", "curriculum"]].assign(group=in_words(study.networks))
    return Results(
        networks.merge(groups, on="network_id"),
        dynamics_summary.by_curriculum(networks, groups),
        summary.failures,
    )
