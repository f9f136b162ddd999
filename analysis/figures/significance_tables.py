"""Tests of differences between the curricula (Tables 1, 2, 3)."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis import paper
from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import Cohort, Figure, Frame, Words, builds, cohort, each, make, unmeasured
from analysis.figures.interventions import at_n, n_of, perturbation_frame
from analysis.quantities import interventions

COLUMNS = {
    "p_permutation_holm": "p networks",
    "p_attainable_holm": "p attainable",
    "verdict": "verdict",
    "multi": "multi-head",
    "single": "single-head",
    "difference": "difference",
    "low": "low",
    "high": "high",
    "n_a": "n multi",
    "n_b": "n single",
    "p_pooled": "p pooled",
    "stars_pooled": "stars",
    "n_pooled": "draws",
}
"""The headings of the columns after the strength, by the names that `analysis.stats.comparison.compare_curricula`
uses."""


class Tests(NamedTuple):
    """A table.

    Attributes:
        tests: one row for each strength; the columns are `COLUMNS` after the strength.
    """

    tests: pd.DataFrame


def perturbed_tests(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table of networks compared at each strength of a perturbation."""
    from analysis.figures.significance_tables import laid_out
    from analysis.stats.comparison import compare_curricula

    rows = frame.assign(group="", strength=frame["perturbation"], accuracy=frame["perturbed_draws"])
    return laid_out(compare_curricula(rows, "strength")[0], "strength")


def retrained_tests(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table of networks compared at each N' on which they were retrained."""
    from analysis.figures.significance_tables import laid_out
    from analysis.stats.comparison import compare_curricula

    beyond = (frame["retrained_n"] - frame["n"]).astype(float)
    rows = frame.assign(group="", strength=beyond, accuracy=frame["retrained_draws"])
    return laid_out(compare_curricula(rows, "strength")[0], "N'", int(frame["n"].max() if len(frame) else 0))


def laid_out(tests: pd.DataFrame, head: str, offset: int = 0) -> pd.DataFrame:
    """Return the result of `compare_curricula` as a table to read; the difference is single-head minus multi-head."""
    if tests.empty:
        return pd.DataFrame(columns=[head, *COLUMNS.values()])
    named = tests.rename(columns={"mean_a": "multi", "mean_b": "single"})
    frame = named[list(COLUMNS)].rename(columns=COLUMNS)
    strengths = named["perturbation"] + offset if offset else named["perturbation"]
    frame.insert(0, head, strengths.astype(int) if offset else strengths)
    return frame


def draw(found: Tests) -> Drawing:
    """Draw the table as an image."""
    cells = [[_text(value) for value in row] for row in found.tests.itertuples(index=False)]
    figure, grid = style.panels(1, width=7.6, height=0.5 + 0.2 * len(cells))
    axes = grid[0][0]
    axes.set_axis_off()
    table = axes.table(cells, colLabels=list(found.tests.columns), loc="center", cellLoc="right", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    table.auto_set_column_width(list(range(len(found.tests.columns))))
    for cell in table.get_celld().values():
        cell.set_linewidth(0.4)
    return figure


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(study: Study, words: Words, frame: Frame, chosen: Cohort, command: str) -> Figure:
    """Build a table of tests."""
    rows = replace(frame, steps=()).rows(study, chosen.networks)
    found = Tests(frame.rows(study, chosen.networks))
    shown = chosen.networks[chosen.networks["network_id"].isin(rows["network_id"])]
    caption = f"""{words.caption} at N = {n_of(frame)}. The columns are mean relative accuracies, their difference
        (single-head minus multi-head) with its 95 % interval, and tests. p networks: exact permutation test with the
        network as the unit, corrected for the number of rows (Holm). p attainable: its smallest possible value with
        this number of networks. p pooled and stars: the paper's t-test, which treats the draws of one network as
        independent, so that p is too small. At most {each(shown)}."""
    missing = unmeasured(study, chosen, rows, command, "curricula")
    if not missing and found.tests.empty:
        missing = f"A test needs two networks of each curriculum. Measured: {each(shown)}."
    return make(
        study,
        words._replace(caption=caption),
        chosen,
        found,
        partial(draw, found),
        frame=frame,
        missing=missing,
    )


def _chosen(study: Study) -> Cohort:
    return cohort(study, Cell(curriculum=None), "curriculum in ['single', 'multi']")


def _perturbed(study: Study, words: Words, perturbed: str) -> Figure:
    chosen = _chosen(study)
    frame = perturbation_frame(study, chosen.networks, paper.LARGE_N, perturbed)
    frame = replace(frame, quantities=(interventions.perturbed_draws,), steps=(perturbed_tests,))
    return _table(study, words, frame, chosen, f"interventions --kinds perturb-{perturbed}")


@builds("table1")
def table_1(study: Study) -> Figure:
    """Build Table 1: perturbed weights."""
    words = Words(
        "table1", "Table 1: perturbed weights, N-parity", "Single-head and multi-head networks with perturbed W"
    )
    return _perturbed(study, words, "weights")


@builds("table2")
def table_2(study: Study) -> Figure:
    """Build Table 2: perturbed taus."""
    words = Words(
        "table2", "Table 2: perturbed taus, N-parity", "Single-head and multi-head networks with perturbed taus"
    )
    return _perturbed(study, words, "taus")


@builds("table3")
def table_3(study: Study) -> Figure:
    """Build Table 3: retraining."""
    caption = "Single-head and multi-head networks retrained on larger N'"
    words = Words("table3", "Table 3: retraining on larger N, N-parity", caption)
    chosen = _chosen(study)
    frame = at_n(study, interventions.retrained_draws, chosen.networks, paper.RETRAINED_FROM, retrained_tests)
    return _table(study, words, frame, chosen, "sweeps/retraining.py")
