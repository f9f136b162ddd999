"""Shared parts of tasks about random bits: sequence lengths, inputs, and binary answers (section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Count, Probability
from tsrnn.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor

    from tsrnn.randomness import Streams


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
    """Base class of tasks with a binary answer about random bits (section 3.1); a subclass defines `targets`.

    `input_probability` is P(bit = 1), or "uniform" for a p ~ U(0, 1) that is drawn for each sequence. A head has two
    logits, for "no" and "yes". The accuracy is the share of correct answers; a tie counts as "no". If heads are read
    out at more than the last step (`readout_steps`), a sequence must be long enough to have N bits at the first of
    these steps. With "all", the first of them is the step that completes the bits of the largest N in training.
    """

    head_width: ClassVar[int] = 2

    input_probability: Probability | Literal["uniform"] = 0.5
    lengths: Lengths = Lengths()
    readout_steps: Count | Literal["all"] = 1

    @model_validator(mode="after")
    def _has_enough_bits_at_every_readout(self) -> Self:
        if self.readout_steps != "all" and self.readout_steps > self.lengths.shortest_beyond + 1:
            raise ValueError(
                f"readout_steps = {self.readout_steps}: with lengths from N + {self.lengths.shortest_beyond} on, "
                f"allowed is 1 to {self.lengths.shortest_beyond + 1}, or 'all'"
            )
        return self

    def lengths_for(self, n: int) -> tuple[int, int]:
        """Return the shortest and the longest sequence; see `Lengths`."""
        return self.lengths.range_for(n)

    def draw_inputs(self, lengths: Sequence[int], batch: int, streams: Streams) -> Tensor:
        """Draw bits [T, R, B] as 0.0 and 1.0 with the task's input probability."""
        probability = streams.uniform(batch) if self.input_probability == "uniform" else self.input_probability
        # Uniform draws lie below 1, so what stands before the start is 0 at every probability.
        # In place it is one pass, and leaves numbers.
        return streams.uniform_at_end(lengths, batch, before=1.0).lt_(probability)

    @property
    def is_cross_entropy(self) -> bool:
        """Whether the loss is this class's: a subclass may have another."""
        return type(self).loss is BitTask.loss

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each head's mean cross-entropy [S, R, K] in nats.

        It depends only on the difference of the two logits, so it is computed as the binary cross-entropy of the
        difference.
        """
        return _cross_entropy(_difference(outputs), targets.to(outputs.dtype))

    def loss_with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the loss, and its gradient from the probabilities of "yes"; see `Task.loss_with_gradient`."""
        import torch

        if not self.is_cross_entropy:
            return super().loss_with_gradient(outputs, targets)
        difference, right = _difference(outputs.detach()), targets.to(outputs.dtype)

        def back(grad: Tensor) -> Tensor:
            share = (grad / outputs.shape[2])[..., None]
            yes = ((difference.sigmoid() - right) * share).transpose(2, 3)
            return torch.stack([-yes, yes], dim=-1)

        return _cross_entropy(difference, right), back

    def score(self, outputs: Tensor, targets: Tensor, heads: Tensor) -> Tensor:
        """Return which answers are correct, [S, R, K, B] bool."""
        return (outputs[..., 1] > outputs[..., 0]).transpose(2, 3) == targets

    def balanced(self) -> Self:
        """Return the task with P(bit = 1) = 0.5."""
        return replace(self, input_probability=0.5)


def _difference(outputs: Tensor) -> Tensor:
    """Return the logit of "yes" [S, R, K, B], from the logits for "no" and "yes" [S, R, B, K, 2]."""
    no, yes = outputs.unbind(-1)
    return (yes - no).transpose(2, 3)


def _cross_entropy(difference: Tensor, right: Tensor) -> Tensor:
    """Return the mean over sequences, [S, R, K], from logits and targets [S, R, K, B]."""
    import torch.nn.functional as F

    return F.binary_cross_entropy_with_logits(difference, right, reduction="none").mean(3)


def ones_among_last(inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
    """Count the ones among the last N bits of every head.

    Args:
        inputs: [T, R, B] bits as 0.0 and 1.0.
        heads: [R, K] each head's N; 0 marks an unused place.
        steps: S consecutive steps, counted from 0; the last of the N bits is the bit of the step itself.

    Returns:
        [S, R, K, B] counts.

    Raises:
        ValueError: if a head's N exceeds the number of bits at the first step.
    """
    import torch.nn.functional as F

    window, ends, starts = window_of(inputs, heads, steps)
    counts = F.pad(window.cumsum(0), (0, 0, 0, 0, 1, 0))
    return counts[ends, :, None] - at_steps(counts, starts, inputs.shape[2])


def window_of(inputs: Tensor, heads: Tensor, steps: range) -> tuple[Tensor, slice, Tensor]:
    """Cut out the bits that heads look back to, and return where the last N bits start and end in them.

    Returns:
        the bits [T', R, B]; a slice of S ends, each counting the bits up to a step, itself included; starts [S, R, K].
    """
    import torch

    largest, first = int(heads.max()), steps.start
    if largest > first + 1:
        raise ValueError(f"heads: N = {largest} needs sequences of at least {largest} steps, got {first + 1}")
    window = inputs[first + 1 - largest : steps.stop]
    ends = torch.arange(largest, largest + len(steps), device=inputs.device)
    return window, slice(largest, largest + len(steps)), ends[:, None, None] - heads.clamp(min=1)


def at_steps(values: Tensor, steps: Tensor, batch: int) -> Tensor:
    """Look up [T, R, B] values at steps [S, R, K]; return [S, R, K, B]."""
    S, R, K = steps.shape
    index = steps.transpose(1, 2).reshape(S * K, R, 1).expand(-1, -1, batch)
    return values.gather(0, index).view(S, K, R, batch).transpose(1, 2)
