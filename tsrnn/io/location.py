"""The interface of storage: the rest of the project uses results only through this interface."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self


class AlreadyLocked(Exception):  # noqa: N818 - it says what is, and is no error of the program
    """Another process holds a lock; `content` is what that process wrote into it."""

    def __init__(self, content: bytes) -> None:
        super().__init__("locked by another process")
        self.content = content


class HeldLock(Protocol):
    """A lock that this process holds."""

    def release(self) -> None:
        """Release the lock."""


class Location(Protocol):
    """A file or a folder, on a file system or in an object store.

    It has the part of the interface of `pathlib.Path` that results need, and methods for the differences between the
    two kinds of storage. Every method that accesses the storage raises an OSError if the storage does not answer or
    refuses the request. Paths in an object store are absolute, and have no links.
    """

    @property
    def name(self) -> str:
        """The last part of the path."""

    @property
    def stem(self) -> str:
        """The last part of the path without its suffix."""

    @property
    def parent(self) -> Self:
        """The folder that contains it."""

    @property
    def is_file_system(self) -> bool:
        """Whether other programs can open it by its path, and an open file keeps its content while it is replaced."""

    def __truediv__(self, name: str, /) -> Self:
        """Return the file or folder with this name in this folder."""

    def exists(self) -> bool:
        """Return whether there is such a file or folder."""

    def is_file(self) -> bool:
        """Return whether there is such a file."""

    def is_dir(self) -> bool:
        """Return whether there is such a folder; in an object store, whether something is below it."""

    def iterdir(self) -> Iterator[Self]:
        """Yield the files and folders in this folder."""

    def glob(self, pattern: str, /) -> Iterator[Self]:
        """Yield the files and folders that match the pattern, at the levels that it names."""

    def rglob(self, pattern: str, /) -> Iterator[Self]:
        """Yield the files and folders at any level below this folder whose names match."""

    def read_bytes(self) -> bytes:
        """Read the whole file: of one that is being replaced, the old content or the new.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def read_text(self) -> str:
        """Read the whole file as text."""

    def write(self, data: bytes) -> None:
        """Write the whole file, replacing what was there, so that a crash leaves the old file or the new one.

        Its folder is made where it is missing.
        """

    def copy_to(self, target: Self) -> None:
        """Make `target` a copy of the file, atomically, and without moving its content if the storage can do that.

        Files are replaced but never modified, so both may share their content.
        """

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file.

        Raises:
            FileNotFoundError: there is no such file, unless `missing_ok`.
        """

    def expanduser(self) -> Self:
        """Return the location with "~" replaced."""

    def absolute(self) -> Self:
        """Return the absolute location."""

    def resolve(self) -> Self:
        """Return the absolute location, with links resolved."""

    def as_file(self) -> AbstractContextManager[Path]:
        """Provide a path in the local file system, for programs that can read only that.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def obstacle(self) -> Self | None:
        """Return what prevents this folder from being created and written; None if nothing is known to."""

    def lock(self, content: bytes) -> HeldLock | None:
        """Lock this file, which is created if it is missing, and write `content` into it.

        Returns:
            The lock; None if the storage does not support locks.

        Raises:
            AlreadyLocked: another process holds it.
        """
