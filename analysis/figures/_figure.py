"""The definition of a figure, and the choice of the networks that it shows."""

import inspect
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.cell import TRAINING, Cell
from analysis.data.networks import once
from analysis.data.study import Study
from analysis.figures import style
from analysis.quantities.base import Quantity, Where
from analysis.stats.intervals import bootstraps
from tsrnn.io.schemas import RUNS, SOLVED, Table

MAIN: Final = Cell(task=None, curriculum=None)
"""The paper's networks, of any task and curriculum."""


STEPWISE: Final = "not curriculum.str.contains('^(?:sliding|none|all)')"
"""Networks of all curricula without figures of their own: single-head, multi-head, and those of plugins."""


class Words(NamedTuple):
    """The texts of a figure."""

    id: str
    title: str
    caption: str


@dataclass(frozen=True)
class Figure:
    """One figure or table of the paper, made from results.

    Attributes:
        id: the identifier, such as "4a", "S11" or "table1".
        title: a short title.
        caption: what is shown, for how many networks, with which intervals and at which scale; "" if nothing is shown.
        data: the computed frames by name; the first is the main one.
        query: Python code with pandas that computes the main frame, `frame`, from the Parquet tables. It runs in the
            folder of the results.
        missing: why there is nothing to draw, with the command to run; "" if the figure can be drawn.
        painter: draws the figure.
    """

    id: str
    title: str
    caption: str
    data: Mapping[str, pd.DataFrame]
    query: str
    missing: str
    painter: Callable[[], Drawing] = field(repr=False, compare=False)

    @property
    def is_table(self) -> bool:
        """Whether the paper shows it as a table."""
        return self.id.startswith("table")

    def draw(self) -> Drawing:
        """Draw it.

        Raises:
            ValueError: there is nothing to draw; the message is `missing`.
        """
        if self.missing:
            raise ValueError(self.missing)
        with style.applied():
            return style.laid_out(self.painter())

    def _repr_html_(self) -> str:
        from analysis.notebook import figure_html

        return figure_html(self)


Builder = Callable[[Study], Figure]

BUILDERS: Final[dict[str, Builder]] = {}
"""The function that builds each figure, by its id; see `builds`."""


def builds(id: str) -> Callable[[Builder], Builder]:
    """Register a function that builds a figure, so that commands and reports include the figure.

    Args:
        id: the identifier of the figure or table, such as "4a", "S11" or "table1".
    """

    def register(builder: Builder) -> Builder:
        if id in BUILDERS:
            raise ValueError(f"figure {id} is already built by {BUILDERS[id].__name__}")
        BUILDERS[id] = builder
        return builder

    return register


@dataclass(frozen=True)
class Cohort:
    """The networks of a figure: they have the same training, and differ only in what the figure compares.

    Attributes:
        networks: rows of `Study.networks`.
        conditions: conditions on columns of the table `runs`, for `pandas.DataFrame.query`, that select these networks.
        note: their scale and size in words, and which networks were left out.
    """

    networks: pd.DataFrame
    conditions: tuple[str, ...] = ()
    note: str = ""

    def __len__(self) -> int:
        return len(self.networks)

    def with_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return those of the networks that have rows in a frame."""
        return self.networks[self.networks["network_id"].isin(frame["network_id"])]


def cohort(study: Study, cell: Cell, *conditions: str) -> Cohort:
    """Choose the networks of a figure: among several trainings, that of the largest networks, then of most networks.

    A network that two sweeps trained with different end rules counts once; see `analysis.data.networks.once`.

    Args:
        study: the results.
        cell: what they have in common; a field that is None may differ.
        conditions: further conditions on columns of `runs`, for `pandas.DataFrame.query`; all must hold.
    """
    found = cell.select(study.networks)
    for condition in conditions:
        found = _holding(found, condition)
    if found.empty:
        return Cohort(found, (*cell.conditions(), *conditions))
    every, found = found, once(found)
    groups = [group for _, group in found.groupby(list(TRAINING), sort=False, dropna=False)]
    kept = max(groups, key=lambda group: (int(group["hidden"].iloc[0]), len(group)))
    first = kept.iloc[0]
    selected = (*cell.conditions(str(first["preset"])), *conditions)
    note = f"Scale {first['scale']}: {first['hidden']} neurons"
    if left_out := len(found) - len(kept):
        note += f"; {left_out} networks of another size or training are left out"
    if len(kept) < len(every) or not study.has_all_columns:
        selected = (f"network_id in {sorted(kept['network_id'])}",)
    return Cohort(kept, selected, f"{note}.")


def among(cohort: Cohort, condition: str) -> Cohort:
    """Return the networks that are the subject of a figure, to report which of their results are missing."""
    return Cohort(_holding(cohort.networks, condition) if len(cohort) else cohort.networks)


def _holding(networks: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the networks for which a condition of `pandas.DataFrame.query` holds."""
    # pandas first makes a series of every column, of which a condition names one or two.
    named = networks[[name for name in networks if str(name) in condition]]
    return networks.loc[named.query(condition).index]


Step = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Frame:
    """The main frame of a figure: quantities of its networks, and the query that computes the same.

    Attributes:
        by: the columns of the networks that identify a cell.
        quantities: quantities with the same key; each becomes a column with its name.
        steps: functions that are then applied to the frame, and whose source is shown in the query.
        where: further conditions on the rows that are read, by the name of a table.
    """

    by: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    steps: tuple[Step, ...] = ()
    where: Mapping[str, Sequence[Where]] = field(default_factory=dict)

    def rows(self, study: Study, networks: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with the columns `by`, network_id, the rest of the key (n, ...), and the quantities."""
        rows = [self._limited(q).rows(study) for q in self.quantities]
        frame = networks[[*self.by, "network_id"]]
        values = [own.rename(columns={"value": q.name}) for q, own in zip(self.quantities, rows, strict=True)]
        frame = frame.merge(values[0], on="network_id")
        for own in values[1:]:
            frame = frame.merge(own, how="outer")
        frame = frame.dropna(subset=[*self.by], how="all").reset_index(drop=True)
        for step in self.steps:
            frame = step(frame)
        return frame

    def _limited(self, quantity: Quantity) -> Quantity:
        names = {table.name for table in quantity.tables}
        where = {name: (*quantity.where.get(name, ()), *self.where.get(name, ())) for name in names}
        return replace(quantity, where={name: conditions for name, conditions in where.items() if conditions})

    def query(self, study: Study, chosen: Cohort) -> str:
        """Return the pandas code that computes `frame` from the Parquet files; see `Figure.query`."""
        quantities = [self._limited(quantity) for quantity in self.quantities]
        tables = {table.name: table for quantity in quantities for table in quantity.tables}
        where = {name: conditions for quantity in quantities for name, conditions in quantity.where.items()}
        reads = [_reading(RUNS)] + [
            _reading(table, where.get(name)) for name, table in tables.items() if table is not RUNS
        ]
        sources = dict.fromkeys(quantity.source for quantity in quantities)
        body = [
            *(source + "\n\n" for source in sources),
            *(inspect.getsource(step).strip() + "\n\n" for step in self.steps),
            f"frame = networks[{[*self.by, 'network_id']}]",
        ]
        for i, quantity in enumerate(quantities):
            how = 'on="network_id"' if i == 0 else 'how="outer"'
            named = f'{quantity.call}.dropna(subset="value").rename(columns={{"value": "{quantity.name}"}})'
            body.append(f"frame = frame.merge({named}, {how})")
        if len(quantities) > 1:
            body.append(f'frame = frame.dropna(subset={[*self.by]}, how="all")')
        body += [f"frame = {step.__name__}(frame)" for step in self.steps]
        text = "\n".join(body)
        imports = [name for name in ("import numpy as np",) if "np." in text] + ["import pandas as pd"]
        reader = "    return pd.read_parquet(table, filters=filters)"
        if study.sweeps != (study.folder,):
            imports = ["from pathlib import Path", "", *imports]
            reader = (
                '    parts = [pd.read_parquet(path, filters=filters) for path in sorted(Path().glob(f"*/{table}"))]\n'
                "    return pd.concat(parts).drop_duplicates(key, ignore_index=True)  # networks count once"
            )
        # One condition per line; conditions contain no double quotes.
        conditions = '    "' + ' and "\n    "'.join(chosen.conditions) + '"'
        lines = [*imports, "", "", "def read(table, key, filters=None):", reader, "", "", *reads]
        lines += [f"networks = runs.query(\n{conditions}\n)", "", "", text]
        return "\n".join(lines) + "\n"


def _reading(table: Table, where: Sequence[Where] | None = None) -> str:
    condition = f", {list(where)!r}" if where else ""
    return f'{table.name} = read("{table.name}", {list(table.key)}{condition})'


def make(
    study: Study,
    words: Words,
    chosen: Cohort,
    found: tuple[pd.DataFrame, ...],
    draw: Callable[[], Drawing],
    *,
    frame: Frame,
    missing: str,
) -> Figure:
    """Assemble a figure.

    Args:
        study: the results.
        words: id, title and caption, without the last sentence of the caption (the scale of the networks).
        chosen: the networks.
        found: the computed frames, as a named tuple; the first is the result of `frame`.
        draw: draws them.
        frame: computes the main frame.
        missing: see `Figure`.
    """
    return Figure(
        words.id,
        words.title,
        "" if missing else " ".join([*words.caption.split(), chosen.note]),
        dict(zip(found._fields, found, strict=True)),  # type: ignore[attr-defined]
        frame.query(study, chosen),
        missing,
        draw,
    )


def per_cell(rows: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Summarise over networks.

    Args:
        rows: one row for each network and cell.
        by: the columns that identify a cell.
        value: the column to summarise; rows without a value do not count.

    Returns:
        One row for each cell, sorted: `by`, `networks`, `mean`, and `low` and `high`, the 95 % interval of the mean
        over networks (see `analysis.stats.intervals.bootstrap`).
    """
    known = rows[rows[value].notna()]
    which = known.groupby(list(by), sort=True, dropna=False).ngroup().to_numpy()
    order = np.argsort(which, kind="stable")
    begins = np.searchsorted(which[order], np.arange(which.max(initial=-1) + 1))
    groups = np.split(known[value].to_numpy(dtype=float)[order], begins[1:])[: len(begins)]
    low, high = bootstraps(groups)
    frame = known[list(by)].iloc[order[begins]].reset_index(drop=True)
    return frame.assign(
        networks=[len(group) for group in groups],
        mean=[float(np.mean(group)) for group in groups],
        low=low,
        high=high,
    )


def supported(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a line that have at least half as many networks as its largest cell.

    Otherwise, a mean over the few networks that reached the largest N would look like a trend beside means over all.
    """
    enough: pd.Series[bool] = cells["networks"] * 2 >= cells["networks"].max()
    return cells[enough]


MEANS: Final = "means (lines, where at least half of the networks have solved N)"
"""How captions describe lines through `supported` cells."""


def numbers(networks: Iterable[int]) -> str:
    """Return the number of networks in words: "n = 4 networks", or "n = 3 to 4 networks" if cells differ."""
    counts = [int(n) for n in networks] or [0]
    low, high = min(counts), max(counts)
    return f"n = {low if low == high else f'{low} to {high}'} network{'' if high == 1 else 's'}"


def each(networks: pd.DataFrame) -> str:
    """Return the number of networks of each curriculum in words: "n = 4 (single-head), 3 (multi-head) networks".

    Args:
        networks: one or more rows for each network; if they have two tasks, the number is that of each task, too.
    """
    known = networks.drop_duplicates("network_id")
    keys = ["curriculum"] if known["task"].nunique() < 2 else ["task", "curriculum"]
    known = known.sort_values(keys, key=lambda names: names.map(lambda name: (style.rank(name), name)))
    groups = known.groupby(keys, sort=False)
    sizes = {" ".join(style.word(str(name)) for name in cell): len(group) for cell, group in groups}
    if len(set(sizes.values())) == 1:
        return f"{numbers(sizes.values())} each ({', '.join(sizes)})" if len(sizes) > 1 else numbers(sizes.values())
    return "n = " + ", ".join(f"{size} ({name})" for name, size in sizes.items()) + " networks"


def sizes(networks: pd.DataFrame) -> "pd.Series[int]":
    """Return the number of networks of each task and curriculum."""
    return networks.groupby(["task", "curriculum"])["network_id"].nunique()


def intervals(networks: Iterable[int]) -> str:
    """Return a sentence that explains bands and whiskers; `analysis.stats.intervals.FEW` describes their coverage.

    Args:
        networks: the number of networks in each cell.
    """
    if max(networks, default=0) < 2:
        return "There is only one network of each kind, so there are no intervals."
    return "Bands and whiskers: 95 % intervals."


def untrained(study: Study, chosen: Cohort, rows: pd.DataFrame, sweep: str, options: str = "") -> str:
    """Return why a figure has no rows (no networks, or none that has trained far enough); "" if it has rows."""
    if len(rows):
        return ""
    command = to_run(study, sweep, options)
    if len(chosen):
        return f"The {len(chosen)} networks in {study.folder} have not trained far enough. To continue: {command}"
    return f"There are no such networks in {study.folder}. To train them: {command}"


def unmeasured(study: Study, chosen: Cohort, rows: pd.DataFrame, command: str, sweep: str) -> str:
    """Return why a figure has no rows of an analysis (no networks, or none measured); "" if it has rows.

    Args:
        study: the results.
        chosen: the figure's networks.
        rows: the rows that it shows.
        command: the analysis, such as "interventions --kinds ablation", or the file of a sweep, "sweeps/retraining.py".
        sweep: the sweep that trains such networks.
    """
    if len(rows):
        return ""
    run, *options = command.split()
    run = f"python {run}" if run.endswith(".py") else f"python -m analysis {run}"
    if chosen.networks.empty:
        folder = study.folder if study.sweeps == (study.folder,) else study.storage / sweep
        before = f"There are no such networks in {study.folder}. To train and measure them: {to_run(study, sweep)} &&"
    else:
        folder = study.folder
        if study.sweeps != (study.folder,):
            # The sweep that has their checkpoints: other sweeps may list the same networks without having trained them.
            solved = study.load(SOLVED)
            solved = solved[solved["network_id"].isin(chosen.networks["network_id"])]
            folder = study.folder / str((solved if len(solved) else chosen.networks)["sweep"].mode().iloc[0])
        before = f"The {len(chosen)} networks in {study.folder} have not been measured. To measure them:"
    return " ".join([before, run, str(folder), *options])


def to_run(study: Study, sweep: str, options: str = "") -> str:
    """Return the command that trains a sweep's networks, at the scale of these results."""
    scales = study.networks["scale"]
    scale = scales.mode().iloc[0] if len(scales) else "quick"
    return " ".join(
        [f"python sweeps/{sweep}.py --scale {shlex.quote(scale)} --storage {study.storage}", *options.split()]
    )
