"""Provenance: a hash of the package's sources, their git commit, and hashes of plugin files."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tsrnn.untrusted import parse_json

_DIGITS: Final = 16
# Timeout of git in seconds. The commit is only informative, so it is not worth a long wait.
_PATIENCE: Final = 10.0
_PACKAGE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Code:
    """The code that trained a network. The same code gives the same numbers.

    Attributes:
        code: hash of all Python files of tsrnn; empty if it is not known.
        commit: the git commit of the checkout that contains the package, with "-dirty" if its files are changed;
            empty if there is no checkout, or git is not installed.
        plugins: JSON object that maps the name of each plugin's file to its hash; empty if there are none. The hash
            does not cover modules that the file imports.
    """

    code: str = ""
    commit: str = ""
    plugins: str = ""

    def is_same(self, other: "Code") -> bool:
        """Return whether both are known to compute the same: their files are equal, whatever the commit."""
        return bool(self.code) and (self.code, self.plugins) == (other.code, other.plugins)

    def __str__(self) -> str:
        if not self.code:
            return "code that is not recorded"
        commit, _, dirty = self.commit.partition("-")
        said = [f"commit {commit[:10]}{dirty and ' with changes'}"] if commit else []
        try:
            said += [f"{name} {digest}" for name, digest in parse_json(self.plugins or "{}").items()]
        except (ValueError, AttributeError):  # a table that tsrnn did not write
            said.append("plugins that cannot be read")
        return f"code {self.code}" + (f" ({', '.join(said)})" if said else "")


UNKNOWN: Final = Code()
"""The code of results that do not record it, such as those of earlier versions."""


def code(plugins: Iterable[str | Path] = ()) -> Code:
    """Return the code of this process.

    Args:
        plugins: The files of plugins that a run uses (`tsrnn.plugins.files_of`); one that is absent has no hash.
    """
    hashes: dict[str, str] = {}
    for path in sorted(map(Path, plugins)):
        # The name is used and not the path, because the same file may be in another folder on another machine.
        name = path.name if path.name not in hashes else f"{path.parent.name}/{path.name}"
        hashes[name] = _hash_of(path)
    return Code(package_hash(), commit(), json.dumps(hashes, sort_keys=True) if hashes else "")


@cache
def package_hash() -> str:
    """Return a hash of the paths and contents of all Python files of tsrnn at the time of the first call."""
    digest = hashlib.sha256()
    names = sorted(path.relative_to(_PACKAGE).as_posix() for path in _PACKAGE.rglob("*.py"))
    for name in names:
        if not any(part.startswith(".") for part in name.split("/")):  # editors create such files
            content = (_PACKAGE / name).read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:_DIGITS]


@cache
def commit() -> str:
    """Return the commit of the package's files; empty if git does not track them."""
    # An installed package may be inside the checkout of another project, which does not track it.
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    head = _git("rev-parse", "--verify", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{head}{'-dirty' if changed != '' else ''}" if head else ""


@cache
def _hash_of(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]
    except OSError:
        return ""


def _git(*words: str) -> str | None:
    """Run git in the package's folder, and return its output, or None if it fails."""
    # Variables that a hook of another repository set do not apply here. Without optional locks git writes nothing.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE), *words],
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
