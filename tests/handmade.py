"""Results made by hand: a sweep's folder with networks that nobody trained, whose numbers a test knows."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsrnn import RunConfig
from tsrnn.config import (
    AllHeads,
    EndRules,
    FixedTau,
    Leaky,
    MultiHead,
    NoCurriculum,
    SingleHead,
    SlidingWindow,
    Training,
)
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, RUNS, SOLVED, Row, Table
from tsrnn.io.store import Store
from tsrnn.tasks import TASKS

SMALL = RunConfig(
    network=Leaky(hidden=8), training=Training(batch_size=4, steps_per_epoch=2), end=EndRules(max_epochs=9)
)


def config(
    name: str = "single",
    seed: int = 0,
    task: str = "parity",
    tau: float | None = None,
    base: RunConfig = SMALL,
    **changes,
) -> RunConfig:
    """Return a network's configuration; `changes` are of the `Leaky`."""
    kind, *number = name.split("-")
    made = {
        "single": SingleHead,
        "multi": MultiHead,
        "sliding": lambda: SlidingWindow(width=int(number[0]), begins="grown"),
        "none": lambda: NoCurriculum(n=int(number[0])),
        "all": lambda: AllHeads(n=int(number[0])),
    }[kind]()
    assert made.name == name
    if tau is not None:
        changes["tau"] = FixedTau(tau=tau)
    network = dataclasses.replace(base.network, **changes) if changes else base.network
    return dataclasses.replace(base, network=network, curriculum=made, seed=seed, task=TASKS[task]())


def solved(n: int, epoch: int, taken: int = 1, tau: float = 1.5, sd: float = 0.2) -> Row:
    """Return what a network has in `solved` for one N, without its id."""
    row = {"n": n, "epoch": epoch, "epochs_taken": taken, "accuracy": 0.99, "tau_mean": tau, "tau_sd": sd}
    return row | {"checkpoint": f"n-{n:03d}"}


class HandMade:
    """A sweep's folder.

    Args:
        folder: it.
        scale: of its networks.
    """

    def __init__(self, folder: Path, scale: str = "quick"):
        self.folder, self.scale = folder, scale
        self.store = Store(folder)
        self.store.create()

    def add(
        self,
        run: RunConfig,
        rows: Sequence[Row] = (),
        *,
        epochs: int = 5,
        accuracies: Sequence[float] = (),
        status: str = "epochs",
        heads: Mapping[int, Sequence[float]] | None = None,
    ) -> str:
        """Add a network with its rows of `solved`, and return its id.

        Args:
            run: the network.
            rows: what `solved` returned.
            epochs: trained.
            accuracies: the newest head's, epoch by epoch; 0.6 by default.
            status: of its outcome; "" for a network that still trains.
            heads: each head's accuracies, epoch by epoch.
        """
        key = run.network_id
        self.store.write(RUNS, key, [runs_row(run, self.folder.name, self.scale)])
        self.store.write(SOLVED, key, [{"network_id": key} | row for row in rows])
        top = max((row["n"] for row in rows), default=0)
        known = {"network_id": key, "n_min": 2, "n_max": top + 1, "loss": 0.7, "accuracy_mean": 0.6, "grad_norm": 1.0}
        known |= {
            "tau_mean": 1.5,
            "tau_sd": 0.2,
            "steps": 2,
            "operations": 1.0,
            "confirm_operations": 0.0,
            "wall_s": 1.0,
        }
        values = accuracies or [0.6] * epochs
        self.store.write(
            EPOCHS, key, [known | {"epoch": i, "accuracy_newest": value} for i, value in enumerate(values, 1)]
        )
        self.store.write(
            HEADS,
            key,
            [
                {"network_id": key, "epoch": i, "n": n, "accuracy": value}
                for n, curve in (heads or {}).items()
                for i, value in enumerate(curve, 1)
            ],
        )
        if status:
            ended: dict[str, Any] = {"network_id": key, "status": status, "reason": status, "max_n": top}
            ended |= {"epochs": len(values), "steps": 2, "operations": 1.0, "confirm_operations": 0.0, "wall_s": 1.0}
            ended |= {"device": "cpu", "products": None, "versions": "{}"}
            self.store.write(OUTCOMES, key, [ended | dict.fromkeys(("code", "commit", "plugins"))])
        return key

    def write(self, table: Table, key: str, rows: Sequence[Row]) -> None:
        """Write rows of an analysis; columns that are not given are empty."""
        self.store.create((table,))
        empty = {column.name: None for column in table.columns}
        self.store.write(table, key, [empty | {"network_id": key} | row for row in rows])
