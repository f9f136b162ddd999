"""Results as a notebook has them: `analysis.results`."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.claims.catalogue import CLAIMS
from analysis.data.frames import ResultsError
from analysis.data.study import Study
from analysis.figures import Figure
from tests.handmade import HandMade, config, solved
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import RUNS


class Seen(HTMLParser):
    """The elements and words of a page, and the rows of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(str(page))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())
        if self.tags[-1] in ("td", "th") and data.strip():
            self.rows[-1].append(data.strip())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = HandMade(tmp_path / "quick" / "fixed_tau")
    for seed, n in enumerate((3, 5)):
        made.add(config("multi", seed=seed), [solved(n, 4)])
        made.add(config("single", seed=seed), [solved(2, 4)])
    made.add(config("multi", tau=2.0), [solved(2, 4)], status="")
    return tmp_path / "quick"


def test_it_has_tables_largest_n_claims_and_figures(folder: Path):
    results = analysis.results(folder)
    assert isinstance(results, Study)
    assert results.tables == ("epochs", "heads", "outcomes", "runs", "solved")
    assert sorted(results.load("solved")["n"]) == [2, 2, 2, 3, 5]
    largest = results.max_n().set_index(["curriculum", "tau"])["mean"]
    assert largest.to_dict() == {("single", "trained"): 2.0, ("multi", "2"): 2.0, ("multi", "trained"): 4.0}
    assert results.claims()["id"].nunique() == len(CLAIMS)
    assert set(results.figure("4a").data["cells"]["curriculum"]) == {"single", "multi"}
    with pytest.raises(ValueError, match="figure = 99: allowed are 3a, "):
        results.figure("99")
    with pytest.raises(ValueError, match=r"table = sovled: allowed are .*solved"):
        results.load("sovled")


def test_one_sweep_and_none(folder: Path, tmp_path: Path):
    assert repr(analysis.results(folder / "fixed_tau")) == f"Study({str(folder / 'fixed_tau')!r})"
    with pytest.raises(ResultsError, match="is not a folder"):
        analysis.results(tmp_path / "absent")


def test_it_shows_the_largest_n(folder: Path):
    seen = Seen(analysis.results(folder)._repr_html_())
    text = " ".join(seen.words)
    assert "5 networks, 4 finished; sweeps: fixed_tau; scale: quick" in text
    assert "epochs, heads, outcomes, runs, solved" in text
    names, *rows = seen.rows
    shown = [dict(zip(names, row, strict=True)) for row in rows]
    assert [(row["curriculum"], row["tau"], row["networks"], row["mean"]) for row in shown] == [
        ("single", "trained", "2", "2"), ("multi", "2", "1", "2"), ("multi", "trained", "2", "4")
    ]  # fmt: skip
    assert "hidden" not in names  # the same throughout


def test_figures_show_themselves(folder: Path):
    results = analysis.results(folder)
    seen = Seen(results.figure("4a")._repr_html_())
    assert "svg" in seen.tags
    assert results.figure("4a").title in seen.words
    missing = results.figure("7a")
    assert f"Not drawn: {missing.missing}" in Seen(missing._repr_html_()).words
    assert "svg" not in Seen(missing._repr_html_()).tags


def test_a_table_of_the_paper_is_shown_as_a_table():
    frame = pd.DataFrame({"strength": [0.1, 1.0], "tau": ["<b>1", "trained"]})
    table = Figure("table1", "Table 1", "two rows", {"cells": frame}, "", "", lambda: pytest.fail("it was drawn"))
    seen = Seen(table._repr_html_())
    assert seen.rows == [["strength", "tau"], ["0.1", "<b>1"], ["1.0", "trained"]]
    assert "svg" not in seen.tags


def test_what_results_say_is_escaped(tmp_path: Path):
    """A row of somebody else's can name a curriculum as it likes."""
    evil = "<script>alert(1)</script>"
    made = HandMade(tmp_path / "<b>sweep")
    key = made.add(config("multi"), [solved(3, 4)])
    row = runs_row(config("multi"), "x", "<img src=x>")
    made.store.write(RUNS, key, [row | {"curriculum": evil, "nonlinearity": "\x1b[31m"}])
    page = analysis.results(tmp_path / "<b>sweep")._repr_html_()
    assert not {"script", "img"} & {*Seen(page).tags}
    assert Seen(page).tags.count("b") == 1
    assert evil in Seen(page).words
    assert "\x1b" not in page


def test_importing_analysis_loads_no_pandas():
    check = "import analysis, sys; analysis.results; assert not {'pandas', 'ray', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check], check=True)
