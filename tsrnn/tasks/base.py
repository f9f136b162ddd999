"""What a task is: what a network is shown, what each head should say, and how its answers are judged.

A task is one frozen, checked class. `@register_task` registers it by its `kind`, and nothing else has to know of it:
training, tests, sweeps and checkpoints use what `Task` asks for. N is the size of the problem a head solves; what it
counts is the task's own (bits of memory, sines to sum). torch is imported where something is computed: code that only
names or checks a task does not wait for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar, cast, dataclass_transform

from pydantic import Field
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Kinds

if TYPE_CHECKING:
    from torch import Tensor

    from tsrnn.randomness import Streams


class Task(ABC):
    """What a task is asked for. R networks, T steps, B sequences, K heads, C outputs a head.

    Sequences are aligned at their end. Heads are read out at the last `readout_steps` steps of a training sequence.
    """

    @property
    @abstractmethod
    def kind(self) -> str:
        """The task's name: a field `kind: Literal["name"] = "name"`."""

    @property
    @abstractmethod
    def head_width(self) -> int:
        """C: how many numbers a head gives."""

    @property
    @abstractmethod
    def readout_steps(self) -> int | Literal["all"]:
        """At how many of a training sequence's last steps heads are read out; "all" are those that have N bits."""

    def readout_steps_of(self, length: int, n: int) -> int:
        """Return at how many of a sequence's last steps heads are read out.

        Args:
            length: of the sequence, in time steps.
            n: the largest N in training.
        """
        return length - n + 1 if self.readout_steps == "all" else self.readout_steps

    @abstractmethod
    def lengths_for(self, n: int) -> tuple[int, int]:
        """Return the shortest and the longest sequence in time steps, both inclusive, for largest N `n`."""

    @abstractmethod
    def draw_inputs(self, lengths: Sequence[int], batch: int, streams: Streams) -> Tensor:
        """Draw inputs [T, R, B] for sequences of `lengths` [R] steps; what stands before a start is 0."""

    @abstractmethod
    def targets(self, inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
        """Return what every head should say at each of some steps.

        Args:
            inputs: [T, R, B].
            heads: [R, K] each head's N; 0 marks an unused place, whose targets mean nothing.
            steps: S consecutive steps, counted from 0.

        Returns:
            [S, R, K, B].

        Raises:
            ValueError: if nothing is right yet at the first step.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each head's loss at each step [S, R, K], mean over sequences.

        Args:
            outputs: [S, R, B, K, C] what the heads said.
            targets: [S, R, K, B].
        """

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor, heads: Tensor) -> Tensor:
        """Return how good each answer is, [S, R, K, B]; its mean is the accuracy, at most 1.

        Args:
            outputs: [S, R, B, K, C] what the heads said.
            targets: [S, R, K, B].
            heads: [R, K] each head's N.
        """

    def balanced(self) -> Self:
        """Return the task as the in-time protocol asks it: with inputs under which guessing gains nothing."""
        return self


TASKS: Final[Kinds[Task]] = Kinds("task")
C = TypeVar("C", bound=Task)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def register_task(cls: type[C]) -> type[C]:
    """Make a class a frozen, checked dataclass, known by its `kind` wherever a task is named.

    Raises:
        TypeError: if it lacks its kind or something that `Task` asks for.
        ValueError: if its kind is another task's.
    """
    checked = cast(type[C], dataclass(frozen=True, kw_only=True, config=STRICT)(cls))
    TASKS.add(checked)
    return checked
