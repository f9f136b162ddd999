"""A study: one sweep, or all sweeps of a storage folder, read as one set of tables."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from analysis.data import frames
from analysis.data.networks import DTYPES, FINAL, completed, describe
from tsrnn.io.files import Location, location
from tsrnn.io.schemas import ANALYSES, BY_NAME, EPOCHS, OUTCOMES, RUNS, SOLVED, Table

if TYPE_CHECKING:
    from analysis.figures import Figure


class SelectionError(frames.ResultsError):
    """What was selected does not exist; the message names the argument. The exit status is 2."""

    status: ClassVar[int] = 2


class Study:
    """The results of one or several sweeps, finished or still running.

    Args:
        results: A sweep's folder, such as `results/fixed_tau`, or the storage folder of several, such as `results`.
        where: Read only the networks for which this condition holds, which `pandas.DataFrame.eval` evaluates on the
            columns of `networks`, such as "task == 'parity'"; all by default.

    Attributes:
        folder: The folder.
        where: The condition.
        sweeps: The sweeps' folders, in order.

    Raises:
        ResultsError: (on construction) there is no sweep.
    """

    def __init__(self, results: str | Location, where: str = ""):
        self.folder = location(results)
        self.where = where
        self.sweeps = tuple(frames.sweeps_of(results))
        self._tables: dict[tuple[str, ...], pd.DataFrame] = {}

    @property
    def storage(self) -> Location:
        """The folder in which sweeps are stored, as given by `--storage`."""
        if self.sweeps != (self.folder,):
            return self.folder
        return self.folder.parent if self.folder.name else self.folder.resolve().parent

    def load(
        self,
        table: str | Table,
        columns: Sequence[str] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
    ) -> pd.DataFrame:
        """Read a table of all sweeps.

        A network that several sweeps trained (the same configuration and seed, hence the same `network_id`) counts
        once: of rows with the same key the first sweep's is kept, and of outcomes the first that is not a failure.

        Args:
            table: The table or its name.
            columns: The columns to read; all by default. The key is always among them.
            where: See `analysis.data.frames.load`.

        Returns:
            The columns of the table and `sweep`, the name of the folder of each row; there are no rows if no sweep has
            the table. The result is cached, so do not change it.

        Raises:
            ResultsError: a file cannot be read.
            SelectionError: the study's condition is invalid, or holds for no network.
            ValueError: there is no such table.
        """
        frame = self._load(table, columns, where)
        return frame[frame["network_id"].isin(self._selected)] if self.where else frame

    def _load(
        self,
        table: str | Table,
        columns: Sequence[str] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
    ) -> pd.DataFrame:
        """Read a table as `load` does, with the rows of all networks."""
        if isinstance(table, str) and table not in BY_NAME:
            raise ValueError(f"table = {table}: allowed are {', '.join(sorted(BY_NAME))}")
        known = table if isinstance(table, Table) else BY_NAME[table]
        names = [column.name for column in known.columns if columns is None or column.key or column.name in columns]
        read = (known.name, *names, repr(where))
        if read in self._tables:
            return self._tables[read]
        parts = [
            frames.load(sweep, known, names, where).assign(sweep=sweep.resolve().name)
            for sweep in self.sweeps
            if known.name in frames.tables_of(sweep)
        ]
        filled = [part for part in parts if len(part)]
        if len(filled) == 1:
            frame = filled[0]
        elif filled:
            frame = pd.concat(filled, ignore_index=True)
            if known is OUTCOMES and "status" in names:
                # A run that failed in one sweep may have ended in another.
                frame = frame.sort_values("status", key=lambda status: ~status.isin(FINAL), kind="stable")
            frame = frame.drop_duplicates(list(known.key), ignore_index=True)
        else:
            dtypes = {column.name: DTYPES[column.dtype] for column in known.columns if column.name in names}
            frame = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in (dtypes | {"sweep": "str"}).items()})
        if known is RUNS and columns is None:
            frame = completed(frame)
        self._tables[read] = frame
        return frame

    @cached_property
    def has_all_columns(self) -> bool:
        """Whether the files of `runs` have all current columns, so that queries can use them."""
        return not any(bool(frames.load(sweep, RUNS)["precision"].isna().any()) for sweep in self.sweeps)

    @cached_property
    def networks(self) -> pd.DataFrame:
        """The settings and the progress of each network; see `analysis.data.networks.describe`."""
        if not self.where:
            return self._networks
        return self._networks[self._networks["network_id"].isin(self._selected)].reset_index(drop=True)

    @cached_property
    def _networks(self) -> pd.DataFrame:
        # Outcomes are read first: a network that ends in between counts as running, with all that it has solved.
        outcomes = self._load(OUTCOMES)
        runs = self._load(RUNS)
        epochs = self._load(EPOCHS, ["epoch"])
        analyses = self._load(ANALYSES, ["status"])
        return describe(runs, outcomes, epochs, self._load(SOLVED), analyses)

    @cached_property
    def _selected(self) -> frozenset[str]:
        """The network_id of the networks for which the condition holds.

        Raises:
            SelectionError: it is not a condition on the columns of `networks`, or holds for none.
        """
        networks = self._networks
        try:
            holds = networks.eval(self.where)
            said = "it is no condition, such as \"task == 'parity'\""
        except Exception as error:  # pandas raises any error of the expression
            holds, said = None, " ".join(str(error).split())
        if not (isinstance(holds, pd.Series) and holds.dtype == bool):
            raise SelectionError(f"where = {self.where!r}: {said}; columns are {', '.join(networks.columns)}")
        if not holds.any():
            raise SelectionError(f"where = {self.where!r}: it holds for none of the {len(networks)} networks")
        return frozenset(networks.loc[holds, "network_id"])

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of all tables of the sweeps, in alphabetical order."""
        found = {name for sweep in self.sweeps for name in frames.tables_of(sweep)}
        return tuple(sorted(found & BY_NAME.keys()))

    # For notebooks. The modules that these methods import use this class and take seconds to import.

    def max_n(self) -> pd.DataFrame:
        """Return the largest N solved in each cell: see `analysis.quantities.reach.max_n_by_cell`."""
        from analysis.quantities.reach import max_n_by_cell

        return max_n_by_cell(self.networks)

    def claims(self) -> pd.DataFrame:
        """Return the verdicts on the paper's claims: see `analysis.claims.catalogue.judge_all`."""
        from analysis.claims.catalogue import judge_all

        return judge_all(self)

    def figure(self, id: str) -> "Figure":
        """Compute one of the paper's figures or tables; a notebook shows it drawn.

        Args:
            id: such as "4a", "S11" or "table1".

        Returns:
            The figure. If it cannot be drawn from these results, its `missing` says why.

        Raises:
            ValueError: there is no such figure.
        """
        from analysis.figures import build

        return build(self, id)

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        from analysis.notebook import study_html

        return study_html(self)
