"""What a report holds, as words, numbers and drawings, before it becomes a page."""

import base64
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pandas as pd
from rich.console import Console

from analysis import figures, tables
from analysis.claims import catalogue as claims
from analysis.claims.verdicts import MEANINGS
from analysis.data import frames
from analysis.data.cell import TRAINING, beyond_main, differing
from analysis.data.frames import ResultsError
from analysis.data.study import Study
from analysis.figures import Figure, style
from analysis.measure import progress as _progress
from analysis.quantities import reach as measures
from tsrnn.config import EndState, RunConfig
from tsrnn.io.files import Location
from tsrnn.io.rows import CODE, recorded_code
from tsrnn.io.schemas import ANALYSES, BY_NAME, EPOCHS, OUTCOMES, RUNS
from tsrnn.untrusted import parse_json

POINTS: Final = 120
"""Epochs of a learning curve at most; fewer where there are many networks."""

ALL_POINTS: Final = 60_000
"""Epochs of all learning curves together at most."""

SVG_BYTES: Final = 250_000
"""A figure is embedded as SVG up to this size, else as PNG."""

NONE: Final = "–"  # noqa: RUF001
"""The text of a cell without a value."""

_SIGNS: Final = {"reproduced": "✓", "contradicted": "✗", "inconclusive": "~", "not run": NONE}
_KIND: Final = ("task", "curriculum", "tau")


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, what it sorts by (the text by default), a link, or the network that it opens."""

    text: str
    value: float | str | None = None
    link: str = ""
    network: str = ""
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    label: str
    number: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of the page; the first cell of a row is its header."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it: an image, a table, or why there is neither."""

    id: str
    label: str
    title: str
    caption: str
    query: str
    missing: str = ""
    image: str = ""
    width: int = 0
    height: int = 0
    rows: Grid | None = None


@dataclass(frozen=True)
class Contents:
    """Everything a report shows, in its order."""

    name: str
    folder: str
    version: str
    made: str
    summary: str
    max_n: Grid
    max_n_notes: Sequence[str]
    counts: dict[str, int]
    meanings: Sequence[str]
    claims: Sequence[dict[str, Any]]
    figures: Sequence[Shown]
    networks: Grid
    thinned: int
    curves: dict[str, Any]
    sizes: Grid
    sweeps: Grid
    analyses: Grid
    versions: Sequence[str]
    tables: Grid
    failed: Sequence[str] = field(default=())


def collect(study: Study, beside: Path, console: Console | None = None) -> Contents:
    """Compute a report's contents.

    Args:
        study: the results, finished or not.
        beside: the folder that the report will be in: links are relative to it.
        console: shows how far the figures are; nothing by default.

    Returns:
        The contents. A figure that could not be drawn says so in its place, and in `failed`.
    """
    networks = study.networks
    judged = claims.judge_all(study)
    cells = measures.max_n_by_cell(networks)
    shown, failed = _figures(study, console or Console(quiet=True))
    kept, curves = _curves(study)
    finished = int((networks["status"] != EndState.RUNNING).sum())
    return Contents(
        name=study.folder.resolve().name,
        folder=str(study.folder),
        version=importlib.metadata.version("tsrnn"),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        summary=(
            f"{len(networks)} networks, {finished} of them finished. "
            f"Sweeps: {_listed(path.resolve().name for path in study.sweeps)}. "
            f"Scale: {_listed(networks['scale'].unique())}. "
            f"Neurons: {_listed(map(str, sorted(networks['hidden'].unique())))}."
        ),
        max_n=_max_n(cells),
        max_n_notes=tables.notes(cells) if len(cells) else ["no networks yet"],
        counts=claims.counts(judged),
        meanings=MEANINGS,
        claims=[_claim(row) for row in judged.to_dict("records")],
        figures=shown,
        networks=_networks(networks, set(curves)),
        thinned=kept,
        curves=curves,
        sizes=_sizes(networks),
        sweeps=_sweeps(study),
        analyses=_analyses(study),
        versions=_versions(study),
        tables=_tables(study, beside),
        failed=failed,
    )


def _else(frame: pd.DataFrame) -> list[str]:
    """Return in words what a network is beyond the paper's main ones, and how it was trained where networks differ.

    Args:
        frame: rows of `Study.networks` or of `analysis.quantities.reach.max_n_by_cell`.
    """
    varying = [name for name in differing(frame) if name in TRAINING]
    found = []
    for row in frame.to_dict("records"):
        parts = [beyond_main(row)]
        parts += [
            f"{name.replace('_', ' ')} {value}" for name in varying if not pd.isna(value := row[name]) and value != ""
        ]
        found.append(", ".join(part for part in parts if part))
    return found


def _max_n(cells: pd.DataFrame) -> Grid:
    labels = ("networks", "mean N", "95 % interval", "median", "range", "epochs")
    columns = [*map(Column, _KIND), *(Column(label, True) for label in labels), Column("other settings")]
    rows = []
    for row, other in zip(cells.to_dict("records"), _else(cells), strict=True):
        interval = Cell(NONE if np.isnan(row["low"]) else f"{row['low']:.1f} to {row['high']:.1f}", _value(row["low"]))
        span = Cell(f"{row['min']} to {row['max']}" if row["min"] < row["max"] else str(row["min"]), _value(row["min"]))
        rows.append(
            [
                *(_word(row[name]) for name in _KIND),
                _number(row["n"]),
                _number(row["mean"], ".1f"),
                interval,
                _number(row["median"]),
                span,
                _number(row["epochs_mean"], ".0f"),
                _word(other),
            ]
        )
    return Grid("Largest N solved, by kind of network", columns, rows)


def _claim(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()} | {
        "sign": _SIGNS[row["verdict"]],
        "rank": list(_SIGNS).index(row["verdict"]),
        "lines": tables.claim_lines(row),
    }


def _figures(study: Study, console: Console) -> tuple[list[Shown], list[str]]:
    shown, failed = [], []
    with _progress.JobProgress("report", {"figures": len(figures.FIGURES)}, console, quiet=True) as progress:
        for id in figures.FIGURES:
            began = time.monotonic()
            try:
                (figure,) = figures.build(study, only=[id])
                shown.append(_shown(figure))
            except Exception as error:
                # One figure's fault must not cost the others: it stands in its place, and in the exit status.
                why = f"{type(error).__name__}: {' '.join(str(error).split())}"
                failed.append(f"figure {id}: {why}")
                shown.append(Shown(id, _label(id), "it failed", "", "", f"This is a fault of the program: {why}"))
            progress.take("figures", time.monotonic() - began)
    return shown, failed


def _label(id: str) -> str:
    return f"Table {id.removeprefix('table')}" if id.startswith("table") else f"Figure {id}"


def _shown(figure: Figure) -> Shown:
    label = _label(figure.id)
    shown = Shown(
        figure.id, label, figure.title.removeprefix(f"{label}: "), figure.caption, figure.query, figure.missing
    )
    if figure.missing:
        return shown
    if figure.id.startswith("table"):
        frame = next(iter(figure.data.values()))
        numbers = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]
        columns = [Column(str(name).replace("_", " "), number) for name, number in zip(frame, numbers, strict=True)]
        rows = [
            [_number(cell, ".3g") if number else _word(cell) for cell, number in zip(row, numbers, strict=True)]
            for row in frame.itertuples(index=False)
        ]
        return replace(shown, rows=Grid(f"{shown.label}. {shown.title}", columns, rows))
    drawing = figure.draw()
    width, height = drawing.get_size_inches() * 96
    image = style.render(drawing, "svg", outlines=True)
    form = "svg+xml"
    if len(image) > SVG_BYTES:
        image, form = style.render(drawing, "png"), "png"
    data = f"data:image/{form};base64,{base64.b64encode(image).decode()}"
    return replace(shown, image=data, width=round(width), height=round(height))


def _curves(study: Study) -> tuple[int, dict[str, Any]]:
    """Return how many epochs a curve was thinned to (0 if none was), and the curves by network."""
    columns = ["epoch", "n_max", "accuracy_newest", "accuracy_mean", "tau_mean"]
    frame = study.load(EPOCHS, columns).sort_values(["network_id", "epoch"], ignore_index=True)
    count = frame["network_id"].nunique()
    most = max(2, min(POINTS, ALL_POINTS // max(1, count)))
    curves, thinned = {}, 0
    for network_id, rows in frame.groupby("network_id", sort=False):
        if len(rows) > most:
            rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]
            thinned = most
        curves[str(network_id)] = {
            "epoch": rows["epoch"].tolist(),
            "n": rows["n_max"].tolist(),
            "accuracy": _rounded(rows["accuracy_newest"], 4),
            "mean": _rounded(rows["accuracy_mean"], 4),
            "tau": _rounded(rows["tau_mean"], 3),
        }
    return thinned, curves


def _rounded(values: pd.Series, digits: int) -> list[float | None]:
    return [round(value, digits) if np.isfinite(value) else None for value in values.to_numpy(dtype=float)]


def _networks(networks: pd.DataFrame, known: set[str]) -> Grid:
    columns = [Column("network"), *map(Column, _KIND), Column("seed", True), Column("status")]
    columns += [Column("max N", True), Column("epochs", True), Column("sweep"), Column("other settings")]
    rows = []
    for row, other in zip(networks.to_dict("records"), _else(networks), strict=True):
        id = str(row["network_id"])
        tau = f"tau {row['tau']}" if row["tau"] else ""
        words = (row["task"], row["curriculum"], tau, other, f"seed {row['seed']}")
        title = ", ".join(str(word) for word in words if word)
        rows.append(
            [
                Cell(id, network=id, title=title) if id in known else Cell(id),
                *(_word(row[name]) for name in _KIND),
                _number(row["seed"]),
                _word(row["status"]),
                _number(row["max_n"]),
                _number(row["epochs"]),
                _word(row["sweep"]),
                _word(other),
            ]
        )
    return Grid("Networks, each with its learning curve", columns, rows)


def _sizes(networks: pd.DataFrame) -> Grid:
    """What was smaller than the paper's, sweep by sweep, with the paper's in the first row."""
    configs = [RunConfig.from_json(text) for text in networks["config"]]
    found = pd.DataFrame(
        [[sweep, *_size(config)] for sweep, config in zip(networks["sweep"], configs, strict=True)],
        columns=["sweep", *_SIZE],
    )
    columns = [Column("sweep"), Column("networks", True), *(Column(name, True) for name in _SIZE)]
    rows = [[Cell("the paper's"), Cell(NONE), *(_number(value) for value in _size(RunConfig()))]]
    for key, group in found.groupby(["sweep", *_SIZE], sort=False, dropna=False):
        sweep, *values = key
        rows.append([Cell(str(sweep)), _number(len(group)), *(_number(value) for value in values)])
    return Grid("Size, batch and budget; the paper's first", columns, rows)


_SIZE: Final = ("H", "batch", "steps an epoch", "test batches", "epochs at most", "N at most")


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


def _sweeps(study: Study) -> Grid:
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
                _number(len(group)),
                _number(int((group["status"] != EndState.RUNNING).sum())),
                _number(int((group["status"] == "failed").sum())),
                _number(int(group["epochs"].sum())),
                _duration(seconds),
                _duration(float(ended["wall_s"].max()) if len(ended) else 0.0),
                _number(work / seconds / 1e9 if seconds > 0 else float("nan"), ".3g"),
                Cell(_listed(ended["device"].dropna().unique()) or NONE),
            ]
        )
    return Grid(
        "Training; the time is the networks' own, summed; a network that several sweeps trained counts once",
        columns,
        rows,
    )


def _analyses(study: Study) -> Grid:
    frame = study.load(ANALYSES)
    columns = [Column("analysis"), Column("checkpoints", True), Column("failed", True), Column("computing time", True)]
    rows = []
    for name, group in frame.groupby("analysis", sort=True):
        failed = int((group["status"] == "failed").sum())
        rows.append([Cell(str(name)), _number(len(group)), _number(failed), _duration(float(group["wall_s"].sum()))])
    return Grid("Analyses of checkpoints", columns, rows)


def _versions(study: Study) -> list[str]:
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
        trained.append(f"{mixed} networks ended with other code than they began with")
    ours = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("tsrnn", "pandas", "scipy", "matplotlib")
    )
    return [*trained, f"this report: {ours}, Python {platform.python_version()} on {sys.platform} {platform.machine()}"]


def _tables(study: Study, beside: Path) -> Grid:
    columns = [
        Column("table"),
        Column("sweep"),
        Column("rows", True),
        Column("files", True),
        Column("MB", True),
        Column("one row"),
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
                    _number(count, ",.0f"),
                    _number(len(files)),
                    _number(size / 1e6, ".2f"),
                    Cell(meaning.removeprefix("One row ")),
                ]
            )
    return Grid("Tables of each sweep", columns, rows)


def _extent(sweep: Location, table: str) -> tuple[float, float]:
    """Return a table's rows and bytes; NaN where that would take many requests, or cannot be read."""
    if not isinstance(sweep, Path):
        return float("nan"), float("nan")
    try:
        keys = BY_NAME[table].key if table in BY_NAME else None
        size = sum(path.stat().st_size for path in (sweep / table).glob("*.parquet"))
        return float(len(frames.load(sweep, table, keys))), float(size)
    except (ResultsError, OSError):
        return float("nan"), float("nan")


def _link(folder: Location, beside: Path) -> str:
    """Return where a page in `beside` finds a folder; the whole name where it is in an object store."""
    if not isinstance(folder, Path):
        return str(folder)
    return quote(Path(os.path.relpath(folder.resolve(), beside.resolve())).as_posix()) + "/"


def _word(value: Any) -> Cell:
    return Cell(NONE if pd.isna(value) or value == "" else str(value))


def _number(value: Any, form: str = "g") -> Cell:
    if pd.isna(value):
        return Cell(NONE, "")
    return Cell(
        f"{value:,}" if form == "g" and isinstance(value, int | np.integer) else f"{value:{form}}", _value(value)
    )


def _value(value: Any) -> float | str:
    return "" if pd.isna(value) else float(value)


def _duration(seconds: float) -> Cell:
    if seconds < 120:
        return Cell(f"{seconds:.0f} s", seconds)
    return Cell(f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h", seconds)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(str, words))
