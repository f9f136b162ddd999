"""The definition of a quantity: one function of tables, used by figures, claims, commands and the displayed queries.

The function of a quantity takes tables as frames, by their names. It returns one row for each network, or for each
network and N (and perhaps for each strength or head), with the column `value`. It uses only pandas and numpy, so that
its source code is the query that a figure shows.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from textwrap import dedent
from typing import Any, Final, Protocol

import pandas as pd

from tsrnn.io.schemas import BY_NAME, Table

Where = tuple[str, str, Any]
"""A condition on the rows of a table that are read, such as ("neuron", ">=", 0)."""

TIMESCALES_COMMAND: Final = "python -m analysis timescales RESULTS"
INTERVENTIONS_COMMAND: Final = "python -m analysis interventions RESULTS"
RETRAINING_COMMAND: Final = "python sweeps/retraining.py RESULTS"
MEMORY_COMMAND: Final = "python -m analysis memory RESULTS"
SPECTRA_COMMAND: Final = "python -m analysis spectra RESULTS"
GRADIENTS_COMMAND: Final = "python -m analysis gradients RESULTS"
CAUSES_COMMAND: Final = "python -m analysis causes RESULTS"
TIME_STEPS_COMMAND: Final = "python -m analysis time-steps RESULTS"


class Tables(Protocol):
    """A source of tables: `analysis.data.study.Study`, or frames that were made by hand."""

    @property
    def networks(self) -> pd.DataFrame:
        """One row for each network; see `analysis.data.networks.describe`."""
        ...

    def load(
        self, table: Table, columns: Sequence[str] | None = None, where: Sequence[Where] | None = None
    ) -> pd.DataFrame:
        """Return a table with each key once; if it is absent, an empty frame with its columns."""
        ...


@dataclass(frozen=True)
class Quantity:
    """A quantity with one value for each network, or for each network and N.

    Attributes:
        name: the name of the value's column.
        words: a description in words.
        label: the label of an axis.
        function: computes rows with the columns of the key and `value` from frames of tables.
        needs: the command that fills its tables; "" if a sweep does.
        where: conditions on the rows that are read, by the name of a table.
        per_neuron: whether it is the effect of one neuron, and hence depends on the number of neurons.
    """

    name: str
    words: str
    label: str
    function: Callable[..., pd.DataFrame]
    needs: str = ""
    where: Mapping[str, Sequence[Where]] = field(default_factory=dict)
    per_neuron: bool = False

    def __call__(self, *frames: pd.DataFrame) -> pd.DataFrame:
        """Apply the function to frames, so that the source of a quantity can call it by its name."""
        return self.function(*frames)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The tables from which it is computed, in the order of the function's arguments."""
        return tuple(BY_NAME[name] for name in inspect.signature(self.function).parameters)

    def rows(self, tables: Tables) -> pd.DataFrame:
        """Return the known values in some results: the columns of the key, with `network_id` first, and `value`.

        Args:
            tables: the results.
        """
        return self._all_rows(tables).dropna(subset="value").reset_index(drop=True)

    def unknown(self, tables: Tables) -> pd.DataFrame:
        """Return where a network was measured and has no value: the columns of the key, with `network_id` first.

        Args:
            tables: the results.
        """
        rows = self._all_rows(tables)
        return rows[rows["value"].isna()].drop(columns="value").reset_index(drop=True)

    def _all_rows(self, tables: Tables) -> pd.DataFrame:
        return self(*(tables.load(table, where=self.where.get(table.name)) for table in self.tables))

    @property
    def source(self) -> str:
        """The source of the function, without its decorator and its docstring."""
        lines = dedent(inspect.getsource(self.function)).splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("def "))
        end = next(i for i, line in enumerate(lines) if i >= start and line.endswith(":")) + 1
        body = lines[end:]
        if body and body[0].lstrip().startswith('"""'):
            closing = next(
                i for i, line in enumerate(body) if line.rstrip().endswith('"""') and (i or line.count('"""') > 1)
            )
            body = body[closing + 1 :]
        names = ", ".join(inspect.signature(self.function).parameters)
        return "\n".join([f"def {self.function.__name__}({names}):", *body])

    @property
    def call(self) -> str:
        """The call of the function with the names of the tables."""
        return f"{self.function.__name__}({', '.join(table.name for table in self.tables)})"


def quantity(
    words: str,
    label: str,
    *,
    needs: str = "",
    where: Mapping[str, Sequence[Where]] | None = None,
    per_neuron: bool = False,
) -> Callable[[Callable[..., pd.DataFrame]], Quantity]:
    """Return a decorator that turns a function of tables into a quantity; see `Quantity`.

    Args:
        words: a description in words.
        label: the label of an axis.
        needs: the command that fills its tables; "" if a sweep does.
        where: conditions on the rows that are read, by the name of a table.
        per_neuron: whether it is the effect of one neuron.
    """

    def make(function: Callable[..., pd.DataFrame]) -> Quantity:
        return Quantity(function.__name__, words, label, function, needs, where or {}, per_neuron)

    return make
