"""A candidate of the hyperparameter study as a Tune trial: one population, the replicates of its parameters."""

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from sweeps.engine.trainable import PopulationTrainable
from sweeps.search.names import CurriculumName, Purpose
from sweeps.search.space import Parameters, network_of
from tsrnn.config import Precision, RunConfig, Training
from tsrnn.io.rows import epochs_row
from tsrnn.io.schemas import EPOCHS
from tsrnn.io.store import Store
from tsrnn.training.reports import EpochReport

_WRITE_EVERY_S: Final = 10.0
_CHANCE: Final = 0.5
_SOLVED: Final = Training.solved_accuracy
BUDGET: Final = 1000
"""The used budget that a candidate reports at the end; it is an integer, as Tune's schedulers require."""

Unit = Literal["operations", "seconds"]


@dataclasses.dataclass(frozen=True)
class Question:
    """The question of a study: which N do candidates solve in a task, with a curriculum and a budget?

    Attributes:
        stage: the N at which it aims, which is part of the name of the study.
        budget: the budget of each network, in `unit`.
        unit: operations (useful floating-point operations of the matrix products) or seconds (of computing).
        purpose: search (candidates are proposed, and the worse ones stopped early), confirm (the best of the search
            are trained again on other seeds), or ablation (the preset tuned is trained without each of its parts).
        optimizer: the optimiser of all candidates; "" if they have several.
        task: the task's kind.
        curriculum_name: multi or single.
        hidden: H.
        precision: the dtype of the products of the recurrence.
        seeds: the seeds of the replicates.
    """

    stage: int
    budget: float
    unit: Unit
    purpose: Purpose
    optimizer: str
    task: str
    curriculum_name: CurriculumName
    hidden: int
    precision: Precision
    seeds: tuple[int, ...]

    @property
    def study(self) -> str:
        """The name of its study in the database."""
        first, last = self.seeds[0], self.seeds[-1]
        asked = (self.purpose, self.task, self.curriculum_name, self.stage, self.unit, self.precision, self.optimizer)
        return f"{'-'.join(str(part) for part in asked if part)}-hidden-{self.hidden}-seeds-{first}-{last}"

    @classmethod
    def recorded(cls, fields: dict[str, Any]) -> "Question":
        """Return the question from fields that were read from JSON.

        Raises:
            TypeError: if the fields are from an earlier version.
        """
        return cls(**fields | {"seeds": tuple(fields["seeds"])})

    def precedes(self, other: "Question") -> bool:
        """Return whether the other study begins with this one's best candidates.

        A search begins with the best of an earlier stage's search, and a confirmation with those of its own stage's.
        """
        if self.purpose != "search" or other.purpose == "ablation":
            return False
        earlier = self.stage < other.stage if other.purpose == "search" else self.stage == other.stage
        same = dataclasses.replace(
            self, stage=other.stage, budget=other.budget, purpose=other.purpose, seeds=other.seeds
        )
        return earlier and same == other

    def networks(self, parameters: Parameters) -> list[RunConfig]:
        """Return the networks of a candidate, one for each seed."""
        return [
            network_of(
                parameters,
                task=self.task,
                curriculum_name=self.curriculum_name,
                hidden=self.hidden,
                precision=self.precision,
                seed=seed,
            )
            for seed in self.seeds
        ]

    def used(self, rows: Iterable[Mapping[str, Any]]) -> float:
        """Return the share of the budget that the network that used most has used.

        Args:
            rows: the row of each network in the table `epochs`.
        """
        name = "operations" if self.unit == "operations" else "wall_s"
        return max((float(row[name]) for row in rows), default=0.0) / self.budget

    def course(self, tables: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the newest rows of a candidate's networks at every epoch, up to the one that uses the budget.

        Its networks may have been trained further, in a later stage or for a larger budget.

        Args:
            tables: the rows of each network in the table `epochs`, in order.
        """
        for epoch in range(1, max((len(rows) for rows in tables), default=0) + 1):
            newest = [rows[min(epoch, len(rows)) - 1] for rows in tables if rows]
            yield newest
            if self.used(newest) >= 1:
                return


def score(n: int, accuracy: float) -> float:
    """Return the progress of a network: N - 1, plus the progress of its accuracy at N from chance to 98 %.

    Args:
        n: the newest N that was evaluated.
        accuracy: the accuracy of its head.
    """
    return n - 1 + min(max((accuracy - _CHANCE) / (_SOLVED - _CHANCE), 0.0), 1.0)


def mean_score(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean score of networks, from a row of each in the table `epochs`."""
    return sum(score(row["n_max"], row["accuracy_newest"]) for row in rows) / len(rows)


class Candidate(PopulationTrainable):
    """A candidate; one step is one epoch of its networks. It is done when one of them has used the budget.

    Its Tune config has the parameters, "question" (a `Question` as a dictionary), and "trial" (the entries that
    `PopulationTrainable` needs, apart from the networks).
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Load or create the networks of the candidate."""
        question = Question.recorded(config["question"])
        networks = question.networks(config)
        self._question = question
        # The newest row of each network in the table `epochs`, written or not.
        self._reached: dict[str, Mapping[str, Any]] = {}
        self._unwritten: dict[str, EpochReport] = {}
        self._written_at = time.monotonic()
        trial = config["trial"] | {"networks": [network.to_json() for network in networks], "plugins": []}
        super().setup({"trial": trial})
        store = Store(config["trial"]["folder"])
        tables = [
            [row for row in store.read(EPOCHS, key) if row["epoch"] <= self._started.get(key, row["epoch"])]
            for key in (network.network_id for network in networks)
        ]
        for newest in question.course(tables):
            self._reached = {row["network_id"]: row for row in newest}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next candidate, after writing the pending results of the last one."""
        self._write_all()
        return super().reset_config(new_config)

    def cleanup(self) -> None:
        """Write the pending results."""
        self._write_all()

    def step(self) -> dict[str, Any]:
        """Train one epoch; report mean score, operations and seconds, and the used share of the budget.

        Networks that used the budget before, such as those that a later stage has trained further, are not trained.
        """
        done = self._question.used(self._reached.values()) >= 1 or super().step()["done"]
        rows = list(self._reached.values())
        used = self._question.used(rows)
        done = done or used >= 1
        # Tune also sets "done" if the scheduler stops a candidate early; "whole" means that the budget was used.
        if done or time.monotonic() - self._written_at >= _WRITE_EVERY_S:
            self._write_all()
        operations, seconds = (sum(row[name] for row in rows) / len(rows) for name in ("operations", "wall_s"))
        spent = {"operations": operations, "seconds": seconds, "used": BUDGET * used}
        return spent | {"score": mean_score(rows), "done": done, "whole": done}

    def _keep(self, report: EpochReport) -> None:
        self._reached[report.config.network_id] = epochs_row(report)
        super()._keep(report)

    def _write(self, report: EpochReport) -> None:
        """Postpone writing an epoch if the network continues, since epochs of a study are short."""
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
        """Save no weights, since a study has too many networks; each can be trained again from its row."""
        return dict.fromkeys(report.newly_solved, "")
