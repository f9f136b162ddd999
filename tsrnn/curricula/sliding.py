"""The sliding-window curriculum: a window of heads moves to larger N."""

import re
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from tsrnn.curricula.base import Advance, Curriculum, CurriculumState, following, moved, register_curriculum
from tsrnn.kinds import Count, MemoryN


@register_curriculum
class SlidingWindow(Curriculum):
    """Sliding window: train the N of a window together, and move the window when its newest N is solved (appendix F).

    With `begins` "full", the window has all `width` heads from the start, beginning with N = `start`. With "grown", it
    begins with N = `start` alone and grows by one new head per step up to `width` heads; then it begins to shift. A
    shift drops the `shift` smallest N and adds the same number of larger ones. In ascending order, each new N takes
    over the head of an N that was dropped. A window of width 1 is therefore single-head, and a window that never
    becomes full is multi-head.
    """

    kind: Literal["sliding"] = "sliding"
    width: Count
    shift: Count = 1
    begins: Literal["grown", "full"] = "full"
    start: MemoryN = 2
    usage: ClassVar[str] = (
        "sliding-W-full (a window of W heads from the start), sliding-W (a window that grows to W heads; -by-S shifts "
        "either by S: sliding-W-by-S-full)"
    )

    @model_validator(mode="after")
    def _skips_no_n(self) -> Self:
        if self.shift > self.width:
            raise ValueError(f"shift = {self.shift} would skip N: allowed is 1 to width = {self.width}")
        return self

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step."""
        return tuple(range(self.start, self.start + (self.width if self.begins == "full" else 1)))

    @property
    def name(self) -> str:
        """The name in tables: sliding-WIDTH[-by-SHIFT][-full]."""
        by = f"-by-{self.shift}" if self.shift > 1 else ""
        return f"sliding-{self.width}{by}" + ("-full" if self.begins == "full" else "")

    @property
    def label(self) -> str:
        """The name in figures."""
        by = f", by {self.shift}" if self.shift > 1 else ""
        return f"window of {self.width}{by}" + (", grown" if self.begins == "grown" else "")

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the curriculum of a name; None where it is another kind's."""
        match = re.fullmatch(r"sliding-(\d+)(?:-by-(\d+))?(-full)?", name)
        if match is None:
            return None
        return cls(width=int(match[1]), shift=int(match[2] or 1), begins="full" if match[3] else "grown")

    def advance(self, state: CurriculumState) -> Advance:
        """Move the window on by `shift`, or let it grow by one."""
        if len(state.heads) < self.width:
            return moved(state, drop=0, add=following(state, 1))
        return moved(state, drop=self.shift, add=following(state, self.shift))
