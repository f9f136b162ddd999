"""Files that are whole or absent: readers in other processes never see one half written."""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, replacing what was there, so that a crash leaves the old file or the new one.

    The data goes to a temporary file in the same folder and is on disk before it takes the name `path`.
    The temporary name begins with "_": readers of Parquet folders ignore what a killed process leaves.

    Args:
        path: The file to write; its folder is made if it is missing.
        data: The whole content.

    Raises:
        OSError: the folder cannot be made or written; `path` is as it was, and no temporary file is left.
    """
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
