"""Buffers that are reused from one forward and backward pass to the next."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Reusable(Protocol):
    """An object with buffers.

    Attributes:
        kind: a key; only an object with an equal key can be reused.
        room: the size of its buffers.
    """

    kind: Hashable
    room: int


T = TypeVar("T", bound=Reusable)


class Workspace(Generic[T]):
    """A store of reusable objects: fresh memory costs a page fault for every 4 kB, and creating views takes time."""

    def __init__(self) -> None:
        """Create an empty workspace."""
        self._free: defaultdict[Hashable, list[T]] = defaultdict(list)

    def take(self, kind: Hashable, room: int, make: Callable[[], T]) -> T:
        """Remove and return an object of a kind that is large enough; make one if there is none."""
        free = self._free[kind]
        for i, one in enumerate(free):
            if one.room >= room:
                return free.pop(i)
        # One that is too small is dropped, so that buffers do not accumulate as sequences become longer.
        del free[:1]
        return make()

    def give(self, one: T) -> None:
        """Return an object for later use; the caller must not use it any more."""
        self._free[one.kind].append(one)
