"""Figures: their numbers against results made by hand, their queries against their numbers, and that they draw."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import frames, measures, style
from analysis.__main__ import main
from analysis.figures import FIGURES, Figure, build, fig03_curricula, write
from analysis.study import Study
from tests.handmade import HandMade, config, solved
from tsrnn.records import ABLATION, SOLVED, TABLES


def only(study: Study, id: str) -> Figure:
    (figure,) = build(study, [id])
    return figure


def run_query(figure: Figure, folder: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Return what a figure's query makes in the folder of the results."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(figure.query, names)
    return names["frame"]


def same_rows(a: pd.DataFrame, b: pd.DataFrame) -> None:
    columns = list(a.columns)
    a, b = (frame[columns].sort_values(columns).reset_index(drop=True) for frame in (a, b))
    pd.testing.assert_frame_equal(a, b, check_dtype=False)


class TestStudy:
    def test_one_sweep_and_the_folder_of_several(self, tmp_path: Path):
        one, other = HandMade(tmp_path / "curricula"), HandMade(tmp_path / "fixed_tau")
        shared = config("single")
        for sweep in (one, other):
            sweep.add(shared, [solved(2, 1)])
        key = other.add(config("multi"), [solved(2, 1), solved(3, 2)])
        assert len(Study(tmp_path / "fixed_tau").load(SOLVED)) == 3
        study = Study(tmp_path)
        assert study.storage == Study(tmp_path / "fixed_tau").storage == tmp_path
        rows = study.load("solved")
        assert sorted(zip(rows["sweep"], rows["n"], strict=True)) == [
            ("curricula", 2),
            ("fixed_tau", 2),
            ("fixed_tau", 3),
        ]
        assert study.networks.set_index("network_id").loc[key, "max_n"] == 3

    @pytest.mark.parametrize("table", [*TABLES, ABLATION], ids=lambda table: table.name)
    def test_tables_that_are_absent_or_empty_have_their_columns(self, tmp_path: Path, table):
        HandMade(tmp_path / "sweep")
        frame = Study(tmp_path).load(table)
        assert list(frame.columns) == list(dict.fromkeys([*(column.name for column in table.columns), "sweep"]))
        assert frame.empty

    def test_columns_and_conditions_keep_the_key(self, tmp_path: Path):
        key = HandMade(tmp_path / "sweep").add(config("multi"), [solved(2, 1), solved(3, 2, taken=4)])
        frame = Study(tmp_path).load(SOLVED, ["epochs_taken"], [("n", "in", {3})])
        assert frame.to_dict("records") == [{"network_id": key, "n": 3, "epochs_taken": 4, "sweep": "sweep"}]

    def test_no_sweep_is_one_line(self, tmp_path: Path):
        with pytest.raises(frames.ResultsError, match="has no tables"):
            Study(tmp_path)


def test_intervals_of_many_are_the_interval_of_each():
    rng = np.random.default_rng(3)
    groups = [rng.normal(size=size) for size in (1, 2, 4, 4, 9, 2)] + [np.full(3, 2.0)]
    low, high = measures.intervals(groups)
    expected = np.array([measures.interval(group) for group in groups])
    np.testing.assert_allclose(np.stack([low, high], axis=1), expected, rtol=1e-12)


class TestFixedTau:
    @pytest.fixture
    def study(self, tmp_path: Path) -> Study:
        sweep = HandMade(tmp_path / "fixed_tau")
        for seed, top in enumerate((3, 5)):
            sweep.add(config("single", seed), [solved(n, n) for n in range(2, top + 1)])
        sweep.add(config("multi", tau=2.0), [])
        sweep.add(config("multi", tau=2.0, seed=1), [solved(2, 1)], status="")
        sweep.add(config("multi", task="dms"), [solved(2, 1)])
        sweep.add(config("multi", self_interaction="outside"), [solved(2, 1)])
        return Study(tmp_path)

    def test_numbers(self, study: Study):
        figure = only(study, "4a")
        cells = figure.data["cells"].set_index(["curriculum", "tau"])
        assert cells.loc[("single", "trained")].to_dict() == {
            "task": "parity",
            "networks": 2,
            "mean": 4.0,
            "low": 3.0,
            "high": 5.0,
        }
        assert cells.loc[("multi", "2"), "mean"] == 1.0
        assert "n = 2 networks" in figure.caption
        assert "1 networks are still in training" in figure.caption
        assert "8 neurons" in figure.caption
        assert only(study, "S10").data["networks"]["max_n"].tolist() == [2]
        assert only(study, "S11").data["networks"]["max_n"].tolist() == [2]

    def test_networks_of_a_larger_scale_are_not_mixed_with_others(self, study: Study, tmp_path: Path):
        laptop = HandMade(tmp_path / "again", "laptop")
        laptop.add(config("single", 7), [solved(2, 1)])
        figure = only(Study(tmp_path), "4a")
        assert figure.data["networks"]["max_n"].tolist() == [2]
        assert "4 networks of another scale are left out" in figure.caption


class TestCurricula:
    @pytest.fixture
    def study(self, tmp_path: Path) -> Study:
        sweep = HandMade(tmp_path / "curricula")
        sweep.add(config("single"), [solved(2, 1), solved(3, 4, taken=3)], epochs=6)
        sweep.add(config("single", 1), [solved(2, 2, taken=2), solved(3, 9, taken=7)], epochs=9)
        sweep.add(config("multi", task="dms"), [solved(2, 1), solved(3, 1), solved(4, 2)])
        return Study(tmp_path / "curricula")

    def test_epochs_taken(self, study: Study):
        cells = only(study, "3c").data["cells"].set_index(["task", "curriculum", "n"])
        assert cells.loc[("parity", "single", 3), ["networks", "mean", "low", "high"]].tolist() == [2, 5, 3, 7]
        assert np.isnan(cells.loc[("dms", "multi", 2), "low"])
        ends = only(study, "3b").data["ends"]
        assert ends.set_index("task").loc["dms", ["epochs", "max_n"]].tolist() == [5, 4]

    def test_from_scratch(self, tmp_path: Path):
        sweep = HandMade(tmp_path / "no_curriculum")
        sweep.add(config("none-5"), [solved(5, 3)], accuracies=[0.6, 0.9, 0.99])
        sweep.add(config("none-5", 1), [], accuracies=[0.5] * 8)
        figure = only(Study(sweep.folder), "3a")
        (cell,) = figure.data["cells"].to_dict("records")
        assert (cell["n"], cell["networks"], cell["solved"], cell["mean"]) == (5, 2, 1, 5.5)
        assert figure.data["networks"].set_index("solved").loc[True, "accuracy_newest"] == 0.99
        assert len(only(Study(sweep.folder), "S13").data["epochs"]) == 11

    def test_long_curves_are_thinned_and_keep_their_ends(self):
        curve = pd.DataFrame({"epoch": range(1, 1001)})
        thin = fig03_curricula.thinned(curve)
        assert len(thin) == 200
        assert thin["epoch"].iloc[[0, -1]].tolist() == [1, 1000]


def everything(folder: Path) -> Study:
    """Make a storage folder with results for every figure: two sweeps that share a network."""
    sweep = HandMade(folder / "curricula")
    for task in ("parity", "dms"):
        for name in ("single", "multi"):
            for seed in range(3):
                top = 4 + seed + 2 * (name == "multi")
                rows = [solved(n, 3 * n + seed, taken=n, tau=1 + n / 9, sd=n / 20) for n in range(2, top)]
                sweep.add(config(name, seed, task), rows, epochs=30)
    fixed = HandMade(folder / "fixed_tau")
    for task in ("parity", "dms"):
        for where in ("inside", "outside"):
            fixed.add(config("single", 0, task, tau=1.0, self_interaction=where), [solved(2, 3)], status="")
            fixed.add(config("single", 0, task, self_interaction=where), [solved(2, 6)])
    alone = HandMade(folder / "no_curriculum")
    for task in ("parity", "dms"):
        for n in (2, 10):
            for seed in (0, 1):
                run = config(f"none-{n}", seed, task)
                alone.add(run, [solved(n, 3)] if n == 2 else [], accuracies=[0.5, 0.7, 0.99 if n == 2 else 0.7])
    return Study(folder)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return everything(tmp_path_factory.mktemp("full"))


@pytest.mark.parametrize("id", FIGURES)
class TestEveryFigure:
    def test_it_draws_the_same_each_time_and_says_so(self, full: Study, id: str):
        figure = only(full, id)
        assert figure.missing == ""
        assert figure.title
        assert "n = " in figure.caption
        assert "Scale quick: 8 neurons" in figure.caption
        svg = style.render(figure.draw(), "svg")
        assert svg == style.render(only(full, id).draw(), "svg")
        assert b"<text" in svg
        assert len(style.render(figure.draw(), "png", dpi=40)) > 1000

    def test_its_query_makes_its_main_frame(self, full: Study, id: str, monkeypatch: pytest.MonkeyPatch):
        figure = only(full, id)
        main_frame = next(iter(figure.data.values()))
        assert len(main_frame) > 0
        same_rows(run_query(figure, full.folder, monkeypatch), main_frame)

    def test_a_folder_with_nothing_says_what_to_run(self, tmp_path: Path, id: str):
        HandMade(tmp_path / "sweep")
        figure = only(Study(tmp_path), id)
        assert "python " in figure.missing
        assert str(tmp_path) in figure.missing
        assert figure.caption == ""
        with pytest.raises(ValueError, match="python "):
            figure.draw()

    def test_one_running_network_does_not_hurt(self, tmp_path: Path, id: str, monkeypatch: pytest.MonkeyPatch):
        sweep = HandMade(tmp_path / "sweep")
        sweep.add(config("single"), [solved(2, 1)], status="")
        figure = only(Study(sweep.folder), id)
        if not figure.missing:
            style.render(figure.draw(), "png", dpi=40)
            same_rows(run_query(figure, sweep.folder, monkeypatch), next(iter(figure.data.values())))


class TestCommand:
    def test_files_and_reasons(self, full: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["figures", str(full.sweeps[0]), "--only", "4a", "3a", "--out", str(tmp_path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sorted(os.listdir(tmp_path)) == ["4a.png", "4a.svg"]
        assert lines[0].startswith("3a      not drawn: ")
        assert "sweeps/no_curriculum.py --scale quick --storage" in lines[0]
        assert lines[1].split()[0] == "4a"

    def test_json(self, full: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["figures", str(full.folder), "--only", "S10", "--out", str(tmp_path), "--json"]) == 0
        (figure,) = json.loads(capsys.readouterr().out)["figures"]
        assert figure["id"] == "S10"
        assert [Path(path).name for path in figure["files"]] == ["S10.png", "S10.svg"]

    @pytest.mark.parametrize(
        ("options", "status", "says"), [(["--only", "4q"], 2, "4q"), (["--out", "/proc/no"], 1, "cannot write")]
    )
    def test_errors_are_one_line(self, full: Study, capsys: pytest.CaptureFixture[str], options, status, says):
        assert main(["figures", str(full.folder), *options]) == status
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1

    def test_unknown_ids_are_named(self, full: Study):
        with pytest.raises(ValueError, match="only = 4q, 9: allowed are 3a"):
            build(full, ["4q", "9"])

    def test_what_cannot_be_drawn_is_not_written(self, tmp_path: Path):
        HandMade(tmp_path / "sweep")
        with pytest.raises(ValueError, match="To have it"):
            write(only(Study(tmp_path), "4a"), tmp_path)
