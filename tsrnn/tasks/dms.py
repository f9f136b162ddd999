"""N-delayed-match-to-sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tsrnn.tasks.base import register_task
from tsrnn.tasks.bits import BitTask, at_steps, window_of

if TYPE_CHECKING:
    from torch import Tensor


@register_task
class DMS(BitTask):
    """N-delayed-match-to-sample: does the last bit equal the one N - 1 steps before it? (section 3.1)."""

    kind: Literal["dms"] = "dms"

    def targets(self, inputs: Tensor, heads: Tensor, steps: range) -> Tensor:
        """Return which samples match [S, R, K, B]; see `Task.targets`."""
        window, ends, starts = window_of(inputs, heads, steps)
        return window[ends.start - 1 : ends.stop - 1, :, None] == at_steps(window, starts, inputs.shape[2])
