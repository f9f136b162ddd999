"""What interventions measure of trained networks, and what the command makes of a folder."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.__main__ import main
from analysis.data.cell import COLUMNS, TRAINING
from analysis.data.frames import load
from analysis.measure import interventions
from analysis.measure.interventions import InTime, analyses
from analysis.stats import comparison
from tests.trained import trained_sweep
from tsrnn import MultiHead, RunConfig, SingleHead
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.reference import read_reference
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import ABLATION, HEADS_RETRAINING, INHIBITION, PERTURBATION, RUNS, SOLVED
from tsrnn.io.store import Store
from tsrnn.networks import population
from tsrnn.tasks import Parity
from tsrnn.training import logistic
from tsrnn.training.evaluation import in_time_accuracy

SHORT = InTime(steps=60, trials=3)
# Of the reference's README: in time, p = 0.5.
IN_TIME = {("single", 5): 0.969, ("single", 10): 0.973, ("multi", 5): 1.0, ("multi", 10): 1.0}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")


@pytest.fixture
def trained(results: Path) -> tuple[Checkpoint, int]:
    """One of the networks that solved N = 2."""
    from tsrnn.io.checkpoint import load as load_checkpoint

    row = load(results, SOLVED).query("n == 2").iloc[0]
    return load_checkpoint(results / row["checkpoint"]), 2


def measure(kind: str, checkpoint: Checkpoint, n: int, **options) -> pd.DataFrame:
    settings = {"protocol": SHORT, "draws": 2, "common": False, "heads": None} | options
    (analysis,) = analyses([kind], **settings)
    ((table, rows),) = analysis.measure(checkpoint, n).items()
    assert (table,) == analysis.tables
    return pd.DataFrame(rows)


class TestMeasures:
    def test_ablation_removes_the_ends_of_the_order_of_tau(self, trained):
        frame = measure("ablation", *trained)
        tau = trained[0].network["tau"]
        assert frame["removed"].tolist() == ["none", "longest", "longest", "shortest", "shortest"]
        assert frame.loc[1, "neuron"] == int(tau.argmax())
        assert frame.loc[1, "tau"] == pytest.approx(float(tau.max()))
        assert frame.loc[3, "tau"] == pytest.approx(float(tau.min()))
        assert frame["neuron"].tolist()[0::2] == [-1, -1, -1]
        # One neuron is 4 % of 32: alone and together are the same.
        assert frame.loc[1, "accuracy"] == frame.loc[2, "accuracy"]
        assert frame.loc[0, "relative_accuracy"] == 1
        np.testing.assert_allclose(
            frame["relative_accuracy"], (frame["accuracy"] - 0.5) / (frame.loc[0, "accuracy"] - 0.5)
        )

    @pytest.mark.parametrize(("kind", "strengths"), [("perturb-weights", 10), ("perturb-taus", 13)])
    def test_perturbation_hurts_more_the_stronger_it_is(self, trained, kind, strengths):
        frame = measure(kind, *trained)
        assert len(frame) == (1 + strengths) * 2
        assert frame["perturbed"].unique().tolist() == [kind.removeprefix("perturb-")]
        means = frame.groupby("perturbation")["relative_accuracy"].mean()
        assert means[0] == pytest.approx(1)
        assert means.iloc[1] == pytest.approx(1, abs=0.1)
        assert abs(means.iloc[-1]) < 0.5
        assert frame["perturbation"].max() == pytest.approx(10)

    def test_the_same_again_is_the_same_and_common_directions_are_others(self, trained):
        once, again = measure("perturb-weights", *trained), measure("perturb-weights", *trained)
        pd.testing.assert_frame_equal(once, again)
        assert not once["accuracy"].equals(measure("perturb-weights", *trained, common=True)["accuracy"])

    def test_inhibition_sees_the_activity(self, trained):
        frame = measure("inhibition", *trained)
        assert sorted(frame["change"]) == [round(c / 100, 2) for c in range(-10, 11)]
        assert (frame["activity_low"] <= 0).all()
        assert (frame["activity_high"] > 0).all()
        assert (frame["exploded"] == 0).all()
        assert frame.set_index("change").loc[0, "relative_accuracy"] == 1

    def test_an_explosion_is_a_finding(self, trained):
        # What is left without any inhibition excites itself without bound.
        rows = interventions.measure_inhibition(*trained, changes=(-1.0, 0.0), protocol=InTime(steps=900, trials=2))
        frame = pd.DataFrame(rows[INHIBITION]).set_index("change")
        assert frame.loc[-1.0, "exploded"] == 2
        assert np.isnan(frame.loc[-1.0, "activity_high"])
        assert np.isfinite(frame["accuracy"]).all()

    def test_retrained_heads_are_judged_on_new_sequences(self, trained):
        frame = measure("heads-retraining", *trained, heads=[2, 3, 12]).set_index("head")
        assert frame.loc[2, "accuracy"] > 0.9
        assert frame.loc[12, "accuracy"] == pytest.approx(0.5, abs=0.15)
        assert (frame["iterations"] > 0).all()

    def test_a_head_that_is_not_there(self, trained):
        with pytest.raises(ValueError, match="no such head"):
            measure("ablation", trained[0], 9)

    def test_a_network_that_is_no_better_than_chance_has_no_baseline(self, trained):
        checkpoint, n = trained
        heads = {name: t.flip(0) for name, t in checkpoint.network.items() if name.startswith("heads.")}
        wrong = Checkpoint(checkpoint.config, checkpoint.progress, checkpoint.network | heads)
        with pytest.raises(ValueError, match="above chance"):
            measure("ablation", wrong, n)


class TestReadout:
    def test_the_rows_are_scikit_learns(self, trained):
        """One head at a time, fitted and judged by another library."""
        heads, (checkpoint, n) = [2, 3, 12], trained
        frame = measure("heads-retraining", checkpoint, n, heads=heads)
        task, people = checkpoint.config.task.balanced(), interventions.newest_head(checkpoint, n)
        draws = {(checkpoint.config.seed, "heads retraining", i): trials for i, trials in enumerate((20, SHORT.trials))}
        seen, fresh = interventions._states_and_labels(people, task, heads, draws, SHORT)
        for k in range(len(heads)):
            model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-10))
            model.fit(seen.states.double().numpy(), seen.labels[k].numpy())
            right = model.predict(fresh.states.double().numpy()) == fresh.labels[k].numpy()
            trials = right.reshape(SHORT.steps, SHORT.trials).mean(0)
            assert frame["accuracy"][k] == pytest.approx(trials.mean(), abs=0.006)  # one answer of 180
            assert frame["standard_error"][k] == pytest.approx(trials.std(ddof=1) / SHORT.trials**0.5, abs=0.01)

    @pytest.mark.slow
    def test_it_is_at_least_what_20_epochs_of_sgd_reach(self, reference: Path):
        """Appendix H trains the readout by SGD; on fixed states that approaches the same optimum from below."""
        path = reference / "checkpoints" / "single_parity_N10.safetensors"
        checkpoint = read_reference(path, Parity(), SingleHead(), 10)
        people = interventions.newest_head(checkpoint, 10)
        task = checkpoint.config.task.balanced()
        heads = [5, 10, 11]
        draws = {(0, "sgd", 0): 20, (0, "sgd", 1): 10}
        seen, fresh = interventions._states_and_labels(people, task, heads, draws, InTime())
        readouts = logistic.fit(seen.states, seen.labels)
        generator = torch.Generator().manual_seed(0)
        for k in range(len(heads)):
            states, expected = seen.states, seen.labels[k]
            head = torch.nn.utils.skip_init(torch.nn.Linear, 500, 2)
            torch.nn.init.zeros_(head.weight)
            torch.nn.init.zeros_(head.bias)
            optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.1, nesterov=True)
            for _ in range(20 * 600):
                batch = torch.randint(len(states), (256,), generator=generator)
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(head(states[batch]), expected[batch].long()).backward()
                torch.nn.utils.clip_grad_norm_(head.parameters(), 2.0)
                optimizer.step()
            by_sgd = float((head(fresh.states).argmax(1) == fresh.labels[k]).float().mean())
            by_regression = float((readouts.answers(fresh.states)[k] == fresh.labels[k]).float().mean())
            print(f"N' = {heads[k]}: SGD {by_sgd:.4f}, logistic regression {by_regression:.4f}")
            assert by_regression >= by_sgd - 0.01


class TestReference:
    @pytest.mark.parametrize(("curriculum", "n"), IN_TIME, ids=lambda value: str(value))
    def test_in_time_accuracy_is_the_authors(self, reference: Path, curriculum: str, n: int):
        path = reference / "checkpoints" / f"{curriculum}_parity_N{n}.safetensors"
        kind = {"single": SingleHead, "multi": MultiHead}[curriculum]()
        checkpoint = read_reference(path, Parity(), kind, n)
        people = interventions.newest_head(checkpoint, n)
        (found,) = in_time_accuracy(people, checkpoint.config.task.balanced(), [(1, "reference", 0)])
        assert abs(found[n].accuracy - IN_TIME[curriculum, n]) <= 3 * found[n].standard_error + 0.001

    def test_the_copy_that_nothing_was_done_to_is_the_network(self, reference: Path):
        path = reference / "checkpoints" / "single_parity_N5.safetensors"
        checkpoint = read_reference(path, Parity(), SingleHead(), 5)
        rows = interventions.measure_ablation(checkpoint, 5, protocol=InTime(steps=200, trials=2))[ABLATION]
        alone = population(checkpoint.config.network, [checkpoint.network], [(5,)])
        task, address = checkpoint.config.task.balanced(), (0, "ablation 5", 0)
        (found,) = in_time_accuracy(alone, task, [address], steps=200, trials=2)
        assert rows[0]["accuracy"] == pytest.approx(found[5].accuracy, abs=0.01)


def networks(**max_n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `networks` and `solved` frames of networks named CURRICULUM_NUMBER, solved up to a max N."""
    cell = dict.fromkeys((*COLUMNS, *TRAINING), "x") | {"task": "parity", "tau": "trained"}
    rows = [cell | {"curriculum": name.split("_")[0], "network_id": name, "max_n": n} for name, n in max_n.items()]
    solved = [{"network_id": name, "n": n} for name, top in max_n.items() for n in range(2, top + 1)]
    return pd.DataFrame(rows), pd.DataFrame(solved, columns=["network_id", "n"])


class TestChoose:
    def test_the_largest_shared_n_and_who_holds_the_others_back(self):
        choice = comparison.choose(*networks(single_1=5, single_2=3, multi_1=9))
        assert choice.checkpoints["n"].tolist() == [3, 3, 3]
        assert choice.notes == (
            "task parity, tau trained: compared at N = 3, the largest that all have solved; "
            "limited by single single_2 (max N 3)",
        )

    def test_an_n_that_all_have_solved(self):
        choice = comparison.choose(*networks(single_1=5, multi_1=9), n=4)
        assert choice.checkpoints["n"].tolist() == [4, 4]
        assert choice.notes == ()

    def test_an_n_that_some_have_not_solved_names_them(self):
        choice = comparison.choose(*networks(single_1=5, multi_1=40), n=30)
        assert choice.checkpoints["n"].tolist() == [5, 5]
        assert "N = 30 is not solved by single single_1 (max N 5)" in choice.notes[0]
        assert "compared at N = 5, the largest up to 30" in choice.notes[1]

    def test_a_network_that_never_got_there_is_left_out_by_name(self):
        choice = comparison.choose(*networks(single_1=5, single_2=0, multi_1=5))
        assert sorted(choice.checkpoints["network_id"]) == ["multi_1", "single_1"]
        assert choice.notes == (
            "task parity, tau trained: left out, because they have not solved any N yet: single single_2 (max N 0)",
        )

    def test_no_shared_n_says_what_is_needed(self):
        frame, solved = networks(single_1=5, multi_1=9)
        solved = solved[(solved["network_id"] != "multi_1") | (solved["n"] > 5)]
        choice = comparison.choose(frame, solved)
        assert choice.checkpoints.empty
        assert "there is no N that all of its networks have solved" in choice.notes[-1]

    def test_networks_of_several_k_at_one_n(self):
        """At the N that each k has solved by itself, networks of different k have no N in common."""
        frame, solved = networks(single_1=5, multi_1=9, single_2=4, multi_2=7)
        frame = frame.assign(k=["10", "10", "7,8", "7,8"])
        assert comparison.choose(frame, solved).checkpoints["n"].tolist() == [5, 5, 4, 4]
        choice = comparison.choose(frame, solved, but=("curriculum", "k"))
        assert choice.checkpoints["n"].tolist() == [4, 4, 4, 4]
        assert choice.checkpoints["group"].nunique() == 2
        assert choice.notes == (
            "task parity, tau trained: compared at N = 4, the largest that all have solved; "
            "limited by single single_2 (max N 4)",
        )

    def test_many_names_are_cut(self):
        frame, solved = networks(**{f"multi_{i}": 0 for i in range(7)}, single_1=2)
        assert "and 3 more" in comparison.choose(frame, solved).notes[0]


class TestCommand:
    KINDS = ("ablation", "perturb-weights", "perturb-taus", "inhibition", "heads-retraining")

    def test_everything_and_again(self, results: Path, capsys: pytest.CaptureFixture[str]):
        command = ["interventions", str(results), "--trials", "1", "--draws", "2", "--heads", "2", "4"]
        command += ["--address", "local", "--workers", "2", "--json"]
        assert main(command) == 0
        found = json.loads(capsys.readouterr().out)
        assert list(found["kinds"]) == list(self.KINDS)
        assert found["failed"] == []
        assert any("not solved any N yet: multi n" in note for note in found["notes"])
        perturbed = found["kinds"]["perturb-weights"]
        assert {row["curriculum"] for row in perturbed["summary"]} == {"single", "multi"}
        assert {row["networks"] for row in perturbed["summary"]} == {2}
        assert len(perturbed["tests"]) == 10
        assert {row["verdict"] for row in perturbed["tests"]} == {"inconclusive"}
        assert [row["p_attainable"] for row in perturbed["tests"]] == pytest.approx([2 / 6] * 10)
        assert {row["n_pooled"] for row in perturbed["tests"]} == {4}
        assert [row["removed"] for row in found["kinds"]["ablation"]["tests"]] == [
            "longest",
            "shortest",
            "longest together",
            "shortest together",
        ]
        assert found["kinds"]["heads-retraining"]["tests"] == []
        frame = load(results, PERTURBATION)
        assert set(frame["perturbed"]) == {"weights", "taus"}
        assert len(load(results, HEADS_RETRAINING)) % 2 == 0
        files = {path: path.stat().st_mtime_ns for path in (results / "perturbation").glob("n*.parquet")}
        assert len(files) == 8
        assert main(command[:-1]) == 0
        assert {path: path.stat().st_mtime_ns for path in files} == files
        text = capsys.readouterr().out
        assert "perturb-taus: curricula compared" in text
        assert "inconclusive" in text

    def test_an_n_nobody_solved(self, results: Path, capsys: pytest.CaptureFixture[str]):
        command = ["interventions", str(results), "--kinds", "inhibition", "--n", "30", "--trials", "1"]
        assert main([*command, "--address", "local"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "N = 30 is not solved by" in text
        assert "the largest up to 30 that all have solved" in text

    def test_nothing_solved(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        store = Store(tmp_path)
        store.create()
        config = RunConfig()
        store.write(RUNS, config.network_id, [runs_row(config, "test", "quick")])
        assert main(["interventions", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert "nothing to measure" in error
        assert "not solved any N yet" in error
        assert error.count("\n") == 1

    def test_other_architectures_are_left_out_with_the_reason(self, results: Path):
        from analysis.measure import intervention_results

        notes: list[str] = []
        frame = pd.DataFrame({"task": ["parity", "sines", "parity"], "architecture": ["gru", "leaky", "leaky"]})
        assert len(intervention_results.measurable("perturb-taus", frame, notes)) == 1
        assert any("gru" in note for note in notes)
        assert any("sines" in note for note in notes)
        assert len(intervention_results.measurable("heads-retraining", frame, [])) == 2

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--n", "1"], "at least 2"),
            (["--n", "5.5"], "--n: '5.5': allowed are whole numbers"),
            (["--trials", "0"], "at least 1"),
            (["--kinds", "tickle"], "tickle"),
            (["--address", "nowhere"], "address = 'nowhere': allowed are auto, local and HOST:PORT"),
            (["--kinds", "ablation", "--heads", "5"], "heads: they are of heads-retraining"),
            (["--kinds", "ablation", "inhibition", "--common-directions"], "common-directions: they are of perturb-"),
        ],
    )
    def test_bad_options_are_one_line(self, results: Path, capsys: pytest.CaptureFixture[str], options, says):
        assert main(["interventions", str(results), *options]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
