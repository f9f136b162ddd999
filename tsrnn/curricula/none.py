"""No curriculum: a single N is trained from the start."""

import re
from typing import ClassVar, Literal, Self

from tsrnn.curricula.base import Curriculum, register_curriculum
from tsrnn.kinds import MemoryN


@register_curriculum
class NoCurriculum(Curriculum):
    """Train one head on N = `n` from the start, and nothing else (figures 3a, S13)."""

    kind: Literal["none"] = "none"
    n: MemoryN
    usage: ClassVar[str] = "none-N (N alone)"

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The one N."""
        return (self.n,)

    @property
    def name(self) -> str:
        """The name in tables: none-N."""
        return f"none-{self.n}"

    @property
    def label(self) -> str:
        """The name in figures."""
        return f"N = {self.n} alone"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the curriculum of a name; None where it is another kind's."""
        match = re.fullmatch(r"none-(\d+)", name)
        return cls(n=int(match[1])) if match else None
