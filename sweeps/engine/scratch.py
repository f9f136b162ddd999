"""A temporary folder for Tune, and the removal of folders that killed programs have left.

All users of a machine share the folder of temporary files, so an entry there may be another user's link to a file of
this user. Links are not followed, and only folders that no one else can write to are touched.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tsrnn.io.lock import FolderLock

_PREFIX: Final = "tsrnn-"
_LOCK: Final = "_lock"
_YOUNG: Final = 60.0
"""Seconds during which an unlocked folder may be new and about to be locked."""


@contextmanager
def scratch() -> Iterator[str]:
    """Create a temporary folder, and remove those of killed programs, whose locks no process holds."""
    _remove_left(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder,
        FolderLock(Path(folder), _LOCK.removeprefix("_")) as lock,
    ):
        lock.acquire()
        yield folder


def _remove_left(temporary: Path) -> None:
    """Remove the folders of this user that no process has locked."""
    try:
        found = sorted(path for path in temporary.iterdir() if path.name.startswith(_PREFIX))
    except OSError:
        return
    for folder in found:
        with suppress(OSError):
            _remove_unless_held(folder)


def _remove_unless_held(folder: Path) -> None:
    """Remove a folder that only this user can write, and that no process has locked.

    Raises:
        OSError: it is a link, is locked, or has no lock; it is not changed.
    """
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        made = os.fstat(directory)
        if made.st_uid != os.geteuid() or stat.S_IMODE(made.st_mode) != 0o700:  # the permissions that tempfile sets
            return
        lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW, dir_fd=directory)
        try:
            found = os.fstat(lock)
            if not stat.S_ISREG(found.st_mode) or found.st_mtime > time.time() - _YOUNG:
                return
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # rmtree follows no link below the folder; this checks that the name still refers to the same folder.
            if os.path.samestat(os.lstat(folder), made):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
    finally:
        os.close(directory)
