"""Claims: the right to write the files of a sweep, a network or an analysis. Only the newest claim gives this right.

A process that seems dead may still be alive: behind a broken network connection, stopped by a signal, or on a suspended
machine. When it comes back, it must not overwrite what its successor has written. Each process therefore claims what it
is about to write, and writes through its claim. A new claim first ends the earlier one. From then on, every write of
the earlier holder fails, including a write that has begun.

- On a file system, a claim is a folder, `_claims/.../<number>-<token>`. A file is first written into this folder and
  then renamed to its place. A successor deletes the folder, so that the earlier holder has nothing left to rename. The
  claims of trials are inside that of their driver, so that a new driver ends all of them.
- In an object store, a claim is an object that is replaced only by conditional writes (`If-Match`, `If-None-Match`).
  A file is replaced on the condition that it is still the version that the holder of the claim has written, or has
  read since the claim. A successor writes each file again, so that no version that the earlier holder knows is left.

A claim does not show whether an earlier holder is alive: a `tsrnn.io.lock.FolderLock` keeps a second process out while
the first one lives. Claims protect the results where locks fail.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tsrnn.errors import Failure
from tsrnn.io.files import RECORD, AnyLocation, location, open_sealed_json
from tsrnn.io.local import LocalPath
from tsrnn.io.location import Location
from tsrnn.io.objects import ChangedError, ObjectPath
from tsrnn.untrusted import parse_json

if TYPE_CHECKING:
    from obstore import UpdateVersion

CLAIMS: Final = "_claims"
"""The folder, below a sweep's, that holds the claims."""
DRIVER: Final = "driver"
"""What a sweep's driver claims: the whole folder."""

# Seconds in which a claim's folder must become empty; an earlier holder writes one file at a time.
_PATIENCE: Final = 60.0
_TRIES: Final = 100
_MOST: Final = 10**9
_GONE: Final = {errno.ENOENT, errno.ESTALE}


class ClaimLostError(Failure):
    """Another process has made a newer claim: this process must stop. It has not changed anything since."""


class Claim(ABC):
    """The right to write what was claimed, until another process claims it.

    Attributes:
        folder: The folder of the sweep.
        name: The name by which another process of the same holder can use the claim, too; see `rejoin`.
        number: Counts the claims of the same thing.
        attempt: The number, preceded by that of the claim that this one is part of, such as "4.1". Files record it.
    """

    folder: Location
    name: str
    number: int
    attempt: str

    @abstractmethod
    def write(self, path: Location, data: bytes) -> None:
        """Write a whole file, replacing what was there, so that a crash leaves the old file or the new one.

        Raises:
            ClaimLostError: the claim was lost; the file is as its new holder left it.
            OSError: the file cannot be written, and is as it was.
        """

    @abstractmethod
    def update(self, path: Location, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a file by the result of a function of its content, with no other write in between.

        Args:
            path: The file, which need not exist.
            change: Returns the new content, given the present one or None; None to leave the file as it is. It may be
                called several times.

        Raises:
            ClaimLostError: the claim was lost.
            OSError: the file cannot be read or written.
        """

    @abstractmethod
    def adopt(self, path: Location, rewrite: Callable[[bytes | None], bytes | None]) -> None:
        """Take over a file that earlier holders may be about to replace; afterwards they cannot replace it.

        In an object store this requires a write; on a file system the claim alone is enough.

        Args:
            path: The file, which need not exist.
            rewrite: Returns the same content in other bytes, as `change` of `update`.

        Raises:
            ClaimLostError: the claim was lost.
            OSError: the file cannot be read or written.
        """

    @abstractmethod
    def check(self) -> None:
        """Check that the claim still holds.

        Raises:
            ClaimLostError: it does not.
            OSError: the storage does not answer.
        """

    @abstractmethod
    def within(self, subject: str) -> Claim:
        """Claim a part, such as one network of a sweep. A newer claim of the part, or the loss of this claim, ends it.

        Raises:
            ClaimLostError: this claim was lost, or another process was faster.
        """

    @abstractmethod
    def release(self) -> None:
        """Give up the claim of a part, when all of it is written.

        A claim of the whole need not be given up: the next claim's number follows from it.
        """

    def _lost(self) -> ClaimLostError:
        return _lost(self.folder, self.name.split("/")[-2])


def take(folder: AnyLocation, subject: str, *, after: int = 0) -> Claim:
    """Claim something, ending all earlier claims of it.

    Args:
        folder: The sweep's.
        subject: What is claimed: `DRIVER`, or an analysis by its name.
        after: A number that the claim's must exceed.

    Raises:
        ClaimLostError: another process claimed it at the same time, and has it.
        OSError: the folder cannot be written, or its store has no conditional writes.
    """
    folder = location(folder)
    if isinstance(folder, ObjectPath):
        return _ObjectClaim.taken(folder, subject, None, after)
    assert isinstance(folder, LocalPath)
    parent = folder / CLAIMS / subject
    parent.mkdir(parents=True, exist_ok=True)
    return _FolderClaim(folder, _made(parent, folder, subject, after))


def rejoin(folder: AnyLocation, name: str) -> Claim:
    """Return a claim that another process of the same holder made, by its name (`Claim.name`).

    Raises:
        ClaimLostError: it was lost since.
        FileNotFoundError: there are no claims in the folder: it is not the folder that the other process sees.
        OSError: the storage does not answer.
    """
    claim: Claim
    folder = location(folder)
    if isinstance(folder, ObjectPath):
        claim = _ObjectClaim.named(folder, name)
    else:
        assert isinstance(folder, LocalPath)
        subject, own = name.split("/")[:2]
        if not any(one.name >= own for one in (folder / CLAIMS / subject).glob("*")):
            raise FileNotFoundError(f"{folder / CLAIMS / subject / own}: no such folder")
        claim = _FolderClaim(folder, folder / CLAIMS / name)
    claim.check()
    return claim


def recorded_number(content: Mapping[str, Any]) -> int:
    """Return the number of the last driver's claim from a sweep's record, since a copied folder may lack the claims.

    Args:
        content: The record's; one of before there were claims says nothing, which is 0.

    Raises:
        ValueError: it is no such number.
    """
    number = content.get("claim", 0)
    if type(number) is not int or not 0 <= number < _MOST:
        raise ValueError(f"claim = {number!r}")
    return number


def last_driver(folder: Location) -> int:
    """Return the number of the last driver's claim according to a sweep's record; 0 if that is absent or damaged.

    Args:
        folder: The sweep's.
    """
    try:
        return recorded_number(open_sealed_json((folder / RECORD).read_bytes()))
    except (OSError, ValueError):
        return 0


def _lost(folder: Location, subject: str) -> ClaimLostError:
    what = "this sweep" if subject == DRIVER else subject
    return ClaimLostError(f"{folder}: another process has taken over {what}; this one stops, and changes nothing more")


def _number(name: str) -> int:
    digits = name.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _fresh_name(number: int) -> str:
    return f"{number:06d}-{secrets.token_hex(4)}"


class _FolderClaim(Claim):
    """A claim that is a folder."""

    def __init__(self, folder: LocalPath, own: LocalPath) -> None:
        self.folder: LocalPath = folder
        self._own = own
        parts = own.relative_to(folder / CLAIMS).parts
        self.name = "/".join(parts)
        self.number = _number(parts[-1])
        self.attempt = ".".join(str(_number(part)) for part in parts[1::2])

    def write(self, path: Location, data: bytes) -> None:
        assert isinstance(path, LocalPath)
        try:
            path.write(data, through=self._own)
        except OSError as error:
            if error.errno in _GONE:
                self.check()
            raise

    def update(self, path: Location, change: Callable[[bytes | None], bytes | None]) -> None:
        try:
            before = path.read_bytes()
        except FileNotFoundError:
            before = None
        after = change(before)
        if after is not None:
            self.write(path, after)

    def adopt(self, path: Location, rewrite: Callable[[bytes | None], bytes | None]) -> None:
        self.check()

    def check(self) -> None:
        folder, parts = self.folder / CLAIMS, self.name.split("/")
        try:
            os.stat(self._own)
            for subject, name in zip(parts[::2], parts[1::2], strict=True):
                folder = folder / subject
                # A later claim is there before the earlier one is gone.
                if max(os.listdir(folder)) > name:
                    raise self._lost()
                folder = folder / name
        except OSError as error:
            if error.errno in _GONE:
                raise self._lost() from None
            raise

    def within(self, subject: str) -> Claim:
        parent = self._own / subject
        try:
            parent.mkdir(exist_ok=True)
            return _FolderClaim(self.folder, _made(parent, self.folder, subject))
        except FileNotFoundError:
            self.check()
            raise

    def release(self) -> None:
        if self.name.count("/") > 1:
            _remove(self._own)
            with suppress(OSError):  # another claim of it lies there
                self._own.parent.rmdir()


def _made(parent: LocalPath, folder: LocalPath, subject: str, after: int = 0) -> LocalPath:
    """Make a claim's folder, and remove those of earlier claims; later ones prevail.

    Two processes at the same time both make theirs before they look: either the later removes the earlier, or the
    earlier sees the later and withdraws, before either writes.
    """
    own = parent / _fresh_name(max([after, *map(_number, os.listdir(parent))]) + 1)
    own.mkdir()
    others = sorted(os.listdir(parent))
    for other in others[: others.index(own.name)] if own.name in others else ():
        _remove(parent / other)
    if not others or others[-1] != own.name:
        _remove(own)
        raise _lost(folder, subject)
    return own


def _remove(folder: Path) -> None:
    """Delete a claim's folder, in which its holder may be writing: when it is gone, the holder's next step fails."""
    began = time.monotonic()
    while True:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        _remove(Path(entry.path))
                    else:
                        with suppress(FileNotFoundError):
                            os.unlink(entry.path)
            os.rmdir(folder)
        except OSError as error:
            if error.errno in _GONE:
                return
            if error.errno != errno.ENOTEMPTY or time.monotonic() - began > _PATIENCE:
                raise
        else:
            return


class _ObjectClaim(Claim):
    """A claim that is an object.

    Its content says of which claim it is part ("of", the other's number) and which it is ("number", "token").
    """

    def __init__(self, folder: ObjectPath, subject: str, content: dict[str, Any], whole: _ObjectClaim | None) -> None:
        self.folder: ObjectPath = folder
        self._content, self._whole = content, whole
        self._object = _claim_object(folder, subject, whole)
        self.number = content["number"]
        own = f"{subject}/{self.number:06d}-{content['token']}"
        self.name = f"{whole.name}/{own}" if whole else own
        self.attempt = f"{whole.attempt}.{self.number}" if whole else str(self.number)
        self._versions: dict[ObjectPath, UpdateVersion | None] = {}

    @classmethod
    def taken(cls, folder: ObjectPath, subject: str, whole: _ObjectClaim | None, after: int = 0) -> _ObjectClaim:
        """Take a claim; see `take`."""
        path, of = _claim_object(folder, subject, whole), whole.number if whole else 0
        for _ in range(_TRIES):
            before, version = _read(path)
            if before["of"] > of:
                raise _lost(folder, subject)
            number = max(after, before["number"] if before["of"] == of else 0) + 1
            content = {"of": of, "number": number, "token": secrets.token_hex(8)}
            try:
                path.write_version(json.dumps(content).encode(), version)
            except ChangedError:
                continue
            claim = cls(folder, subject, content, whole)
            claim.check()
            return claim
        raise OSError(f"{path}: other processes claim it all the time")

    @classmethod
    def named(cls, folder: ObjectPath, name: str) -> _ObjectClaim:
        """Return the claim of this name; see `rejoin`."""
        claim, parts = None, name.split("/")
        for subject, own in zip(parts[::2], parts[1::2], strict=True):
            digits, _, token = own.partition("-")
            content = {"of": claim.number if claim else 0, "number": int(digits), "token": token}
            claim = cls(folder, subject, content, claim)
        assert claim is not None
        return claim

    def write(self, path: Location, data: bytes) -> None:
        assert isinstance(path, ObjectPath)
        if path in self._versions:
            try:
                self._versions[path] = path.write_version(data, self._versions[path])
            except ChangedError:
                raise self._lost() from None
            return
        for _ in range(_TRIES):
            # The version first: whoever claims after the check, and writes the file, makes it another.
            version = path.version()
            self.check()
            try:
                self._versions[path] = path.write_version(data, version)
            except ChangedError:  # by an earlier holder, whose write had begun before this claim; or it is lost
                continue
            return
        raise OSError(f"{path}: other processes write it all the time")

    def update(self, path: Location, change: Callable[[bytes | None], bytes | None]) -> None:
        assert isinstance(path, ObjectPath)
        for _ in range(_TRIES):
            data: bytes | None
            version: UpdateVersion | None
            try:
                data, version = path.read_version()
            except FileNotFoundError:
                data, version = None, None
            self.check()
            new = change(data)
            try:
                self._versions[path] = version if new is None else path.write_version(new, version)
            except ChangedError:  # an earlier holder was about to write: what it wrote counts
                continue
            return
        raise OSError(f"{path}: other processes write it all the time")

    def adopt(self, path: Location, rewrite: Callable[[bytes | None], bytes | None]) -> None:
        self.update(path, rewrite)

    def check(self) -> None:
        if self._whole:
            self._whole.check()
        try:
            current, _ = _read(self._object, must_exist=self._whole is None)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self._object}: no such file") from None
        if current != self._content:
            raise self._lost()

    def within(self, subject: str) -> Claim:
        self.check()
        return _ObjectClaim.taken(self.folder, subject, self)

    def release(self) -> None:
        """Leave the object: the next claim's number follows from it."""


def _claim_object(folder: ObjectPath, subject: str, whole: _ObjectClaim | None) -> ObjectPath:
    return folder / CLAIMS / "parts" / subject if whole else folder / CLAIMS / subject


def _read(path: ObjectPath, *, must_exist: bool = False) -> tuple[dict[str, Any], UpdateVersion | None]:
    """Return what a claim's object says, and its version; where there is none, what comes before the first claim."""
    try:
        data, version = path.read_version()
    except FileNotFoundError:
        if must_exist:
            raise
        return {"of": 0, "number": 0, "token": ""}, None
    found = parse_json(data)
    return {"of": int(found["of"]), "number": int(found["number"]), "token": str(found["token"])}, version
