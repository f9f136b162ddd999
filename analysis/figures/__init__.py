"""The paper's figures and tables, made from results: each is computed first, drawn when asked."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pandas as pd

from analysis.data.study import Study
from analysis.figures import architectures as fig_s15_architectures
from analysis.figures import curricula as fig03_curricula
from analysis.figures import dimensionality as fig06_dynamics
from analysis.figures import fixed_tau as fig04_fixed_tau
from analysis.figures import interventions as fig07_interventions
from analysis.figures import retraining as fig07_retraining
from analysis.figures import significance_tables, style
from analysis.figures import taus as fig04_taus
from analysis.figures import timescales as fig05_timescales
from analysis.figures import variants as fig_s05_variants
from analysis.figures import windows as fig_s12_windows
from analysis.figures._figure import Figure
from tsrnn.io.files import write_atomically
from tsrnn.io.store import StoreError

__all__ = ["FIGURES", "Builder", "Figure", "build", "write"]

Builder = Callable[[Study], Figure]

FIGURES: Final[Mapping[str, Builder]] = MappingProxyType(
    {
        "3a": fig03_curricula.figure_3a,
        "3b": fig03_curricula.figure_3b,
        "3c": fig03_curricula.figure_3c,
        "4a": fig04_fixed_tau.figure_4a,
        "4b": fig04_taus.figure_4b,
        "5a": fig05_timescales.figure_5a,
        "5b": fig05_timescales.figure_5b,
        "5c": fig05_timescales.figure_5c,
        "5d": fig05_timescales.figure_5d,
        "6a": fig06_dynamics.figure_6a,
        "6b": fig06_dynamics.figure_6b,
        "7a": fig07_interventions.figure_7a,
        "7b": fig07_interventions.figure_7b,
        "7c": fig07_interventions.figure_7c,
        "7d": fig07_interventions.figure_7d,
        "7e": fig07_retraining.figure_7e,
        "table1": significance_tables.table_1,
        "table2": significance_tables.table_2,
        "table3": significance_tables.table_3,
        "S1": fig05_timescales.figure_s1,
        "S2": fig05_timescales.figure_s2,
        "S3": fig05_timescales.figure_s3,
        "S4": fig05_timescales.figure_s4,
        "S5": fig_s05_variants.figure_s5,
        "S6": fig_s05_variants.figure_s6,
        "S7": fig_s05_variants.figure_s7,
        "S8": fig_s05_variants.figure_s8,
        "S9": fig07_interventions.figure_s9,
        "S10": fig04_fixed_tau.figure_s10,
        "S11": fig04_fixed_tau.figure_s11,
        "S12": fig_s12_windows.figure_s12,
        "S13": fig03_curricula.figure_s13,
        "S14": fig07_retraining.figure_s14,
        "S15": fig_s15_architectures.figure_s15,
        "S16": fig_s15_architectures.figure_s16,
        "S17": fig07_interventions.figure_s17,
        "S18": fig_s12_windows.figure_s18,
        "S19": fig07_interventions.figure_s19,
        "S20": fig06_dynamics.figure_s20,
    }
)
"""What makes each figure, by its id, in the paper's order."""


def build(results: Study, only: Collection[str] | None = None) -> list[Figure]:
    """Compute figures; those that the results do not allow say why in `Figure.missing`.

    Args:
        results: the results.
        only: the ids of the figures, in whatever order; all by default.

    Returns:
        The figures in the paper's order.

    Raises:
        ValueError: an id is not one of `FIGURES`.
        ResultsError: a table cannot be read.
    """
    if unknown := sorted(set(only or ()) - set(FIGURES)):
        raise ValueError(f"only = {', '.join(unknown)}: allowed are {', '.join(FIGURES)}")
    return [make(results) for id, make in FIGURES.items() if only is None or id in only]


def write(figure: Figure, folder: Path) -> list[Path]:
    """Write a figure as PNG and SVG, or a table as CSV and Markdown, each file whole or not at all.

    Args:
        figure: one that can be drawn.
        folder: where to; it is made if it is missing.

    Returns:
        The files, named by the figure's id, such as `4a.png`.

    Raises:
        StoreError: a file cannot be written.
        ValueError: there is nothing to draw; the message is `figure.missing`.
    """
    if figure.missing:
        raise ValueError(figure.missing)
    if figure.id.startswith("table"):
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
            raise StoreError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from error
        paths.append(path)
    return paths


def _markdown(figure: Figure, frame: pd.DataFrame) -> str:
    """Return a table in Markdown, its title above and its caption below."""
    rows = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    rows += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"# {figure.title}", "", *lines, "", figure.caption, ""])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("*", "\\*")
