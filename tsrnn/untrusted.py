"""What comes from files that anybody may have made: names, paths and texts that are taken for no more than they are."""

import json
import re
from pathlib import PurePosixPath
from typing import Any, Final

from tsrnn.io.location import Location

# Not the name of the empty table, not one that readers skip ("_", "."), none in another folder.
_FILE_NAME: Final = re.compile(r"(?!empty$)[A-Za-z0-9][A-Za-z0-9_-]*")
# What terminals obey, and what turns the direction of text.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def parse_json(text: str | bytes) -> Any:
    """Return what JSON text says.

    Raises:
        ValueError: it is no JSON, or is nested so deeply that only an attack would be.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def printable(text: str) -> str:
    """Return text without the characters that a terminal would obey; lines and tabs stay."""
    return _CONTROLS.sub("", text)


def as_file_name(network_id: str) -> str:
    """Return a network's id, which can name a file.

    Raises:
        ValueError: it cannot.
    """
    if not _FILE_NAME.fullmatch(network_id):
        raise ValueError(f"network_id = {network_id!r} cannot name a file: use letters, digits, '-' and '_'")
    return network_id


def below(folder: Location, path: str) -> Location:
    """Return the file that a table of a folder names, which must lie in that folder.

    Raises:
        ValueError: it would lie elsewhere.
    """
    named = PurePosixPath(path)
    if not named.parts or named.is_absolute() or ".." in named.parts or "://" in path or "\0" in path:
        raise ValueError(f"checkpoint = {path!r}: not the path of a file below {folder}")
    return folder / path
