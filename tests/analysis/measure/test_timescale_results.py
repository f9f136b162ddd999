"""From a checkpoint to timescales, dimensionality and weights; and what the command makes of a folder."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from analysis.__main__ import main
from analysis.data.frames import load
from analysis.measure import dynamics, dynamics_summary
from analysis.measure import jobs as _jobs
from analysis.measure.dynamics import Protocol, measure
from analysis.options import Execution
from tests.trained import trained_sweep
from tsrnn import GRU, Leaky, MultiHead, Parity, ReLU, RunConfig, Sines, SingleHead, Time, TrainedTau, command_line
from tsrnn.dynamics.autocorrelation import Autocovariance
from tsrnn.dynamics.simulation import observe, simulate
from tsrnn.dynamics.timescales import paper
from tsrnn.io.checkpoint import Checkpoint, Progress, new
from tsrnn.io.checkpoint import load as load_checkpoint
from tsrnn.io.reference import read_reference
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import (
    ANALYSES,
    AUTOCORRELATIONS,
    CONNECTIVITY,
    DIMENSIONALITY,
    NEURONS,
    RUNS,
    SOLVED,
    TIMESCALES,
)
from tsrnn.io.store import Store, encode
from tsrnn.networks import population

SHORT = Protocol(steps=600, trials=3, burn_in=50)
TABLES = (NEURONS, AUTOCORRELATIONS, TIMESCALES, DIMENSIONALITY, CONNECTIVITY)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")


@pytest.fixture(scope="module")
def trained(results: Path) -> Checkpoint:
    row = load(results, SOLVED).query("n == 2").iloc[0]
    return load_checkpoint(results / row["checkpoint"])


def frames(checkpoint: Checkpoint, protocol: Protocol = SHORT, n: int = 2, **options) -> dict[str, pd.DataFrame]:
    rows = measure(checkpoint, n, protocol=protocol, **options)
    assert tuple(rows) == TABLES
    for table, found in rows.items():
        encode(table, "n1", [{"network_id": "n1", "n": n} | row for row in found])
    return {table.name: pd.DataFrame(found) for table, found in rows.items()}


def changed(checkpoint: Checkpoint, **tensors: torch.Tensor) -> Checkpoint:
    return replace(checkpoint, network=checkpoint.network | {k.replace("_", "."): v for k, v in tensors.items()})


def untrained(config: RunConfig) -> Checkpoint:
    return replace(new(config), progress=Progress(heads=(2,)))


class TestMeasure:
    def test_every_table(self, trained: Checkpoint):
        found = frames(trained)
        tau, weight = trained.network["tau"].double(), trained.network["recurrent.weight"].double()
        (activity,) = [torch.cat(list(self.activity(trained)))]
        neurons = found["neurons"]
        np.testing.assert_allclose(neurons["tau"], tau)
        np.testing.assert_allclose(neurons["weight_mean"], weight.sum(1) / 31, atol=1e-12)
        np.testing.assert_allclose(neurons["activity_mean"], activity.mean((0, 1, 2)), atol=1e-6)
        np.testing.assert_allclose(neurons["activity_sd"], activity.std((0, 1, 2), correction=0), rtol=1e-5)
        rows = found["autocorrelations"].set_index(["neuron", "lag"])["autocorrelation"]
        assert len(rows) == 33 * 31
        for neuron, series in ((5, activity[:, 0, :, 5]), (-1, activity[:, 0].sum(2))):
            x = series - series.mean(0)
            expected = [float(((x[: 600 - lag] * x[lag:]).mean(0) / x.square().mean(0)).mean()) for lag in range(31)]
            np.testing.assert_allclose(rows[neuron], expected, atol=1e-5)
        assert found["timescales"].groupby("method", sort=False).size().to_dict() == {"paper": 33, "robust": 33}
        fits = found["timescales"].query("method == 'paper'").set_index("neuron")
        expected = paper(torch.tensor(rows.unstack().loc[[-1, 5]].to_numpy()))
        np.testing.assert_allclose(fits.loc[[-1, 5], "tau_net"], expected.tau_net, rtol=1e-6)
        assert set(fits["status"]) <= {"single", "double"}
        trials = found["dimensionality"].set_index("trial")
        assert list(trials.index) == [0, 1, 2, -1]
        spectrum = np.linalg.eigvalsh(np.cov(activity[:, 0, 0].numpy().T))[::-1]
        assert trials.loc[0, "components"] == 1 + int((spectrum.cumsum() < 0.9 * spectrum.sum()).sum())
        whole = found["connectivity"].iloc[0]
        assert whole["weight_mean"] == pytest.approx(float(weight.sum() / 31 / 32))
        assert whole["weight_positive"] + whole["weight_negative"] == pytest.approx(whole["weight_mean"])
        assert whole["tau_correlation"] == pytest.approx(np.corrcoef(weight.sum(1), tau)[0, 1])

    @staticmethod
    def activity(checkpoint: Checkpoint):
        people = checkpoint.population()
        for block in simulate(people, [(checkpoint.config.seed, "timescales", 2)], steps=600, trials=3, burn_in=50):
            yield block.double()

    def test_again_is_the_same_and_another_n_has_other_inputs(self, trained: Checkpoint):
        one, again, other = frames(trained), frames(trained), frames(trained, n=3)
        for name, frame in one.items():
            pd.testing.assert_frame_equal(frame, again[name])
        assert not one["autocorrelations"].equals(other["autocorrelations"])

    def test_one_method(self, trained: Checkpoint):
        assert set(frames(trained, methods=["robust"])["timescales"]["method"]) == {"robust"}

    def test_the_probability_is_that_of_the_bits(self, trained: Checkpoint):
        constant = frames(trained, replace(SHORT, input_probability=1.0, burn_in=2000))["timescales"]
        assert set(constant["status"]) <= {"constant", "single", "double", "not_a_decay"}
        assert (constant["status"] == "constant").any()

    @pytest.mark.parametrize("network", [GRU(hidden=5), Leaky(hidden=1), Leaky(hidden=4, self_interaction="outside")])
    def test_other_networks(self, network):
        found = frames(untrained(RunConfig(network=network)))
        assert len(found["timescales"]) == 2 * (network.hidden + 1)
        if network == GRU(hidden=5):
            assert found["neurons"]["tau"].isna().all()
        if not isinstance(network, Leaky) or network.hidden == 1:
            assert found["connectivity"].empty
            assert found["neurons"]["weight_mean"].isna().all()

    @pytest.mark.parametrize("task", [Sines(noise=1.0), Sines()])
    def test_a_task_without_bits_brings_its_own_inputs(self, task):
        found = frames(untrained(RunConfig(task=task, network=Leaky(hidden=5))))
        expected = {"constant"} if task == Sines() else {"single", "double", "not_a_decay"}
        assert set(found["timescales"]["status"]) <= expected

    def test_taus_in_effect_are_those_of_the_forward_pass(self):
        tau = TrainedTau(constraint="clamp_forward")
        checkpoint = untrained(RunConfig(network=Leaky(hidden=3, tau=tau)))
        checkpoint = changed(checkpoint, tau=torch.tensor([0.5, 1.0, 2.0]))
        assert frames(checkpoint)["neurons"]["tau"].tolist() == [1.0, 1.0, 2.0]

    def test_held_bits_are_refused(self):
        config = RunConfig(network=Leaky(hidden=3), time=Time(k=(2,)))
        with pytest.raises(
            ValueError, match=r"time.k = \(2,\): this measurement uses a new bit at every step; allowed is \(1,\)"
        ):
            measure(untrained(config), 2, protocol=SHORT)

    @pytest.mark.parametrize("methods", [[], ["paper", "guess"]])
    def test_unknown_methods(self, trained: Checkpoint, methods):
        with pytest.raises(ValueError, match="allowed are paper, robust"):
            measure(trained, 2, protocol=SHORT, methods=methods)

    @pytest.mark.parametrize("options", [{"steps": 0}, {"trials": 0}, {"input_probability": 2.0}, {"lags": 0}])
    def test_bad_protocols(self, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            Protocol(**options)


class TestStatuses:
    def test_an_explosion(self, trained: Checkpoint):
        found = frames(changed(trained, recurrent_weight=trained.network["recurrent.weight"] * 30))
        assert set(found["timescales"]["status"]) == {"not_finite"}
        assert found["timescales"]["tau_net"].isna().all()
        assert found["autocorrelations"]["autocorrelation"].isna().all()
        assert found["neurons"]["activity_mean"].isna().all()
        assert found["neurons"]["tau"].notna().all()
        assert found["dimensionality"]["components"].isna().all()

    def test_not_a_number(self, trained: Checkpoint):
        weight = trained.network["recurrent.weight"].clone()
        weight[3, 4] = torch.nan
        found = frames(changed(trained, recurrent_weight=weight))
        assert set(found["timescales"]["status"]) == {"not_finite"}
        assert found["connectivity"]["weight_mean"].isna().all() or found["connectivity"].empty

    def test_silence(self):
        checkpoint = untrained(RunConfig(network=Leaky(hidden=4, nonlinearity=ReLU())))
        found = frames(changed(checkpoint, input_bias=torch.full((4,), -100.0)))
        assert set(found["timescales"]["status"]) == {"constant"}
        assert (found["neurons"]["activity_sd"] == 0).all()
        assert (found["dimensionality"]["components"] == 0).all()

    def test_a_constant_neuron_among_others(self, trained: Checkpoint):
        weight, drive = trained.network["recurrent.weight"].clone(), trained.network["input.weight"].clone()
        weight[3] = 0
        drive[3] = 0
        found = frames(changed(trained, recurrent_weight=weight, input_weight=drive), replace(SHORT, burn_in=500))
        fits = found["timescales"].query("method == 'paper'").set_index("neuron")
        assert fits.loc[3, "status"] == "constant"
        assert fits.drop(3)["tau_net"].notna().all()
        assert found["autocorrelations"].query("neuron == 3")["autocorrelation"].isna().all()

    def test_too_few_steps(self, trained: Checkpoint):
        found = frames(trained, replace(SHORT, steps=31))
        assert set(found["timescales"]["status"]) == {"too_short"}
        known = found["autocorrelations"].groupby("lag")["autocorrelation"].apply(lambda values: values.notna().all())
        assert known.all()
        assert frames(trained, replace(SHORT, steps=12))["autocorrelations"]["autocorrelation"].isna().any()

    def test_one_step_and_one_trial(self, trained: Checkpoint):
        found = frames(trained, Protocol(steps=1, trials=1, burn_in=0))
        assert set(found["timescales"]["status"]) == {"constant"}


class TestTheory:
    def test_isolated_neurons_of_the_whole_chain(self):
        """Outside form, W = 0: white noise through a leaky integrator decays with -1 / ln(1 - 1 / tau)."""
        tau = torch.tensor([1.0, 1.5, 2.0, 3.0, 5.0, 8.0])
        config = RunConfig(network=Leaky(hidden=6, self_interaction="outside"))
        checkpoint = changed(
            untrained(config),
            tau=tau,
            recurrent_weight=torch.zeros(6, 6),
            input_weight=torch.ones(6),
            input_bias=torch.ones(6),
        )
        # In other draws the paper's method takes a slow timescale of next to no weight for a neuron's.
        found = frames(checkpoint, Protocol(steps=15_000, trials=10))["timescales"]
        expected = -1 / np.log(1 - 1 / tau[1:].double().numpy())
        for method in dynamics.METHODS:
            fits = found.query("method == @method and neuron >= 0")
            np.testing.assert_allclose(fits["tau_net"][1:], expected, rtol=0.04, err_msg=method)
            # Memoryless: gone within a step.
            assert fits["tau_net"].iloc[0] < 0.3


def line(n: np.ndarray, slope: float, seed: int, sd: float = 1.0) -> np.ndarray:
    return 2 + slope * n + np.random.default_rng(seed).normal(0, sd, len(n))


def test_correlation():
    x = np.array([1.0, 2.0, 4.0])
    assert dynamics.correlation(x, np.array([3.0, 1.0, 0.0])) == pytest.approx(np.corrcoef(x, [3, 1, 0])[0, 1])
    assert dynamics.correlation(x, np.ones(3)) is None
    assert dynamics.correlation(x[:1], x[:1]) is None


class TestChoice:
    def test_multiples_and_the_ends(self):
        solved = pd.DataFrame(
            {"network_id": ["a"] * 8 + ["b"], "n": [2, 3, 4, 5, 6, 7, 10, 11, 3], "checkpoint": ["x"] * 9}
        )
        chosen = _jobs.every_nth(solved, 5)
        assert list(zip(chosen["network_id"], chosen["n"], strict=True)) == [
            ("a", 2),
            ("a", 5),
            ("a", 10),
            ("a", 11),
            ("b", 3),
        ]
        assert len(_jobs.every_nth(solved, 1)) == 9


def by_hand(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


class TestSummary:
    def test_by_hand(self):
        fits = by_hand(
            network_id=["a"] * 5,
            n=[5] * 5,
            neuron=[0, 1, 2, 3, -1],
            method=["paper"] * 5,
            status=["single", "double", "single", "constant", "single"],
            tau_net=[0.5, 3.0, 2.0, np.nan, 7.0],
        )
        other = fits.assign(network_id="b", tau_net=[0.1, 0.2, 0.3, 0.4, np.nan], status="single")
        tables = {
            TIMESCALES: pd.concat([fits, other]),
            NEURONS: by_hand(network_id=["a", "a", "b"], n=[5, 5, 5], neuron=[0, 1, 0], tau=[1.0, 2.0, np.nan]),
            DIMENSIONALITY: by_hand(
                network_id=["a"] * 3,
                n=[5] * 3,
                trial=[0, 1, -1],
                components=[3, 4, 9],
                participation_ratio=[1.0, 2.0, 9.0],
            ),
            CONNECTIVITY: by_hand(network_id=["a"], n=[5], weight_mean=[-0.1], tau_correlation=[0.5]),
        }
        chosen = by_hand(network_id=["a", "b"], n=[5, 5])
        found = dynamics_summary.by_network(tables, chosen).set_index("network_id")
        assert found.loc["a", ["neurons", "fitted"]].tolist() == [4, 3]
        assert found.loc["a", "fraction_above_1"] == 0.5
        assert found.loc["a", "mean_above_1"] == found.loc["a", "median_above_1"] == 2.5
        assert found.loc["a", "mean_all"] == pytest.approx(5.5 / 3)
        assert found.loc["a", "median_all"] == 2.0
        assert found.loc["a", ["tau_pop", "tau", "components", "weight_mean"]].tolist() == [7.0, 1.5, 9.0, -0.1]
        assert found.loc["b", "fraction_above_1"] == 0
        assert np.isnan(found.loc["b", "mean_above_1"])
        assert np.isnan(found.loc["b", "components"])
        groups = by_hand(network_id=["a", "b"], group=["g", "g"], curriculum=["multi", "multi"])
        (row,) = dynamics_summary.by_curriculum(found.reset_index(), groups).to_dict("records")
        assert (row["networks"], row["fraction_above_1"], row["mean_above_1"]) == (2, 0.25, 2.5)
        assert dynamics_summary.by_network(tables, chosen.query("n == 4")).empty


def contents(results: Path) -> dict[str, pd.DataFrame]:
    return {
        table.name: load(results, table).sort_values(list(table.key), ignore_index=True)
        for table in (*TABLES, ANALYSES)
    }


def same(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> None:
    for name, frame in one.items():
        frame, again = (table.drop(columns="wall_s", errors="ignore") for table in (frame, other[name]))
        pd.testing.assert_frame_equal(frame, again, check_exact=True)


def copy_of(results: Path, folder: Path) -> Path:
    """The sweep without what was measured of it."""
    for path in results.rglob("*"):
        if path.is_file() and path.relative_to(results).parts[0] not in {table.name for table in (*TABLES, ANALYSES)}:
            (folder / path.relative_to(results)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(results)).write_bytes(path.read_bytes())
    return folder


class TestCommand:
    OPTIONS = ("--steps", "400", "--trials", "2", "--address", "local")

    def test_everything_and_again(self, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        folder = copy_of(results, tmp_path / "sweep")
        assert main(["timescales", str(folder), *self.OPTIONS, "--workers", "2", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["failed"] == []
        chosen = load(folder, SOLVED)
        assert len(found["networks"]) == 2 * len(chosen)
        assert {row["method"] for row in found["summary"]} == {"paper", "robust"}
        assert {row["curriculum"] for row in found["summary"]} == {"single", "multi"}
        assert all(0 <= row["fraction_above_1"] <= 1 for row in found["networks"])
        assert {row["neurons"] for row in found["networks"]} == {32}
        settings = json.loads(load(folder, ANALYSES)["settings"].iloc[0])
        assert settings == {
            "steps": 400,
            "trials": 2,
            "burn_in": 500,
            "input_probability": 0.5,
            "lags": 31,
            "methods": ["paper", "robust"],
        }
        before = contents(folder)
        files = {path: path.stat().st_mtime_ns for path in (folder / "timescales").glob("n*.parquet")}
        assert main(["timescales", str(folder), *self.OPTIONS]) == 0
        assert {path: path.stat().st_mtime_ns for path in files} == files
        text = capsys.readouterr().out
        assert "Timescales, paper method" in text
        assert "share > 1" in text
        assert "share of neurons with tau_net > 1" in text
        # The library, one checkpoint after the other in this process, gives the same numbers.
        apart = copy_of(results, tmp_path / "apart")
        console = command_line.console(file=io.StringIO())
        analysis = dynamics.analysis(Protocol(steps=400, trials=2))
        _jobs.run(apart, analysis, execution=Execution(workers=1, address="local"), console=console)
        same(before, contents(apart))

    def test_other_settings_measure_again(self, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        folder = copy_of(results, tmp_path / "sweep")
        command = ["timescales", str(folder), "--every", "3", *self.OPTIONS, "--workers", "1"]
        assert main([*command, "--method", "paper"]) == 0
        before = contents(folder)["timescales"]
        assert set(before["method"]) == {"paper"}
        assert main([*command, "--method", "paper", "robust", "--input-probability", "0.2"]) == 0
        after = contents(folder)["timescales"]
        assert set(after["method"]) == {"paper", "robust"}
        assert not np.allclose(before["tau_net"], after.query("method == 'paper'")["tau_net"], equal_nan=True)
        capsys.readouterr()

    def test_only_the_networks_that_a_condition_selects(self, results: Path, tmp_path: Path, capsys):
        folder = copy_of(results, tmp_path / "sweep")
        where = "curriculum == 'single' and seed == 1"
        assert main(["timescales", str(folder), *self.OPTIONS, "--workers", "1", "--where", where, "--json"]) == 0
        (key,) = load(folder, RUNS).query(where)["network_id"]
        assert {row["network_id"] for row in json.loads(capsys.readouterr().out)["networks"]} == {key}
        assert set(load(folder, TIMESCALES)["network_id"]) == {key}

    @pytest.mark.parametrize(
        "command", ["timescales", "memory", "spectra", "gradients", "interventions", "causes", "time-steps"]
    )
    def test_a_condition_that_holds_for_none_is_refused_by_every_command(self, results: Path, capsys, command: str):
        before = set(results.rglob("*"))
        assert main([command, str(results), "--where", "seed == 5"]) == 2
        said = capsys.readouterr().err
        assert said == "error: where = 'seed == 5': it holds for none of the 5 networks\n"
        assert set(results.rglob("*")) == before

    def test_a_network_that_cannot_be_measured_fails_alone(
        self, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        folder = copy_of(results, tmp_path / "sweep")
        broken = load(folder, SOLVED).iloc[0]
        path = folder / broken["checkpoint"]
        path.write_bytes(path.read_bytes()[:1000])
        assert main(["timescales", str(folder), *self.OPTIONS, "--workers", "1", "--json"]) == 1
        found = json.loads(capsys.readouterr().out)
        assert len(found["failed"]) == 1
        assert found["failed"][0].startswith(f"{broken['network_id']} N = {broken['n']}: ")
        assert "CheckpointError" in found["failed"][0]
        assert len(found["networks"]) == 2 * (len(load(folder, SOLVED)) - 1)

    def test_nothing_solved(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        store = Store(tmp_path)
        store.create()
        store.write(RUNS, RunConfig().network_id, [runs_row(RunConfig(), "test", "quick")])
        assert main(["timescales", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert "no network has solved an N yet" in error
        assert error.count("\n") == 1

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--steps", "0"], "at least 1"),
            (["--steps", "31"], "steps = 31: allowed are numbers above 31, the lags of autocorrelations"),
            (["--every", "0"], "at least 1"),
            (["--input-probability", "1.5"], "from 0 to 1"),
            (["--method", "guess"], "guess"),
        ],
    )
    def test_bad_options_are_one_line(self, results: Path, capsys: pytest.CaptureFixture[str], options, says):
        assert main(["timescales", str(results), *options]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1

    @pytest.mark.slow
    def test_killed_and_started_again_on_another_number_of_workers(self, results: Path, tmp_path: Path):
        options = ["--steps", "20000", "--trials", "4", "--address", "local"]
        whole, broken = (copy_of(results, tmp_path / name) for name in ("whole", "broken"))
        assert main(["timescales", str(whole), *options, "--workers", "1", "--json"]) == 0
        command = [sys.executable, "-m", "analysis", "timescales", str(broken), *options, "--workers", "2"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + 300
        while not list((broken / "analyses").glob("n*.parquet")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert len(load(broken, ANALYSES)) < len(load(whole, ANALYSES))
        assert main(["timescales", str(broken), *options, "--workers", "2", "--json"]) == 0
        same(contents(whole), contents(broken))


def test_as_a_library_on_a_population_of_several(trained: Checkpoint):
    """What docs/timescales.md shows: networks side by side give what each gives alone."""
    people = population(trained.config.network, [trained.network] * 2, [trained.progress.heads] * 2)
    both, alone = Autocovariance(), Autocovariance()
    observe(people, [(0, "a"), (1, "b")], [both], steps=500, trials=2)
    observe(trained.population(), [(1, "b")], [alone], steps=500, trials=2)
    found, expected = both.moments().autocorrelation[1], alone.moments().autocorrelation[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.fixture(scope="module", params=[("multi", 5), ("multi", 10), ("single", 5)], ids=lambda p: f"{p[0]}-{p[1]}")
def compared(request, reference: Path) -> pd.DataFrame:
    """Per neuron: our tau_net, theirs, and that of their autocorrelations by our fits."""
    curriculum, n = request.param
    kind = {"single": SingleHead, "multi": MultiHead}[curriculum]()
    path = reference / "checkpoints" / f"{curriculum}_parity_N{n}.safetensors"
    checkpoint = read_reference(path, Parity(), kind, n)
    ours = frames(checkpoint, Protocol(steps=10_000, trials=10), n, methods=["paper"])
    theirs = pd.read_parquet(reference / "tau_net.parquet").query("curriculum == @curriculum and n == @n")
    autocorrelations = np.load(reference / "autocorrelations.npz")[f"{curriculum}_N{n}_neurons"][:, :31]
    rows = ours["autocorrelations"].query("neuron >= 0").sort_values(["neuron", "lag"])["autocorrelation"]
    frame = theirs.sort_values("neuron")[["neuron", "tau", "tau_net", "model"]].reset_index(drop=True)
    fits = ours["timescales"].query("neuron >= 0").sort_values("neuron", ignore_index=True)
    refits = paper(torch.from_numpy(autocorrelations))
    frame.attrs["distance"] = float(np.abs(rows.to_numpy().reshape(500, 31) - autocorrelations).max())
    frame.attrs["tau"] = checkpoint.network["tau"].double().numpy()
    return frame.assign(
        ours=fits["tau_net"],
        tau_in_effect=ours["neurons"]["tau"],
        refit=refits.tau_net,
        refit_model=np.where(refits.status == "double", 2, 1),
    )


class TestReference:
    """The authors' networks under their protocol: p = 0.5, 10^4 steps, 10 trials, the paper's method."""

    def test_tau_is_theirs(self, compared: pd.DataFrame):
        np.testing.assert_array_equal(compared.attrs["tau"], compared["tau"])
        np.testing.assert_array_equal(compared["tau_in_effect"], compared["tau"].clip(lower=1.0))

    def test_autocorrelations_are_theirs_up_to_chance(self, compared: pd.DataFrame):
        # Both are means over 10 trials of 10^4 steps: standard errors of 0.003 to 0.01.
        assert compared.attrs["distance"] < 0.05

    def test_tau_net_has_their_distribution(self, compared: pd.DataFrame):
        ours, theirs = (compared[name][compared[name] > 1] for name in ("ours", "tau_net"))
        assert stats.ks_2samp(ours, theirs).pvalue > 0.05

    def test_the_fraction_above_1_is_theirs(self, compared: pd.DataFrame):
        """Their double fit starts from one degenerate point: where it stays there, the single fit is chosen.

        So their autocorrelations are held against ours under the same fits; of the neurons for which theirs ends in
        the same model as ours, their own numbers are.
        """
        above = compared[["ours", "tau_net", "refit"]] > 1
        assert abs(above["ours"].mean() - above["refit"].mean()) < 0.05
        agreed = compared["model"] == compared["refit_model"]
        assert agreed.mean() > 0.8
        assert abs((above["refit"] - 1.0 * above["tau_net"])[agreed].mean()) < 0.005
        assert abs((above["ours"] - 1.0 * above["tau_net"])[agreed].mean()) < 0.05
