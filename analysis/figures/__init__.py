"""The paper's figures and tables. Each is first computed from results, and drawn on request."""

import html
import importlib
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pandas as pd

from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import BUILDERS, Builder, Figure
from tsrnn.io.files import write_atomically
from tsrnn.io.store import unwritable
from tsrnn.untrusted import printable

__all__ = ["FIGURES", "Builder", "Figure", "build", "write"]


def _in_the_papers_order(id: str) -> tuple[int, int, str]:
    """Return the sort key of an id: figures, tables, the appendix, and then figures M, which are not in the paper."""
    kind, number, letter = re.fullmatch(r"(\D*)(\d+)(\D*)", id).groups()  # type: ignore[union-attr]
    return ("", "table", "S", "M").index(kind), int(number), letter


for _module in pkgutil.iter_modules(__path__):
    # Importing a module registers the figures that it builds.
    importlib.import_module(f"{__name__}.{_module.name}")

FIGURES: Final[Mapping[str, Builder]] = MappingProxyType(
    {id: BUILDERS[id] for id in sorted(BUILDERS, key=_in_the_papers_order)}
)
"""The function that builds each figure, by its id, in the order of the paper."""


def build(results: Study, id: str) -> Figure:
    """Compute a figure; if results for it are missing, `Figure.missing` says which.

    Args:
        results: the results.
        id: the figure's id.

    Raises:
        ValueError: the id is not one of `FIGURES`.
        ResultsError: a table cannot be read.
    """
    if id not in FIGURES:
        raise ValueError(f"figure = {id}: allowed are {', '.join(FIGURES)}")
    return FIGURES[id](results)


def write(figure: Figure, folder: Path) -> list[Path]:
    """Write a figure as PNG and SVG, or a table as CSV and Markdown, each file whole or not at all.

    Args:
        figure: a figure that can be drawn.
        folder: the folder for the files; it is created if it does not exist.

    Returns:
        The files, named by the figure's id, such as `4a.png`.

    Raises:
        StoreError: a file cannot be written.
        ValueError: there is nothing to draw; the message is `figure.missing`.
    """
    if figure.missing:
        raise ValueError(figure.missing)
    if figure.is_table:
        frame = next(iter(figure.data.values()))
        contents = {"csv": frame.to_csv(index=False).encode(), "md": _markdown(figure, frame).encode()}
    else:
        drawing = figure.draw()
        contents = {"png": style.render(drawing, "png"), "svg": style.render(drawing, "svg")}
    paths = []
    for suffix, content in contents.items():
        path = folder / f"{figure.id}.{suffix}"
        try:
            write_atomically(path, content)
        except OSError as error:
            raise unwritable(path, error) from error
        paths.append(path)
    return paths


def _markdown(figure: Figure, frame: pd.DataFrame) -> str:
    """Return a table in Markdown, with its title above it and its caption below."""
    rows = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    rows += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"# {figure.title}", "", *lines, "", figure.caption, ""])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    # Viewers of Markdown render the HTML in it.
    text = html.escape(" ".join(printable(str(value)).split()), quote=False)
    return text.replace("|", "\\|").replace("*", "\\*")
