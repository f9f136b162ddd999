"""The interface of tasks: the inputs of a network, the target of each head, and how outputs are judged.

A task is a frozen, validated class. `@register_task` registers it by its `kind`. Training, tests, sweeps and
checkpoints use only the interface of `Task`, so no other code has to change. N is the size of the problem that a head
solves; the task defines what it counts (bits of memory, sines in a sum). torch is imported only when something is
computed, so code that only names or validates a task does not wait for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar, cast, dataclass_transform

from pydantic import Field
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Kinds

if TYPE_CHECKING:
    from torch import Tensor

    from tsrnn.randomness import Streams


class Task(ABC):
    """Base class of tasks. Shapes: R networks, T steps, B sequences, K heads, C outputs per head.

    Sequences are aligned at their end. Heads are read out at the last `readout_steps` steps of a training sequence.
    """

    @property
    @abstractmethod
    def kind(self) -> str:
        """The task's name: a field `kind: Literal["name"] = "name"`."""

    @property
    @abstractmethod
    def head_width(self) -> int:
        """C, the number of outputs of a head."""

    @property
    @abstractmethod
    def readout_steps(self) -> int | Literal["all"]:
        """The number of last steps of training sequences at which heads are read out; "all": those that have N bits."""

    def readout_steps_of(self, length: int, n: int) -> int:
        """Return the number of last steps of a sequence at which heads are read out.

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
        """Draw inputs [T, R, B] for sequences of `lengths` [R] steps; they are 0 before a sequence starts."""

    @abstractmethod
    def targets(self, inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
        """Return the targets of every head at some steps.

        Args:
            inputs: [T, R, B].
            heads: [R, K] each head's N; 0 marks an unused place, whose targets are arbitrary.
            steps: S consecutive steps, counted from 0.

        Returns:
            [S, R, K, B].

        Raises:
            ValueError: if the targets are not defined yet at the first step.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each head's loss at each step [S, R, K], mean over sequences.

        Args:
            outputs: [S, R, B, K, C] the outputs of the heads.
            targets: [S, R, K, B].
        """

    @property
    def is_cross_entropy(self) -> bool:
        """Whether the loss is the cross-entropy of heads with two outputs, the logits for "no" and "yes"."""
        return False

    def loss_with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the loss, without a graph, and what takes its gradient back, once; a task may know a shorter way.

        Args:
            outputs: see `loss`.
            targets: see `loss`.

        Returns:
            [S, R, K] as `loss`; and a function that returns the gradient of something at the outputs,
            [S, R, B, K, C], from that at the loss.
        """
        import torch

        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            loss = self.loss(leaf, targets)

        def back(grad: Tensor) -> Tensor:
            # Of a sum: if autograd is handed the gradient at the loss, torch imports sympy, which takes long.
            with torch.enable_grad():
                weighted = (loss * grad).sum()
            (found,) = torch.autograd.grad(weighted, leaf)
            return found

        return loss.detach(), back

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor, heads: Tensor) -> Tensor:
        """Return the score of each answer, [S, R, K, B], at most 1; its mean is the accuracy.

        Args:
            outputs: [S, R, B, K, C] the outputs of the heads.
            targets: [S, R, K, B].
            heads: [R, K] each head's N.
        """

    def balanced(self) -> Self:
        """Return the task for the in-time protocol: with inputs for which guessing gains nothing."""
        return self


TASKS: Final[Kinds[Task]] = Kinds("task")
C = TypeVar("C", bound=Task)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def register_task(cls: type[C]) -> type[C]:
    """Register a task: make the class a frozen, validated dataclass that is identified by its `kind`.

    Raises:
        TypeError: if the class has no kind, or lacks an abstract method of `Task`.
        ValueError: if another task has the same kind.
    """
    checked = cast(type[C], dataclass(frozen=True, kw_only=True, config=STRICT)(cls))
    TASKS.add(checked)
    return checked
