"""Processes that write a network's files as trials do, made by a process that has imported all they need.

`python -m tests.io.attempts` reads lines of JSON from its standard input: {"folder", "epochs", "pace"} starts a process
and answers with its id; {"wait": id} answers with how it ended, as `subprocess` would.
"""

import json
import os
import random
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from typing import Any

import obstore.exceptions
import obstore.store  # noqa: F401

from tsrnn.config import EndState, Leaky, RunConfig
from tsrnn.io.checkpoint import CheckpointFolder, Progress
from tsrnn.io.claims import DRIVER, ClaimLostError, take
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, SOLVED, Row, Table
from tsrnn.io.store import NetworkTables, Store

CONFIG = RunConfig(network=Leaky(hidden=2))
KEY = CONFIG.network_id
ENDED, WROTE, LOST = 0, 4, 3
"""The exit status of a process that found all written, one that wrote the last of it, and one that lost its claim."""


def row(table: Table, **values: Any) -> Row:
    """A row of a network's table; its numbers follow from its keys."""
    usual = {"string": "text", "int64": values.get("epoch", 0), "float64": values.get("epoch", 0) / 7}
    return {column.name: usual[column.dtype] for column in table.columns} | {"network_id": KEY} | values


def rows(epoch: int) -> dict[Table, list[Row]]:
    """The rows of an epoch; every third solves an N."""
    solved = [row(SOLVED, n=epoch, epoch=epoch, checkpoint=f"checkpoints/{KEY}/n-{epoch:03d}.safetensors")]
    return {
        EPOCHS: [row(EPOCHS, epoch=epoch)],
        HEADS: [row(HEADS, epoch=epoch, n=n) for n in range(2, 4 + epoch // 3)],
        SOLVED: solved if epoch % 3 == 0 else [],
    }


def outcome(epochs: int) -> Row:
    """The row of `outcomes` of a network that has ended."""
    return row(OUTCOMES, status=EndState.EPOCHS, epochs=epochs)


def attempt(folder: str, epochs: int, pace: float) -> int:
    """Write what is missing of a network's files, slowly; return the exit status."""
    chance = random.Random(os.getpid())
    try:
        claim = take(folder, DRIVER).within(KEY)
        store = Store(folder, claim)
        store.adopt(KEY)
        if store.read(OUTCOMES, KEY):
            return ENDED
        kept = CheckpointFolder(folder, KEY, claim)
        start, warnings = kept.newest(CONFIG, store.last_epoch(KEY))
        claim.check()  # while its files are read, another may claim the network, and remove some
        assert not warnings, warnings
        tables = NetworkTables(store, KEY, through_epoch=start.progress.epoch)
        for epoch in range(start.progress.epoch + 1, epochs + 1):
            time.sleep(chance.random() * pace)
            reached = replace(start, progress=Progress(heads=start.progress.heads, epoch=epoch))
            added = rows(epoch)
            if added[SOLVED]:
                kept.save_solved(reached, epoch)
            tables.add(added[EPOCHS][0], added[HEADS], added[SOLVED])
            tables.flush()
            kept.save_resume(reached)
        store.write(OUTCOMES, KEY, [outcome(epochs)])
        claim.release()
    except ClaimLostError:
        return LOST
    return WROTE


def main() -> None:
    """Answer the lines of standard input."""
    with tempfile.TemporaryDirectory() as folder:  # what is imported when it is needed is imported now
        assert attempt(folder, 3, 0.0) == WROTE
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = attempt(**asked)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(child, flush=True)


if __name__ == "__main__":
    main()
