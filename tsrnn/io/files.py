"""Files that are complete or absent, on a file system or in an object store: readers never see a partial file."""

import hashlib
import json
import os
from pathlib import PurePosixPath
from typing import Any, Final

from tsrnn.io.local import LocalPath
from tsrnn.io.location import Location
from tsrnn.io.objects import SCHEME, ObjectPath
from tsrnn.untrusted import parse_json

__all__ = ["RECORD", "AnyLocation", "Location", "location", "open_sealed_json", "sealed_json", "write_atomically"]

AnyLocation = str | os.PathLike[str] | Location
"""What names a location: `location` makes it one."""


def location(name: AnyLocation) -> Location:
    """Return the location of a name: `s3://BUCKET/PATH` is in an object store, all other names in the file system.

    Raises:
        ValueError: the name is a URL of another kind, or has no bucket.
    """
    text = str(name)
    if "://" not in text:
        return LocalPath(text)
    path = PurePosixPath(text.removeprefix(SCHEME))
    if not text.startswith(SCHEME) or not path.parts or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{text}: allowed are folders of a file system and s3://BUCKET/PATH")
    return ObjectPath(path)


def write_atomically(path: AnyLocation, data: bytes) -> None:
    """Write `data` to `path`, replacing what was there, so that a crash leaves the old file or the new one.

    Args:
        path: The file to write; its folder is created if it is missing.
        data: The whole content.

    Raises:
        OSError: it cannot be written; `path` is as it was, and no temporary file is left.
    """
    location(path).write(data)


RECORD: Final = "sweep.json"
"""The file, in the folder of a sweep, that says which networks it holds."""


def sealed_json(content: dict[str, Any]) -> bytes:
    """Return a JSON object as text, with its checksum in it under "sha256"."""
    return json.dumps({**content, "sha256": _digest(content)}, indent=1).encode()


def open_sealed_json(data: bytes) -> dict[str, Any]:
    """Return the object that `sealed_json` wrote. Text of earlier versions, without a checksum, is accepted.

    Raises:
        ValueError: it is not a JSON object, or not what was written.
    """
    content = parse_json(data)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if content.pop("sha256", None) not in (None, _digest(content)):
        raise ValueError("its contents do not match its checksum")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
