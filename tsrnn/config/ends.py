"""When a run ends, and what its end is called.

A new end rule is a setting of `EndRules`, a member of `EndState`, and a line in `EndRules.reached`.
"""

from enum import StrEnum
from typing import Protocol, Self

from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Count, MemoryN, Positive


class EndState(StrEnum):
    """How a run ended: the column `status` of the table `outcomes`.

    Attributes:
        label: the same in words.
        is_final: whether the run is over. A failed one is trained on when its sweep is resumed.
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
    """What end rules look at."""

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
    """A run ends when N = `max_n` is solved, after `max_epochs`, or after `max_seconds` of its own computing.

    Under a curriculum of one step (`NoCurriculum`, `AllHeads`) it ends when all of its N are solved. With
    `max_steps_without_solving` it also ends at the first epoch's end at which so many optimiser steps, or more, have
    solved no new N: its max N then counts as the most that it can solve under this training.
    """

    max_n: MemoryN = 101
    max_epochs: Count = 1000
    max_seconds: Positive = 259200.0
    max_steps_without_solving: Count | None = None

    def reached(self, trained: Trained) -> tuple[EndState, str] | None:
        """Return the rule that ends the run, and the same in words; None while training may go on.

        A network that has stalled when its budget is used up counts as stalled: more of the same would end it too.
        """
        patience = self.max_steps_without_solving
        if patience is not None and trained.steps_since_solved >= patience:
            return EndState.STALLED, f"{trained.steps_since_solved} steps solved no further N"
        if trained.epoch >= self.max_epochs:
            return EndState.EPOCHS, f"{trained.epoch} epochs were trained"
        if trained.wall_s >= self.max_seconds:
            return EndState.TIME, f"{trained.wall_s:.0f} s of computing were used"
        return None
