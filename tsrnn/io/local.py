"""Files and folders of a file system, local or shared."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path, PosixPath
from typing import Final

from tsrnn.io.location import AlreadyLocked

_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_NO_LINKS: Final = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP}
# What file systems answer that cannot sync a folder, or users who may write in one and not read it.
_NO_FOLDER_SYNC: Final = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM}


class LocalPath(PosixPath):
    """A path of the file system; see `tsrnn.io.location.Location`."""

    @property
    def is_file_system(self) -> bool:
        """Yes."""
        return True

    def read_bytes(self) -> bytes:
        """Read the whole file, without `pathlib`'s buffer, which for a small file takes longer than the reading."""
        with FileIO(self) as file:
            return file.readall()

    def write(self, data: bytes, *, through: Path | None = None) -> None:
        """Write the whole file; see `Location.write`.

        The data goes to a temporary file in the same folder and is on disk before it takes the name. The temporary name
        begins with "_": readers of Parquet folders ignore what a killed process leaves.

        Args:
            data: The content.
            through: The folder, of the same file system, that the temporary file is made in, if not the file's own.
                Once it has been deleted, nothing can be written through it.

        Raises:
            OSError: the folder cannot be made or written; the file is as it was, and no temporary file is left. Or the
                folder cannot be synced: then the message says that the new content is in place.
        """

        def fill(temporary: Path) -> None:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

        self._put(fill, through or self.parent)

    def copy_to(self, target: LocalPath) -> None:
        """Make `target` the same file, by a hard link where the file system has them; see `Location.copy_to`."""

        def fill(temporary: Path) -> None:
            try:
                os.link(self, temporary)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copyfile(self, temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())

        target._put(fill, target.parent)

    def _put(self, fill: Callable[[Path], None], through: Path) -> None:
        """Give this name to a temporary file that `fill` makes in the folder `through`."""
        _make_folder(self.parent)
        temporary = through / f"_{self.name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            fill(temporary)
            temporary.replace(self)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        try:
            _sync_folder(self.parent)
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}: the new content is in place, but a power cut may undo it", str(self)
            ) from error

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """Yield the path itself."""
        yield self

    def obstacle(self) -> LocalPath | None:
        """Return the nearest file or folder on the way that is in the way; see `Location.obstacle`."""
        nearest = next(path for path in (self, *self.parents) if os.path.exists(path))
        return None if nearest.is_dir() and os.access(nearest, os.W_OK) else nearest

    def lock(self, content: bytes) -> _Flock | None:
        """Lock this file by flock; see `Location.lock`.

        The kernel takes the lock back however its holder ends: kill -9 and a power cut leave the file, which locks
        nothing. On NFS it holds between machines where the server locks files, as usual. A link is not followed: what
        it points to would be overwritten. Of a file system that has no locks a line is printed, once for each folder.
        """
        _make_folder(self.parent)
        file = os.open(self, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.pwrite(file, content, 0)
        except BlockingIOError:
            found = os.pread(file, 1000, 0)
            os.close(file)
            raise AlreadyLocked(found) from None
        except OSError as error:
            os.close(file)
            if error.errno not in _NO_LOCKS:
                raise
            if str(self.parent) not in _TOLD:
                _TOLD.add(str(self.parent))
                print(
                    f"warning: {self.parent}: its file system has no locks ({error.strerror}), so nothing keeps a "
                    f"second program from writing there; run one at a time",
                    file=sys.stderr,
                )
            return None
        return _Flock(file)


_TOLD: Final[set[str]] = set()
"""The folders of which it was said that they cannot be locked."""


def _make_folder(folder: Path) -> None:
    """Make a folder with its parents; a power cut leaves each of them, once this returns.

    Raises:
        OSError: one of them cannot be made, or synced.
    """
    missing = []
    for path in (folder, *folder.parents):
        if path.exists():
            break
        missing.append(path)
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until what was made, renamed and deleted in a folder is on disk, where its file system can tell.

    Raises:
        OSError: it is not, and may be lost.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


class _Flock:
    """A lock that an open file holds."""

    def __init__(self, file: int) -> None:
        self._file = file

    def release(self) -> None:
        """Close the file, which stays: another process may be about to lock it."""
        os.close(self._file)
