"""Buffers that runs hand on to each other."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Reusable(Protocol):
    """Something with buffers.

    Attributes:
        kind: what must be the same for it to be used again.
        room: how much it has room for.
    """

    kind: Hashable
    room: int


T = TypeVar("T", bound=Reusable)


class Workspace(Generic[T]):
    """What goes from one run to the next: fresh memory costs a page fault every 4 kB, and views of it their making."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._free: defaultdict[Hashable, list[T]] = defaultdict(list)

    def take(self, kind: Hashable, room: int, make: Callable[[], T]) -> T:
        """Return one of a kind that has enough room, and hold it no more; make one where there is none."""
        free = self._free[kind]
        for i, one in enumerate(free):
            if one.room >= room:
                return free.pop(i)
        # One that is too small makes room: lengthening sequences pile up nothing.
        del free[:1]
        return make()

    def give(self, one: T) -> None:
        """Take one back; nobody may use it any more."""
        self._free[one.kind].append(one)
