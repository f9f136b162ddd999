"""Repairs the problems that verification found: nothing is deleted except what killed processes left behind."""

import time
from typing import Final

from analysis.verify.found import TRAINED_AGAIN, Verification
from tsrnn.io.claims import DRIVER, last_driver, take
from tsrnn.io.files import Location, write_atomically
from tsrnn.io.store import Store

DAMAGED: Final = "_damaged"


def mend(found: Verification) -> None:
    """Move damaged files aside, and write again what follows from other files.

    It claims the folder and the networks concerned, so that a process that was believed dead can no longer write.
    """
    claim = take(found.folder, DRIVER, after=last_driver(found.folder))
    store = Store(found.folder)
    concerned = {_network(path) for problem in found.problems for path in (found.folder / problem.path, *problem.aside)}
    claims = {key: claim.within(key) for key in sorted(concerned)}
    away = found.folder / DAMAGED / time.strftime("%Y-%m-%dT%H-%M-%S")
    for problem in found.problems:
        for path in problem.aside:
            if path.exists():
                target = away
                for name in relative(found.folder, path).split("/"):
                    target = target / name
                write_atomically(target, path.read_bytes())
                path.unlink()
    store.create()
    retrained = {path for problem in found.problems if problem.repair == TRAINED_AGAIN for path in problem.aside}
    for problem in found.problems:
        if problem.rows and found.folder / problem.path not in retrained:
            table, key, rows = problem.rows
            Store(found.folder, claims[key]).write(table, key, rows)
    for path in found.leftovers:
        path.unlink(missing_ok=True)


def _network(path: Location) -> str:
    """Return the network of a file: the name of a table's file, or the folder of a checkpoint."""
    return path.parent.name if path.name.endswith(".safetensors") else path.name.split(".")[0]


def relative(folder: Location, path: Location) -> str:
    """Return a path relative to a folder."""
    return str(path).removeprefix(f"{folder}/")
