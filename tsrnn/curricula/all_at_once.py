"""All heads at once: every N is trained from the start."""

import re
from typing import ClassVar, Literal, Self

from tsrnn.curricula.base import Curriculum, register_curriculum
from tsrnn.kinds import MemoryN


@register_curriculum
class AllHeads(Curriculum):
    """Train a head for every N = 2..`n` from the start (appendix I, figure S18)."""

    kind: Literal["all"] = "all"
    n: MemoryN
    usage: ClassVar[str] = "all-N (N = 2..N at once)"

    @property
    def first_heads(self) -> tuple[int, ...]:
        """Every N from 2 on."""
        return tuple(range(2, self.n + 1))

    @property
    def name(self) -> str:
        """The name in tables: all-N."""
        return f"all-{self.n}"

    @property
    def label(self) -> str:
        """The name in figures."""
        return f"N = 2 to {self.n} at once"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the curriculum of a name; None where it is another kind's."""
        match = re.fullmatch(r"all-(\d+)", name)
        return cls(n=int(match[1])) if match else None
