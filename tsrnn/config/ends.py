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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EndRules:
    """A run ends when N = `max_n` is solved, after `max_epochs`, or after `max_seconds` of its own computing.

    Under a curriculum of one step (`NoCurriculum`, `AllHeads`) it ends when all of its N are solved.
    """

    max_n: MemoryN = 101
    max_epochs: Count = 1000
    max_seconds: Positive = 259200.0

    def reached(self, trained: Trained) -> tuple[EndState, str] | None:
        """Return the budget that is used up, and the same in words; None while training may go on."""
        if trained.epoch >= self.max_epochs:
            return EndState.EPOCHS, f"{trained.epoch} epochs were trained"
        if trained.wall_s >= self.max_seconds:
            return EndState.TIME, f"{trained.wall_s:.0f} s of computing were used"
        return None
