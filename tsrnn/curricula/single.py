"""The single-head curriculum: one N at a time."""

from typing import Literal

from tsrnn.curricula.base import Advance, Curriculum, CurriculumState, following, moved, register_curriculum
from tsrnn.kinds import MemoryN


@register_curriculum
class SingleHead(Curriculum):
    """Single-head: train one N at a time with one head, from N = `start`; all weights are kept (section 3.2)."""

    kind: Literal["single"] = "single"
    start: MemoryN = 2

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step."""
        return (self.start,)

    @property
    def label(self) -> str:
        """The name in figures."""
        return "single-head"

    def advance(self, state: CurriculumState) -> Advance:
        """Train the next N with the same head."""
        return moved(state, drop=1, add=following(state, 1))
