"""Curricula as pure state machines: which N are trained now, and what happens when the newest is solved.

A new curriculum is one configuration class and one branch in `start` and `advance`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from tsrnn.config import Curriculum, MultiHead, SingleHead


@dataclass(frozen=True)
class CurriculumState:
    """The N a network trains now, in ascending order; the last is the newest."""

    heads: tuple[int, ...]

    @property
    def newest(self) -> int:
        """The largest N in training."""
        return self.heads[-1]


@dataclass(frozen=True)
class Advance:
    """A step of the curriculum: the new state, and which new head takes the weights of which old one.

    `inherits` maps a new N to the old N whose head it continues; a new N that is not in it is a fresh head.
    """

    state: CurriculumState
    inherits: Mapping[int, int] = field(default_factory=dict)


def start(curriculum: Curriculum) -> CurriculumState:
    """Return the state a run begins in (section 3.2)."""
    match curriculum:
        case SingleHead() | MultiHead():
            return CurriculumState((curriculum.start,))
        case _:
            assert_never(curriculum)


def advance(curriculum: Curriculum, state: CurriculumState) -> Advance:
    """Return the step that follows when `state.newest` is solved (section 3.2)."""
    following = state.newest + 1
    match curriculum:
        case SingleHead():
            return Advance(CurriculumState((following,)), inherits={following: state.newest})
        case MultiHead():
            return Advance(CurriculumState((*state.heads, following)))
        case _:
            assert_never(curriculum)


def is_solved(state: CurriculumState, accuracies: Mapping[int, float], threshold: float) -> bool:
    """Tell whether the newest N counts as solved.

    Args:
        state: the curriculum's state.
        accuracies: the accuracy of the head of every N in training.
        threshold: in (0, 1); both the newest head and the mean over heads must exceed it (the authors' rule).
    """
    mean = sum(accuracies[n] for n in state.heads) / len(state.heads)
    return mean > threshold and accuracies[state.newest] > threshold
