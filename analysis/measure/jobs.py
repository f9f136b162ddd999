"""Runs analyses of the checkpoints of a results folder in parallel, and writes their results.

A job is one analysis of one checkpoint, that is, of one network at one solved N. Jobs run in processes on this machine,
or as tasks of a Ray cluster if there is one. Each computes with one thread, so that its numbers do not depend on where
it runs. Only the calling process writes. Jobs that are done are not repeated; a job that fails is recorded as a row,
and does not affect the others.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from pydantic import ValidationError
from rich.console import Console

from analysis.data.frames import ResultsError, load
from analysis.measure.begin import Place, begin, counts
from analysis.measure.progress import JobProgress
from analysis.measure.workers import Died, in_processes, on_ray
from analysis.options import DEFAULT, Execution
from tsrnn import command_line
from tsrnn.config import RunConfig, explain
from tsrnn.io import checkpoint
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.claims import take
from tsrnn.io.files import Location
from tsrnn.io.lock import FolderLock, LockedError
from tsrnn.io.published import is_published
from tsrnn.io.schemas import ANALYSES, RUNS, SOLVED, Row, Table
from tsrnn.io.store import Store, encode, unwritable
from tsrnn.plugins import files_of, import_file
from tsrnn.untrusted import as_file_name, below

Measure = Callable[[Checkpoint, int], Mapping[Table, Sequence[Row]]]
"""Returns rows by table from a checkpoint and the N that it solved, without `network_id` and `n`."""

Cost = Callable[[Checkpoint, int], float]
"""Returns about how many seconds of one core the measurement of a checkpoint and its N takes.

It runs short pieces of the measurement in this process; see `analysis.measure.cost`.
"""


@dataclass(frozen=True)
class Analysis:
    """An analysis that can be applied to every checkpoint.

    Attributes:
        name: the name of the command, such as "timescales".
        measure: a function of a module, or a `functools.partial` of one, so that it can be sent to other processes.
        tables: the tables that it fills; each has the key columns `network_id` and `n`.
        settings: everything that changes its numbers. A checkpoint measured with other settings is measured again,
            and the new rows replace the old.
        shares_tables: whether other analyses fill the same tables; then each has its own files.
        cost: estimates the time of a job; without it, the time is unknown until jobs have ended.
    """

    name: str
    measure: Measure
    tables: tuple[Table, ...]
    settings: Mapping[str, Any]
    shares_tables: bool = False
    cost: Cost | None = None

    @property
    def settings_json(self) -> str:
        """The settings as canonical JSON."""
        return json.dumps(self.settings, sort_keys=True)


@dataclass(frozen=True)
class Job:
    """One analysis of one checkpoint."""

    network_id: str
    n: int
    path: Location
    plugins: tuple[str, ...] = ()
    """Files of plugins that define parts of the checkpoint outside tsrnn."""


_Planned = tuple[Analysis, Job]


@dataclass(frozen=True)
class _Ended:
    """The result of a job: its rows by the name of the table, or the reason why there are none."""

    rows: dict[str, pa.Table]
    message: str
    wall_s: float


@dataclass
class Summary:
    """A summary of the jobs of a run.

    Attributes:
        done: checkpoints measured now.
        skipped: checkpoints measured before, with the same settings.
        unpublished: checkpoints that are not in the folder, since they were not published with it.
        outdated: those of the unpublished ones that were measured before with other settings.
        failed: why a checkpoint could not be measured, by its job.
    """

    done: int = 0
    skipped: int = 0
    unpublished: int = 0
    outdated: int = 0
    failed: dict[Job, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """One line for each checkpoint that could not be measured."""
        return [f"{job.network_id} N = {job.n}: {why}" for job, why in self.failed.items()]


def keys_of(checkpoints: pd.DataFrame) -> set[tuple[str, int]]:
    """Return the pairs (network_id, N) of checkpoints.

    Args:
        checkpoints: one row for each, with the columns network_id and n.
    """
    return set(zip(checkpoints["network_id"], checkpoints["n"].astype(int), strict=True))


def every_nth(solved: pd.DataFrame, every: int) -> pd.DataFrame:
    """Choose the solved N to measure: the multiples of `every`, and each network's smallest and largest.

    Args:
        solved: the table `solved`.
        every: 1 selects every solved N.

    Returns:
        the chosen rows: network_id and n.
    """
    of_network = solved.groupby("network_id")["n"]
    n = solved["n"]
    kept = (n % every == 0) | (n == of_network.transform("min")) | (n == of_network.transform("max"))
    return solved.loc[kept, ["network_id", "n"]].sort_values(["network_id", "n"], ignore_index=True)


def run(
    results: Location,
    analysis: Analysis,
    *,
    only: Collection[tuple[str, int]] | None = None,
    execution: Execution = DEFAULT,
    console: Console | None = None,
) -> Summary:
    """Measure every checkpoint of a sweep, finished or still running, that was not measured yet.

    Args:
        results: the sweep's folder.
        analysis: what is measured.
        only: the checkpoints (network_id, N) to measure, if N differs between networks.
        execution: see `run_all`.
        console: see `run_all`.

    Returns:
        How many checkpoints were measured, and which failed.

    Raises:
        ResultsError, StoreError, Failure: see `run_all`.
    """

    def wanted(network_id: str, n: int) -> bool:
        return only is None or (network_id, n) in only

    (summary,) = run_all(results, analysis.name, [(analysis, wanted)], execution=execution, console=console)
    return summary


def run_all(
    results: Location,
    name: str,
    analyses: Sequence[tuple[Analysis, Callable[[str, int], bool]]],
    *,
    execution: Execution = DEFAULT,
    console: Console | None = None,
) -> list[Summary]:
    """Run several analyses together, each for the selected checkpoints that it has not measured yet.

    First, it prints the number of jobs and their estimated time.

    Args:
        results: the sweep's folder.
        name: the name of the command, for the progress display.
        analyses: analyses with distinct names, each with a function that selects checkpoints by (network_id, N).
        execution: where jobs run, and whether to ask before it begins; `where` has no effect here.
        console: shows progress; standard error by default.

    Returns:
        For each analysis how many checkpoints were measured, and which failed.

    Raises:
        ResultsError: the folder is not a sweep's, one of the analyses is running in it already, none of the selected
            checkpoints was published with it, or nothing answers at the address.
        StoreError: the folder cannot be written, or a file in it is damaged.
        Failure: the user answered no.
        ClaimLostError: another process has begun one of the analyses, after locks failed or this process was stopped.
    """
    console = console or command_line.console(stderr=True)
    load(results, SOLVED)  # checked before anything is written: it must be the folder of a sweep
    with ExitStack() as locks:
        for analysis, _ in analyses:
            lock = locks.enter_context(FolderLock(results, f"lock-{analysis.name}"))
            try:
                lock.acquire()  # two processes would measure everything twice
            except LockedError as error:
                raise ResultsError(
                    f"{results}: {analysis.name} is already being measured ({error.holder}); wait until it ends"
                ) from None
            except OSError as error:
                raise unwritable(lock.path, error) from error
        planned, summaries = _plan(results, analyses)
        skipped = sum(summary.skipped for summary in summaries.values())
        if unpublished := sum(summary.unpublished for summary in summaries.values()):
            left_out = f"{command_line.counted(unpublished, 'checkpoint')} left out: not published in {results}"
            console.print(f"{name}: {left_out}", soft_wrap=True)
            if not planned and not skipped and not any(summary.outdated for summary in summaries.values()):
                raise ResultsError(
                    f"{results}: nothing was measured: the checkpoints of these N were not published with it; measure "
                    f"in the sweep's own folder, or publish it with --n"
                )
        place = begin(name, planned, skipped, execution, console)
        try:
            stores = {analysis.name: Store(results, take(results, analysis.name)) for analysis, _ in analyses}
        except OSError as error:
            raise unwritable(results, error) from error
        filled = dict.fromkeys(table for analysis, _ in analyses for table in analysis.tables)
        Store(results).create((*filled, ANALYSES))
        _measure_all(stores, name, planned, place, summaries, console)
        return list(summaries.values())


def _measure_all(
    stores: Mapping[str, Store],
    name: str,
    planned: Sequence[_Planned],
    place: Place,
    summaries: Mapping[str, Summary],
    console: Console,
) -> None:
    """Run the jobs, and write their results."""
    if not planned:
        return
    if place.cluster is None:
        ended = in_processes(_measure, planned, place.processes)
    else:
        ended = on_ray(_measure, planned, place.cluster)
    with JobProgress(name, counts(planned), console) as progress:
        for (analysis, job), found in ended:
            result = _Ended({}, found.reason, 0.0) if isinstance(found, Died) else found
            _write(stores[analysis.name], analysis, job, result)
            if result.message:
                summaries[analysis.name].failed[job] = result.message
                console.print(
                    f"failed: {job.network_id} N = {job.n}: {result.message}",
                    soft_wrap=True,
                )
            else:
                summaries[analysis.name].done += 1
            progress.take(analysis.name, result.wall_s)


def _plan(
    results: Location, analyses: Sequence[tuple[Analysis, Callable[[str, int], bool]]]
) -> tuple[list[_Planned], dict[str, Summary]]:
    """Return the jobs to run and, for the name of each analysis, how many were done before.

    The jobs of all analyses are interleaved, so that the cost of each is known soon.
    """
    spread: list[tuple[float, _Planned]] = []
    summaries = {}
    for analysis, wanted in analyses:
        todo, summary = _jobs(results, analysis, wanted)
        spread += [((i + 0.5) / len(todo), (analysis, job)) for i, job in enumerate(todo)]
        summaries[analysis.name] = summary
    return [planned for _, planned in sorted(spread, key=lambda placed: placed[0])], summaries


def _jobs(results: Location, analysis: Analysis, keep: Callable[[str, int], bool]) -> tuple[list[Job], Summary]:
    """Return the checkpoints to be measured, in order, and how many of the others there are."""
    solved, published = load(results, SOLVED), is_published(results)
    done: set[tuple[str, int]] = set()
    others: dict[tuple[str, int], str] = {}
    if (results / ANALYSES.name).is_dir():
        rows = load(results, ANALYSES)
        finished = rows[(rows["analysis"] == analysis.name) & (rows["status"] == "done")]
        keys = list(zip(finished["network_id"], finished["n"].astype(int), strict=True))
        settings = dict(zip(keys, finished["settings"], strict=True))
        done = {key for key, value in settings.items() if value == analysis.settings_json}
        others = {key: value for key, value in settings.items() if key not in done}
    folder, plugins = results.resolve(), _plugins(results)
    try:
        jobs = [
            Job(as_file_name(network_id), int(n), below(folder, path), plugins)
            for network_id, n, path in zip(solved["network_id"], solved["n"], solved["checkpoint"], strict=True)
            if keep(network_id, int(n))
        ]
    except ValueError as error:
        raise ResultsError(f"{results / SOLVED.name}: {error}; it is not what a sweep wrote") from None
    jobs.sort(key=lambda job: (job.network_id, job.n))
    todo = [job for job in jobs if (job.network_id, job.n) not in done]
    there = [job for job in todo if job.path.is_file()] if published else todo
    # In a sweep's folder new rows replace those of other settings; here those are in the one file of all networks.
    if published and (again := [others[key] for job in there if (key := (job.network_id, job.n)) in others]):
        raise ResultsError(
            f"{results}: {analysis.name} was measured with other settings before these results were published: "
            f"{again[0]}; measure in the sweep's own folder, and publish that again"
        )
    absent = {(job.network_id, job.n) for job in todo} - {(job.network_id, job.n) for job in there}
    return there, Summary(skipped=len(jobs) - len(todo), unpublished=len(absent), outdated=len(absent & others.keys()))


def _plugins(results: Location) -> tuple[str, ...]:
    """Return the files of plugins that define parts of the networks outside tsrnn.

    Raises:
        ResultsError: a network uses a kind that was not imported.
    """
    kinds = load(results, RUNS, ["task", "curriculum", "architecture", "config"]).dropna(subset="config")
    try:
        configs = [RunConfig.from_json(text) for text in kinds.drop_duplicates(kinds.columns[:3].tolist())["config"]]
    except ValidationError as error:
        raise ResultsError(f"{results}: {explain(error)} (--plugin FILE)") from None
    return tuple(files_of(configs))


def _write(store: Store, analysis: Analysis, job: Job, ended: _Ended) -> None:
    """Write the rows of a job, and finally that it is done, so that a job that is done has all its rows."""
    writer = analysis.name if analysis.shares_tables else ""
    for table in analysis.tables:
        rows = ended.rows.get(table.name, encode(table, job.network_id, []))
        store.write_solved(table, job.network_id, job.n, rows, writer)
    row = {
        "network_id": job.network_id,
        "analysis": analysis.name,
        "n": job.n,
        "status": "failed" if ended.message else "done",
        "message": ended.message,
        "settings": analysis.settings_json,
        "wall_s": ended.wall_s,
    }
    store.write_solved(ANALYSES, job.network_id, job.n, encode(ANALYSES, job.network_id, [row]), analysis.name)


def _measure(analysis: Analysis, job: Job) -> _Ended:
    """Measure one checkpoint, in any process; any error is the failure of this job only."""
    began = time.perf_counter()
    torch.set_num_threads(1)
    try:
        for file in job.plugins:
            import_file(file)
        measured = analysis.measure(checkpoint.load(job.path), job.n)
        unknown = {table.name for table in measured} - {table.name for table in analysis.tables}
        if unknown:
            raise ValueError(f"{analysis.name} does not fill the table {', '.join(sorted(unknown))}")
        key = {"network_id": job.network_id, "n": job.n}
        rows = {
            table.name: encode(table, job.network_id, [key | row for row in found]) for table, found in measured.items()
        }
        return _Ended(rows, "", time.perf_counter() - began)
    except Exception as error:
        text = " ".join(str(error).split()) or "no message"
        return _Ended({}, f"{type(error).__name__}: {text}", time.perf_counter() - began)
