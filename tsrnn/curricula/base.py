"""The interface of curricula: which N are trained, which of them a test evaluates, and what follows when one is solved.

A curriculum is a frozen, validated class, and a pure state machine. `@register_curriculum` registers it by its `kind`.
Training, sweeps, tables, figures and comparisons use only the interface of `Curriculum`, so no other code has to
change.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, TypeVar, cast, dataclass_transform

from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from tsrnn.kinds import STRICT, Kinds


@dataclass(frozen=True)
class CurriculumState:
    """The N that a network trains now, ascending; the last is the newest. `solved` are those that it has solved."""

    heads: tuple[int, ...]
    solved: tuple[int, ...] = ()

    @property
    def newest(self) -> int:
        """The largest N in training."""
        return self.heads[-1]

    def solving(self, newly: tuple[int, ...]) -> "CurriculumState":
        """Return this state with more N solved."""
        return CurriculumState(self.heads, tuple(n for n in self.heads if n in {*self.solved, *newly}))

    def judged_by(self, n: int) -> tuple[tuple[int, ...], ...]:
        """Return the sets of heads whose mean accuracy must exceed the threshold for an N to be solved.

        One set is N's own head. For the newest N, the mean over all heads must exceed the threshold, too: this is the
        authors' rule for a step of the curriculum. If several heads enter at once (all heads, full windows), older N
        are evaluated individually; otherwise each of them has been the newest before.
        """
        return ((n,), self.heads) if n == self.newest else ((n,),)

    def newly_solved(self, accuracies: Mapping[int, float], threshold: float) -> tuple[int, ...]:
        """Return the N that a test solves for the first time, ascending.

        An N is solved when all accuracies that it is judged by (`judged_by`) exceed the threshold.

        Args:
            accuracies: the accuracy of the head of every N of this state, in 0..1.
            threshold: in (0, 1).
        """
        return tuple(
            n
            for n in self.heads
            if n not in self.solved
            and all(sum(accuracies[m] for m in heads) / len(heads) > threshold for heads in self.judged_by(n))
        )


@dataclass(frozen=True)
class Advance:
    """A step of the curriculum: the new state, and which new heads take over the weights of dropped heads.

    `inherits` maps a new N to the old N whose head it takes over. A new N that is not in it gets a new head.
    """

    state: CurriculumState
    inherits: Mapping[int, int] = field(default_factory=dict)


class Curriculum(ABC):
    """Base class of curricula. A subclass must define `kind` and `first_heads`; everything else has a default.

    Attributes:
        usage: how its name is written in help and messages; if empty, the kind.
    """

    usage: ClassVar[str] = ""

    @property
    @abstractmethod
    def kind(self) -> str:
        """The curriculum's kind: a field `kind: Literal["name"] = "name"`."""

    @property
    @abstractmethod
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step, ascending."""

    @property
    def name(self) -> str:
        """The name in tables and on the command line, which `parse` reads: all settings but the first N are in it."""
        return self.kind

    @property
    def label(self) -> str:
        """The name in figures."""
        return self.name

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the curriculum of a name; None where the name is not one of this kind.

        Raises:
            pydantic.ValidationError: (a ValueError) if a number in the name is not allowed.
        """
        # The kind is a field's default, and so an attribute of the class.
        return cls() if name == getattr(cls, "kind", None) else None

    @property
    def first_state(self) -> CurriculumState:
        """The state a run begins in (section 3.2)."""
        return CurriculumState(self.first_heads)

    def evaluated(self, state: CurriculumState) -> CurriculumState:
        """Return the part of a state that a test evaluates: by default all heads."""
        return state

    def advance(self, state: CurriculumState) -> Advance | None:
        """Return the step that follows when the newest evaluated N is solved.

        None, the default, means that there is no other step: the first heads are trained until all are solved.
        """
        return None

    def is_complete(self, state: CurriculumState, max_n: int, last: int) -> bool:
        """Return whether a run has solved everything that it has to solve.

        Args:
            state: where the run is.
            max_n: the largest N it has solved.
            last: the N to reach (`EndRules.max_n`). A curriculum of one step must solve each of its N instead.
        """
        if self.advance(state) is None:
            return state.solved == state.heads
        return max_n >= last


def moved(state: CurriculumState, *, drop: int, add: Sequence[int]) -> Advance:
    """Return the step that drops the smallest N and adds new ones; the new N first take over the heads of dropped ones.

    Args:
        state: before the step.
        drop: how many N leave, the smallest first.
        add: the new N, ascending, larger than those that stay.
    """
    kept = state.heads[drop:]
    return Advance(
        CurriculumState((*kept, *add), tuple(n for n in state.solved if n in kept)),
        inherits=dict(zip(add, state.heads[:drop], strict=False)),
    )


def following(state: CurriculumState, count: int) -> range:
    """Return the next `count` N beyond the newest."""
    return range(state.newest + 1, state.newest + 1 + count)


CURRICULA: Final[Kinds[Curriculum]] = Kinds("curriculum")
C = TypeVar("C", bound=Curriculum)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def register_curriculum(cls: type[C]) -> type[C]:
    """Register a curriculum: make the class a frozen, validated dataclass that is identified by its `kind`.

    Raises:
        TypeError: if the class has no kind or no `first_heads`.
        ValueError: if another curriculum has the same kind.
    """
    checked = cast(type[C], checked_dataclass(frozen=True, kw_only=True, config=STRICT)(cls))
    CURRICULA.add(checked)
    return checked


def named(name: str) -> Curriculum:
    """Return the curriculum with this name; see `Curriculum.name`.

    Raises:
        ValueError: if there is none of that name; the message lists how names are written.
        pydantic.ValidationError: (a ValueError) if a number in it is not allowed.
    """
    for kind in CURRICULA:
        if (found := CURRICULA[kind].parse(name)) is not None:
            return found
    allowed = ", ".join(CURRICULA[kind].usage or kind for kind in CURRICULA)
    raise ValueError(f"curricula = {name!r}: allowed are {allowed}")


def order(name: str) -> tuple[int, tuple[int, ...], str]:
    """Return the sort key of a curriculum's name: the order of registration, then the numbers in the name.

    Names of curricula that are not registered, such as those of a plugin that was not imported, come last.
    """
    kinds = list(CURRICULA)
    numbers = tuple(int(number) for number in re.findall(r"\d+", name))
    try:
        return kinds.index(named(name).kind), numbers, name
    except ValueError:
        return len(kinds), numbers, name
