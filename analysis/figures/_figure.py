"""What a figure is, and which networks it shows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis import measures, style
from analysis.study import Study
from tsrnn.records import Table

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
            return self.painter()


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

    def having(self, rows: pd.DataFrame) -> "Cohort":
        """Return it without the networks that have no row in a table."""
        return Cohort(self.networks[self.networks["network_id"].isin(rows["network_id"])], self.where, self.note)


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
        if len(others):
            name = {"recipe": "training settings"}.get(column, column)
            left_out.append(f"{len(others)} networks of another {name} are left out")
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
        note += "".join(f"; {text}" for text in left_out) + "."
    return Cohort(found, " and ".join(where), note)


def script(study: Study, chosen: Cohort, tables: Sequence[Table], body: str) -> str:
    """Return the pandas code of a figure: reads the tables, selects the networks, then `body` makes `frame`."""
    reads = "".join(f'{table.name} = read("{table.name}", {list(table.key)})\n' for table in tables)
    if study.sweeps == (study.folder,):
        reader = "    return pd.read_parquet(table)\n"
    else:
        reader = (
            '    parts = [pd.read_parquet(path) for path in sorted(Path().glob(f"*/{table}"))]\n'
            "    return pd.concat(parts).drop_duplicates(key, ignore_index=True)  # networks count once\n"
        )
    return (
        "import json\nfrom pathlib import Path\n\nimport pandas as pd\n\n\n"
        f"def read(table, key):\n{reader}\n\n"
        'runs = read("runs", "network_id")\n'
        f"{reads}"
        'settings = pd.json_normalize([json.loads(text) for text in runs["config"]]).set_index(runs.index)\n'
        "networks = runs.assign(\n"
        '    slope=settings.get("network.nonlinearity.slope"),\n'
        '    weight_decay=settings["training.optimizer.weight_decay"],\n'
        '    k=settings["time.k"].map(lambda k: ",".join(map(str, k))),\n'
        '    dt=settings["time.dt"],\n'
        f').query(\n    """{chosen.where}"""\n)\n'
        f"{body.strip()}\n"
    ).replace("from pathlib import Path\n", "" if "Path()" not in reader else "from pathlib import Path\n")


def per_cell(rows: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Sum up over networks.

    Args:
        rows: one row a network and cell.
        by: the columns that say which cell.
        value: the column summed up; rows without a value do not count.

    Returns:
        One row a cell, sorted: `by`, `networks`, `mean`, and `low` and `high`, the 95 % interval of the mean over
        networks (see `analysis.measures.interval`).
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


def intervals(networks: int) -> str:
    """Say what bands and whiskers are, and how far they can be trusted with so few networks."""
    if networks < 2:
        return "One network: no interval."
    text = "Bands and whiskers: 95 % bootstrap intervals of the mean over networks"
    return text + (
        ", too narrow for so few (at n = 4 they hold the true mean in 80 % of cases)." if networks < 8 else "."
    )


def lacking(study: Study, command: str, what: str = "No such network") -> str:
    """Say what a figure lacks, and the command that makes it."""
    return f"{what} is in {study.folder}. To have it: {command}"


def to_run(study: Study, sweep: str, options: str = "") -> str:
    """Return the command that trains a sweep's networks, at the scale of these results."""
    scales = study.networks["scale"].unique()
    scale = next((name for name in reversed(SCALES) if name in scales), "quick")
    extra = f" {options}" if options else ""
    return f"python sweeps/{sweep}.py --scale {scale} --storage {study.storage}{extra}"


def to_analyse(study: Study, networks: pd.DataFrame, command: str) -> str:
    """Return the command that measures these networks: those of the sweep that has most of them."""
    folder = study.folder
    if len(networks) and study.sweeps != (study.folder,):
        folder = study.folder / str(networks["sweep"].mode().iloc[0])
    return f"{command} {folder}" if command.startswith("python sweeps") else f"python -m analysis {command} {folder}"
