"""A lock on a folder, so that only one process writes to it at a time.

On a file system it is a flock, which the kernel releases however its holder ends. In an object store it is a lease,
which is taken by a conditional write and renewed while its holder lives; the lease of a killed process is taken over
when it has not been renewed for two minutes. A message says if the storage has no locks.
"""

import json
import os
import socket
from types import TracebackType
from typing import Self

from tsrnn.io.files import AnyLocation, Location, location
from tsrnn.io.location import AlreadyLocked, HeldLock
from tsrnn.untrusted import parse_json


class LockedError(Exception):
    """Another process holds the lock; `holder` says which: "process 123 on host"."""

    def __init__(self, path: Location, holder: str) -> None:
        super().__init__(f"{path} is locked by {holder}")
        self.holder = holder


class FolderLock:
    """A lock named `name` in a folder; a context that gives it back.

    Two locks of one process exclude each other too. Processes that this one starts do not inherit it.
    """

    def __init__(self, folder: AnyLocation, name: str = "lock") -> None:
        """Address the lock. The file is `_<name>`: readers of tables skip it."""
        self.path = location(folder) / f"_{name}"
        self._held: HeldLock | None = None

    def acquire(self) -> bool:
        """Take the lock, unless it is held already; the folder is created if it is missing.

        Returns:
            Whether it is held; False where the storage has no locks.

        Raises:
            LockedError: another process holds it.
            OSError: the folder cannot be made or written.
        """
        if self._held is None:
            mine = json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode()
            try:
                self._held = self.path.lock(mine)
            except AlreadyLocked as found:
                raise LockedError(self.path, _holder(found.content)) from None
        return self._held is not None

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _holder(text: bytes) -> str:
    try:
        found = parse_json(text)
        return f"process {int(found['process'])} on {str(found['host'])[:100]}"
    except (ValueError, KeyError, TypeError):  # not written yet
        return "another process"
