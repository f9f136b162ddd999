"""Files that are whole or absent, on a file system or in an object store: readers never see one half written.

A `Location` is where a file or a folder is. On a file system it is a `pathlib.Path`; in an object store it is an
`ObjectPath`, which has the part of Path's interface that results need. pyarrow is imported for the latter only.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, S3FileSystem

_SCHEME: Final = "s3://"
_ATTEMPTS: Final = 20


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A name in an object store: a file, or a folder, which exists as long as there is something below it.

    Every method that asks the store raises an OSError where it does not answer, or refuses.

    Attributes:
        path: The bucket and the names below it, with "/" between.
    """

    path: PurePosixPath

    def __str__(self) -> str:
        return f"{_SCHEME}{self.path}"

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(self.path / name)

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self.path.stem

    @property
    def parent(self) -> ObjectPath:
        """The folder it is in."""
        return ObjectPath(self.path.parent)

    def exists(self) -> bool:
        """Return whether there is such a file or folder."""
        return self._is("File", "Directory")

    def is_file(self) -> bool:
        """Return whether there is such a file."""
        return self._is("File")

    def is_dir(self) -> bool:
        """Return whether there is such a folder."""
        return self._is("Directory")

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield what is in this folder; nothing where it does not exist."""
        return (ObjectPath(PurePosixPath(info.path)) for info in self._list(recursive=False))

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield what is in this folder, and at each level below that the pattern names, with names that fit it."""
        first, _, rest = pattern.partition("/")
        fitting = (path for path in self.iterdir() if fnmatchcase(path.name, first))
        return (found for path in fitting for found in path.glob(rest)) if rest else fitting

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield what is below this folder with a name that fits."""
        paths = (ObjectPath(PurePosixPath(info.path)) for info in self._list(recursive=True))
        return (path for path in paths if fnmatchcase(path.name, pattern))

    def read_bytes(self) -> bytes:
        """Read the whole file: of one that is being replaced, the old content or the new.

        Raises:
            FileNotFoundError: there is no such file.
        """
        store, name = _store(self.path.parts[0]), str(self.path)
        # Arrow asks for the length, then for as many bytes: where the file was replaced in between, it is asked again.
        for _ in range(_ATTEMPTS):
            with store.open_input_file(name) as file:
                before, content = file.metadata()["ETag"], file.read()
            with store.open_input_file(name) as after:
                if after.metadata()["ETag"] == before:
                    whole: bytes = content
                    return whole
        raise OSError(f"{self} changes faster than it can be read")

    def read_text(self) -> str:
        """Read the whole file as UTF-8."""
        return self.read_bytes().decode()

    def write_bytes(self, data: bytes) -> None:
        """Write the whole file in one request, whole or not at all."""
        with _store(self.path.parts[0]).open_output_stream(str(self.path)) as file:
            file.write(data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file.

        Raises:
            FileNotFoundError: there is no such file, unless `missing_ok`.
        """
        try:
            _store(self.path.parts[0]).delete_file(str(self.path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def resolve(self) -> ObjectPath:
        """Return the name itself: it is absolute, and there are no links."""
        return self

    def _is(self, *types: str) -> bool:
        return _store(self.path.parts[0]).get_file_info(str(self.path)).type.name in types

    def _list(self, *, recursive: bool) -> list[FileInfo]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(str(self.path), allow_not_found=True, recursive=recursive)
        found: list[FileInfo] = _store(self.path.parts[0]).get_file_info(selector)
        return found


Location = Path | ObjectPath


def location(name: str | Location) -> Location:
    """Return where a name points: `s3://BUCKET/PATH` into an object store, all others into the file system.

    Raises:
        ValueError: the name is a URL of another kind, or has no bucket.
    """
    text = str(name)
    if isinstance(name, ObjectPath) or "://" not in text:
        return name if isinstance(name, ObjectPath) else Path(text)
    path = PurePosixPath(text.removeprefix(_SCHEME))
    if not text.startswith(_SCHEME) or not path.parts or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{text}: allowed are folders of a file system and s3://BUCKET/PATH")
    return ObjectPath(path)


@cache
def _store(bucket: str) -> S3FileSystem:
    """Return the connection to a bucket's store.

    Credentials come from where AWS's own tools look for them. AWS_ENDPOINT_URL names a store that is not AWS's.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem, resolve_s3_region

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        region = "us-east-1" if endpoint else resolve_s3_region(bucket)
    return S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        # A file of up to 10 MB is then one PUT; a larger one appears when its last part has arrived.
        allow_delayed_open=True,
        connect_timeout=10,
        request_timeout=60,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=5),
    )


def write_atomically(path: Location, data: bytes) -> None:
    """Write `data` to `path`, replacing what was there, so that a crash leaves the old file or the new one.

    On a file system the data goes to a temporary file in the same folder and is on disk before it takes the name
    `path`. The temporary name begins with "_": readers of Parquet folders ignore what a killed process leaves. An
    object store replaces an object at once.

    Args:
        path: The file to write; its folder is made if it is missing.
        data: The whole content.

    Raises:
        OSError: the folder cannot be made or written; `path` is as it was, and no temporary file is left.
    """
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"_{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Put a folder's list of names on disk: without this a power cut may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sealed_json(content: dict[str, Any]) -> bytes:
    """Return a JSON object as text, with its checksum in it under "sha256"."""
    return json.dumps({**content, "sha256": _digest(content)}, indent=1).encode()


def open_sealed_json(data: bytes) -> dict[str, Any]:
    """Return the object that `sealed_json` wrote; one without a checksum, from before there were any, as it is.

    Raises:
        ValueError: it is not a JSON object, or not what was written.
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if content.pop("sha256", None) not in (None, _digest(content)):
        raise ValueError("its contents do not match its checksum")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
