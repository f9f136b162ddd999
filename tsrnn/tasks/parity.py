"""N-parity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tsrnn.kinds import Probability
from tsrnn.tasks.base import register_task
from tsrnn.tasks.bits import BitTask, ones_among_last

if TYPE_CHECKING:
    from torch import Tensor


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
