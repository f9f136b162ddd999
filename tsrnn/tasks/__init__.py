"""The tasks: what a network is shown, what each head should say, and how its answers are judged.

A task is one frozen, checked class. `@register_task` registers it by its `kind`, and nothing else has to know of it:
training, tests, sweeps and checkpoints use what `Task` asks for. N is the size of the problem a head solves;
what it counts is the task's own (bits of memory, sines to sum). torch is imported where something is computed: who
only names or checks a task does not wait for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self, TypeVar, cast, dataclass_transform

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Count, Kinds, NonNegative, Probability

if TYPE_CHECKING:
    from torch import Tensor

    from tsrnn.randomness import Streams


class Task(ABC):
    """What a task is asked for. R networks, T steps, B sequences, K heads, C outputs a head.

    Sequences are aligned at their end. Heads are asked at the last `asked` steps of a training sequence.
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
    def asked(self) -> int | Literal["all"]:
        """At how many of a training sequence's last steps heads are asked; "all" are those that have N bits."""

    def asked_steps(self, length: int, n: int) -> int:
        """Return at how many of a sequence's last steps heads are asked.

        Args:
            length: of the sequence, in time steps.
            n: the largest N in training.
        """
        return length - n + 1 if self.asked == "all" else self.asked

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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Lengths:
    """Sequence length M: uniform on the integers [N + shortest_beyond, longest_factor N + longest_beyond].

    Source: section 3.1; the authors' code draws to 4 N + 1 (`longest_beyond=1`).
    """

    shortest_beyond: Annotated[int, Field(ge=0)] = 2
    longest_factor: Annotated[int, Field(ge=2)] = 4
    longest_beyond: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _ordered_at_the_smallest_n(self) -> Self:
        if self.range_for(2)[0] > self.range_for(2)[1]:
            raise ValueError(f"at N = 2 the shortest length exceeds the longest: {self.range_for(2)}")
        return self

    def range_for(self, n: int) -> tuple[int, int]:
        """Return the shortest and the longest length in time steps, both inclusive, for largest N `n`."""
        return n + self.shortest_beyond, self.longest_factor * n + self.longest_beyond


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BitTask(Task):
    """A yes-or-no question about random bits, asked at the last step (section 3.1): a subclass has the `targets`.

    `input_probability` is P(bit = 1), or "uniform" for a p ~ U(0, 1) drawn for each sequence. A head gives two
    logits, for "no" and "yes". The accuracy is the share of right answers; a tie is a "no". Asked at more than the
    last step (`asked`), a sequence must be long enough that there are N bits at the first of them; asked at "all",
    the first is the one that completes the bits of the largest N in training.
    """

    head_width: ClassVar[int] = 2

    input_probability: Probability | Literal["uniform"] = 0.5
    lengths: Lengths = Lengths()
    asked: Count | Literal["all"] = 1

    @model_validator(mode="after")
    def _has_enough_bits_whenever_asked(self) -> Self:
        if self.asked != "all" and self.asked > self.lengths.shortest_beyond + 1:
            raise ValueError(
                f"asked = {self.asked}: with lengths from N + {self.lengths.shortest_beyond} on, allowed is 1 to "
                f"{self.lengths.shortest_beyond + 1}, or 'all'"
            )
        return self

    def lengths_for(self, n: int) -> tuple[int, int]:
        """Return the shortest and the longest sequence; see `Lengths`."""
        return self.lengths.range_for(n)

    def draw_inputs(self, lengths: Sequence[int], batch: int, streams: Streams) -> Tensor:
        """Draw bits [T, R, B] as 0.0 and 1.0 with the task's input probability."""
        probability = streams.uniform(batch) if self.input_probability == "uniform" else self.input_probability
        # Uniform draws lie below 1, so what stands before the start is 0 at every probability.
        return (streams.uniform_at_end(lengths, batch, before=1.0) < probability).float()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each head's mean cross-entropy [S, R, K] in nats.

        Of two logits only the difference matters, so this is the binary cross-entropy of it.
        """
        import torch.nn.functional as F

        difference = (outputs[..., 1] - outputs[..., 0]).transpose(2, 3)
        each = F.binary_cross_entropy_with_logits(difference, targets.to(outputs.dtype), reduction="none")
        return each.mean(3)

    def score(self, outputs: Tensor, targets: Tensor, heads: Tensor) -> Tensor:
        """Tell which answers are right, [S, R, K, B] bool."""
        return (outputs[..., 1] > outputs[..., 0]).transpose(2, 3) == targets

    def balanced(self) -> Self:
        """Return the task with P(bit = 1) = 0.5."""
        return replace(self, input_probability=0.5)


@register_task
class Parity(BitTask):
    """N-parity: is the number of ones among the last N bits odd? (section 3.1).

    `input_probability` is "uniform" by default, as in the authors' code.
    """

    kind: Literal["parity"] = "parity"
    input_probability: Probability | Literal["uniform"] = "uniform"

    def targets(self, inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
        """Return the parities [S, R, K, B]; see `Task.targets`."""
        return ones_among_last(inputs, heads, steps) % 2 == 1


@register_task
class DMS(BitTask):
    """N-delayed-match-to-sample: does the last bit equal the one N - 1 steps before it? (section 3.1)."""

    kind: Literal["dms"] = "dms"

    def targets(self, inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
        """Return which samples match [S, R, K, B]; see `Task.targets`."""
        window, ends, starts = _window(inputs, heads, steps)
        return window[ends - 1][:, :, None] == _at(window, starts, inputs.shape[2])


def ones_among_last(inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
    """Count the ones among the last N bits of every head.

    Args:
        inputs: [T, R, B] bits as 0.0 and 1.0.
        heads: [R, K] each head's N; 0 marks an unused place.
        steps: S consecutive steps, counted from 0; the last of the N bits is the step's own.

    Returns:
        [S, R, K, B] counts.

    Raises:
        ValueError: if a head's N exceeds the bits there are at the first step.
    """
    import torch.nn.functional as F

    window, ends, starts = _window(inputs, heads, steps)
    counts = F.pad(window.cumsum(0), (0, 0, 0, 0, 1, 0))
    return counts[ends][:, :, None] - _at(counts, starts, inputs.shape[2])


def _window(inputs: Tensor, heads: Tensor, steps: range) -> tuple[Tensor, Tensor, Tensor]:
    """Cut out the bits that heads look back to, and say where in them the last N bits end and start.

    Returns:
        the bits [T', R, B]; S ends, each counting the bits up to a step, itself included; starts [S, R, K].
    """
    import torch

    largest, first = int(heads.max()), steps.start
    if largest > first + 1:
        raise ValueError(f"heads: N = {largest} needs sequences of at least {largest} steps, got {first + 1}")
    window = inputs[first + 1 - largest : steps.stop]
    ends = torch.arange(largest, largest + len(steps), device=inputs.device)
    return window, ends, ends[:, None, None] - heads.clamp(min=1)


def _at(values: Tensor, steps: Tensor, batch: int) -> Tensor:
    """Look up [T, R, B] values at steps [S, R, K]; return [S, R, K, B]."""
    S, R, K = steps.shape
    index = steps.transpose(1, 2).reshape(S * K, R, 1).expand(-1, -1, batch)
    return values.gather(0, index).view(S, K, R, batch).transpose(1, 2)


@register_task
class Sines(Task):
    """Temporal pattern generation: the head for N gives the sum of the first N sine waves (appendix D).

    After t steps it should say sum_i sin(2 pi t / (i period)), i = 1..N: every next wave is slower. There is no
    input; `noise` > 0 makes it white noise, uniform, of that standard deviation. A head gives one number, judged
    at every step after `warm_up` by its squared error. The accuracy is R^2 = 1 - (mean squared error) / (N / 2):
    N unit sines have the variance N / 2. It is negative for what is worse than saying nothing.

    All times are in time steps. `steps` should hold the period of the slowest wave, `period` times the largest N.
    """

    head_width: ClassVar[int] = 1

    kind: Literal["sines"] = "sines"
    period: Annotated[float, Field(gt=2, allow_inf_nan=False)] = 5.0
    steps: Count = 50
    warm_up: Annotated[int, Field(ge=0)] = 0
    noise: NonNegative = 0.0

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.warm_up >= self.steps:
            raise ValueError(f"warm_up = {self.warm_up}: allowed are numbers below steps = {self.steps}")
        return self

    @property
    def asked(self) -> int:
        """Every step after the warm-up."""
        return self.steps - self.warm_up

    def lengths_for(self, n: int) -> tuple[int, int]:
        """Return the one length of all sequences, twice."""
        return self.steps, self.steps

    def draw_inputs(self, lengths: Sequence[int], batch: int, streams: Streams) -> Tensor:
        """Draw the noise [T, R, B], or return zeros where there is none."""
        import torch

        if self.noise == 0:
            return torch.zeros(max(lengths), len(lengths), batch, device=streams.device)
        return (streams.uniform_at_end(lengths, batch, before=0.5) - 0.5) * (math.sqrt(12) * self.noise)

    def targets(self, inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
        """Return the partial sums [S, R, K, B] in float64; see `Task.targets`."""
        import torch

        t = torch.arange(steps.start + 1, steps.stop + 1, dtype=torch.float64, device=inputs.device)
        waves = torch.arange(1, int(heads.max()) + 1, device=inputs.device)
        sums = torch.sin(2 * math.pi / self.period * t[:, None] / waves).cumsum(1)
        return sums[:, heads.clamp(min=1) - 1][..., None].expand(-1, -1, -1, inputs.shape[2])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each head's mean squared error [S, R, K]."""
        return _squared_error(outputs, targets).mean(3)

    def score(self, outputs: Tensor, targets: Tensor, heads: Tensor) -> Tensor:
        """Return 1 - (squared error) / (N / 2) of each answer, [S, R, K, B]."""
        return 1 - _squared_error(outputs, targets) / (heads.clamp(min=1)[..., None] / 2)


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[..., 0].transpose(2, 3) - targets.to(outputs.dtype)) ** 2
