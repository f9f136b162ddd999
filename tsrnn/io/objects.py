"""Object stores, through obstore: the interface of `tsrnn.io.location` for S3 and similar stores."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from tsrnn.io.location import AlreadyLocked
from tsrnn.untrusted import parse_json

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutResult, UpdateVersion
    from obstore.store import S3Config, S3Store

SCHEME: Final = "s3://"
LEASE_S: Final = 120.0
"""Seconds after which a lock that was not renewed is taken over; its holder is dead or has lost the connection."""
_UNCONDITIONAL: Final = (
    "{}: this store has no conditional writes (If-Match, If-None-Match), without which two writers would destroy each "
    "other's results; use another store"
)
_CONFLICTS: Final = 10
"""How often a write is tried again if the store refused it because of a simultaneous write."""
_RENEWALS: Final = 6
"""How often a holder renews its lock in that time."""


class ChangedError(Exception):
    """An object is not the version that was to be replaced: another process has written it since."""


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A name in an object store: a file, or a folder, which exists as long as there is something below it.

    See `tsrnn.io.location.Location`.

    Attributes:
        path: The bucket and the names below it, with "/" between.
    """

    path: PurePosixPath

    def __str__(self) -> str:
        return f"{SCHEME}{self.path}"

    def __truediv__(self, name: str, /) -> ObjectPath:
        return ObjectPath(self.path / name)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The last part of the path without its suffix."""
        return self.path.stem

    @property
    def parent(self) -> ObjectPath:
        """The folder that contains it."""
        return ObjectPath(self.path.parent)

    @property
    def is_file_system(self) -> bool:
        """No."""
        return False

    @property
    def _key(self) -> str:
        """The name below the bucket."""
        return "/".join(self.path.parts[1:])

    def _below(self, key: str) -> ObjectPath:
        return ObjectPath(PurePosixPath(self.path.parts[0], key))

    def exists(self) -> bool:
        """Return whether there is such a file or folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Return whether there is such a file."""
        if not self._key:
            return False
        import obstore

        with _told(self):
            try:
                obstore.head(_store(self.path.parts[0]), self._key)
            except FileNotFoundError:
                return False
        return True

    def is_dir(self) -> bool:
        """Return whether something is below this name."""
        import obstore

        with _told(self):
            return any(obstore.list(_store(self.path.parts[0]), self._key or None, chunk_size=1))

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield the files and folders in this folder; nothing if it does not exist."""
        import obstore

        with _told(self):
            found = obstore.list_with_delimiter(_store(self.path.parts[0]), self._key or None)
        names = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
        return (self._below(name) for name in sorted(names))

    def glob(self, pattern: str, /) -> Iterator[ObjectPath]:
        """Yield the files and folders that match the pattern, at the levels that it names."""
        first, _, rest = pattern.partition("/")
        fitting = (path for path in self.iterdir() if fnmatchcase(path.name, first))
        return (found for path in fitting for found in path.glob(rest)) if rest else fitting

    def rglob(self, pattern: str, /) -> Iterator[ObjectPath]:
        """Yield the files below this folder whose names match."""
        import obstore

        with _told(self):
            keys = [one["path"] for part in obstore.list(_store(self.path.parts[0]), self._key or None) for one in part]
        return (path for path in map(self._below, keys) if fnmatchcase(path.name, pattern))

    def read_bytes(self) -> bytes:
        """Read the whole file in one request: of one that is being replaced, the old content or the new.

        Raises:
            FileNotFoundError: there is no such file.
        """
        import obstore

        with _told(self):
            return bytes(obstore.get(_store(self.path.parts[0]), self._key).bytes())

    def read_text(self) -> str:
        """Read the whole file as UTF-8."""
        return self.read_bytes().decode()

    def write(self, data: bytes) -> None:
        """Write the whole file, atomically: a large file becomes visible when its last part has arrived."""
        import obstore

        with _told(self, writing=True):
            obstore.put(_store(self.path.parts[0]), self._key, data)

    def version(self) -> UpdateVersion | None:
        """Return the store's identifier of the current version of the file; None if there is no file."""
        import obstore

        with _told(self):
            try:
                return _version(obstore.head(_store(self.path.parts[0]), self._key))
            except FileNotFoundError:
                return None

    def read_version(self) -> tuple[bytes, UpdateVersion]:
        """Read the whole file, and return its content and its version.

        Raises:
            FileNotFoundError: there is no such file.
        """
        import obstore

        with _told(self):
            found = obstore.get(_store(self.path.parts[0]), self._key)
            return bytes(found.bytes()), _version(found.meta)

    def write_version(self, data: bytes, version: UpdateVersion | None) -> UpdateVersion:
        """Write the whole file if it is still the given version.

        Args:
            data: The content. Where the file has it already, it counts as written: an answer of the store may have
                been lost.
            version: The version to be replaced; None if there must be no file.

        Returns:
            The new version.

        Raises:
            ChangedError: the file is another version; it stays.
            OSError: the store has no conditional writes, does not answer or refuses.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        store = _store(self.path.parts[0])
        mode: Literal["create"] | UpdateVersion = "create" if version is None else version
        for _ in range(_CONFLICTS):
            with _told(self, writing=True):
                try:
                    return _version(obstore.put(store, self._key, data, mode=mode, use_multipart=False))
                except (AlreadyExistsError, PreconditionError):
                    pass
                except FileNotFoundError:
                    if version is None:
                        raise
                except NotSupportedError:
                    raise OSError(_UNCONDITIONAL.format(self)) from None
            try:
                found, current = self.read_version()
            except FileNotFoundError:
                if version is None:  # deleted in between
                    continue
                raise ChangedError(str(self)) from None
            if found == data:
                return current
            if current != version:
                raise ChangedError(str(self))
            # The store refuses both of two simultaneous writes, so the other one was refused, too.
        raise ChangedError(str(self))

    def copy_to(self, target: ObjectPath) -> None:
        """Make `target` the same file; the store copies within a bucket."""
        import obstore

        if target.path.parts[0] != self.path.parts[0]:
            target.write(self.read_bytes())
            return
        with _told(self):
            obstore.copy(_store(self.path.parts[0]), self._key, target._key)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file.

        Raises:
            FileNotFoundError: there is no such file, unless `missing_ok`.
        """
        import obstore

        if not missing_ok and not self.is_file():
            raise FileNotFoundError(f"{self}: no such file")
        with _told(self), suppress(FileNotFoundError):
            obstore.delete(_store(self.path.parts[0]), self._key)

    def expanduser(self) -> ObjectPath:
        """Return the name itself."""
        return self

    def absolute(self) -> ObjectPath:
        """Return the name itself."""
        return self

    def resolve(self) -> ObjectPath:
        """Return the name itself."""
        return self

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """Yield a copy in a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="tsrnn-") as folder:
            copy = Path(folder) / self.name
            copy.write_bytes(self.read_bytes())
            yield copy

    def obstacle(self) -> ObjectPath | None:
        """Return None: only a write would show."""
        return None

    def lock(self, content: bytes) -> _Lease:
        """Lock this name by a conditional write; see `Location.lock`.

        The lock is a lease: its holder renews it, and what has not been renewed for `LEASE_S` is taken over. One whose
        content names a process of this machine ("process", "host", as JSON) that has ended is taken over at once.

        Raises:
            AlreadyLocked: another process holds it.
            OSError: the store does not answer, or has no conditional writes.
        """
        lease = _Lease(self, content)
        lease.take()
        return lease


class _Lease:
    """A lock on a name, held as long as this process renews it."""

    def __init__(self, path: ObjectPath, content: bytes) -> None:
        self._path, self._content = path, content
        # Versions are identified by the content, which is different for each.
        self._token, self._writes = secrets.token_hex(8), 0
        self._version: UpdateVersion = {}
        self._released = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> None:
        """Take the lock, and renew it from now on.

        Raises:
            AlreadyLocked: another process holds it.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        store, key = _store(self._path.path.parts[0]), self._path._key
        with _told(self._path, writing=True):
            try:
                self._version = _version(obstore.put(store, key, self._next(), mode="create"))
            except NotSupportedError:
                raise OSError(_UNCONDITIONAL.format(self._path)) from None
            except AlreadyExistsError:
                found = obstore.get(store, key)
                before, holder = found.meta, bytes(found.bytes()).partition(b"\n")[0]
                age = self._now() - before["last_modified"].timestamp()
                if age <= LEASE_S and not _was_here_and_ended(holder):
                    raise AlreadyLocked(holder) from None
                try:
                    self._version = _version(obstore.put(store, key, self._next(), mode=_version(before)))
                except PreconditionError:  # another process was faster
                    raise AlreadyLocked(self._path.read_bytes().partition(b"\n")[0]) from None
        self._renewing.start()

    def release(self) -> None:
        """Release the lock."""
        self._released.set()
        self._renewing.join()
        if self._version:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _next(self) -> bytes:
        self._writes += 1
        return self._content + f"\n{self._token} {self._writes}".encode()

    def _now(self) -> float:
        """Return the time on the store's clock, which the lock's own time is on."""
        import obstore

        probe = self._path.parent / f"{self._path.name}-{self._token}"
        probe.write(b"")
        try:
            return obstore.head(_store(probe.path.parts[0]), probe._key)["last_modified"].timestamp()
        finally:
            probe.unlink(missing_ok=True)

    def _renew(self) -> None:
        import obstore
        from obstore.exceptions import BaseError, PreconditionError

        while not self._released.wait(LEASE_S / _RENEWALS):
            try:
                put = obstore.put(_store(self._path.path.parts[0]), self._path._key, self._next(), mode=self._version)
                self._version = _version(put)
            except (PreconditionError, FileNotFoundError):
                self._version = {}
                print(f"warning: {self._path}: the lock was lost; another process may take over", file=sys.stderr)
                return
            except BaseError:  # the store does not answer: it may before the lease ends
                continue


def _was_here_and_ended(holder: bytes) -> bool:
    """Return whether the holder of a lock was a process of this machine that is no more."""
    try:
        named = parse_json(holder)
        if named["host"] != socket.gethostname():
            return False
        os.kill(int(named["process"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return False
    return False


def _version(found: PutResult | ObjectMeta) -> UpdateVersion:
    """Return the store's identifier of a version of an object, from its metadata."""
    version: UpdateVersion = {}
    if found["e_tag"] is not None:
        version["e_tag"] = found["e_tag"]
    if found["version"] is not None:
        version["version"] = found["version"]
    return version


@contextmanager
def _told(path: ObjectPath, *, writing: bool = False) -> Iterator[None]:
    """Raise an error of the store as an OSError with one line; a missing file remains a FileNotFoundError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if writing:
            raise OSError(f"{path}: the bucket does not exist") from error
        raise FileNotFoundError(f"{path}: no such file") from None
    except BaseError as error:
        reason = " ".join(str(error).partition("\n\nDebug source")[0].split())
        raise OSError(f"{path}: {reason}") from None


@cache
def _store(bucket: str) -> S3Store:
    """Return the connection to a bucket's store.

    Credentials come from where AWS's own tools look for them: the environment, the machine's or container's role, and,
    where boto3 is installed, the files of `aws configure`. AWS_ENDPOINT_URL names a store that is not AWS's.
    """
    from obstore.store import S3Store

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region and not endpoint:
        from pyarrow.fs import resolve_s3_region

        region = resolve_s3_region(bucket)
    provider = None
    if "AWS_ACCESS_KEY_ID" not in os.environ:
        with suppress(ImportError):
            from obstore.auth.boto3 import Boto3CredentialProvider

            with suppress(ValueError):  # it found none
                provider = Boto3CredentialProvider()
    config: S3Config = {"region": region or "us-east-1"}
    if endpoint:
        config["endpoint"] = endpoint
    return S3Store(
        bucket,
        config=config,
        client_options={"connect_timeout": "10s", "timeout": "60s", "allow_http": (endpoint or "").startswith("http:")},
        retry_config={"max_retries": 5},
        credential_provider=provider,
    )
