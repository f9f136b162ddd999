"""Tables of the page, before they are rendered as HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from tsrnn import command_line

NONE: Final = "–"  # noqa: RUF001
"""The text of a cell without a value."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, its sort key (by default the text), and optionally a link or a network to open."""

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


def word(value: Any) -> Cell:
    """Return a word as a cell."""
    return Cell(NONE if pd.isna(value) or value == "" else str(value))


def number(value: Any, form: str = "g") -> Cell:
    """Return a number as a cell, formatted with `form`."""
    if pd.isna(value):
        return Cell(NONE, "")
    return Cell(
        f"{value:,}" if form == "g" and isinstance(value, int | np.integer) else f"{value:{form}}", value_of(value)
    )


def value_of(value: Any) -> float | str:
    """Return the sort key of a cell with this number; "" if it is missing."""
    return "" if pd.isna(value) else float(value)


def duration(seconds: float) -> Cell:
    """Return a time as a cell, in a suitable unit."""
    return Cell(command_line.duration(seconds), seconds)


def listed(words: Iterable[str]) -> str:
    """Return words with commas between them."""
    return ", ".join(map(str, words))
