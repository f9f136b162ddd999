"""The Optuna study behind the hyperparameter study; it continues after its trials have ended.

The networks of a candidate are stored under their own keys, as in any sweep. Proposals and scores are in the study's
own database. Both survive a kill at any point.
"""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import optuna
import pandas as pd
import pyarrow as pa
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

# Imported before Tune, since it sets variables that Tune reads on import.
from sweeps.engine.cluster import RETRIES, Resources, WhileClaimed  # isort: skip
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from sweeps.engine.errors import SweepError
from sweeps.engine.scratch import scratch
from sweeps.engine.shared import require_shared
from sweeps.engine.stopping import ending_with_ray
from sweeps.search.candidate import BUDGET, Candidate, Question, mean_score
from sweeps.search.names import OPTIMIZERS
from sweeps.search.space import Parameters, suggest
from tsrnn.distributed.ray_internals import forgive_failures, replay
from tsrnn.io.claims import Claim
from tsrnn.io.files import write_atomically
from tsrnn.io.parquet import to_bytes
from tsrnn.io.schemas import EPOCHS, SOLVED
from tsrnn.io.store import Store
from tsrnn.provenance import UNKNOWN, Code, code

# ASHA compares candidates when they have used a fourth of the budget, and keeps a fourth of them. An earlier comparison
# would prefer candidates that are fast at N = 2.
_GRACE: Final = BUDGET // 4
_REDUCTION: Final = 4
# All early stops happen there, at the only comparison.
_RUNG: Final = 1
_SCORED: Final = (TrialState.COMPLETE, TrialState.PRUNED)
_WITHOUT: Final = "without"
_COUNTS: Final = ("epoch", "steps", "operations", "wall_s")
_ENOUGH_TO_TELL: Final = 10
_QUESTION: Final = "question"
_CODE: Final = "code"
_ROOM_UNKNOWN: Final = 8
"""Candidates at a time on a cluster that does not say which machines it may start."""
DATABASE: Final = "optuna.sqlite"


def _by_score(trial: FrozenTrial) -> float:
    return -(trial.value or 0.0)


def _label(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get(_WITHOUT, ""))


def _asked(trial: FrozenTrial) -> Parameters:
    """Return the parameters of a candidate, with those that were queued and are not proposed yet."""
    fixed: Parameters = trial.system_attrs.get("fixed_params", {})
    return fixed | trial.params


class _Searcher(OptunaSearch):
    """Optuna's search without a state of its own: it is in the study's database.

    A candidate that was stopped early is reported to Optuna as pruned, with its score as an intermediate value. The
    sampler ranks it below all candidates that used the whole budget, so scores are only compared at equal budgets.
    """

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing, since a candidate is reported to Optuna when it ends."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Report to Optuna how a candidate ended."""
        if result and not result["whole"]:
            super().on_trial_result(trial_id, result | {"training_iteration": _RUNG})
            result = None
        super().on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file in place of the state that Tune could restore, which is not used here."""
        Path(checkpoint_path).touch()


class _Watcher(tune.Callback):
    """Prints the score of each candidate that ends, and resets the failure count of a candidate after each epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __getstate__(self) -> dict[str, object]:
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        forgive_failures(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        given = {name: value for name, value in trial.config.items() if name not in ("trial", _QUESTION)}
        early = "" if result["whole"] else " (stopped early)"
        self._console.print(
            f"score {result['score']:.2f} after {result['operations']:.1e} operations and {result['seconds']:.0f} s of "
            f"each network{early}: {given}",
            soft_wrap=True,
        )


class Search:
    """The study of one stage in a sweep's folder: what to try next, and the results of everything that was tried."""

    def __init__(self, folder: Path, question: Question) -> None:
        """Open the study, or begin it; candidates that a kill interrupted are queued again.

        Args:
            folder: the folder of the sweep.
            question: the question of the study. The seed of the sampler is that of the first replicate.

        Raises:
            SweepError: if the study has another budget.
        """
        self._folder, self.question = folder, question
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{folder / DATABASE}")
        self._study = optuna.create_study(
            storage=self._storage, study_name=question.study, direction="maximize", load_if_exists=True
        )
        recorded = self._study.user_attrs.get(_QUESTION)
        if recorded is None:
            self._study.set_user_attr(_QUESTION, dataclasses.asdict(question))
        elif recorded["budget"] != question.budget:
            raise SweepError(
                f"{question.unit} = {question.budget:g}: the study {question.study} in {folder} has a budget of "
                f"{recorded['budget']:g} {question.unit}; use that, or another --storage"
            )
        for trial in self._trials(TrialState.RUNNING):
            self._study.tell(trial.number, state=TrialState.FAIL)
        self._queue_failed_again()
        # With the seed of an earlier run, the sampler would propose the same candidates again.
        self._sampler = optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=question.seeds[0] + len(self._study.trials)
        )

    def _queue_failed_again(self) -> None:
        """Queue every candidate that a kill or an error ended, unless a later trial has taken its place."""
        places = [(_label(trial), _asked(trial)) for trial in self._trials(*_SCORED, TrialState.WAITING)]
        for trial in self._trials(TrialState.FAIL):
            label, asked = _label(trial), _asked(trial)
            # A kill may end a candidate before all its parameters are proposed; its successor then has more of them.
            if asked and not any(label == other and asked.items() <= known.items() for other, known in places):
                self._study.enqueue_trial(asked, user_attrs={_WITHOUT: label})
                places.append((label, asked))

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    @property
    def finished(self) -> int:
        """Candidates that have a score."""
        return len(self._trials(*_SCORED))

    def codes(self) -> list[Code]:
        """Return the code that trained the candidates of this study and of the study whose best it begins with.

        It is empty if nothing has begun. The code of studies from earlier versions is unknown.
        """
        found = []
        for question, study in self._studies():
            if question == self.question or question.precedes(self.question):
                begun = any(trial.state is not TrialState.WAITING for trial in study.get_trials(deepcopy=False))
                found += [Code(**one) for one in study.user_attrs.get(_CODE, [])] or [UNKNOWN] * begun
        return found

    def _studies(self) -> Iterator[tuple[Question, optuna.Study]]:
        """Return the studies of the database with their questions, without those of earlier versions."""
        for name in optuna.get_all_study_names(self._storage):
            study = optuna.load_study(study_name=name, storage=self._storage)
            with suppress(TypeError):
                yield Question.recorded(study.user_attrs[_QUESTION]), study

    @property
    def waiting(self) -> int:
        """Candidates in the queue."""
        return len(self._trials(TrialState.WAITING))

    def begin_with(self, candidates: Iterable[Parameters]) -> None:
        """Queue candidates that have not been tried or queued yet."""
        for parameters in candidates:
            self._study.enqueue_trial(parameters, skip_if_exists=True)

    def begin_with_parts(self, candidates: Mapping[str, Parameters]) -> None:
        """Queue the candidates of an ablation, each with the name of the part that it lacks."""
        for name, parameters in candidates.items():
            self._study.enqueue_trial(parameters, user_attrs={_WITHOUT: name}, skip_if_exists=True)

    def promoted(self, count: int) -> list[Parameters]:
        """Return the best candidates of the latest study that precedes this one; none if there is no such study.

        They are ranked at equal budgets, so candidates that were stopped early are not included. Of several studies of
        a stage, which differ in seeds or budget, the one with the largest budget counts, and of those the one with the
        most candidates.
        """
        earlier = [
            (question.stage, question.budget, study.get_trials(states=(TrialState.COMPLETE,)))
            for question, study in self._studies()
            if question.precedes(self.question)
        ]
        *_, whole = max(earlier, key=lambda found: (*found[:2], len(found[2])), default=(0, 0.0, []))
        return [trial.params for trial in sorted(whole, key=_by_score)[:count]]

    def importances(self) -> dict[str, float]:
        """Return the share of the scores' variance that each parameter explains (fANOVA), largest first.

        It uses the parameters that all candidates have, and the candidates that used the whole budget. The result is
        empty if there are too few of them.
        """
        if len(self._trials(TrialState.COMPLETE)) < _ENOUGH_TO_TELL:
            return {}
        return optuna.importance.get_param_importances(
            self._study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the results: "candidates" (one row per network) and "curves" (one row per network and solved N).

        Both end with the budget, although the networks may have been trained further in a later stage.
        """
        store = Store(self._folder)
        candidates, curves = [], []
        for trial in self._trials(*_SCORED):
            networks = self.question.networks(trial.params)
            tables = [store.read(EPOCHS, network.network_id) for network in networks]
            last = sum(1 for _ in self.question.course(tables))
            for network, every in zip(networks, tables, strict=True):
                key = {"study": self.question.study, "candidate": trial.number, "network_id": network.network_id}
                rows = every[:last]
                solved = [row for row in store.read(SOLVED, network.network_id) if row["epoch"] <= last]
                by_epoch = {row["epoch"]: row for row in rows}
                counts = {name: rows[-1][name] if rows else None for name in _COUNTS}
                candidates.append(
                    key
                    | {
                        "seed": network.seed,
                        "score": trial.value,
                        "max_n": max((row["n"] for row in solved), default=0),
                    }
                    | counts
                    | {"stopped_early": trial.state is TrialState.PRUNED, "without": _label(trial)}
                    | trial.params
                )
                curves += [
                    key
                    | {"n": row["n"], "tau_mean": row["tau_mean"], "tau_sd": row["tau_sd"]}
                    | {name: by_epoch[row["epoch"]][name] for name in _COUNTS}
                    for row in solved
                ]
        return {"candidates": pd.DataFrame(candidates), "curves": pd.DataFrame(curves)}

    def export(self, folder: Path) -> None:
        """Write the tables as FOLDER/<table>/<study>.parquet."""
        for name, frame in self.tables().items():
            if frame.empty:
                continue
            rows = pa.Table.from_pandas(frame, preserve_index=False)
            write_atomically(folder / name / f"{self.question.study}.parquet", to_bytes(rows))

    def run(self, candidates: int, concurrent: int, resources: Resources, console: Console, claim: Claim) -> list[str]:
        """Try candidates until a number of them have a score; return the errors of those that failed.

        Args:
            candidates: the number of candidates of the study, including those of earlier runs.
            concurrent: how many to try at a time; 0 means as many as fit on the cluster, or 8 if this is unknown.
            resources: the resources of each candidate.
            console: where candidates with a score are reported.
            claim: the driver's claim on the folder.

        Raises:
            SweepError: if a machine of the cluster does not see the folder, or has other code.
            ClaimLostError: another driver has taken the folder over.
        """
        if not self._left(candidates):
            return []
        with ending_with_ray(console):
            require_shared(self._folder, claim.name, (), console)
        # Check every code that trained candidates, since all candidates are compared with each other.
        known = self._study.user_attrs.get(_CODE, [])
        if dataclasses.asdict(code()) not in known:
            self._study.set_user_attr(_CODE, [*known, dataclasses.asdict(code())])
        constants = {
            "question": dataclasses.asdict(self.question),
            "trial": {
                "code": dataclasses.asdict(code()),
                "folder": str(self._folder),
                "claim": claim.name,
                "gpus": resources.gpus,
                "device": "cuda" if resources.gpus else "cpu",
                "threads": max(1, int(resources.cpus)),
            },
        }

        optimizers = (self.question.optimizer,) if self.question.optimizer else OPTIMIZERS

        def space(trial: optuna.Trial) -> dict[str, Any]:
            suggest(trial, optimizers, self.question.curriculum_name)
            return constants

        searcher = _Searcher(
            space,
            sampler=self._sampler,
            study_name=self.question.study,
            storage=self._storage,
            metric="score",
            mode="max",
        )
        with scratch() as folder_of_tune, ending_with_ray(console):
            results = tune.Tuner(
                tune.with_resources(Candidate, {"cpu": resources.cpus, "gpu": resources.gpus}),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=self._scheduler(),
                    num_samples=self._left(candidates),
                    max_concurrent_trials=concurrent or resources.room or _ROOM_UNKNOWN,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    storage_path=folder_of_tune,
                    name=self.question.study,
                    verbose=0,
                    stop=WhileClaimed(claim),
                    callbacks=[_Watcher(console)],
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                ),
            ).fit()
        claim.check()
        found = [results[i] for i in range(len(results))]
        return [str(result.error) for result in found if result.error is not None]

    def _left(self, candidates: int) -> int:
        """Return how many candidates to try; only a search proposes some that are not in the queue."""
        left = candidates - self.finished
        return left if self.question.purpose == "search" else min(left, self.waiting)

    def _scheduler(self) -> TrialScheduler:
        """Return the scheduler that stops candidates of a search early; all others use the whole budget.

        It knows the candidates of earlier runs, so that it treats new ones as in a single run.
        """
        if self.question.purpose != "search":
            return FIFOScheduler()
        scheduler = ASHAScheduler(
            time_attr="used",
            max_t=BUDGET,
            grace_period=_GRACE,
            reduction_factor=_REDUCTION,
            metric="score",
            mode="max",
        )
        store = Store(self._folder)
        for trial in self._trials(*_SCORED):
            tables = [store.read(EPOCHS, network.network_id) for network in self.question.networks(trial.params)]
            results = [
                {"used": BUDGET * self.question.used(rows), "score": mean_score(rows)}
                for rows in self.question.course(tables)
            ]
            replay(scheduler, f"earlier-{trial.number}", results or [{"used": 0.0, "score": 0.0}])
        return scheduler
