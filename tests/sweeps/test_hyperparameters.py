"""The hyperparameter study: its space, its candidates, and that a kill loses none that is finished."""

import dataclasses
import io
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import FixedTrial, TrialState
from ray.tune.experiment import Trial

from sweeps.engine.errors import SweepError
from sweeps.hyperparameters import app
from sweeps.search import study as _study
from sweeps.search.ablation import parts, without_each_part
from sweeps.search.candidate import Candidate, Question, mean_score, score
from sweeps.search.names import OPTIMIZERS
from sweeps.search.space import KNOWN, TUNED, known, network_of, suggest
from sweeps.search.study import DATABASE, RETRIES, Search
from tests.processes import descendants, kill, kill_everything
from tsrnn import command_line
from tsrnn.command_line import run_resumable
from tsrnn.config import SGD, AdamW, MultiHead, RateDecay, RunConfig, SingleHead
from tsrnn.config.presets import with_preset
from tsrnn.io.claims import DRIVER, take
from tsrnn.io.schemas import EPOCHS
from tsrnn.io.store import Store
from tsrnn.provenance import UNKNOWN, Code
from tsrnn.tasks import DMS

REPOSITORY = Path(__file__).resolve().parents[2]
QUESTION = Question(
    stage=12, budget=3e7, unit="operations", purpose="search", optimizer="adam", task="parity", curriculum_name="multi",
    hidden=6, precision="float32", seeds=(0, 1),
)  # fmt: skip
FAST = KNOWN[2] | {"batch_size": 8, "steps_per_epoch": 10}

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def draws(count: int) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = []
    for _ in range(count):
        trial = study.ask()
        suggest(trial, OPTIMIZERS, "multi")
        found.append(trial.params)
    return found


class TestSpace:
    @pytest.mark.parametrize("curriculum", ["multi", "single"])
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_what_a_study_begins_with_lies_in_it(self, optimizer, curriculum):
        found = known(optimizer, curriculum)
        for own in found + [own for own in without_each_part(curriculum).values() if own["optimizer"] == optimizer]:
            trial = FixedTrial(own)
            suggest(trial, [optimizer], curriculum)
            assert trial.params == own
            for name, distribution in trial.distributions.items():
                assert distribution._contains(distribution.to_internal_repr(own[name])), name
        assert len(found) == {"sgd": 2, "adam": 1, "adamw": 0, "muon": 1, "soap": 1}[optimizer]

    def test_each_optimiser_has_a_search_of_its_own(self):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(20):
            trial = study.ask()
            suggest(trial, ["sgd"], "single")
            assert trial.params["optimizer"] == "sgd"
            assert not trial.params.keys() & {"adam_learning_rate", "ahead", "solved_weight"}
            study.tell(trial, 0.0)

    def test_an_ablation_changes_one_part_at_a_time(self):
        whole, *others = without_each_part("multi").values()
        assert whole == TUNED
        assert len(others) == 8
        networks = [network_of(own) for own in others]
        assert len({network.network_id for network in networks}) == 8
        # What each is without is as the paper's training has it, but for Adam in Muon's place.
        paper = network_of(KNOWN[0])
        assert networks[1].training.rate_decay == paper.training.rate_decay
        assert networks[2].training.batch_size == paper.training.batch_size
        assert networks[3].training.steps_per_epoch == paper.training.steps_per_epoch
        assert networks[4].training_task.input_probability == paper.task.input_probability
        assert networks[5].training_task.readout_steps == paper.task.readout_steps
        assert networks[6].training_task.lengths.longest_factor == paper.task.lengths.longest_factor
        assert networks[7].curriculum == paper.curriculum
        assert len(without_each_part("single")) == 8

    def test_every_candidate_is_a_network_judged_on_the_papers_sequences(self):
        candidates = [network_of(parameters) for parameters in draws(100)]
        assert len({network.network_id for network in candidates}) == 100
        for network in candidates:
            assert network.task == RunConfig().task
            assert network.training.solved_accuracy == RunConfig().training.solved_accuracy
            assert network.training.test_batches * network.training.sequences_tested == 2560
            assert RunConfig.from_json(network.to_json()) == network

    def test_the_papers_candidate_trains_as_the_paper_does(self):
        network = network_of(KNOWN[0])
        assert network.training_task == network.task == RunConfig().task
        assert network.network == RunConfig().network
        assert network.curriculum == MultiHead()
        training = dataclasses.replace(
            network.training,
            steps_per_epoch=600,
            test_batches=50,
            test_batch_size=None,
            screening_batches=None,
            confirm=None,
        )
        assert training == RunConfig().training

    def test_parameters_become_settings(self):
        network = network_of(
            {
                "batch_size": 100, "steps_per_epoch": 20, "optimizer": "adamw", "adam_learning_rate": 0.01,
                "beta2": 0.99, "weight_decay": 0.1, "rate_decay": True, "rate_decay_n": 9,
                "rate_decay_power": 1.5, "clip": 3.0, "input_probability": "half", "asked_all": False, "asked": 9,
                "longest_factor": 3, "slope": 0.2, "tau_high": 1.5, "ahead": 5, "solved_weight": 0.5,
            },
            task="dms", hidden=30, precision="bfloat16", seed=8,
        )  # fmt: skip
        assert (network.task, network.seed, network.network.hidden) == (DMS(), 8, 30)
        assert (
            network.training_task.kind,
            network.training_task.readout_steps,
            network.training_task.input_probability,
        ) == ("dms", 9, 0.5)
        assert network.training_task.lengths_for(10) == (18, 36)
        assert network.network.nonlinearity.slope == 0.2
        assert (network.network.tau.low, network.network.tau.high) == (1.0, 1.5)
        assert network.curriculum == MultiHead(ahead=5)
        training = network.training
        assert training.optimizer == AdamW(learning_rate=0.01, beta2=0.99, weight_decay=0.1)
        assert (training.batch_size, training.steps_per_epoch, training.test_batches) == (100, 20, 10)
        assert training.rate_decay == RateDecay(n=9, power=1.5)
        assert (training.clip.max_norm, training.solved_weight, training.precision) == (3.0, 0.5, "bfloat16")

    def test_the_preset_tuned_is_a_candidate(self):
        network, tuned = network_of(TUNED), with_preset(RunConfig(), "tuned")
        assert network == dataclasses.replace(tuned, curriculum=MultiHead(ahead=5), end=network.end)

    def test_asked_at_all_steps_that_have_n_bits(self):
        shown = network_of(KNOWN[3]).training_task
        assert (shown.readout_steps, shown.lengths_for(10), shown.readout_steps_of(26, 10)) == ("all", (26, 34), 17)

    def test_single_head_has_no_heads_ahead(self):
        network = network_of(KNOWN[2] | {"solved_weight": 0.3}, curriculum_name="single")
        assert (network.curriculum, network.training.solved_weight) == (SingleHead(), 1.0)

    def test_sgd(self):
        assert network_of(KNOWN[1]).training.optimizer == SGD(learning_rate=0.02, momentum=0.9)

    def test_a_task_that_is_not_about_bits_is_refused(self):
        with pytest.raises(ValueError, match="task = sines: allowed are tasks about bits"):
            network_of(KNOWN[0], task="sines")


class TestParts:
    def tables(self, without: dict[str, list[float | None]]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Four networks for each part, with the operations to N = 5; those with None used 100 and solved N = 3."""
        rows = [(name, f"{name}{i}", needed) for name, own in without.items() for i, needed in enumerate(own)]
        candidates = pd.DataFrame(
            [
                {"without": name, "network_id": key, "max_n": 3 if needed is None else 5, "operations": 100.0}
                for name, key, needed in rows
            ]
        )
        curves = [{"network_id": key, "n": 3, "operations": 1.0} for _, key, _ in rows]
        curves += [{"network_id": key, "n": 5, "operations": needed} for _, key, needed in rows if needed is not None]
        return candidates, pd.DataFrame(curves)

    def test_the_ratio_to_the_whole_preset(self):
        tables = self.tables({"batch": [20.0, 22.0, 24.0, 26.0], "": [10.0, 11.0, 12.0, 13.0], "ahead": [None] * 4})
        n, found = parts(*tables, stage=50)
        assert n == 5
        assert [part.without for part in found] == ["", "batch", "ahead"]
        whole, batch, ahead = found
        assert (whole.ratio, whole.median, whole.max_n) == (1.0, 11.0, (5, 5, 5, 5))
        assert batch.ratio == pytest.approx(2.0, rel=0.05)
        # Four against four: the exact test tells them apart where all of one side are larger.
        assert 1 < batch.low < 2 < batch.high
        assert ahead.max_n == (3, 3, 3, 3)
        assert ahead.low > 5
        assert ahead.high == ahead.median == math.inf

    def test_up_to_the_n_that_the_whole_preset_solved(self):
        candidates, curves = self.tables({"": [10.0, 11.0, 12.0, None], "batch": [20.0] * 4})
        assert parts(candidates, curves, stage=50)[0] == 3
        assert parts(candidates, curves, stage=2) == (2, [])
        assert parts(candidates[candidates["without"] != ""], curves, stage=50) == (0, [])


def test_score_is_the_n_solved_and_the_way_to_the_next():
    assert score(5, 0.5) == score(5, 0.3) == 4
    assert score(5, 0.74) == pytest.approx(4.5)
    assert score(5, 0.99) == score(6, 0.5) == 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Store(tmp_path).create()
    return tmp_path


class TestSearch:
    def ask(self, search: Search) -> optuna.Trial:
        """Take the next candidate, as the search does."""
        trial = search._study.ask()
        suggest(trial, OPTIMIZERS, "multi")
        return trial

    def test_begins_with_what_is_known_once(self, folder: Path):
        for _ in range(2):
            search = Search(folder, QUESTION)
            search.begin_with(KNOWN)
        assert [self.ask(search).params for _ in KNOWN] == list(KNOWN)
        assert self.ask(search).params not in KNOWN

    def test_a_candidate_that_was_interrupted_is_tried_again_and_finished_ones_stay(self, folder: Path):
        search = Search(folder, QUESTION)
        search.begin_with(KNOWN)
        first, second = self.ask(search), self.ask(search)
        search._study.tell(first, 3.5)
        again = Search(folder, QUESTION)
        assert again.finished == 1
        assert again._study.best_params == KNOWN[0]
        again.begin_with(KNOWN)
        assert [self.ask(again).params for _ in KNOWN[1:]] == [*KNOWN[2:], second.params]

    @pytest.mark.parametrize("ends", ["killed while it is proposed", "failed"])
    def test_a_candidate_that_did_not_end_keeps_all_its_settings_and_its_label(self, folder: Path, ends: str):
        question = dataclasses.replace(QUESTION, purpose="ablation", optimizer="", seeds=(200, 201))
        asked = without_each_part("multi")
        search = Search(folder, question)
        search.begin_with_parts(asked)
        assert search._left(len(asked)) == search.waiting == len(asked)
        trial = search._study.ask()
        if ends == "failed":
            suggest(trial, OPTIMIZERS, "multi")
            search._study.tell(trial, state=TrialState.FAIL)
        else:
            trial.suggest_categorical("optimizer", OPTIMIZERS)
        for _ in range(2):
            again = Search(folder, question)
            again.begin_with_parts(asked)
            assert again.waiting == len(asked)
        for _ in asked:
            again._study.tell(self.ask(again), 1.0)
        done = again._trials(TrialState.COMPLETE)
        assert {trial.user_attrs["without"]: trial.params for trial in done} == asked
        assert Search(folder, question).waiting == again._left(len(asked) + 1) == 0

    def test_of_several_studies_of_a_stage_the_largest_is_promoted(self, folder: Path):
        for budget, seeds, value in ((1e3, (7, 8), 9.0), (3e7, (0, 1), 5.0)):
            search = Search(folder, dataclasses.replace(QUESTION, budget=budget, seeds=seeds))
            trial = self.ask(search)
            search._study.tell(trial, value)
        assert Search(folder, dataclasses.replace(QUESTION, stage=25)).promoted(1) == [trial.params]

    def test_the_best_are_promoted_to_later_stages_and_other_seeds(self, folder: Path):
        search = Search(folder, QUESTION)
        values = [2.0, 5.0, 4.0]
        trials = [self.ask(search) for _ in values]
        for trial, value in zip(trials, values, strict=True):
            search._study.tell(trial, value)
        pruned = self.ask(search)
        pruned.report(9.0, 1)
        search._study.tell(pruned, state=TrialState.PRUNED)
        later = Search(folder, dataclasses.replace(QUESTION, stage=25, budget=9e9))
        assert search.promoted(9) == []
        assert later.promoted(2) == [trials[1].params, trials[2].params]
        assert search.finished == 4
        confirm = dataclasses.replace(QUESTION, purpose="confirm", seeds=(7, 8))
        assert Search(folder, confirm).promoted(1) == [trials[1].params]
        assert Search(folder, dataclasses.replace(confirm, stage=25)).promoted(1) == []
        assert Search(folder, dataclasses.replace(QUESTION, stage=25, optimizer="sgd")).promoted(1) == []
        assert Search(folder, dataclasses.replace(QUESTION, stage=25, unit="seconds")).promoted(1) == []
        assert Search(folder, dataclasses.replace(QUESTION, stage=50, hidden=7)).promoted(1) == []
        later._study.tell(self.ask(later), 1.0)
        assert len(Search(folder, dataclasses.replace(QUESTION, stage=50)).promoted(9)) == 1

    def test_another_budget_in_the_same_study_is_refused(self, folder: Path):
        Search(folder, QUESTION)
        with pytest.raises(
            SweepError,
            match=r"operations = 6e\+07: the study search-parity-multi-12.* has a budget of 3e\+07 operations",
        ):
            Search(folder, dataclasses.replace(QUESTION, budget=6e7))

    def test_it_says_which_code_trained_its_candidates(self, folder: Path):
        search = Search(folder, QUESTION)
        search.begin_with(KNOWN)
        assert search.codes() == []
        search._study.set_user_attr("code", [dataclasses.asdict(Code("0123", "c" * 40))])
        later = Search(folder, dataclasses.replace(QUESTION, stage=25))
        assert Search(folder, QUESTION).codes() == later.codes() == [Code("0123", "c" * 40)]
        assert Search(folder, dataclasses.replace(QUESTION, hidden=7)).codes() == []
        # That of an earlier version does not say it.
        self.ask(later)
        assert Search(folder, dataclasses.replace(QUESTION, stage=25)).codes() == [Code("0123", "c" * 40), UNKNOWN]

    @pytest.mark.parametrize("allowed", [False, True])
    def test_a_study_that_other_code_began_is_refused(self, tmp_path: Path, monkeypatch, capsys, allowed: bool):
        """The command; with the switch it goes as far as joining Ray."""
        (tmp_path / "hyperparameters").mkdir()
        question = dataclasses.replace(QUESTION, budget=1e12, hidden=500)
        search = Search(tmp_path / "hyperparameters", question)
        search._study.set_user_attr("code", [dataclasses.asdict(Code("0123456789abcdef"))])
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        options = ["--storage", str(tmp_path), *(["--allow-other-code"] if allowed else [])]
        assert run_resumable(app, options) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert ("allow both with --allow-other-code" in said) != allowed
        assert ("1 stage was begun with code 0123456789abcdef; training continues with code" in said) == allowed
        assert ("address = 127.0.0.1:1: no Ray cluster answers there" in said) == allowed

    def test_proposals_of_a_resumed_study_are_new(self, folder: Path):
        proposals = []
        for _ in range(3):
            search = Search(folder, QUESTION)
            trial = self.ask(search)
            search._study.tell(trial, 1.0)
            proposals.append(str(trial.params))
        assert len(set(proposals)) == 3


class TestCandidate:
    def config(self, folder: Path) -> dict[str, object]:
        trial = {
            "folder": str(folder),
            "claim": take(folder, DRIVER).name,
            "device": "cpu",
            "gpus": 0,
            "threads": 1,
        }
        return FAST | {"question": dataclasses.asdict(QUESTION), "trial": trial}

    def test_it_ends_at_the_budget_and_its_score_is_that_of_its_rows(self, folder: Path):
        candidate = Candidate(self.config(folder))
        results = [candidate.step()]
        while not results[-1]["done"]:
            results.append(candidate.step())
        last, before = results[-1], results[-2]
        assert before["used"] < 1000 <= last["used"]
        assert (last["whole"], before["whole"]) == (True, False)
        rows = [Store(folder).read(EPOCHS, network.network_id) for network in QUESTION.networks(FAST)]
        assert [len(own) for own in rows] == [len(results)] * 2
        ends = [own[-1] for own in rows]
        most = max(row["operations"] for row in ends)
        assert last["used"] == pytest.approx(1000 * most / QUESTION.budget)
        assert last["operations"] == pytest.approx(sum(row["operations"] for row in ends) / 2)
        assert last["score"] == pytest.approx(sum(score(r["n_max"], r["accuracy_newest"]) for r in ends) / 2)
        assert not list(folder.glob("checkpoints/*/n-*"))
        candidate.stop()

    def test_one_that_was_stopped_goes_on_in_a_later_stage(self, folder: Path):
        candidate = Candidate(self.config(folder))
        for _ in range(3):
            stopped = candidate.step()
        candidate.stop()
        again = Candidate(self.config(folder))
        assert again._started == dict.fromkeys((n.network_id for n in QUESTION.networks(FAST)), 3)
        assert mean_score([*again._reached.values()]) == pytest.approx(stopped["score"])
        further = again.step()
        assert further["operations"] > stopped["operations"]
        again.stop()

    def test_what_a_larger_budget_trained_further_does_not_change_an_earlier_result(self, folder: Path):
        """Neither the score of the same candidate, if it is tried once more, nor the tables of its study."""

        def trained(question: Question) -> list[dict[str, object]]:
            candidate = Candidate(self.config(folder) | {"question": dataclasses.asdict(question)})
            results = [candidate.step()]
            while not results[-1]["done"]:
                results.append(candidate.step())
            candidate.stop()
            return results

        search = Search(folder, QUESTION)
        search._study.enqueue_trial(FAST)
        trial = search._study.ask()
        suggest(trial, OPTIMIZERS, "multi")
        *_, result = trained(QUESTION)
        search._study.tell(trial, result["score"])
        before = search.tables()
        further = trained(dataclasses.replace(QUESTION, budget=3 * QUESTION.budget))
        assert len(further) > 1
        (again,) = trained(QUESTION)
        assert again == result
        for name, frame in search.tables().items():
            pd.testing.assert_frame_equal(frame, before[name])

    def test_one_whose_networks_have_ended_but_for_one_uses_no_more_than_the_budget(self):
        rows = [[{"operations": 1e7, "epoch": 1}], [{"operations": e * 1e7, "epoch": e} for e in range(1, 9)]]
        assert [newest[1]["epoch"] for newest in QUESTION.course(rows)] == [1, 2, 3]


def command(storage: Path, candidates: int) -> list[str]:
    options = ["--stage", "12", "--candidates", str(candidates), "--hidden", "6", "--operations", "2e8", "--json"]
    options += ["--optimizers", "adam"]
    where = ["--storage", str(storage), "--address", "local", "--concurrent", "1"]
    return [sys.executable, "sweeps/hyperparameters.py", *options, *where]


def finished(storage: Path) -> dict[int, tuple[float, str]]:
    """Return the candidates that have a score, as the database holds them."""
    database = storage / "hyperparameters" / DATABASE
    if not database.exists():
        return {}
    studies = optuna.get_all_study_names(f"sqlite:///{database}")
    if not studies:
        return {}
    trials = optuna.load_study(study_name=studies[0], storage=f"sqlite:///{database}").get_trials(
        states=(TrialState.COMPLETE, TrialState.PRUNED)
    )
    return {trial.number: (trial.value, json.dumps(trial.params, sort_keys=True)) for trial in trials}


def test_a_candidate_that_has_come_further_may_fail_again():
    trial = Trial("any", stub=True)
    trial.run_metadata.num_failures = RETRIES
    _study._Watcher(command_line.console(file=io.StringIO())).on_trial_result(0, [], trial, {})
    assert trial.num_failures == 0


@pytest.mark.slow
def test_a_study_whose_raylet_is_killed_ends_and_says_so(tmp_path: Path):
    process = subprocess.Popen(
        command(tmp_path, 50), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while len(before := finished(tmp_path)) < 1:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.2)
    kill([pid for pid, line in descendants(process.pid).items() if "/raylet/raylet " in line])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        "error: Ray on this machine died (raylet); the same command continues where it stopped"
    )
    assert before.items() <= finished(tmp_path).items()


@pytest.mark.slow
def test_killed_at_any_time_no_finished_candidate_is_lost(tmp_path: Path):
    process = subprocess.Popen(command(tmp_path, 50), cwd=REPOSITORY, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while len(before := finished(tmp_path)) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.2)
    kill_everything(process)
    before = finished(tmp_path)
    count = len(before) + 2
    result = subprocess.run(command(tmp_path, count), cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    after = finished(tmp_path)
    assert len(after) == count
    assert before.items() <= after.items()
    told = pd.DataFrame(json.loads(result.stdout)["candidates"])
    assert told.groupby("candidate")["score"].first().to_dict() == pytest.approx(
        {number: value for number, (value, _) in after.items()}
    )
    assert told.groupby("candidate").size().eq(2).all()
    assert not any(math.isnan(value) for value in told["score"])
    # A fourth of the budget for those that were stopped early, and all of it for the others.
    used = told.groupby(["candidate", "stopped_early"])["operations"].mean() / 2e8
    early = used.index.get_level_values("stopped_early")
    assert early.any()
    assert used[early].between(0.25, 0.9).all()
    assert (used[~early] >= 1).all()
    exported = pd.read_parquet(tmp_path / "hyperparameters" / "candidates")
    assert set(exported["network_id"]) == set(told["network_id"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--stage", "13"], "stage = 13: allowed are 12, 25, 50, 100"),
        (["--candidates", "0"], "--candidates. allowed are numbers of at least 1"),
        (["--seed", "-1"], "--seed. allowed are numbers of at least 0"),
        (["--operations", "0"], "operations = 0: allowed are numbers above 0"),
        (["--seconds", "0"], "seconds = 0: allowed are numbers above 0"),
        (["--seconds", "9", "--operations", "9"], "seconds = 9: allowed is one of operations and seconds"),
        (["--purpose", "ablation", "--candidates", "4"], "purpose = ablation: it has one candidate for each part"),
        (["--task", "sines"], "sines"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, monkeypatch, capsys, options: list[str], says: str):
    from sweeps import hyperparameters
    from tsrnn.command_line import run

    monkeypatch.chdir(tmp_path)
    assert run(hyperparameters.app, options) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert says in told
    assert not list(tmp_path.iterdir())
