"""The published study: its tables are whole, and its claims and figures are those that the tables give."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from analysis import figures, tables
from analysis.claims.catalogue import judge_all
from analysis.claims.course import course
from analysis.data.study import Study
from analysis.figures import style
from analysis.verify.verification import sweeps_below, verify

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "study"
ARMS = sorted(path.name for path in (FOLDER / "tables").iterdir())
DRAWN = sorted(path.name for path in (FOLDER / "figures").iterdir())
SEEDS = {"repeat": range(8, 16)}
"""The seeds of arms that are trained with others than 0 to 7."""
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


@cache
def study(arm: str) -> Study:
    """Return an arm's results, read once."""
    return Study(FOLDER / "tables" / arm)


def same_numbers(found: str, expected: str, within: float) -> bool:
    """Whether two texts differ in nothing but the last digits of their numbers."""
    if NUMBER.sub("#", found) != NUMBER.sub("#", expected):
        return False
    a, b = (np.array([float(number) for number in NUMBER.findall(text)]) for text in (found, expected))
    return bool(np.allclose(a, b, rtol=1e-4, atol=within))


def test_the_study_is_small_enough_to_be_cloned():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 30e6
    assert sum(path.stat().st_size for path in (FOLDER / "tables").rglob("*.parquet")) < 25e6


@pytest.mark.parametrize("arm", ARMS)
class TestArm:
    def test_nothing_is_wrong_with_its_tables(self, arm: str):
        for sweep in sweeps_below(FOLDER / "tables" / arm):
            assert verify(sweep).problems == []

    def test_its_networks_have_ended_and_are_of_the_plan(self, arm: str):
        networks = study(arm).networks
        assert set(networks["scale"]) == {"overnight"}
        assert set(networks["hidden"]) == {128}
        assert not set(networks["status"]) & {"running", "failed"}
        assert set(networks["seed"]) <= set(SEEDS.get(arm, range(8)))

    @pytest.mark.parametrize(("name", "made"), [("claims", judge_all), ("pace", course)])
    def test_its_verdicts_are_those_of_its_tables(self, arm: str, name: str, made):
        published = json.loads((FOLDER / name / f"{arm}.json").read_text())
        rows = tables.json_rows(made(study(arm)))
        assert len(published["rows"]) == len(rows)
        for row, expected in zip(rows, published["rows"], strict=True):
            assert row.keys() == expected.keys()
            for column, value in row.items():
                if isinstance(value, float) and isinstance(expected[column], float):
                    assert value == pytest.approx(expected[column], rel=1e-6, abs=1e-9), column
                else:
                    assert same_numbers(str(value), str(expected[column]), 1e-2), column


@pytest.mark.parametrize("arm", DRAWN)
def test_the_figures_are_those_of_the_tables(arm: str):
    published = {path.stem: path.read_text() for path in (FOLDER / "figures" / arm).glob("*.svg")}
    drawn = {figure.id: figure for figure in figures.build(study(arm)) if not figure.missing}
    assert set(published) == {id for id in drawn if not id.startswith("table")}
    for id, text in published.items():
        found = style.render(drawn[id].draw(), "svg").decode()
        assert same_numbers(found, text, 0.05), id
