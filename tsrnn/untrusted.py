"""Data from untrusted files: names, paths and texts are validated before use."""

import json
import re
from pathlib import PurePosixPath
from typing import Any, Final

from tsrnn.io.location import Location

# Excluded: the name of the empty table, names that readers skip ("_", "."), and paths to another folder.
_FILE_NAME: Final = re.compile(r"(?!empty$)[A-Za-z0-9][A-Za-z0-9_-]*")
# Characters that terminals interpret, and those that change the direction of text.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON text.

    Raises:
        ValueError: it is not JSON, or is nested far too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def printable(text: str) -> str:
    """Return text without control characters that a terminal would interpret; line breaks and tabs are kept."""
    return _CONTROLS.sub("", text)


def as_file_name(network_id: str) -> str:
    """Return a network's id if it is safe as a file name.

    Raises:
        ValueError: it is not safe.
    """
    if not _FILE_NAME.fullmatch(network_id):
        raise ValueError(f"network_id = {network_id!r} cannot name a file: use letters, digits, '-' and '_'")
    return network_id


def below(folder: Location, path: str) -> Location:
    """Return the file that a table names, if it lies in the table's folder.

    Raises:
        ValueError: it would be outside the folder.
    """
    named = PurePosixPath(path)
    if not named.parts or named.is_absolute() or ".." in named.parts or "://" in path or "\0" in path:
        raise ValueError(f"checkpoint = {path!r}: not the path of a file below {folder}")
    return folder / path
