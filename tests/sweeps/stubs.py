"""Stand-ins for programs that are not here, or would change this machine: they write down how they were called."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RECORD = """#!/bin/bash
{ printf '%s' "${0##*/}"; printf ' %s' "$@"; echo; } >> "$STUB_LOG"
"""


def read(name: str) -> dict[str, Any]:
    """A YAML file of the project."""
    return yaml.safe_load((ROOT / name).read_text())


def write_stub(path: Path, does: str) -> None:
    """Make a program that appends its call to $STUB_LOG, and then does something."""
    path.write_text(RECORD + does)
    path.chmod(0o755)
