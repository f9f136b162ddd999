"""Generation of temporal patterns: sums of sine waves (appendix D)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tsrnn.kinds import Count, NonNegative
from tsrnn.tasks.base import Task, register_task

if TYPE_CHECKING:
    from torch import Tensor

    from tsrnn.randomness import Streams


@register_task
class Sines(Task):
    """Temporal pattern generation: the head for N outputs the sum of the first N sine waves (appendix D).

    After t steps the target is sum_i sin(2 pi t / (i period)), i = 1..N, so each further wave is slower. There is no
    input, unless `noise` > 0: then the input is uniform white noise with this standard deviation. A head has one
    output, which is judged at every step after `warm_up` by its squared error. The accuracy is R^2 = 1 - (mean squared
    error) / (N / 2), where N / 2 is the variance of N unit sines. It is negative for an output that is worse than a
    constant 0.

    All times are in time steps. `steps` should contain the period of the slowest wave, `period` times the largest N.
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
    def readout_steps(self) -> int:
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
