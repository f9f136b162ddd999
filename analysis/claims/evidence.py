"""The evidence for claims: one value for each network, and reasons why these values cannot decide a claim.

The unit is the network: values are first averaged over trials, draws and neurons. A network counts once, however many
sweeps have trained it and with whatever end rules.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from analysis import paper
from analysis.data.cell import TRAINING, Cell
from analysis.data.networks import FINAL, once
from analysis.quantities.base import Quantity, Tables
from tsrnn.config import EndState


@dataclass(frozen=True)
class Sample:
    """One value for each network.

    Attributes:
        values: the values by `network_id`; empty if there are none. For a correlation, pairs of values.
        censored: whether each value is a lower bound, by `network_id`; None if none is.
        at: where the values were measured, in words, such as "N = 5"; "" if this does not apply.
        blocked: why these values cannot decide the claim in either direction; "" if they can.
        takes: what would remove this obstacle, in words with a number.
        below: the paper's N or budget, if these networks have not reached it, such as "the paper's is at N = 30".
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
        words: a description of the value.
        needs: the command that produces the results.
        take: returns the values from results.
        task: the task of the networks; "" for any task.
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
        self.networks = once(tables.networks if networks is None else networks)
        self._kept: dict[object, pd.DataFrame] = {}

    def parts(self) -> Iterator["Evidence"]:
        """Yield the results of each training separately, with the largest networks first, then the most networks."""
        groups = [group for _, group in self.networks.groupby(list(TRAINING), sort=False, dropna=False)]
        for group in sorted(groups, key=lambda group: (-int(group["hidden"].iloc[0]), -len(group))):
            yield Evidence(self.tables, group)

    @cached_property
    def part(self) -> str:
        """The training in words: the size of the networks and the settings that differ from the paper's."""
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
        return self.kept(cell, lambda: cell.select(self.networks))

    def rows(self, quantity: Quantity, networks: pd.DataFrame) -> pd.DataFrame:
        """Return a quantity's rows for these networks."""

        def compute() -> pd.DataFrame:
            rows = quantity.rows(self.tables)
            return rows[rows["network_id"].isin(self.networks["network_id"])]

        frame = self.kept((quantity.call, repr(quantity.where)), compute)
        return frame[frame["network_id"].isin(networks["network_id"])]

    def unknown(self, quantity: Quantity, networks: pd.DataFrame) -> pd.DataFrame:
        """Return where these networks were measured and a quantity has no value, rows with network_id and n."""
        frame = self.kept(
            (quantity.call, repr(quantity.where), "unknown"), lambda: quantity.unknown(self.tables)[["network_id", "n"]]
        )
        return frame[frame["network_id"].isin(networks["network_id"])]

    def kept(self, key: object, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Return a frame that is computed when it is first asked for; many claims are about the same values.

        Args:
            key: identifies the frame.
            compute: computes the frame.
        """
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]


def ended(networks: pd.DataFrame) -> pd.DataFrame:
    """Return the networks that have ended; failed networks have not."""
    return networks[networks["status"].isin(FINAL)]


def cut_short(networks: pd.DataFrame, budget: float = paper.BUDGET) -> "pd.Series[bool]":
    """Return which networks ended at a budget below the paper's, so that they might have solved a larger N.

    Args:
        networks: rows of `analysis.data.study.Study.networks` that have ended.
        budget: the paper's, in its epochs. Networks with at least as many sequences count like the paper's.
    """
    stopped = networks["status"].isin([EndState.EPOCHS, EndState.TIME])
    return stopped & (networks["sequences"] < budget)


def at_ceiling(networks: pd.DataFrame) -> "pd.Series[bool]":
    """Return which networks solved the largest N of their run."""
    return (networks["status"] == EndState.SOLVED_ALL) & (networks["max_n"] >= networks["limit"])


def joined(*reasons: str) -> str:
    """Return the distinct reasons as one text; "" if there are none."""
    parts = [part for reason in reasons for part in reason.split("; ")]
    return "; ".join(dict.fromkeys(part for part in parts if part))


def counts(values: "Iterable[pd.Series[Any]]") -> str:
    """Return how many networks each group has, such as "4 and 4"."""
    return " and ".join(str(len(group)) for group in values)
