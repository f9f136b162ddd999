"""A lock on a folder of a local or shared file system, taken back by the kernel however its holder ends.

It is flock's, on a file of that folder. Kill -9 and a power cut leave the file, which locks nothing, and no lock.
On NFS it holds between machines where the server locks files, as usual; a file system without locks is told of.
"""

import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tsrnn.io.files import Location, ObjectPath

_NOT_SUPPORTED: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class LockedError(Exception):
    """Another process holds the lock; `holder` says which: "process 123 on host"."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is locked by {holder}")
        self.holder = holder


class FolderLock:
    """A lock named `name` in a folder; a context that gives it back.

    Two locks of one process exclude each other too. Processes that this one starts do not inherit it.
    """

    def __init__(self, folder: Location, name: str = "lock") -> None:
        """Address the lock. The file is `_<name>`: readers of tables skip it."""
        self.path = folder / f"_{name}"
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock, unless it is held already; the folder is made where it is missing.

        Returns:
            Whether it is held; False where the file system has no locks, or it is an object store, which has none.

        Raises:
            LockedError: another process holds it.
            OSError: the folder cannot be made or written.
        """
        if isinstance(self.path, ObjectPath):
            return False
        if self._file is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        except BlockingIOError:
            holder = _holder(os.pread(file, 1000, 0))
            os.close(file)
            raise LockedError(self.path, holder) from None
        except OSError as error:
            os.close(file)
            if error.errno in _NOT_SUPPORTED:
                return False
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back, if it is held. The file stays: another process may be about to lock it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _holder(text: bytes) -> str:
    try:
        found = json.loads(text)
        return f"process {int(found['process'])} on {str(found['host'])[:100]}"
    except (ValueError, KeyError, TypeError):  # not written yet
        return "another process"
