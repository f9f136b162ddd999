"""The evidence for claims: one value for each network, and reasons why these values cannot decide a claim.

The unit is the network: values are first averaged over trials, draws and neurons. A network counts once, however many
sweeps have trained it and with whatever end rules.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pandas as pd

from analysis.data.cell import TRAINING, Cell
from analysis.quantities.base import Quantity, Tables
from tsrnn.config import EndState

PAPER_BUDGET: Final = 1000.0
"""The paper's budget under a curriculum, in its epochs of 600 steps of 256 sequences."""

PAPER_LIMIT: Final = 101
"""The largest N that the paper's networks could solve."""

ALONE_BUDGET: Final = 50.0
"""The same without a curriculum."""


@dataclass(frozen=True)
class Sample:
    """One value for each network.

    Attributes:
        values: by `network_id`; empty where nothing is there. For a correlation, pairs.
        censored: by `network_id`, whether the value is a lower bound; None where none is.
        at: where it was measured, in words, such as "N = 5"; "" where that is nowhere in particular.
        blocked: why these values decide nothing of the claim, in either direction; "" where they do.
        takes: what it would take to lift that, in words with a number.
        below: where the paper's networks were that these have not reached, such as "the paper's is at N = 30".
    """

    values: "pd.Series[Any]" = field(default_factory=lambda: pd.Series(dtype="float64"))
    censored: "pd.Series[Any] | None" = None
    at: str = ""
    blocked: str = ""
    takes: str = ""
    below: str = ""


@dataclass(frozen=True)
class Measure:
    """A measure: a function that returns one value for each network of a cell.

    Attributes:
        words: the value, in words.
        needs: the command whose results it is taken from.
        take: from results to values.
        task: of the networks; "" for any.
    """

    words: str
    needs: str
    take: Callable[["Evidence"], Sample]
    task: str = ""


class Evidence:
    """Results of networks with the same training (`analysis.data.cell.TRAINING`).

    Args:
        tables: the results.
        networks: the networks among them; all by default.
    """

    def __init__(self, tables: Tables, networks: pd.DataFrame | None = None):
        self.tables = tables
        found = tables.networks if networks is None else networks
        # The same run under two end rules is one network: the one that trained longest says all that the other does.
        longest = found.sort_values("epochs", ascending=False, kind="stable").drop_duplicates("replicate")
        self.networks = found.loc[found.index.isin(longest.index)]
        self._cells: dict[Cell, pd.DataFrame] = {}
        self._rows: dict[tuple[object, ...], pd.DataFrame] = {}

    def parts(self) -> Iterator["Evidence"]:
        """Yield the results of each training by itself: the largest networks first, then the most."""
        groups = [group for _, group in self.networks.groupby(list(TRAINING), sort=False, dropna=False)]
        for group in sorted(groups, key=lambda group: (-int(group["hidden"].iloc[0]), -len(group))):
            yield Evidence(self.tables, group)

    @cached_property
    def part(self) -> str:
        """The training in words: the networks' size and what differs from the paper's."""
        if self.networks.empty:
            return ""
        first = self.networks.iloc[0]
        words = [f"H = {first['hidden']}"]
        words += [f"preset {first['preset']}"] if first["preset"] not in ("", "paper") else []
        words += [str(first["precision"])] if first["precision"] != "float32" else []
        words.append(f"{first['optimizer']} {first['learning_rate']:g}")
        if pd.notna(first["momentum"]):
            words.append(f"momentum {first['momentum']:g}")
        words.append(f"batch {first['batch_size']}, {first['steps_per_epoch']} steps an epoch")
        words += [str(first["settings"])] if first["settings"] else []
        return ", ".join(words)

    def cell(self, cell: Cell) -> pd.DataFrame:
        """Return the networks of a cell."""
        if cell not in self._cells:
            self._cells[cell] = cell.select(self.networks)
        return self._cells[cell]

    def rows(self, quantity: Quantity, networks: pd.DataFrame) -> pd.DataFrame:
        """Return a quantity's rows for these networks."""
        key = (quantity.call, repr(quantity.where))
        if key not in self._rows:
            rows = quantity.rows(self.tables)
            self._rows[key] = rows[rows["network_id"].isin(self.networks["network_id"])]
        frame = self._rows[key]
        return frame[frame["network_id"].isin(networks["network_id"])]


def ended(networks: pd.DataFrame) -> pd.DataFrame:
    """Return the networks that have ended; failed networks have not."""
    final = [state.value for state in EndState if state.is_final]
    return networks[networks["status"].isin(final)]


def cut_short(networks: pd.DataFrame, paper: float = PAPER_BUDGET) -> "pd.Series[bool]":
    """Return which networks ended at a budget below the paper's, so that they might have got further.

    Args:
        networks: rows of `analysis.data.study.Study.networks` that have ended.
        paper: the paper's budget, in its epochs. Who had at least as many sequences is what the paper's networks were.
    """
    stopped = networks["status"].isin([EndState.EPOCHS, EndState.TIME])
    return stopped & (networks["sequences"] < paper)


def at_ceiling(networks: pd.DataFrame) -> "pd.Series[bool]":
    """Return which networks solved the largest N that their run had."""
    return (networks["status"] == EndState.SOLVED_ALL) & (networks["max_n"] >= networks["limit"])


def joined(*reasons: str) -> str:
    """Return reasons as one text, each once; "" where there are none."""
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def counts(values: "Iterable[pd.Series[Any]]") -> str:
    """Return how many networks each group has, such as "4 and 4"."""
    return " and ".join(str(len(group)) for group in values)
