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

# Before Tune: it sets what Tune reads when it is imported.
from sweeps.engine.cluster import RETRIES, Resources, WhileClaimed  # isort: skip
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from sweeps.engine.errors import SweepError
from sweeps.engine.scratch import scratch
from sweeps.engine.shared import require_shared
from sweeps.engine.stopping import ending_with_ray
from sweeps.search.candidate import BUDGET, Candidate, Question, score
from sweeps.search.space import OPTIMIZERS, Parameters, suggest
from tsrnn.distributed.ray_internals import forgive_failures, replay
from tsrnn.io.claims import Claim
from tsrnn.io.files import write_atomically
from tsrnn.io.parquet import to_bytes
from tsrnn.io.schemas import EPOCHS, SOLVED
from tsrnn.io.store import Store
from tsrnn.provenance import UNKNOWN, Code, code

# ASHA looks at candidates when they have used a fourth of the budget, and keeps a fourth of them: a look at less of it
# prefers what is fast at N = 2.
_GRACE: Final = BUDGET // 4
_REDUCTION: Final = 4
# All candidates that are stopped early are stopped there, at the first and only look.
_RUNG: Final = 1
_SCORED: Final = (TrialState.COMPLETE, TrialState.PRUNED)
_WITHOUT: Final = "without"
_COUNTS: Final = ("epoch", "steps", "operations", "wall_s")
_ENOUGH_TO_TELL: Final = 10
_QUESTION: Final = "question"
_CODE: Final = "code"
_ROOM_UNKNOWN: Final = 8
"""Candidates at a time on a cluster that does not say what it may start."""
DATABASE: Final = "optuna.sqlite"


def _by_score(trial: FrozenTrial) -> float:
    return -(trial.value or 0.0)


class _Searcher(OptunaSearch):
    """Optuna's search without a state of its own: it is in the study's database.

    A candidate that was stopped early is told to Optuna as pruned, with its score as an intermediate value: the sampler
    ranks it below all that used the whole budget, and scores are compared at equal budgets only.
    """

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: Optuna hears of a candidate when it ends."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna how a candidate ended."""
        if result and not result["whole"]:
            super().on_trial_result(trial_id, result | {"training_iteration": _RUNG})
            result = None
        super().on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file where Tune wants a state to restore, which is not used here."""
        Path(checkpoint_path).touch()


class _Watcher(tune.Callback):
    """Prints the score of each candidate that ends, and forgives the failures before one's latest epoch."""

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
            highlight=False,
            soft_wrap=True,
        )


class Search:
    """The study of one stage in a sweep's folder: what to try next, and the results of everything that was tried."""

    def __init__(self, folder: Path, question: Question) -> None:
        """Open the study, or begin it; candidates that a kill interrupted are put in line again.

        Args:
            folder: the sweep's.
            question: what it asks. The sampler's seed is that of the first replicate.

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
            self._study.enqueue_trial(trial.params, user_attrs={_WITHOUT: trial.user_attrs.get(_WITHOUT, "")})
        # A sampler with the seed of an earlier run would propose its first candidates again.
        self._sampler = optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=question.seeds[0] + len(self._study.trials)
        )

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    @property
    def finished(self) -> int:
        """Candidates that have a score."""
        return len(self._trials(*_SCORED))

    def codes(self) -> list[Code]:
        """Return the code that trained candidates of this study, or of one whose best it begins with; empty: not begun.

        That of a study which an earlier version began is not known.
        """
        found = []
        for question, study in self._studies():
            if question == self.question or question.precedes(self.question):
                begun = any(trial.state is not TrialState.WAITING for trial in study.get_trials(deepcopy=False))
                found += [Code(**one) for one in study.user_attrs.get(_CODE, [])] or [UNKNOWN] * begun
        return found

    def _studies(self) -> Iterator[tuple[Question, optuna.Study]]:
        """Return the studies of the database with their questions; those of earlier versions are left alone."""
        for name in optuna.get_all_study_names(self._storage):
            study = optuna.load_study(study_name=name, storage=self._storage)
            with suppress(TypeError):
                yield Question.recorded(study.user_attrs[_QUESTION]), study

    def begin_with(self, candidates: Iterable[Parameters]) -> None:
        """Put candidates in line that were not yet tried or in line."""
        for parameters in candidates:
            self._study.enqueue_trial(parameters, skip_if_exists=True)

    def begin_with_parts(self, candidates: Mapping[str, Parameters]) -> None:
        """Put the candidates of an ablation in line, each with the name of the part that it is without."""
        for name, parameters in candidates.items():
            self._study.enqueue_trial(parameters, user_attrs={_WITHOUT: name}, skip_if_exists=True)

    def promoted(self, count: int) -> list[Parameters]:
        """Return the best candidates of the latest study that precedes this one; none if there is no such study.

        They are ranked at equal budgets: candidates that were stopped early are not among them.
        """
        earlier = [(question.stage, study) for question, study in self._studies() if question.precedes(self.question)]
        if not earlier:
            return []
        _, latest = max(earlier, key=lambda found: found[0])
        whole = latest.get_trials(states=(TrialState.COMPLETE,))
        return [trial.params for trial in sorted(whole, key=_by_score)[:count]]

    def importances(self) -> dict[str, float]:
        """Return the share of the scores' variance that each parameter explains (fANOVA), largest first.

        Over the parameters that all candidates have, and the candidates that used the whole budget; empty where there
        are too few of them to tell.
        """
        if len(self._trials(TrialState.COMPLETE)) < _ENOUGH_TO_TELL:
            return {}
        return optuna.importance.get_param_importances(
            self._study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return what came of the candidates: "candidates", a row a network; "curves", a row a network and solved N."""
        store = Store(self._folder)
        candidates, curves = [], []
        for trial in self._trials(*_SCORED):
            for network in self.question.networks(trial.params):
                key = {"study": self.question.study, "candidate": trial.number, "network_id": network.network_id}
                rows, solved = (store.read(table, network.network_id) for table in (EPOCHS, SOLVED))
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
                    | {"stopped_early": trial.state is TrialState.PRUNED, "without": trial.user_attrs.get(_WITHOUT, "")}
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
        """Try candidates until so many have a score; return the errors of those that failed.

        Args:
            candidates: how many the study is to have, those of earlier runs included.
            concurrent: how many at a time; 0 is as many as there is room for, or 8 where that is unknown.
            resources: of each.
            console: where candidates with a score are reported.
            claim: the driver's, on the folder.

        Raises:
            SweepError: if a machine of the cluster does not see the folder, or has other code.
            ClaimLostError: another driver has taken the folder over.
        """
        with ending_with_ray(console):
            require_shared(self._folder, claim.name, (), console)
        # Of every code that trained its candidates: what each trained is scored against all the others.
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
                    num_samples=candidates - self.finished,
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

    def _scheduler(self) -> TrialScheduler:
        """Return what stops candidates of a search early: all others use the whole budget.

        It has seen the candidates of earlier runs, so that it stops new ones as it would have.
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
            networks = [network.network_id for network in self.question.networks(trial.params)]
            results = [
                {
                    "used": BUDGET * sum(map(self.question.spent, rows)) / len(rows) / self.question.budget,
                    "score": sum(score(row["n_max"], row["accuracy_newest"]) for row in rows) / len(rows),
                }
                for rows in zip(*(store.read(EPOCHS, key) for key in networks), strict=False)
            ]
            replay(scheduler, f"earlier-{trial.number}", results or [{"used": 0.0, "score": 0.0}])
        return scheduler
