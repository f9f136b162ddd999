"""The published study: its tables are whole, and its claims and figures are those that the tables give."""

import json
import re
import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import figures, tables
from analysis.claims.catalogue import judge_all
from analysis.claims.course import course
from analysis.data.study import Study
from analysis.figures import style
from analysis.verify.verification import sweeps_below, verify
from sweeps.engine.scales import base_config
from tsrnn.config.presets import with_preset

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "study"
ARMS = sorted(path.name for path in (FOLDER / "tables").iterdir())
DRAWN = sorted(path.name for path in (FOLDER / "figures").iterdir())
SEEDS = {"repeat": range(8, 16)}
"""The seeds of arms that are trained with others than 0 to 7."""
SIZES = {"h500": ("paper", 500)}
"""The scale and the number of neurons of arms that are not of the scale overnight."""
BEGUN = {"h500"}
"""Arms in which training was interrupted."""
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
HASH = re.compile(r"\b[pm][0-9a-f]{10}\b")
"""The name of a clipping path or a marker in an SVG: a hash of numbers whose last bits depend on the processor."""


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
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 36e6
    assert sum(path.stat().st_size for path in (FOLDER / "tables").rglob("*.parquet")) < 25e6


@pytest.mark.parametrize("arm", ARMS)
class TestArm:
    def test_nothing_is_wrong_with_its_tables(self, arm: str):
        for sweep in sweeps_below(FOLDER / "tables" / arm):
            assert verify(sweep).problems == []

    def test_its_networks_have_ended_and_are_of_the_plan(self, arm: str):
        networks = study(arm).networks
        assert {*zip(networks["scale"], networks["hidden"], strict=True)} == {SIZES.get(arm, ("overnight", 128))}
        assert not set(networks["status"]) & ({"failed"} if arm in BEGUN else {"running", "failed"})
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


@pytest.mark.parametrize("arm", ARMS)
def test_the_page_counts_the_verdicts(arm: str):
    rows = pd.DataFrame(json.loads((FOLDER / "claims" / f"{arm}.json").read_text())["rows"])
    judged = rows[rows["verdict"] != "not run"]
    counts = [
        len(judged),
        *((judged["verdict"] == name).sum() for name in ("reproduced", "contradicted", "inconclusive")),
    ]
    (line,) = re.findall(rf"^\| `{arm}` \|.*", (FOLDER / "index.md").read_text(), re.MULTILINE)
    assert [int(number) for number in re.findall(r"\| (\d+)", line)] == [*counts, judged["survives"].sum()]


def test_the_page_has_the_cost_of_each_part():
    """Networks, operations and hours of the parts of which the tables are published, and the sum of all parts."""
    parts = {
        "1": ["paper/fixed_tau"],
        "1, repeated": ["repeat/fixed_tau"],
        "2": ["momentum/fixed_tau"],
        "3": ["paper/dms"],
        "6": ["paper/outside"],
        "7": ["paper/no_curriculum"],
        "8": [
            f"paper/{name}"
            for name in (
                "sliding_window",
                "nonlinearities",
                "all_heads",
                "weight_decay",
                "temporal_patterns",
                "architectures",
                "input_duration",
                "time_discretisation",
            )
        ],
        "tuned": ["tuned/fixed_tau"],
        "500 neurons": ["h500/fixed_tau", "h500/multi"],
    }
    folders = {str(path.relative_to(FOLDER / "tables")) for path in (FOLDER / "tables").glob("*/*")}
    assert {folder for part in parts.values() for folder in part} == folders
    page = (FOLDER / "index.md").read_text()
    lines = re.findall(r"^\| (.*?) \| .* \| (\d+).*? \| (\S+e14) \| (\S+) \(.* \| (\S+) \| \[", page, re.MULTILINE)
    rows = {part: cells for part, *cells in lines}
    assert set(rows) == {*parts, "5", "factors"}
    for part, names in parts.items():
        epochs = pd.concat(pd.read_parquet(FOLDER / "tables" / name / "epochs") for name in names)
        newest = epochs.sort_values("epoch").drop_duplicates("network_id", keep="last")
        measured = [FOLDER / "tables" / name / "analyses" for name in names]
        hours = sum(pd.read_parquet(path)["wall_s"].sum() for path in measured if path.is_dir()) / 3600
        networks, operations, training, measuring = map(float, rows[part])
        assert networks == len(newest)
        assert operations == pytest.approx(newest["operations"].sum(), abs=0.051e14)
        assert training == pytest.approx(newest["wall_s"].sum() / 3600, abs=0.051)
        assert measuring == pytest.approx(hours, abs=0.051)
    training = sum(float(cells[2]) for cells in rows.values())
    measuring = sum(float(cells[3]) for cells in rows.values() if cells[3] != "-")
    assert f"That is {training:.1f} hours of training and {measuring:.1f} of measurements in all." in page


def test_the_page_has_the_components_of_the_variants_of_tuned():
    rows = pd.read_parquet(FOLDER / "factors.parquet")
    page = (FOLDER / "training.md").read_text()
    means = rows[rows["n"].isin([10, 20])].groupby(["tau", "part", "n"])["components"].agg(["mean", "sem", "count"])
    assert len(means) == 19
    assert set(rows["seed"]) == set(range(100, 104))
    for (tau, part, n), (mean, error, count) in means.iterrows():
        half = stats.t.ppf(0.975, count - 1) * error
        (line,) = re.findall(rf"\| {tau} \| {'none .`tuned`.' if part == 'tuned' else part} \| (.*)", page)
        assert line.split(" | ")[n // 20].startswith(f"{mean:.2f} ({mean - half:.2f} to {mean + half:.2f})")


def test_each_variant_of_tuned_has_one_part_of_the_papers_training():
    paper = base_config("overnight", "paper")
    tuned, *variants = runpy.run_path(str(FOLDER / "factors.py"))["without_a_part"](paper)
    assert tuned == with_preset(paper, "tuned")
    changes = [
        {"training.optimizer", "training.rate_decay"},
        {"training.batch_size"},
        {"training_task.input_probability", "training_task.lengths"},
        {"training_task.readout_steps"},
    ]
    for variant, changed in zip(variants, changes, strict=True):
        for name in ("training", "training_task"):
            own, before = vars(getattr(variant, name)), vars(getattr(tuned, name))
            assert {f"{name}.{key}" for key in own if own[key] != before[key]} == {
                key for key in changed if key.startswith(f"{name}.")
            }


@pytest.mark.parametrize("arm", DRAWN)
def test_the_figures_are_those_of_the_tables(arm: str):
    published = {path.stem: path.read_text() for path in (FOLDER / "figures" / arm).glob("*.svg")}
    built = [figures.build(study(arm), id) for id in figures.FIGURES]
    drawn = {figure.id: figure for figure in built if not figure.missing}
    assert set(published) == {id for id in drawn if not id.startswith("table")}
    for id, text in published.items():
        found, expected = (HASH.sub("#", svg) for svg in (style.render(drawn[id].draw(), "svg").decode(), text))
        assert same_numbers(found, expected, 0.05), id
