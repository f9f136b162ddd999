"""A candidate of the hyperparameter study as a Tune trial: one population, the replicates of its parameters."""

import dataclasses
import time
from typing import Any, Final, Literal

from sweeps.engine.trainable import PopulationTrainable
from sweeps.search.space import Parameters, network_of
from tsrnn.config import RunConfig
from tsrnn.io.schemas import EPOCHS
from tsrnn.io.store import Store
from tsrnn.training.reports import EpochReport

_WRITE_EVERY_S: Final = 10.0
_CHANCE: Final = 0.5
_SOLVED: Final = 0.98


@dataclasses.dataclass(frozen=True)
class Question:
    """What a study asks: how far do candidates get on a task, under a curriculum, with this many operations?

    Attributes:
        stage: the N it is about; names the study.
        operations: the budget of each network: useful floating-point operations of its matrix products.
        task: the task's kind.
        curriculum_name: multi or single.
        hidden: H.
        seeds: the replicates' seeds.
    """

    stage: int
    operations: float
    task: str
    curriculum_name: Literal["multi", "single"]
    hidden: int
    seeds: tuple[int, ...]

    @property
    def study(self) -> str:
        """The name of its study in the database."""
        first, last = self.seeds[0], self.seeds[-1]
        return f"{self.task}-{self.curriculum_name}-{self.stage}-hidden-{self.hidden}-seeds-{first}-{last}"

    @classmethod
    def recorded(cls, fields: dict[str, Any]) -> "Question":
        """Return the question of fields that have been JSON."""
        return cls(**fields | {"seeds": tuple(fields["seeds"])})

    def precedes(self, other: "Question") -> bool:
        """Tell whether a study's best candidates are worth trying in another: of a later stage, or on other seeds."""
        same = dataclasses.replace(self, stage=other.stage, operations=other.operations, seeds=other.seeds) == other
        return same and (self.stage < other.stage or (self.stage == other.stage and self.seeds != other.seeds))

    def networks(self, parameters: Parameters) -> list[RunConfig]:
        """Return a candidate's networks, one a seed."""
        return [
            network_of(parameters, task=self.task, curriculum_name=self.curriculum_name, hidden=self.hidden, seed=seed)
            for seed in self.seeds
        ]


def score(n: int, accuracy: float) -> float:
    """Return how far a network has come: N - 1, and the share of the way from chance to 98 % that its N has gone.

    Args:
        n: the newest N that was evaluated.
        accuracy: of its head.
    """
    return n - 1 + min(max((accuracy - _CHANCE) / (_SOLVED - _CHANCE), 0.0), 1.0)


class Candidate(PopulationTrainable):
    """One step is an epoch of a candidate's networks. It is done when their mean operations reach the budget.

    Its Tune config holds the parameters; "question", a `Question` as a dictionary; and "trial", what
    `PopulationTrainable` needs beside the networks.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Load or make the candidate's networks."""
        question = Question.recorded(config["question"])
        networks = question.networks(config)
        self._budget = question.operations
        # How far each network has come: its operations, and its score.
        self._reached = {network.network_id: (0.0, 0.0) for network in networks}
        self._unwritten: dict[str, EpochReport] = {}
        self._written_at = time.monotonic()
        trial = config["trial"] | {"networks": [network.to_json() for network in networks], "plugins": []}
        super().setup({"trial": trial})
        store = Store(config["trial"]["folder"])
        for key in self._reached:
            for row in store.read(EPOCHS, key):
                if row["epoch"] <= self._started.get(key, row["epoch"]):
                    self._reached[key] = row["operations"], score(row["n_max"], row["accuracy_newest"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next candidate, after writing down what the last one has left."""
        self._write_all()
        return super().reset_config(new_config)

    def cleanup(self) -> None:
        """Write down what is left."""
        self._write_all()

    def step(self) -> dict[str, Any]:
        """Train one epoch; report the mean score and the mean operations."""
        result = super().step()
        operations, scores = (sum(values) / len(self._reached) for values in zip(*self._reached.values(), strict=True))
        done = result["done"] or operations >= self._budget
        if done or time.monotonic() - self._written_at >= _WRITE_EVERY_S:
            self._write_all()
        return {"score": scores, "operations": operations, "done": done}

    def _keep(self, report: EpochReport) -> None:
        self._reached[report.config.network_id] = (
            report.checkpoint.progress.operations,
            score(report.n, report.accuracy),
        )
        super()._keep(report)

    def _write(self, report: EpochReport) -> None:
        """Leave an epoch for later, if its network goes on: epochs of a study are short."""
        if report.outcome:
            self._unwritten.pop(report.config.network_id, None)
            super()._write(report)
        else:
            self._unwritten[report.config.network_id] = report

    def _write_all(self) -> None:
        for report in self._unwritten.values():
            super()._write(report)
        self._unwritten, self._written_at = {}, time.monotonic()

    def _save_solved(self, report: EpochReport) -> dict[int, str]:
        """Save no weights: a study has too many networks, and any of them can be trained again from its row."""
        return dict.fromkeys(report.newly_solved, "")
