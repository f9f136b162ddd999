"""Invocations of a sweep without Ray, in the process that asks, or in one that has other code.

`python -m tests.sweeps.invocations` reads lines of JSON from its standard input, [storage, epochs, switch, plugins...],
invokes each in a fork of a process that has imported what it needs, and answers with its status. What it said is then
in the file `said` in the storage.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numba  # noqa: F401

from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder
from sweeps.engine.same_code import code_of, require_same_code
from sweeps.engine.trainable import PopulationTrainable
from tests.processes import fork
from tests.sweeps.test_reliability import SMALL, trial
from tsrnn import command_line
from tsrnn.plugins import files_of, import_file
from tsrnn.tasks import TASKS


def invoke(storage: str | Path, epochs: int, switch: str, plugins: Sequence[str | Path] = ()) -> int:
    """Train a network for some epochs, of the task "ours" if there are plugins; print what is said, return the status.

    The switch is "refused" or "allowed": what becomes of a network that other code has begun.
    """
    for plugin in plugins:
        import_file(plugin)
    network = replace(SMALL, task=TASKS["ours"]()) if plugins else SMALL
    folder = SweepFolder(str(storage), "small")
    console = command_line.console(file=sys.stdout, width=10_000)
    try:
        code = require_same_code(folder, folder.unfinished([network]), console, allowed=switch == "allowed")
    except SweepError as error:
        print(f"error: {error}")
        return 1
    folder.write(Record("small", "quick", "paper", network, (network,)), code)
    settings = trial(folder.path, [network])
    settings["trial"] |= {"plugins": files_of([network]), "code": asdict(code_of([network]))}
    trainable = PopulationTrainable(settings)
    for _ in range(epochs):
        if trainable.step()["done"]:
            break
    return 0


def _answer(storage: str, epochs: int, switch: str, *plugins: str) -> int:
    os.chdir(storage)
    with open("said", "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    return invoke(storage, epochs, switch, plugins)


def main() -> None:
    """Answer the lines of standard input."""
    for line in sys.stdin:
        fork(partial(_answer, *json.loads(line)))
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)


if __name__ == "__main__":
    main()
