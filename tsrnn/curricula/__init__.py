"""Curricula as pure state machines: which N are trained now, which a test solves, and what follows then.

A new curriculum is one configuration class, one branch in `advance`, and its name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from tsrnn.config import AllHeads, Curriculum, MultiHead, NoCurriculum, SingleHead, SlidingWindow


@dataclass(frozen=True)
class CurriculumState:
    """The N a network trains now, in ascending order; the last is the newest. `solved` are those it has solved."""

    heads: tuple[int, ...]
    solved: tuple[int, ...] = ()

    @property
    def newest(self) -> int:
        """The largest N in training."""
        return self.heads[-1]

    def solving(self, newly: tuple[int, ...]) -> "CurriculumState":
        """Return this state with more N solved."""
        return CurriculumState(self.heads, tuple(n for n in self.heads if n in {*self.solved, *newly}))


@dataclass(frozen=True)
class Advance:
    """A step of the curriculum: the new state, and which new head takes the weights of which dropped one.

    `inherits` maps a new N to the old N whose head it continues; a new N that is not in it is a fresh head.
    """

    state: CurriculumState
    inherits: Mapping[int, int] = field(default_factory=dict)


def start(curriculum: Curriculum) -> CurriculumState:
    """Return the state a run begins in (section 3.2)."""
    return CurriculumState(curriculum.first_heads)


def judged(curriculum: Curriculum, state: CurriculumState) -> CurriculumState:
    """Return the part of a state that a test asks: all heads; under multi-head none beyond the smallest unsolved N."""
    if not isinstance(curriculum, MultiHead) or curriculum.ahead == 1:
        return state
    smallest = next((n for n in state.heads if n not in state.solved), state.newest)
    return CurriculumState(tuple(n for n in state.heads if n <= smallest), state.solved)


def newly_solved(state: CurriculumState, accuracies: Mapping[int, float], threshold: float) -> tuple[int, ...]:
    """Return the N that a test solves for the first time, ascending.

    An N is solved when the accuracy of its head exceeds the threshold. For the newest N the mean over heads
    must exceed it too: the authors' rule for a step of the curriculum. Older N are judged one by one where
    several heads enter at once (all heads, full windows); elsewhere each has been the newest before.

    Args:
        state: what is judged of the curriculum's state.
        accuracies: the accuracy of the head of every N in training, in 0..1.
        threshold: in (0, 1).
    """
    mean = sum(accuracies[n] for n in state.heads) / len(state.heads)
    return tuple(
        n
        for n in state.heads
        if n not in state.solved and accuracies[n] > threshold and (n < state.newest or mean > threshold)
    )


def advance(curriculum: Curriculum, state: CurriculumState) -> Advance | None:
    """Return the step that follows once the newest N that is judged is solved; None where there is no other.

    Source: sections 3.2 and 4.1, appendices F and I.
    """
    match curriculum:
        case SingleHead():
            return _moved(state, dropped=1, added=1)
        case MultiHead(ahead=ahead):
            return _moved(state, dropped=0, added=ahead - sum(n > max(state.solved, default=0) for n in state.heads))
        case SlidingWindow(width=width, shift=shift):
            full = len(state.heads) >= width
            return _moved(state, dropped=shift, added=shift) if full else _moved(state, dropped=0, added=1)
        case NoCurriculum() | AllHeads():
            return None
        case _:
            assert_never(curriculum)


def _moved(state: CurriculumState, dropped: int, added: int) -> Advance:
    """Drop the smallest N and add the next ones; each new N continues a dropped head while there are any."""
    kept, new = state.heads[dropped:], range(state.newest + 1, state.newest + 1 + added)
    return Advance(
        CurriculumState((*kept, *new), tuple(n for n in state.solved if n in kept)),
        inherits=dict(zip(new, state.heads[:dropped], strict=False)),
    )


def is_complete(curriculum: Curriculum, state: CurriculumState, max_n: int, last: int) -> bool:
    """Tell whether a run has solved all it was to solve.

    Args:
        curriculum: the run's.
        state: where it is.
        max_n: the largest N it has solved.
        last: the N to reach (`EndRules.max_n`). A curriculum of one step must solve each of its N instead.
    """
    if advance(curriculum, state) is None:
        return state.solved == state.heads
    return max_n >= last


def name(curriculum: Curriculum) -> str:
    """Return a curriculum's name: single, multi[-ahead-HEADS], sliding-W[-by-SHIFT][-full], none-N or all-N.

    Everything but the first N of a curriculum that steps is in it; `named` reads it.
    """
    match curriculum:
        case SingleHead():
            return curriculum.kind
        case MultiHead(ahead=ahead):
            return curriculum.kind + (f"-ahead-{ahead}" if ahead > 1 else "")
        case SlidingWindow(width=width, shift=shift, begins=begins):
            return f"sliding-{width}" + (f"-by-{shift}" if shift > 1 else "") + ("-full" if begins == "full" else "")
        case NoCurriculum(n=n) | AllHeads(n=n):
            return f"{curriculum.kind}-{n}"
        case _:
            assert_never(curriculum)


def named(text: str) -> Curriculum:
    """Return the curriculum of a name; see `name`.

    Raises:
        ValueError: if there is none of that name.
        pydantic.ValidationError: (a ValueError) if a number in it is not allowed.
    """
    if text == "single":
        return SingleHead()
    if match := re.fullmatch(r"multi(?:-ahead-(\d+))?", text):
        return MultiHead(ahead=int(match[1] or 1))
    if match := re.fullmatch(r"sliding-(\d+)(?:-by-(\d+))?(-full)?", text):
        return SlidingWindow(width=int(match[1]), shift=int(match[2] or 1), begins="full" if match[3] else "grown")
    if match := re.fullmatch(r"(none|all)-(\d+)", text):
        return (NoCurriculum if match[1] == "none" else AllHeads)(n=int(match[2]))
    raise ValueError(
        f"curricula = {text!r}: allowed are single, multi, sliding-W (a window of W heads; sliding-W-by-S shifts by "
        "S, sliding-W-full begins with all W), none-N (N alone), all-N (N = 2..N at once) and multi-ahead-H (multi "
        "with H unsolved heads at a time)"
    )
