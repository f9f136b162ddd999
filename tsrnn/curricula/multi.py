"""The multi-head curriculum: heads are added, and none are dropped."""

import re
from typing import ClassVar, Literal, Self

from tsrnn.curricula.base import Advance, Curriculum, CurriculumState, following, moved, register_curriculum
from tsrnn.kinds import Count, MemoryN


@register_curriculum
class MultiHead(Curriculum):
    """Multi-head: train N = `start`, then add a head for each next N and keep training the older ones (section 3.2).

    With `ahead`, this number of unsolved heads is trained at a time. Tests evaluate no head beyond the smallest
    unsolved N, so each N is judged as if there were one unsolved head: on its own sequences, with the mean over N and
    smaller. When N is solved, the same test continues with the next head, so one epoch may solve up to `ahead` N.
    """

    kind: Literal["multi"] = "multi"
    start: MemoryN = 2
    ahead: Count = 1
    usage: ClassVar[str] = "multi, multi-ahead-A (multi with A unsolved heads at a time)"

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step."""
        return tuple(range(self.start, self.start + self.ahead))

    @property
    def name(self) -> str:
        """The name in tables: multi, or multi-ahead-HEADS."""
        return self.kind + (f"-ahead-{self.ahead}" if self.ahead > 1 else "")

    @property
    def label(self) -> str:
        """The name in figures."""
        return "multi-head" + (f", {self.ahead} ahead" if self.ahead > 1 else "")

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the curriculum of a name; None where it is another kind's."""
        match = re.fullmatch(r"multi(?:-ahead-(\d+))?", name)
        return cls(ahead=int(match[1] or 1)) if match else None

    def evaluated(self, state: CurriculumState) -> CurriculumState:
        """Return the heads up to the smallest unsolved N."""
        if self.ahead == 1:
            return state
        smallest = next((n for n in state.heads if n not in state.solved), state.newest)
        return CurriculumState(tuple(n for n in state.heads if n <= smallest), state.solved)

    def advance(self, state: CurriculumState) -> Advance:
        """Add heads until `ahead` are unsolved, and keep all others."""
        unsolved = sum(n > max(state.solved, default=0) for n in state.heads)
        return moved(state, drop=0, add=following(state, self.ahead - unsolved))
