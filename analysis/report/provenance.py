"""The provenance of a report's numbers: sizes and budgets, time and machine, versions, tables."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pandas as pd

from analysis.data import frames
from analysis.data.frames import ResultsError
from analysis.data.study import Study
from analysis.report.grids import NONE, Cell, Column, Grid, duration, listed, number
from tsrnn.config import EndState, RunConfig
from tsrnn.io.files import Location
from tsrnn.io.rows import CODE, recorded_code
from tsrnn.io.schemas import ANALYSES, BY_NAME, OUTCOMES, RUNS
from tsrnn.untrusted import parse_json


def sizes(networks: pd.DataFrame) -> Grid:
    """Return the size, batch and budget of each sweep, with the paper's in the first row."""
    configs = [RunConfig.from_json(text) for text in networks["config"]]
    found = pd.DataFrame(
        [[sweep, *_size(config)] for sweep, config in zip(networks["sweep"], configs, strict=True)],
        columns=["sweep", *_SIZE],
    )
    columns = [Column("sweep"), Column("networks", True), *(Column(name, True) for name in _SIZE)]
    rows = [[Cell("the paper's"), Cell(NONE), *(number(value) for value in _size(RunConfig()))]]
    for key, group in found.groupby(["sweep", *_SIZE], sort=False, dropna=False):
        sweep, *values = key
        rows.append([Cell(str(sweep)), number(len(group)), *(number(value) for value in values)])
    return Grid("Size, batch and budget, with the paper's in the first row", columns, rows)


_SIZE: Final = ("H", "batch", "steps per epoch", "test batches", "max. epochs", "max. N")


def _size(config: RunConfig) -> list[int]:
    training, end = config.training, config.end
    return [
        config.network.hidden,
        training.batch_size,
        training.steps_per_epoch,
        training.test_batches,
        end.max_epochs,
        end.max_n,
    ]


def sweeps(study: Study) -> Grid:
    """Return what each sweep trained, its time, and its machine."""
    networks, outcomes = study.networks, study.load(OUTCOMES)
    labels = ("networks", "finished", "failed", "epochs", "computing time", "longest network", "GFLOP/s")
    columns = [Column("sweep"), *(Column(label, True) for label in labels), Column("device")]
    rows = []
    for sweep, group in networks.groupby("sweep", sort=False):
        ended = outcomes[outcomes["network_id"].isin(group["network_id"])]
        seconds, work = float(ended["wall_s"].sum()), float(ended["operations"].sum())
        rows.append(
            [
                Cell(str(sweep)),
                number(len(group)),
                number(int((group["status"] != EndState.RUNNING).sum())),
                number(int((group["status"] == EndState.FAILED).sum())),
                number(int(group["epochs"].sum())),
                duration(seconds),
                duration(float(ended["wall_s"].max()) if len(ended) else 0.0),
                number(work / seconds / 1e9 if seconds > 0 else float("nan"), ".3g"),
                Cell(listed(ended["device"].dropna().unique()) or NONE),
            ]
        )
    return Grid(
        "Training: total time of the networks; a network in several sweeps counts once",
        columns,
        rows,
    )


def analyses(study: Study) -> Grid:
    """Return how many checkpoints were measured, and how long that took."""
    frame = study.load(ANALYSES)
    columns = [Column("analysis"), Column("checkpoints", True), Column("failed", True), Column("computing time", True)]
    rows = []
    for name, group in frame.groupby("analysis", sort=True):
        failed = int((group["status"] == "failed").sum())
        rows.append([Cell(str(name)), number(len(group)), number(failed), duration(float(group["wall_s"].sum()))])
    return Grid("Analyses of checkpoints", columns, rows)


def versions(study: Study) -> list[str]:
    """Return the versions and the code that trained the networks and made the report, as lines."""
    trained: list[str] = []
    for text, count in study.load(OUTCOMES)["versions"].value_counts().items():
        try:
            named = ", ".join(f"{name} {version}" for name, version in parse_json(str(text)).items())
        except (ValueError, AttributeError):
            named = str(text)
        trained.append(f"{count} networks trained with {named}")
    outcomes, runs = (study.load(table)[["network_id", *CODE]].fillna("") for table in (OUTCOMES, RUNS))
    for _, rows in outcomes.groupby([*CODE]):
        trained.append(
            f"{len(rows)} networks trained with {recorded_code({name: rows[name].iloc[0] for name in CODE})}"
        )
    both = outcomes.merge(runs, on="network_id", suffixes=("", "_began"))
    changed = (both["code"] != both["code_began"]) | (both["plugins"] != both["plugins_began"])
    if mixed := int((changed & (both["code_began"] != "")).sum()):
        trained.append(f"{mixed} networks ended with different code than they began with")
    ours = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("tsrnn", "pandas", "scipy", "matplotlib")
    )
    return [*trained, f"this report: {ours}, Python {platform.python_version()} on {sys.platform} {platform.machine()}"]


def tables(study: Study, beside: Path) -> Grid:
    """Return the tables of each sweep, with links that are relative to the folder `beside`."""
    columns = [
        Column("table"),
        Column("sweep"),
        Column("rows", True),
        Column("files", True),
        Column("MB", True),
        Column("content"),
    ]
    rows = []
    for sweep in study.sweeps:
        for name in frames.tables_of(sweep):
            folder = sweep / name
            files: list[Location] = list(folder.glob("*.parquet"))
            count, size = _extent(sweep, name)
            meaning = BY_NAME[name].meaning if name in BY_NAME else ""
            rows.append(
                [
                    Cell(name, link=_link(folder, beside)),
                    Cell(sweep.resolve().name),
                    number(count, ",.0f"),
                    number(len(files)),
                    number(size / 1e6, ".2f"),
                    Cell(meaning),
                ]
            )
    return Grid("Tables of each sweep", columns, rows)


def _extent(sweep: Location, table: str) -> tuple[float, float]:
    """Return the numbers of rows and bytes of a table; NaN in object stores, or if it cannot be read."""
    if not isinstance(sweep, Path):
        return float("nan"), float("nan")
    try:
        keys = BY_NAME[table].key if table in BY_NAME else None
        size = sum(path.stat().st_size for path in (sweep / table).glob("*.parquet"))
        return float(len(frames.load(sweep, table, keys))), float(size)
    except (ResultsError, OSError):
        return float("nan"), float("nan")


def _link(folder: Location, beside: Path) -> str:
    """Return a link from a page in `beside` to a folder; the full name if the folder is in an object store."""
    if not isinstance(folder, Path):
        return str(folder)
    return quote(Path(os.path.relpath(folder.resolve(), beside.resolve())).as_posix()) + "/"
