"""Do the curricula differ? (Tables 1, 2, 3)."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import BASE, Figure, Where, Words, cohort, each, make, unmeasured
from analysis.figures.interventions import LARGE, at_n
from analysis.figures.retraining import SOURCE
from analysis.stats.comparison import compare_curricula
from tsrnn.io.schemas import PERTURBATION, RETRAINING, Table

COLUMNS = {
    "n_a": "n multi",
    "n_b": "n single",
    "multi": "multi-head",
    "single": "single-head",
    "difference": "difference",
    "low": "low",
    "high": "high",
    "p_pooled": "p pooled",
    "stars_pooled": "stars",
    "n_pooled": "draws",
    "p_permutation_holm": "p networks",
    "p_attainable_holm": "p attainable",
    "verdict": "verdict",
}
"""The heads of a table's columns after the strength, by their names in
`analysis.stats.comparison.compare_curricula`."""

_QUERY = """
from analysis.stats.comparison import compare_curricula
from analysis.figures.significance_tables import laid_out

rows = networks[["curriculum", "network_id"]].merge(TABLE, on="network_id").assign(group="")
rows["strength"] = STRENGTH
frame = laid_out(compare_curricula(rows, "strength")[0], "HEAD", OFFSET)
"""


class Tests(NamedTuple):
    """A table.

    Attributes:
        tests: one row a strength; the columns are `COLUMNS` after the strength.
    """

    tests: pd.DataFrame


def compute(networks: pd.DataFrame, rows: pd.DataFrame, strength: "pd.Series[float]", head: str, offset: int) -> Tests:
    """Compare single- and multi-head networks at each strength.

    Args:
        networks: rows of `Study.networks`.
        rows: of a table, at one N: network_id, n, accuracy.
        strength: of each row; 0 is the network as it is.
        head: of the column of strengths.
        offset: added to the strengths in the table.
    """
    frame = rows.assign(strength=strength.astype(float))
    frame = networks[["curriculum", "network_id"]].merge(frame, on="network_id").assign(group="")
    return Tests(laid_out(compare_curricula(frame, "strength")[0], head, offset))


def laid_out(tests: pd.DataFrame, head: str, offset: int) -> pd.DataFrame:
    """Return what `compare_curricula` found as a table to read: difference is single- minus multi-head."""
    if tests.empty:
        return pd.DataFrame(columns=[head, *COLUMNS.values()])
    named = tests.rename(columns={"mean_a": "multi", "mean_b": "single"})
    frame = named[list(COLUMNS)].rename(columns=COLUMNS)
    strengths = named["perturbation"] + offset if offset else named["perturbation"]
    frame.insert(0, head, strengths.astype(int) if offset else strengths)
    return frame


def draw(found: Tests) -> Drawing:
    """Draw the table as a picture."""
    cells = [[_text(value) for value in row] for row in found.tests.itertuples(index=False)]
    figure, grid = style.panels(1, width=7.6, height=0.5 + 0.2 * len(cells))
    axes = grid[0][0]
    axes.set_axis_off()
    table = axes.table(cells, colLabels=list(found.tests.columns), loc="center", cellLoc="right", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(6)
    table.auto_set_column_width(list(range(len(found.tests.columns))))
    for cell in table.get_celld().values():
        cell.set_linewidth(0.4)
    return figure


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(
    study: Study,
    words: Words,
    table: Table,
    wanted: int,
    kind: str,
    command: str,
    where: Sequence[Where] = (),
) -> Figure:
    """Make a table: `kind` is "perturbation", or "retraining", whose strengths are N' - N."""
    chosen = cohort(study, *BASE, "curriculum in ['single', 'multi']", "task == 'parity'")
    n, rows = at_n(study, table, chosen.networks, wanted)
    for column, _, value in where:
        rows = rows[rows[column] == value]
    beyond = kind == "retraining"
    head, offset = ("N'", int(n or 0)) if beyond else ("strength", 0)
    strength = rows["retrained_n"] - rows["n"] if beyond else rows["perturbation"]
    found = compute(chosen.networks, rows, strength, head, offset)
    shown = chosen.networks[chosen.networks["network_id"].isin(rows["network_id"])]
    caption = f"""{words.caption} at N = {n}: mean relative accuracy, their difference (single- minus multi-head) and
        its 95 % bootstrap interval over networks. p pooled, stars: the paper's t-test, which takes draws of one network
        as independent and so finds too much. p networks: exact permutation test whose unit is the network, corrected
        for the number of rows (Holm); p attainable: the least it can be with so many networks. {each(shown)} at
        most."""
    missing = unmeasured(
        study, chosen, rows[rows["network_id"].isin(chosen.networks["network_id"])], command, "curricula"
    )
    if not missing and found.tests.empty:
        missing = f"Two networks of each curriculum are needed to test; measured are: {each(shown)}."
    expression = 'rows["retrained_n"] - rows["n"].astype(float)' if beyond else 'rows["perturbation"]'
    body = _QUERY.replace("TABLE", table.name).replace("STRENGTH", expression)
    return make(
        study,
        words._replace(caption=caption),
        chosen,
        found,
        partial(draw, found),
        tables=[table],
        body=body.replace("HEAD", head).replace("OFFSET", str(offset)),
        missing=missing,
        where={table.name: [("n", "==", n or 0), *where]},
    )


def table_1(study: Study) -> Figure:
    """Table 1: perturbed weights."""
    words = Words(
        "table1", "Table 1: perturbed weights, N-parity", "Single- against multi-head networks with perturbed W"
    )
    command = "interventions --kinds perturb-weights"
    return _table(study, words, PERTURBATION, LARGE, "perturbation", command, [("perturbed", "==", "weights")])


def table_2(study: Study) -> Figure:
    """Table 2: perturbed taus."""
    words = Words(
        "table2", "Table 2: perturbed taus, N-parity", "Single- against multi-head networks with perturbed taus"
    )
    command = "interventions --kinds perturb-taus"
    return _table(study, words, PERTURBATION, LARGE, "perturbation", command, [("perturbed", "==", "taus")])


def table_3(study: Study) -> Figure:
    """Table 3: retraining."""
    caption = "Single- against multi-head networks retrained on larger N'"
    words = Words("table3", "Table 3: retraining on larger N, N-parity", caption)
    return _table(study, words, RETRAINING, SOURCE, "retraining", "sweeps/retraining.py")
