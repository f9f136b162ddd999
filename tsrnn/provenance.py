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
# Seconds that git has for an answer: a commit is worth no wait.
_PATIENCE: Final = 10.0
_PACKAGE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Code:
    """The code that trained a network. The same code gives the same numbers.

    Attributes:
        code: hash of every Python file of tsrnn; empty where it is not known.
        commit: the git commit of the checkout that the package lies in, with "-dirty" where its files are changed;
            empty where it lies in none, or git is not installed.
        plugins: JSON object from the name of each plugin's file to its hash; empty where there are none. What such a
            file imports itself is not in it.
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
"""That of results which do not say it, such as those of earlier versions."""


def code(plugins: Iterable[str | Path] = ()) -> Code:
    """Return the code of this process.

    Args:
        plugins: The files of plugins that a run uses (`tsrnn.plugins.files_of`); one that is absent has no hash.
    """
    hashes: dict[str, str] = {}
    for path in sorted(map(Path, plugins)):
        # By the name alone: the same file lies elsewhere on another machine.
        name = path.name if path.name not in hashes else f"{path.parent.name}/{path.name}"
        hashes[name] = _hash_of(path)
    return Code(package_hash(), commit(), json.dumps(hashes, sort_keys=True) if hashes else "")


@cache
def package_hash() -> str:
    """Return a hash of the paths and contents of all Python files of tsrnn, as they are when it is first asked for."""
    digest = hashlib.sha256()
    names = sorted(path.relative_to(_PACKAGE).as_posix() for path in _PACKAGE.rglob("*.py"))
    for name in names:
        if not any(part.startswith(".") for part in name.split("/")):  # editors keep such files beside others
            content = (_PACKAGE / name).read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:_DIGITS]


@cache
def commit() -> str:
    """Return the commit that the package's files are of; empty where git does not know them."""
    # An installed package may lie in the checkout of another project, which does not track it.
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
    """Return what git says of the package's folder; None where it says nothing."""
    # What a hook of another repository set is not meant for this one, and nothing is written into it.
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
