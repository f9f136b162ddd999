"""Figures: their numbers against results made by hand, their queries against their numbers, and that they draw."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.data import frames
from analysis.data.study import Study
from analysis.figures import FIGURES, Figure, _against_n, build, style, write
from analysis.figures import curricula as fig03_curricula
from analysis.figures import timescales as fig05_timescales
from analysis.figures._figure import supported
from analysis.figures.readouts import compute_heads, draw_heads
from analysis.stats.intervals import bootstrap, bootstraps
from tests.handmade import HandMade, config, solved
from tests.simulated import Simulated
from tsrnn.config import GRU, LSTM, EndRules, LeakyReLU, ReLU, Tanh, Time
from tsrnn.io.schemas import (
    ABLATION,
    AUTOCORRELATIONS,
    CAUSES,
    CONNECTIVITY,
    CURVATURE,
    DIMENSIONALITY,
    GRADIENT_COSINES,
    GRADIENTS,
    HEADS_RETRAINING,
    INHIBITION,
    MEMORY,
    PERTURBATION,
    RETRAINING,
    SOLVED,
    SPECTRA,
    TABLES,
    TIME_STEPS,
    TIMESCALES,
)


def only(study: Study, id: str) -> Figure:
    figure = build(study, id)
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


class TestThePapersValues:
    """Their numbers are those of the paper's text and figures, set down here a second time."""

    @staticmethod
    def dotted(axes) -> list[float]:
        """Return the heights of the dotted lines of a panel."""
        lines = [line.get_ydata()[0] for line in axes.lines if line.get_label() == "paper"]
        for part in axes.collections:
            lines += [segment[0][1] for segment in part.get_segments()] if part.get_label() == "paper" else []
        return sorted(float(y) for y in lines)

    @pytest.mark.parametrize(
        ("id", "expected"),
        [
            ("3b", [[35, 100], [90, 100]]),
            ("4a", [[35, 100]]),
            ("S10", [[90, 100]]),
            ("7a", [[0.454, 0.926]]),
            ("7b", [[0.792, 0.999]]),
            ("S6", [[], [2, 3, 5, 10]]),
            ("S11", [[]]),
        ],
    )
    def test_they_are_dotted_lines(self, true_study: Simulated, id: str, expected: list[list[float]]):
        drawing = only(true_study, id).draw()
        found = [self.dotted(axes) for axes in drawing.axes]
        assert found[: len(expected)] == expected
        words = [text.get_text() for text in drawing.legends[0].get_texts()]
        assert ("paper" in words) == any(expected)

    def test_far_above_the_results_they_press_nothing_flat(self, tmp_path: Path):
        made = HandMade(tmp_path / "fixed_tau")
        for curriculum in ("single", "multi"):
            made.add(config(curriculum), [solved(2, 1), solved(3, 4)])
        axes = only(Study(tmp_path), "3b").draw().axes[0]
        assert axes.get_ylim()[1] < 10
        assert self.dotted(axes) == []
        assert [text.get_text() for text in axes.texts] == ["paper: 35 ↑", "paper: 100 ↑"]


@pytest.fixture(scope="module")
def true_study() -> Simulated:
    """A study at the paper's scale in which its claims are true."""
    study = Simulated(True, replicates=2)
    study.folder, study.sweeps, study.has_all_columns = Path("results"), (Path("results"),), True
    return study


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
    low, high = bootstraps(groups)
    expected = np.array([bootstrap(group) for group in groups])
    np.testing.assert_allclose(np.stack([low, high], axis=1), expected, rtol=1e-12)


class TestFixedTau:
    @pytest.fixture
    def study(self, tmp_path: Path) -> Study:
        sweep = HandMade(tmp_path / "fixed_tau")
        for seed, top in enumerate((3, 5)):
            sweep.add(config("single", seed), [solved(n, n) for n in range(2, top + 1)])
        sweep.add(config("multi", tau=2.0), [])
        sweep.add(config("multi", tau=2.0, seed=1), [solved(2, 1)], status="")
        sweep.add(config("multi", task="dms", tau=3.0), [solved(2, 1)])
        sweep.add(config("multi", tau=3.0, self_interaction="outside"), [solved(2, 1)])
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
        assert "Still training: 1 network." in figure.caption
        assert "8 neurons" in figure.caption
        assert only(study, "S10").data["networks"]["max_n"].tolist() == [2]
        assert only(study, "S11").data["networks"]["max_n"].tolist() == [2]

    def test_larger_networks_are_not_mixed_with_others(self, study: Study, tmp_path: Path):
        laptop = HandMade(tmp_path / "again", "laptop")
        laptop.add(config("single", 7, tau=1.0, hidden=9), [solved(2, 1)])
        figure = only(Study(tmp_path), "4a")
        assert figure.data["networks"]["max_n"].tolist() == [2]
        assert "; 4 networks of another size or training are left out." in figure.caption

    def test_trained_taus_alone_are_no_comparison(self, tmp_path: Path):
        sweep = HandMade(tmp_path / "curricula")
        sweep.add(config("single"), [solved(2, 1)])
        assert "sweeps/fixed_tau.py" in only(Study(sweep.folder), "4a").missing

    def test_networks_trained_otherwise_are_not_mixed_with_others(self, study: Study, tmp_path: Path):
        sweep = HandMade(tmp_path / "again")
        run = config("single", 7, tau=1.0)
        sweep.add(dataclasses.replace(run, training=dataclasses.replace(run.training, batch_size=5)), [solved(9, 1)])
        figure = only(Study(tmp_path), "4a")
        assert figure.data["networks"]["max_n"].max() == 5
        assert "; 1 networks of another size or training are left out." in figure.caption


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

    def test_a_run_with_two_end_rules_is_one_network(self, tmp_path: Path):
        """The sweep architectures trains the leaky networks of no_curriculum with another budget."""
        shorter = dataclasses.replace(config("none-5"), end=EndRules(max_epochs=4))
        for folder, one in (("no_curriculum", config("none-5")), ("architectures", shorter)):
            HandMade(tmp_path / "results" / folder).add(one, [solved(5, 3)], accuracies=[0.6, 0.9, 0.99])
        study = Study(tmp_path / "results")
        assert len(study.networks) == 2
        figure = only(study, "3a")
        (cell,) = figure.data["cells"].to_dict("records")
        assert (cell["networks"], cell["solved"]) == (1, 1)

    def test_long_curves_are_thinned_and_keep_their_ends(self):
        curve = pd.DataFrame({"epoch": range(1, 1001)})
        thin = fig03_curricula.thinned(curve)
        assert len(thin) == 200
        assert thin["epoch"].iloc[[0, -1]].tolist() == [1, 1000]


def timescale(n: int, neuron: int, tau_net: float | None, method: str = "paper", **changes: Any) -> dict[str, Any]:
    """Return a row of `timescales`: one exponential is better by both criteria."""
    row = {"n": n, "neuron": neuron, "method": method, "status": "single", "tau_net": tau_net, "r_squared": 0.9}
    row |= {"amplitude": 1.0, "weight_slow": 1.0, "aic_single": 1.0, "aic_double": 2.0}
    return row | {"lags": 31} | changes


def measure(sweep: HandMade, key: str, ns: list[int], shift: float) -> None:
    """Write rows of every analysis for one network; `shift` tells networks apart."""
    sweep.write(
        TIMESCALES,
        key,
        [
            timescale(n, neuron, None if neuron == 7 else 1 + neuron / 2 + n / 9 + shift, method)
            for n in ns
            for neuron in range(-1, 8)
            for method in ("paper", "robust")
        ],
    )
    lags = range(4)
    sweep.write(
        AUTOCORRELATIONS,
        key,
        [
            {"n": n, "neuron": neuron, "lag": lag, "autocorrelation": 0.5**lag}
            for n in ns
            for neuron in range(-1, 8)
            for lag in lags
        ],
    )
    weights = {"weight_mean": -0.1 - shift, "weight_positive": 0.2, "weight_negative": -0.3, "weight_mean_sd": 0.1}
    sweep.write(CONNECTIVITY, key, [{"n": n, **weights, "tau_correlation": -0.2 * shift} for n in ns])
    sweep.write(
        DIMENSIONALITY,
        key,
        [
            {"n": n, "trial": trial, "components": 2 * n + (trial >= 0), "participation_ratio": 2.0}
            for n in ns
            for trial in (-1, 0, 1)
        ],
    )
    products = [(1, 0, 0), (1, 5, 5), (2, 0, 3), *((bits, 0, bits - 1) for bits in range(2, 9))]
    sweep.write(
        MEMORY,
        key,
        [
            {"n": n, "bits": bits, "nearest": near, "farthest": far, "capacity": 1 / (1 + far + shift + n)}
            for n in ns
            for bits, near, far in products
        ],
    )
    sweep.write(
        SPECTRA,
        key,
        [
            {"n": n, "lyapunov": -1 / n, "timescale_slowest": n + shift, "departure": 0.6, "fisher_memory": 2.0}
            for n in ns
        ],
    )
    sweep.write(
        GRADIENTS,
        key,
        [
            {"n": n, "loss": loss, "delay": delay, "norm": 0.8**delay + shift}
            for n in ns
            for loss in ("newest", "next")
            for delay in range(n + 1)
        ],
    )
    sweep.write(
        GRADIENT_COSINES,
        key,
        [{"n": n, "head": n, "other": other, "cosine_weights": 0.3 - shift / 10} for n in ns for other in (2, -1)],
    )
    sweep.write(CURVATURE, key, [{"n": n, "loss": "newest", "value": 0.1, "sharpness": n + shift} for n in ns])
    at = {"n": min(ns[-1], 4), "standard_error": 0.01}
    sweep.write(
        CAUSES,
        key,
        [
            {**at, "change": change, "share": share, "draw": draw, "retrained": retrained, "accuracy": 0.9}
            | {"relative_accuracy": 1.0 if change == "none" else 0.9 * share - shift / 10 - draw / 5}
            for change, share, draws in (("none", 1.0, 1), ("shuffled_taus", 1.0, 2), ("schur_modes", 0.125, 1))
            for draw in range(draws)
            for retrained in ("nothing", "taus")
        ],
    )
    alone = [("none", -1), ("longest", 1), ("longest", 2), ("longest", -1), ("shortest", 3), ("shortest", -1)]
    sweep.write(
        ABLATION,
        key,
        [
            {**at, "removed": removed, "neuron": neuron, "tau": 1.0 + neuron, "accuracy": 0.9}
            | {"relative_accuracy": 1.0 if removed == "none" else 0.9 - neuron / 10 - shift / 100}
            for removed, neuron in alone
        ],
    )
    sweep.write(
        PERTURBATION,
        key,
        [
            {**at, "perturbed": perturbed, "perturbation": strength, "trial": trial}
            | {"accuracy": 0.95 - strength / 30 - shift / 100, "relative_accuracy": 1 - strength / 13.5}
            for perturbed in ("weights", "taus")
            for strength in (0.0, 0.1, 1.0)
            for trial in (0, 1)
        ],
    )
    sweep.write(
        INHIBITION,
        key,
        [
            {**at, "change": change, "accuracy": 0.9, "relative_accuracy": 1 + change}
            | {"activity_low": -1.0, "activity_high": 3.0 if change >= 0 else None, "exploded": int(change < 0)}
            for change in (-0.1, 0.0, 0.1)
        ],
    )
    sweep.write(
        HEADS_RETRAINING,
        key,
        [
            {"n": n, "head": head, "accuracy": 1.0 if head <= n else 0.6, "standard_error": 0.0, "iterations": 3}
            for n in ns
            for head in range(2, 8)
        ],
    )
    sweep.write(
        RETRAINING,
        key,
        [
            {
                **at,
                "retrained_n": at["n"] + beyond,
                "epochs": 3 * (beyond > 0),
                "accuracy": 0.95 - beyond / 10 - shift / 99,
            }
            | {"relative_accuracy": 1 - beyond / 4.5}
            for beyond in (0, 1, 2)
        ],
    )


def everything(folder: Path) -> Study:
    """Make a storage folder with results for every figure: some sweeps share networks."""
    sweep = HandMade(folder / "curricula")
    for task in ("parity", "dms"):
        for name in ("single", "multi", "sliding-3"):
            for seed in range(3):
                top = 5 + seed + 2 * (name == "multi")
                rows = [solved(n, 3 * n + seed, taken=n, tau=1 + n / 9, sd=n / 20) for n in range(2, top)]
                key = sweep.add(config(name, seed, task), rows, epochs=30)
                measure(sweep, key, list(range(2, top)), seed + 3.0 * (name == "multi"))
    outside = HandMade(folder / "nonlinearities")
    for name in ("single", "multi"):
        for seed in (0, 1):
            own = [solved(n, n) for n in (2, 3, 4)]
            measure(outside, outside.add(config(name, seed, self_interaction="outside"), own), [2, 3, 4], seed)
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
    others = HandMade(folder / "others")
    for seed in (0, 1):
        for phi in (ReLU(), Tanh(), LeakyReLU(slope=0.01)):
            others.add(config("multi", seed, nonlinearity=phi), [solved(2, 2), solved(3, 4)])
        outside = config("single", seed, self_interaction="outside")
        finer = others.add(dataclasses.replace(outside, time=Time(k=(7, 8), dt="1/k")), [solved(2, 2), solved(3, 4)])
        asked = [{"n": n, "k": k, "accuracy": 1 - n / 20 - seed / 10} for n in (2, 3) for k in (1, 7, 20)]
        others.write(TIME_STEPS, finer, asked)
        others.add(dataclasses.replace(config("multi", seed), time=Time(k=(3,))), [solved(2, 2)])
        curves = {n: [0.5 + n / 99, 0.99] for n in range(2, 6)}
        others.add(config("all-5", seed), [solved(n, n) for n in range(2, 6)], heads=curves)
        for kind in (GRU, LSTM):
            for name in ("single", "multi", "none-3"):
                run = dataclasses.replace(config(name, seed), network=kind(hidden=8))
                others.add(run, [solved(3, 2)])
    return Study(folder)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return everything(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Study:
    sweep = HandMade(tmp_path_factory.mktemp("bare") / "sweep")
    return Study(sweep.folder)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One network that still trains, and has been measured."""
    sweep = HandMade(tmp_path_factory.mktemp("begun") / "sweep")
    measure(sweep, sweep.add(config("single"), [solved(2, 1)], status=""), [2], 0)
    return Study(sweep.folder)


@pytest.mark.parametrize("id", FIGURES)
class TestEveryFigure:
    def test_it_draws_and_its_query_makes_its_main_frame(self, full: Study, id: str, monkeypatch: pytest.MonkeyPatch):
        figure = only(full, id)
        assert figure.missing == ""
        assert figure.title
        assert "n = " in figure.caption
        assert "Scale quick: 8 neurons" in figure.caption
        assert b"<text" in style.render(figure.draw(), "svg")
        main_frame = next(iter(figure.data.values()))
        assert len(main_frame) > 0
        same_rows(run_query(figure, full.folder, monkeypatch), main_frame)

    def test_a_folder_with_nothing_says_what_to_run(self, bare: Study, id: str):
        figure = only(bare, id)
        assert "python " in figure.missing
        assert str(bare.folder) in figure.missing
        assert figure.caption == ""
        with pytest.raises(ValueError, match="python "):
            figure.draw()

    def test_one_running_network_does_not_hurt(self, begun: Study, id: str, monkeypatch: pytest.MonkeyPatch):
        figure = only(begun, id)
        if not figure.missing:
            style.render(figure.draw(), "png", dpi=40)
            same_rows(run_query(figure, begun.folder, monkeypatch), next(iter(figure.data.values())))


@pytest.mark.parametrize("id", ["3b", "5d", "S17"])
def test_the_same_results_give_the_same_bytes(full: Study, id: str):
    one, same = (only(full, id).draw() for _ in range(2))
    for form in ("svg", "png"):
        assert style.render(one, form) == style.render(same, form)


class TestTimescales:
    @pytest.fixture
    def study(self, tmp_path: Path) -> Study:
        sweep = HandMade(tmp_path / "curricula")
        double = {"status": "double", "aic_double": 0.5}
        rows = [timescale(5, -1, 9.0), timescale(5, 0, 0.9), timescale(5, 1, 2.0), timescale(5, 2, 6.0, **double)]
        rows += [timescale(5, 3, None), timescale(5, 1, 50.0, "robust")]
        sweep.write(TIMESCALES, sweep.add(config("single"), [solved(5, 1)]), rows)
        other = sweep.add(config("single", 1), [solved(5, 1)])
        sweep.write(TIMESCALES, other, [timescale(5, 0, 3.0), timescale(5, -1, 11.0)])
        return Study(sweep.folder)

    def test_mean_and_share_are_of_neurons_above_one(self, study: Study):
        networks = only(study, "5b").data["networks"].set_index("tau_net_mean")
        assert networks.loc[4.0, ["tau_net_sd", "tau_net_share"]].tolist() == [2.0, 0.5]
        assert networks.loc[3.0, ["tau_net_sd", "tau_net_share"]].tolist() == [0.0, 1.0]
        cells = only(study, "5b").data["cells"].set_index("quantity")
        assert cells.loc["tau_net_mean", ["networks", "mean", "low", "high"]].tolist() == [2, 3.5, 3.0, 4.0]

    def test_criteria_and_r_squared(self, study: Study):
        networks = only(study, "S1").data["networks"]
        assert sorted(networks["agreement"]) == [0.75, 1.0]
        assert networks["r_squared"].tolist() == [0.9, 0.9]

    def test_population(self, study: Study):
        assert sorted(only(study, "S4").data["networks"]["tau_pop"]) == [9.0, 11.0]

    def test_distribution_counts_networks_alike(self, study: Study):
        found = only(study, "5d").data
        assert sorted(found["neurons"]["tau_net"]) == [2.0, 3.0, 6.0]
        densities = found["densities"]
        width = np.log10(densities["high"] / densities["low"])
        assert (densities["density"] * width).sum() == pytest.approx(1)
        masses = (densities["density"] * width)[densities["density"] > 0]
        np.testing.assert_allclose(sorted(masses), [0.25, 0.25, 0.5])

    def test_the_fit_is_the_formula(self):
        fit = pd.Series({"status": "double", "tau_net": 4.0, "tau_fast": 1.0, "weight_slow": 0.25, "amplitude": 0.8})
        expected = 0.8 * (0.25 * np.exp(-2 / 4) + 0.75 * np.exp(-2))
        assert fig05_timescales.fitted(np.array([2.0]), fit)[0] == pytest.approx(expected)
        single = pd.Series({**fit, "status": "single", "weight_slow": 1.0, "tau_fast": np.nan})
        assert fig05_timescales.fitted(np.array([2.0]), single)[0] == pytest.approx(0.8 * np.exp(-0.5))

    def test_the_example_is_the_median_neuron(self, study: Study):
        timescales = study.load(TIMESCALES, where=[("method", "==", "paper"), ("neuron", ">=", 0)])
        chosen = fig05_timescales.choose_examples(study.networks, timescales)
        assert chosen[["tau_net", "neuron"]].to_numpy().tolist() == [[2.0, 1]]


class TestInterventions:
    def test_neurons_are_averaged_before_networks(self, full: Study):
        cells = only(full, "7a").data["cells"].set_index(["removed", "manner"])
        # 0.9 - neuron / 10 - seed / 100, over neurons 1 and 2 and seeds 0 to 2
        assert cells.loc[("longest", "alone"), "mean"] == pytest.approx(0.74)
        assert cells.loc[("longest", "alone"), "networks"] == 3
        assert cells.loc[("shortest", "together"), "mean"] == pytest.approx(0.99)
        taus = only(full, "7b").data["taus"].set_index(["curriculum", "removed", "manner"])
        assert taus.loc[("multi", "longest", "alone"), "mean"] == 2.5
        assert set(only(full, "S9").data["networks"]["network_id"]) <= set(
            full.networks.query("self_interaction == 'outside'")["network_id"]
        )

    def test_perturbation(self, full: Study):
        cells = only(full, "7c").data["cells"].set_index(["curriculum", "perturbation"])
        assert cells.loc[("single", 1.0), ["networks", "mean"]].tolist() == pytest.approx([3, 1 - 1 / 13.5])

    def test_tables_are_those_of_the_comparison(self, full: Study):
        table = only(full, "table1").data["tests"].set_index("strength")
        assert table.index.tolist() == [0.1, 1.0]
        # accuracy 0.95 - strength / 30 - shift / 100 with shifts 0, 1, 2 against 3, 4, 5
        single = np.mean([(0.45 - 1 / 30 - s / 100) / (0.45 - s / 100) for s in (0, 1, 2)])
        multi = np.mean([(0.45 - 1 / 30 - s / 100) / (0.45 - s / 100) for s in (3, 4, 5)])
        assert table.loc[1.0, ["single-head", "multi-head"]].tolist() == pytest.approx([single, multi])
        assert table.loc[1.0, "difference"] == pytest.approx(single - multi)
        assert (table["draws"] == 6).all()
        assert (table["p attainable"] == 0.2).all()
        assert (table["verdict"] == "inconclusive").all()
        retrained = only(full, "table3").data["tests"]
        assert retrained["N'"].tolist() == [5, 6]

    def test_an_explosion_is_said(self, full: Study):
        figure = only(full, "S19")
        assert "outside the range of floating-point numbers" in " ".join(figure.caption.split())
        networks = figure.data["networks"]
        assert (networks.loc[networks["change"] < 0, "activity_range"] == np.finfo(np.float32).max).all()
        assert (networks.loc[networks["change"] == 0, "activity_range"] == 3).all()

    def test_heads(self, full: Study):
        cells = only(full, "S17").data["cells"].set_index(["curriculum", "n", "head"])
        assert cells.loc[("single", 6, 7), ["networks", "mean"]].tolist() == [1, 0.6]
        assert cells.loc[("multi", 4, 3), ["networks", "mean"]].tolist() == [3, 1.0]

    def test_heads_of_one_n_fill_a_row(self):
        rows = pd.DataFrame({"curriculum": "multi", "network_id": "n0", "n": 5, "head": [4, 5, 6]})
        rows = rows.assign(accuracy=[1.0, 0.9, 0.6])
        axes, _ = draw_heads(compute_heads(rows)).axes
        corners = axes.collections[0].get_coordinates()
        assert corners[..., 0].tolist() == [[3.5, 4.5, 5.5, 6.5]] * 2
        assert corners[..., 1].tolist() == [[4.5] * 4, [5.5] * 4]
        assert [tick for tick in axes.get_yticks() if 4.5 <= tick <= 5.5] == [5]


class TestDynamics:
    def test_lines(self, tmp_path: Path):
        sweep = HandMade(tmp_path / "curricula")
        key = sweep.add(config("multi", task="dms"), [solved(30, 1)])
        values = {n: 3 * n if n <= 20 else 60 + (n - 20) for n in (5, 10, 20, 30, 40, 50)}
        rows = [{"n": n, "trial": -1, "components": c, "participation_ratio": 1.0} for n, c in values.items()]
        sweep.write(DIMENSIONALITY, key, rows)
        lines = only(Study(tmp_path), "S20").data["lines"].set_index("part")
        assert lines.loc["to 20", ["slope", "intercept"]].tolist() == pytest.approx([3, 0])
        assert lines.loc["beyond 20", ["slope", "intercept"]].tolist() == pytest.approx([1, 40])
        assert lines.loc["beyond 20", ["n_low", "n_high"]].tolist() == [30, 50]

    def test_n_shared_by_all(self):
        rows = pd.DataFrame({"curriculum": ["single", "single", "multi", "multi"], "n": [5, 9, 5, 30]})
        assert _against_n.shared(rows, 30) == 5
        assert _against_n.shared(rows, 4) == 5
        assert _against_n.shared(rows[rows["n"] > 5], 30) is None
        assert _against_n.shared(rows.iloc[:0], 30) is None


class TestCurves:
    def test_all_heads(self, full: Study):
        data = only(full, "S18").data
        assert data["cells"].set_index("n").loc[4, ["networks", "mean"]].tolist() == [2, 4.0]
        curves = data["curves"].set_index(["n", "epoch"])
        assert curves.loc[(3, 1), ["networks", "mean"]].tolist() == pytest.approx([2, 0.5 + 3 / 99])

    def test_gated_networks_are_beside_leaky_ones(self, full: Study):
        ends = only(full, "S15").data["ends"]
        assert set(ends["architecture"]) == {"leaky", "gru", "lstm"}
        assert set(only(full, "S16").data["ends"]["architecture"]) == {"gru", "lstm"}

    def test_taus_by_k(self, full: Study):
        cells = only(full, "S5").data["cells"].set_index(["curriculum", "k", "n", "quantity"])
        assert cells.loc[("single", "7,8", 3, "tau_mean"), ["networks", "mean"]].tolist() == [2, 1.5]
        other = only(full, "S5").data["other_cells"].set_index("asked_k")
        assert other.loc[20, ["k", "networks", "mean"]].tolist() == ["7,8", 2, pytest.approx(0.8)]
        assert set(only(full, "S8").data["networks"]["nonlinearity"]) == {"leaky_relu", "relu", "tanh"}


class TestCommand:
    def test_files_and_reasons(self, full: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["figures", str(full.sweeps[0]), "--only", "4b", "3a", "--out", str(tmp_path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sorted(os.listdir(tmp_path)) == ["4b.png", "4b.svg"]
        assert lines[0].startswith("3a      not drawn: ")
        assert "sweeps/no_curriculum.py --scale quick --storage" in lines[0]
        assert lines[1].split()[0] == "4b"

    def test_json(self, full: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["figures", str(full.folder), "--only", "table1", "--out", str(tmp_path), "--json"]) == 0
        (figure,) = json.loads(capsys.readouterr().out)["figures"]
        assert figure["id"] == "table1"
        assert [Path(path).name for path in figure["files"]] == ["table1.csv", "table1.md"]
        assert pd.read_csv(tmp_path / "table1.csv")["strength"].tolist() == [0.1, 1.0]
        text = (tmp_path / "table1.md").read_text()
        assert text.startswith("# Table 1")
        assert text.count("\n| ") == 4
        assert figure["caption"] in text

    @pytest.mark.parametrize(
        ("options", "status", "says"), [(["4q"], 2, "4q"), (["4a", "--out", "/proc/no"], 1, "cannot write")]
    )
    def test_errors_are_one_line(self, full: Study, capsys: pytest.CaptureFixture[str], options, status, says):
        assert main(["figures", str(full.folder), "--only", *options]) == status
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1

    def test_an_unknown_id_is_named(self, full: Study):
        with pytest.raises(ValueError, match="figure = 4q: allowed are 3a"):
            build(full, "4q")

    def test_what_cannot_be_drawn_is_not_written(self, tmp_path: Path):
        HandMade(tmp_path / "sweep")
        with pytest.raises(ValueError, match="To train them"):
            write(only(Study(tmp_path), "4a"), tmp_path)


def test_lines_are_of_what_at_least_half_of_the_networks_have():
    cells = pd.DataFrame({"n": [2, 3, 4, 5], "networks": [8, 5, 4, 3]})
    assert supported(cells)["n"].tolist() == [2, 3, 4]
    assert supported(cells.iloc[:0]).empty
