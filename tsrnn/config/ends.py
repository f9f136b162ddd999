"""End rules: when the training of a network ends, and with which status.

To add an end rule, add a setting to `EndRules`, a member to `EndState`, and a line to `EndRules.reached`.
"""

from enum import StrEnum
from typing import Protocol, Self

from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Count, MemoryN, Positive


class EndState(StrEnum):
    """How a run ended: the column `status` of the table `outcomes`.

    Attributes:
        label: the same in words.
        is_final: whether the run is over. A failed run continues when its sweep is resumed.
    """

    label: str
    is_final: bool

    def __new__(cls, value: str, label: str = "", is_final: bool = True) -> Self:
        """Make a member, which is equal to its value."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        member.is_final = is_final
        return member

    SOLVED_ALL = "solved_all", "solved all"
    EPOCHS = "epochs", "out of epochs"
    TIME = "time", "out of time"
    STALLED = "stalled", "stalled"
    DIVERGED = "diverged", "diverged"
    FAILED = "failed", "failed", False
    RUNNING = "running", "running", False
    """In training, waiting or interrupted: a network without a row in `outcomes`."""


class Trained(Protocol):
    """The state of a run that end rules are applied to."""

    @property
    def epoch(self) -> int:
        """Epochs trained."""

    @property
    def wall_s(self) -> float:
        """Seconds of the run's own computing."""

    @property
    def steps_since_solved(self) -> int:
        """Optimiser steps since an N was last solved for the first time, or since the start."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EndRules:
    """End rules: a run ends when N = `max_n` is solved, after `max_epochs`, or after `max_seconds` of computing time.

    Under a curriculum with one step (`NoCurriculum`, `AllHeads`) it ends when all of its N are solved. With
    `max_steps_without_solving`, it also ends after the first epoch at whose end no new N has been solved for at least
    this number of optimiser steps. The max N of such a run then counts as the largest that it can solve with this
    training.
    """

    max_n: MemoryN = 101
    max_epochs: Count = 1000
    max_seconds: Positive = 259200.0
    max_steps_without_solving: Count | None = None

    def reached(self, trained: Trained) -> tuple[EndState, str] | None:
        """Return the end that a rule has reached, and a description of it; None while training may continue.

        If a network has stalled and its budget is used up at the same time, it counts as stalled, because a larger
        budget would not help.
        """
        patience = self.max_steps_without_solving
        if patience is not None and trained.steps_since_solved >= patience:
            return EndState.STALLED, f"{trained.steps_since_solved} steps solved no further N"
        if trained.epoch >= self.max_epochs:
            return EndState.EPOCHS, f"{trained.epoch} epochs were trained"
        if trained.wall_s >= self.max_seconds:
            return EndState.TIME, f"{trained.wall_s:.0f} s of computing were used"
        return None
