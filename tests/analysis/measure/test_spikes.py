"""Recorded spikes: from tables of spikes to timescales, their figure, and what is said of bad input."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from analysis.__main__ import main
from analysis.data.spikes import Binning, recording
from analysis.data.study import Study
from analysis.figures.spikes import figure, networks_of
from analysis.measure.spikes import FASTER, measure, notes, summary
from benchmarks.spikes_truth import telegraph
from tests.analysis.figures.test_figures import timescale
from tests.handmade import HandMade, config, solved
from tsrnn.command_line import console
from tsrnn.io.schemas import TIMESCALES

ROOT = Path(__file__).resolve().parents[3]


def in_trials(count: int, duration: float) -> pd.DataFrame:
    return pd.DataFrame({"trial": range(count), "start_s": 0.0, "stop_s": duration})


@pytest.fixture(scope="module")
def few() -> pd.DataFrame:
    """Spikes of three neurons with a timescale of 0.1 s, in 10 trials of 10 s."""
    return telegraph(0.1, neurons=3, trials=10, seconds=10.0, seed=5)


@pytest.fixture
def folder(few: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    few.to_csv(tmp_path / "spikes.csv", index=False)
    few.to_parquet(tmp_path / "spikes.parquet")
    in_trials(10, 10.0).to_csv(tmp_path / "trials.csv", index=False)
    in_trials(10, 10.0).to_parquet(tmp_path / "trials.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two networks of each curriculum: by the robust method, half of the neurons of each are above one step."""
    sweep = HandMade(tmp_path / "results" / "curricula")
    for curriculum, shift in (("single", 2.0), ("multi", 0.0)):
        for seed in range(2):
            key = sweep.add(config(curriculum, seed), [solved(n, n) for n in (2, 5, 10)])
            taus = {-1: 9.0, 0: 0.5, 1: 2.0 + shift + seed, 2: 4.0 + shift + seed, 3: None}
            rows = [timescale(n, neuron, tau, "robust") for n in (5, 10) for neuron, tau in taus.items()]
            sweep.write(TIMESCALES, key, [*rows, timescale(5, 1, 77.0, "paper")])
    return sweep.folder


class TestTimescales:
    @pytest.mark.parametrize(("tau", "width"), [(0.1, 0.02), (0.2, 0.05)])
    def test_the_true_timescale_is_found_and_lies_in_the_intervals(self, tau: float, width: float):
        spikes = telegraph(tau, neurons=100, trials=20, seconds=10.0)
        neurons = measure(recording(spikes, in_trials(20, 10.0)), width, 31, console())
        assert (neurons["status"] == "double").mean() >= 0.95
        inside = (neurons["tau_low_ms"] < 1000 * tau) & (1000 * tau < neurons["tau_high_ms"])
        # Of 100 intervals of 95 %, fewer than 87 contain the true value in one of 1000 cases.
        assert inside.sum() >= 87
        (row,) = summary(neurons).to_dict("records")
        assert row["median_ms"] == pytest.approx(1000 * tau, rel=0.06)
        assert row["low_ms"] < row["median_ms"] < row["high_ms"]
        assert neurons["rate_hz"].mean() == pytest.approx(30, rel=0.02)
        assert neurons["tau_net_ms"].to_numpy() == pytest.approx(1000 * width * neurons["tau_net"].to_numpy())

    def test_neurons_without_a_timescale_say_why(self, few: pd.DataFrame):
        draws = np.random.default_rng(1)
        poisson = pd.DataFrame({"neuron": 3, "trial": np.repeat(range(10), 300), "time_s": draws.uniform(0, 10, 3000)})
        never = pd.DataFrame({"neuron": [4], "trial": [0], "time_s": [11.0]})
        found = recording(pd.concat([few, poisson, never]), in_trials(10, 10.0))
        neurons = measure(found, 0.05, 31, console()).set_index("neuron")
        assert neurons["reason"].tolist() == ["", "", "", FASTER, "all counts are equal"]
        assert neurons["spikes"].tolist()[3:] == [3000, 0]
        assert neurons.loc[3, "tau_net"] < 1
        assert math.isnan(neurons.loc[4, "tau_net"])
        lines = notes(found, neurons)
        assert "1 neuron: all counts are equal" in lines[0]
        assert "1 spike in no trial: not used." in lines
        (row,) = summary(neurons).to_dict("records")
        assert (row["neurons"], row["above"], row["share"]) == (5, 3, 0.6)
        assert (row["low_ms"], row["high_ms"]) == (-math.inf, math.inf)  # of three values nothing is known

    def test_groups_of_neurons_are_measured_as_one(self, few: pd.DataFrame, monkeypatch: pytest.MonkeyPatch):
        found = recording(few, in_trials(10, 10.0))
        together = measure(found, 0.05, 31, console())
        monkeypatch.setattr("analysis.measure.spikes._TOGETHER", 1)
        pd.testing.assert_frame_equal(measure(found, 0.05, 31, console()), together)


class TestTrials:
    def test_spikes_are_in_the_trial_with_their_label(self):
        spikes = pd.DataFrame({"neuron": ["b", "a", "a"], "trial": [7, 7, 5], "time_s": [-0.5, 0.25, 0.0]})
        trials = pd.DataFrame({"trial": [5, 6, 7], "start_s": -1.0, "stop_s": 1.0})
        found = recording(spikes, trials)
        assert found.neurons.tolist() == ["a", "b"]
        trains = [[train.tolist() for train in trial] for trial in found.trains(range(2))]
        assert trains == [[[1.0], []], [[], []], [[1.25], [0.5]]]

    def test_without_labels_spikes_are_in_the_trial_during_which_they_were(self):
        trials = pd.DataFrame({"start_s": [20.0, 10.0, 12.0], "stop_s": [22.0, 12.0, 14.0]})
        spikes = pd.DataFrame({"neuron": 0, "time_s": [9.0, 10.0, 12.0, 13.5, 14.0, 21.0, 22.0]})
        found = recording(spikes, trials)
        assert [trial[0].tolist() for trial in found.trains(range(1))] == [[1.0], [0.0], [0.0, 1.5]]
        assert found.outside == 3

    @pytest.mark.parametrize("kind", ["str", "category", "string[pyarrow]"])
    def test_labels_are_of_any_kind(self, few: pd.DataFrame, kind: str):
        labels = {name: few[name].map("n{}".format).astype(kind) for name in ("neuron", "trial")}
        trials = in_trials(10, 10.0)
        found = recording(few.assign(**labels), trials.assign(trial=trials["trial"].map("n{}".format).astype(kind)))
        assert found.neurons.tolist() == ["n0", "n1", "n2"]
        for first, second in zip(found.trains(range(3)), recording(few, trials).trains(range(3)), strict=True):
            assert [train.tolist() for train in first] == [train.tolist() for train in second]

    def test_both_ways_give_the_same(self, few: pd.DataFrame):
        labelled = recording(few, in_trials(10, 10.0))
        one_clock = few.assign(time_s=few["time_s"] + 12.0 * few["trial"]).drop(columns="trial")
        trials = pd.DataFrame({"start_s": 12.0 * np.arange(10), "stop_s": 12.0 * np.arange(10) + 10})
        both = [one.trains(range(3)) for one in (labelled, recording(one_clock, trials))]
        for first, second in zip(*both, strict=True):
            for ours, theirs in zip(first, second, strict=True):
                assert ours == pytest.approx(theirs, abs=1e-9)

    def test_longer_trials_are_cut_and_it_is_said(self, few: pd.DataFrame):
        trials = in_trials(10, 10.0)
        trials.loc[3, "stop_s"] = 8.0
        found = recording(few, trials)
        neurons = measure(found, 0.05, 31, console())
        counted = few[(few["neuron"] == 0) & (few["time_s"] < 8)]
        assert neurons["spikes"][0] == len(counted)
        assert any("Trials last 8 to 10 s" in line for line in notes(found, neurons))

    def test_one_long_trial(self, few: pd.DataFrame):
        spikes = few[few["trial"] == 0].drop(columns="trial")
        found = recording(spikes, pd.DataFrame({"start_s": [0.0], "stop_s": [10.0]}))
        neurons = measure(found, 0.02, 31, console())
        assert "1 trial: intervals are wider than necessary." in notes(found, neurons)


class TestCommand:
    def output(self, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
        assert main(["spikes", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    @pytest.mark.usefixtures("folder")
    def test_every_way_to_give_the_same_recording(self, few: pd.DataFrame, capsys: pytest.CaptureFixture[str]):
        found = [
            self.output(capsys, "spikes.csv", "--trials", "trials.csv"),
            self.output(capsys, "spikes.parquet", "--trials", "trials.parquet"),
            self.output(capsys, "spikes.parquet", "--trials", "trials.csv"),
            self.output(capsys, "spikes.csv", "--start", "0", "--stop", "10"),
        ]
        assert found[0] == found[1] == found[2] == found[3]
        expected = measure(recording(few, in_trials(10, 10.0)), 0.05, 31, console())
        assert [row["tau_net_ms"] for row in found[0]["neurons"]] == expected["tau_net_ms"].tolist()
        assert found[0]["summary"][0]["low_ms"] is None
        assert (found[0]["networks"], found[0]["files"]) == ([], [])

    @pytest.mark.usefixtures("folder")
    def test_bins_and_times_before_zero(self, few: pd.DataFrame, capsys: pytest.CaptureFixture[str]):
        few.assign(time_s=few["time_s"] - 5).to_parquet("shifted.parquet")
        options = ("--bin", "0.02", "--lags", "20")
        whole = self.output(capsys, "spikes.csv", "--start", "0", "--stop", "10", *options)
        shifted = self.output(capsys, "shifted.parquet", "--start", "-5", "--stop", "5", *options)
        assert [row["tau_net"] for row in whole["neurons"]] == [row["tau_net"] for row in shifted["neurons"]]
        expected = measure(recording(few, in_trials(10, 10.0)), 0.02, 20, console())
        assert [row["tau_net"] for row in whole["neurons"]] == expected["tau_net"].tolist()

    @pytest.mark.usefixtures("folder")
    def test_the_printed_tables(self, results: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["spikes", "spikes.csv", "--trials", "trials.csv", "--compare", str(results)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert any(line.split()[:1] == ["0"] and " to " in line for line in lines)
        assert any(line.split()[:4] == ["networks,", "multi", "5", "2"] for line in lines)

    @pytest.mark.usefixtures("folder")
    def test_files_and_caption(self, results: Path, capsys: pytest.CaptureFixture[str]):
        words = ("spikes.csv", "--trials", "trials.csv", "--compare", str(results), "--out", "out")
        found = self.output(capsys, *words)
        assert found["files"] == [f"out/spikes.{kind}" for kind in ("parquet", "txt", "png", "svg")]
        frame = pd.read_parquet("out/spikes.parquet")
        assert frame["tau_net_ms"].tolist() == [row["tau_net_ms"] for row in found["neurons"]]
        caption = found["caption"]
        assert (
            Path("out/spikes.txt").read_text()
            == f"Timescales of recorded neurons beside those of networks. {caption}\n"
        )
        for part in (
            "bins of 50 ms, 10 trials of 200 bins",
            "3 of 3 neurons",
            "a time step is taken to be 50 ms, as long as a bin",
            "50 % (single-head, N = 5); 50 % (multi-head, N = 5); 50 % (single-head, N = 10)",
            "n = 2 networks each (single-head, multi-head)",
            "Scale quick: 8 neurons.",
        ):
            assert part in caption
        svg = Path("out/spikes.svg").read_text()
        for text in (
            "recorded: 3 neurons",
            "networks, N = 5",
            "networks, N = 10",
            "single-head",
            "a time step is 50 ms",
        ):
            assert text in svg

    @pytest.mark.usefixtures("folder")
    def test_networks_are_on_the_same_axis(self, results: Path, capsys: pytest.CaptureFixture[str]):
        words = ("spikes.csv", "--trials", "trials.csv", "--compare", str(results))
        cells = {(row["curriculum"], row["n"]): row for row in self.output(capsys, *words)["networks"]}
        assert cells.keys() == {("single", 5), ("multi", 5), ("single", 10), ("multi", 10)}
        # Medians over neurons are 3 and 4 steps in multi-head networks, and two more in single-head ones.
        assert cells["multi", 5]["mean"] == pytest.approx(3.5 * 50)
        assert cells["single", 5]["mean"] == pytest.approx(5.5 * 50)
        assert (cells["multi", 5]["low"], cells["multi", 5]["high"]) == (3 * 50, 4 * 50)
        assert (cells["multi", 5]["networks"], cells["multi", 5]["share"]) == (2, 0.5)
        slower = self.output(capsys, *words, "--step", "0.1", "--n", "10")
        assert [row["n"] for row in slower["networks"]] == [10, 10]
        assert slower["networks"][0]["mean"] == pytest.approx(3.5 * 100)
        assert "taken to be 100 ms, a choice of whoever made the figure" in slower["caption"]

    @pytest.mark.usefixtures("folder")
    def test_recorded_neurons_alone(self, capsys: pytest.CaptureFixture[str]):
        found = self.output(capsys, "spikes.csv", "--trials", "trials.csv", "--out", "out")
        assert "networks" not in found["caption"].lower()
        assert "time step" not in Path("out/spikes.svg").read_text()

    @pytest.mark.usefixtures("folder")
    def test_neurons_faster_than_a_bin_are_not_drawn(self, capsys: pytest.CaptureFixture[str]):
        draws = np.random.default_rng(1)
        pd.DataFrame({"neuron": 0, "time_s": draws.uniform(0, 100, 3000)}).to_csv("poisson.csv")
        found = self.output(capsys, "poisson.csv", "--start", "0", "--stop", "100", "--out", "out")
        assert found["files"] == ["out/spikes.parquet"]
        assert found["caption"] == ""
        assert found["notes"][-1].startswith("Not drawn: no neuron has a timescale above a bin")

    def test_letters_can_be_read(self, few: pd.DataFrame, results: Path):
        neurons = measure(recording(few, in_trials(10, 10.0)), 0.05, 31, console())
        drawn = figure(
            neurons, summary(neurons), Binning(0.05, 200, 10), networks_of(Study(results), None, 0.05)
        ).draw()
        texts = [text for text in drawn.findobj(Text) if text.get_text()]
        assert len(texts) > 20
        # A pixel of a page is 1/96 inch, and a point 1/72.
        assert min(text.get_fontsize() for text in texts) * 96 / 72 >= 9

    def test_help_does_not_wait(self):
        check = "from analysis.__main__ import main; main(['spikes', '--help']); import sys; "
        check += "print({'torch', 'pandas', 'scipy', 'matplotlib'} & sys.modules.keys())"
        done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "--trials" in done.stdout
        assert done.stdout.splitlines()[-1] == "set()"


def table(text: str) -> str:
    """Return a table in CSV from words: rows are parted by ;, cells by blanks."""
    return "\n".join(",".join(row.split()) for row in text.split(";"))


SPIKES = "neuron trial time_s; 0 0 0.1; 0 1 0.3; 1 0 5.2"
TRIALS = "trial start_s stop_s; 0 0 10; 1 0 10"
WINDOW = ("--start", "0", "--stop", "10")


class TestBadInput:
    """Each is one line that says what is wrong, and exit status 1, or 2 where the command itself is wrong."""

    @pytest.mark.usefixtures("folder")
    @pytest.mark.parametrize(
        ("words", "status", "says"),
        [
            (["nowhere.csv", *WINDOW], 1, "nowhere.csv cannot be read: No such file"),
            (["spikes.txt", *WINDOW], 1, "files that end in .csv or .parquet"),
            (["spikes.csv"], 2, "give --trials TABLE, or --start and --stop"),
            (["spikes.csv", "--start", "0"], 2, "give --trials TABLE, or --start and --stop"),
            (["spikes.csv", "--trials", "trials.csv", *WINDOW], 2, "either --trials, or --start and --stop"),
            (["spikes.csv", "--start", "5", "--stop", "5"], 1, "a trial is from 5 to 5 s"),
            (["spikes.csv", "--start", "nan", "--stop", "5"], 2, "allowed are numbers of seconds"),
            (["spikes.csv", *WINDOW, "--bin", "0"], 2, "allowed are numbers of seconds above 0"),
            (["spikes.csv", *WINDOW, "--bin", "some"], 2, "--bin"),
            (["spikes.csv", *WINDOW, "--lags", "4"], 2, "at least 5"),
            (["spikes.csv", *WINDOW, "--bin", "0.5"], 1, "too few bins: the shortest of the trials has 20 of 0.5 s"),
            (["spikes.csv", *WINDOW, "--bin", "1e-320"], 1, "too many bins: 10 trials of 10 s; use a larger --bin"),
            (["spikes.csv", "--start", "20", "--stop", "30"], 1, "no spike lies in a trial; spikes are from"),
            (["spikes.csv", *WINDOW, "--step", "0.1"], 2, "give their results with --compare"),
            (["spikes.csv", *WINDOW, "--n", "5"], 2, "give their results with --compare"),
            (["spikes.csv", *WINDOW, "--compare", "nowhere"], 1, "nowhere is not a folder"),
            (["spikes.csv", *WINDOW, "--out", "spikes.csv"], 1, "cannot write spikes.csv/spikes.parquet"),
        ],
    )
    def test_commands(self, words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]):
        self.fails(words, status, says, capsys)

    @pytest.mark.parametrize(
        ("spikes", "trials", "says"),
        [
            ("neuron time; 0 1", TRIALS, "spikes.csv: lacks the column time_s; it has neuron, time"),
            ("unit time_s; 0 1", TRIALS, "spikes.csv: lacks the column neuron"),
            ("neuron trial time_s", TRIALS, "spikes.csv: has no spikes"),
            (SPIKES, "trial start_s stop_s", "trials.csv: has no trials"),
            (SPIKES, "trial start_s; 0 0", "trials.csv: lacks the column stop_s"),
            (SPIKES, "start_s stop_s; 0 10", "trials.csv: lacks the column trial"),
            ("neuron trial time_s; 0 0 1; 0 0 x", TRIALS, "spikes.csv: time_s is x in row 2"),
            ("neuron trial time_s; 0 0 inf", TRIALS, "spikes.csv: time_s is inf in row 1"),
            ("neuron trial time_s; 0 0 2024-05-01", TRIALS, "spikes.csv: time_s is 2024-05-01 in row 1"),
            ("neuron,trial,time_s;1,0,1;,0,2", TRIALS, "neuron is empty in row 2"),
            (SPIKES, "trial start_s stop_s; 0 0 10; 1 5 3", "trials.csv: a trial is from 5 to 3 s (row 2)"),
            (SPIKES, "trial start_s stop_s; 0 0 10; 0 0 10", "a label is missing or there twice"),
            (SPIKES, "trial start_s stop_s; a 0 10; b 0 10", "spikes.csv: no spike lies in a trial"),
            ("neuron time_s; 0 1", "start_s stop_s; 5 10; 0 6", "the trials of rows 1 and 2 overlap"),
            (
                "neuron time_s; 0 1000",
                "start_s stop_s; 0 10",
                "no spike lies in a trial; spikes are from 1000 to 1000 s",
            ),
            ("neuron time_s; 0 9.99", "start_s stop_s; 0 9.994", "no neuron has a timescale: 1 neuron: all counts"),
            ("", TRIALS, "spikes.csv cannot be read: No columns"),
        ],
    )
    def test_tables(
        self,
        spikes: str,
        trials: str,
        says: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ):
        monkeypatch.chdir(tmp_path)
        Path("spikes.csv").write_text(table(spikes))
        Path("trials.csv").write_text(table(trials))
        self.fails(["spikes.csv", "--trials", "trials.csv"], 1, says, capsys)

    @pytest.mark.usefixtures("folder")
    def test_a_damaged_file(self, capsys: pytest.CaptureFixture[str]):
        Path("spikes.parquet").write_bytes(Path("spikes.parquet").read_bytes()[:-30])
        self.fails(["spikes.parquet", *WINDOW], 1, "spikes.parquet cannot be read", capsys)

    @pytest.mark.usefixtures("folder")
    def test_times_of_day_are_no_seconds(self, few: pd.DataFrame, capsys: pytest.CaptureFixture[str]):
        few.assign(time_s=pd.to_timedelta(few["time_s"], unit="s")).to_parquet("spikes.parquet")
        self.fails(["spikes.parquet", *WINDOW], 1, "allowed are numbers of seconds", capsys)

    @pytest.mark.usefixtures("folder")
    def test_results_without_what_is_needed(self, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        words = ["spikes.csv", *WINDOW, "--compare"]
        self.fails([*words, str(results), "--n", "7"], 1, "no network was measured at N = 7; there are 5, 10", capsys)
        fast = HandMade(tmp_path / "fast" / "curricula")
        for curriculum in ("single", "multi"):
            rows = [timescale(5, neuron, 0.5, "robust") for neuron in (-1, 0)]
            fast.write(TIMESCALES, fast.add(config(curriculum), [solved(5, 1)]), rows)
        self.fails([*words, str(fast.folder)], 1, "no neuron of these networks has a tau_net above one", capsys)
        bare = HandMade(tmp_path / "bare" / "curricula")
        bare.add(config("single"), [solved(5, 1)])
        says = "have not been measured. To measure them: python -m analysis timescales"
        self.fails([*words, str(bare.folder)], 1, says, capsys)

    def fails(self, words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["spikes", *words]) == status
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        assert says in printed.err
