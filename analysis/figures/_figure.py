"""What a figure is, and which networks it shows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.study import Study
from analysis.figures import style
from analysis.quantities import reach as measures
from tsrnn.io.schemas import SOLVED, Table

SCALES: Final = ("quick", "laptop", "paper")

BASE: Final = (
    "architecture == 'leaky'",
    "tau == 'trained'",
    "self_interaction == 'inside'",
    "nonlinearity == 'leaky_relu'",
    "weight_decay == 0",
    "k == '1'",
)
"""The paper's network, as conditions on `Study.networks`."""


Where = tuple[str, str, Any]
"""A condition on the rows of a table that are read; see `analysis.data.frames.load`."""


class Words(NamedTuple):
    """What a figure says."""

    id: str
    title: str
    caption: str


@dataclass(frozen=True)
class Figure:
    """One figure or table of the paper, made from results.

    Attributes:
        id: such as "4a", "S11" or "table1".
        title: in a few words.
        caption: what is shown, of how many networks, with which intervals, at which scale; "" where nothing is.
        data: the computed frames by name; the first is the main one.
        query: Python with pandas that makes the main frame, `frame`, from the Parquet tables; it runs in the folder of
            the results.
        missing: why there is nothing to draw, with the command to run; "" where it can be drawn.
        painter: draws it.
    """

    id: str
    title: str
    caption: str
    data: Mapping[str, pd.DataFrame]
    query: str
    missing: str = ""
    painter: Callable[[], Drawing] | None = field(default=None, repr=False, compare=False)

    def draw(self) -> Drawing:
        """Draw it.

        Raises:
            ValueError: there is nothing to draw; the message is `missing`.
        """
        if self.missing or self.painter is None:
            raise ValueError(self.missing or f"figure {self.id} has no painter")
        with style.applied():
            return style.laid_out(self.painter())


@dataclass(frozen=True)
class Cohort:
    """The networks of a figure: of one scale and size, trained alike but for what the figure compares.

    Attributes:
        networks: rows of `Study.networks`.
        where: the condition that selects them there, for `pandas.DataFrame.query`.
        note: their scale and size in words, and what was left out.
    """

    networks: pd.DataFrame
    where: str
    note: str

    def __len__(self) -> int:
        return len(self.networks)


def cohort(study: Study, *conditions: str, ignoring: Sequence[str] = ()) -> Cohort:
    """Choose the networks of a figure.

    Of several scales the largest is taken, of several sizes the largest, of several recipes (slope, optimiser, ...) the
    one that most of the networks have.

    Args:
        study: the results.
        conditions: on the columns of `Study.networks`, as `pandas.DataFrame.query` knows them; all hold.
        ignoring: columns among slope and recipe that may differ, since the figure compares them.
    """
    found = study.networks.query(" and ".join(conditions))
    where, left_out = list(conditions), []
    for column in ("scale", "hidden", "slope", "recipe"):
        if column in ignoring or found.empty:
            continue
        values = found[column].dropna()
        if column == "scale":
            chosen = max(values, key=lambda name: SCALES.index(name) if name in SCALES else -1)
        elif column == "hidden":
            chosen = values.max()
        elif values.empty:
            continue
        else:
            counts = values.value_counts()
            chosen = counts[counts == counts.max()].index.max()
        others = found[(found[column] != chosen) & found[column].notna()]
        kept = found[(found[column] == chosen) | found[column].isna()]
        if len(others) and column != "slope":
            kind = {"scale": "another scale", "hidden": "another size", "recipe": "other training settings"}[column]
            left_out.append(f"{len(others)} of {kind}")
        if column == "recipe":
            if len(others):
                where.append(f"network_id in {sorted(kept['network_id'])}")
        elif column == "slope":
            where.append(f"(slope == {chosen} or nonlinearity != 'leaky_relu')")
        else:
            where.append(f"{column} == {chosen!r}" if column == "scale" else f"{column} == {chosen}")
        found = kept
    note = ""
    if len(found):
        note = f"Scale {found['scale'].iloc[0]}: {found['hidden'].iloc[0]} neurons"
        note += (f"; networks left out: {', '.join(left_out)}" if left_out else "") + "."
    return Cohort(found, " and ".join(where), note)


def script(
    study: Study, chosen: Cohort, tables: Sequence[Table], body: str, where: Mapping[str, Sequence[Where]] | None = None
) -> str:
    """Return the pandas code of a figure: reads the tables, selects the networks, then `body` makes `frame`.

    Args:
        study: the results.
        chosen: the networks.
        tables: those it reads beside `runs`.
        body: the rest of the code, with `networks` and a frame for each table by its name.
        where: by the table's name, the conditions on the rows to read; see `analysis.data.frames.load`.
    """
    # One condition a line; no condition has a double quote in it.
    conditions = '    "' + ' and "\n    "'.join(chosen.where.split(" and ")) + '"'
    reads = ""
    for table in tables:
        condition = f", {list((where or {})[table.name])!r}" if table.name in (where or {}) else ""
        reads += f'{table.name} = read("{table.name}", {list(table.key)}{condition})\n'
    imports = "import json\n\nimport pandas as pd\n"
    reader = "    return pd.read_parquet(table, filters=filters)\n"
    if study.sweeps != (study.folder,):
        imports = "import json\nfrom pathlib import Path\n\nimport pandas as pd\n"
        reader = (
            '    parts = [pd.read_parquet(path, filters=filters) for path in sorted(Path().glob(f"*/{table}"))]\n'
            "    return pd.concat(parts).drop_duplicates(key, ignore_index=True)  # networks count once\n"
        )
    return (
        f"{imports}\n\n"
        f"def read(table, key, filters=None):\n{reader}\n\n"
        'runs = read("runs", ["network_id"])\n'
        f"{reads}"
        'settings = pd.json_normalize([json.loads(text) for text in runs["config"]]).set_index(runs.index)\n'
        "networks = runs.assign(\n"
        '    slope=settings.get("network.nonlinearity.slope"),\n'
        '    weight_decay=settings["training.optimizer.weight_decay"],\n'
        '    k=settings["time.k"].map(lambda k: ",".join(map(str, k))),\n'
        '    dt=settings["time.dt"],\n'
        f").query(\n{conditions}\n)\n"
        f"{body.strip()}\n"
    )


def make(
    study: Study,
    words: Words,
    chosen: Cohort,
    found: tuple[pd.DataFrame, ...],
    draw: Callable[[], Drawing],
    *,
    tables: Sequence[Table],
    body: str,
    missing: str,
    where: Mapping[str, Sequence[Where]] | None = None,
) -> Figure:
    """Put a figure together.

    Args:
        study: the results.
        words: id, title and caption; the caption without its last sentence, the networks' scale.
        chosen: its networks.
        found: the computed frames, a named tuple.
        draw: draws them.
        tables: see `script`.
        body: see `script`.
        missing: see `Figure`.
        where: see `script`.
    """
    return Figure(
        words.id,
        words.title,
        "" if missing else " ".join([*words.caption.split(), chosen.note]),
        dict(zip(found._fields, found, strict=True)),  # type: ignore[attr-defined]
        script(study, chosen, tables, body, where),
        missing,
        draw,
    )


def per_cell(rows: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Sum up over networks.

    Args:
        rows: one row a network and cell.
        by: the columns that say which cell.
        value: the column summed up; rows without a value do not count.

    Returns:
        One row a cell, sorted: `by`, `networks`, `mean`, and `low` and `high`, the 95 % interval of the mean over
        networks (see `analysis.quantities.reach.interval`).
    """
    known = rows[rows[value].notna()]
    cells, groups = [], []
    for cell, group in known.groupby(list(by), sort=True, dropna=False):
        cells.append(cell)
        groups.append(group[value].to_numpy(dtype=float))
    low, high = measures.intervals(groups)
    frame = pd.DataFrame(cells, columns=list(by))
    return frame.assign(
        networks=[len(group) for group in groups],
        mean=[float(np.mean(group)) for group in groups],
        low=low,
        high=high,
    )


def supported(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a line that at least half as many networks are in as in its fullest.

    A mean over the few that got furthest beside means over all would look like a trend.
    """
    enough: pd.Series[bool] = cells["networks"] * 2 >= cells["networks"].max()
    return cells[enough]


MEANS: Final = "means (lines, at N that at least half of the networks have)"
"""What captions call the lines that are drawn of `supported` cells."""


def numbers(networks: Iterable[int]) -> str:
    """Say how many networks there are: "n = 4 networks", or "n = 3 to 4 networks" where cells differ."""
    counts = [int(n) for n in networks] or [0]
    low, high = min(counts), max(counts)
    return f"n = {low if low == high else f'{low} to {high}'} network{'' if high == 1 else 's'}"


def each(networks: pd.DataFrame, by: str = "curriculum") -> str:
    """Say how many networks of each kind there are: "n = 4 (single-head), 3 (multi-head) networks".

    Args:
        networks: one row a network, or several.
        by: the column that says which kind; the task too, where there are two.
    """
    known = networks.drop_duplicates("network_id")
    keys = [by] if by == "task" or known["task"].nunique() < 2 else ["task", by]
    known = known.sort_values(keys, key=lambda names: names.map(lambda name: (style.rank(name), name)))
    groups = known.groupby(keys, sort=False)
    sizes = {" ".join(style.word(str(name)) for name in cell): len(group) for cell, group in groups}
    if len(set(sizes.values())) == 1:
        return f"{numbers(sizes.values())} each ({', '.join(sizes)})" if len(sizes) > 1 else numbers(sizes.values())
    return "n = " + ", ".join(f"{size} ({name})" for name, size in sizes.items()) + " networks"


def sizes(networks: pd.DataFrame) -> "pd.Series[int]":
    """Return how many networks there are of each task and curriculum."""
    return networks.groupby(["task", "curriculum"])["network_id"].nunique()


def intervals(networks: Iterable[int]) -> str:
    """Say what bands and whiskers are, and how far they can be trusted with so few networks.

    Args:
        networks: how many there are in each cell.
    """
    counts = list(networks)
    if max(counts, default=0) < 2:
        return "One network each: no intervals."
    text = "Bands and whiskers: 95 % bootstrap intervals of the mean over networks"
    few = ", too narrow for so few (at n = 4 they hold the true mean in 80 % of cases)" if min(counts) < 8 else ""
    return f"{text}{few}."


def untrained(study: Study, chosen: Cohort, rows: pd.DataFrame, sweep: str, options: str = "") -> str:
    """Say why a figure has no rows: no network is there, or none has got so far; "" where it has."""
    if len(rows):
        return ""
    command = to_run(study, sweep, options)
    if len(chosen):
        return f"The {len(chosen)} networks in {study.folder} have not got so far. To go on: {command}"
    return f"No such network is in {study.folder}. To have them: {command}"


def unmeasured(study: Study, chosen: Cohort, rows: pd.DataFrame, command: str, sweep: str) -> str:
    """Say why a figure has no rows of an analysis: no network is there, or none was measured; "" where it has.

    Args:
        study: the results.
        chosen: the figure's networks.
        rows: what it is made of.
        command: the analysis, such as "interventions --kinds ablation", or the file of a sweep, "sweeps/retraining.py".
        sweep: the sweep that trains such networks.
    """
    if len(rows):
        return ""
    run, *options = command.split()
    run = f"python {run}" if run.endswith(".py") else f"python -m analysis {run}"
    if chosen.networks.empty:
        folder = study.folder if study.sweeps == (study.folder,) else study.storage / sweep
        before = f"No such network is in {study.folder}. To have them: {to_run(study, sweep)}, then"
    else:
        folder = study.folder
        if study.sweeps != (study.folder,):
            # The sweep that has their checkpoints: another may have the same networks and not have trained them yet.
            solved = study.load(SOLVED)
            solved = solved[solved["network_id"].isin(chosen.networks["network_id"])]
            folder = study.folder / str((solved if len(solved) else chosen.networks)["sweep"].mode().iloc[0])
        before = f"The {len(chosen)} networks in {study.folder} have not been measured. To do it:"
    return " ".join([before, run, str(folder), *options])


def to_run(study: Study, sweep: str, options: str = "") -> str:
    """Return the command that trains a sweep's networks, at the scale of these results."""
    scales = set(study.networks["scale"])
    scale = next((name for name in reversed(SCALES) if name in scales), "quick")
    return " ".join([f"python sweeps/{sweep}.py --scale {scale} --storage {study.storage}", *options.split()])
