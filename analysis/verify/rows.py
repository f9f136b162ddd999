"""Rules for the rows of a table, and for the rows of a network in several tables."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from tsrnn.config import RunConfig, explain
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.rows import solved_row
from tsrnn.io.schemas import OUTCOMES, RUNS, Table


def by_network(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each network in a table of all, which is sorted by them."""
    counted = rows["network_id"].combine_chunks().value_counts() if rows.num_rows else []
    at = 0
    for network_id, count in ((one["values"].as_py(), one["counts"].as_py()) for one in counted):
        yield network_id, rows.slice(at, count)
        at += count


def check(table: Table, network_id: str, rows: pa.Table) -> None:
    """Check the rows of a file against its name and the key of the table.

    Raises:
        ValueError: says what is wrong.
    """
    if network_id == "empty":
        if rows.num_rows:
            raise ValueError("has rows")
        return
    if rows.num_rows and pc.unique(rows["network_id"]).to_pylist() != [network_id]:
        raise ValueError("has rows of other networks")
    keys = rows.select(list(table.key))
    if keys.group_by(keys.column_names).aggregate([]).num_rows < rows.num_rows:
        raise ValueError(f"has two rows with the same {', '.join(table.key)}")
    if table is OUTCOMES and not rows.num_rows:
        return  # in an object store, of a network that was begun
    if table in (RUNS, OUTCOMES) and rows.num_rows != 1:
        raise ValueError(f"has {rows.num_rows} rows instead of one")
    if table is RUNS:
        try:
            found = RunConfig.from_json(rows["config"][0].as_py()).network_id
        except ValidationError as error:
            raise ValueError(f"config: {explain(error)}") from None
        if found != network_id:
            raise ValueError(f"config is that of {found}")


def covers(heads: pa.Table, last: int, *, exactly: bool) -> bool:
    """Whether `heads` has rows of every epoch up to the last one; a stop may have left rows of the next epoch."""
    epochs = set(pc.unique(heads["epoch"]).to_pylist())
    return epochs == set(range(1, last + 1)) or (not exactly and epochs == set(range(1, last + 2)))


def solved_rows(
    network_id: str, epochs: pa.Table, heads: pa.Table, weights: dict[str, Checkpoint]
) -> list[dict[str, Any]]:
    """Return the rows of `solved` that follow from a network's other rows and its checkpoints, ordered by N."""
    accuracies = {(row["epoch"], row["n"]): row["accuracy"] for row in heads.to_pylist()}
    taus = epochs.select(["tau_mean", "tau_sd"]).to_pylist()
    rows = []
    for path, found in weights.items():
        n, epoch = int(PurePosixPath(path).stem.removeprefix("n-")), found.progress.epoch
        if epoch <= len(taus) and (epoch, n) in accuracies:
            rows.append(
                solved_row(
                    network_id,
                    n,
                    checkpoint=path,
                    epoch=epoch,
                    epochs_taken=found.progress.epochs_on_newest,
                    accuracy=accuracies[epoch, n],
                    **taus[epoch - 1],
                )
            )
    return sorted(rows, key=lambda row: row["n"])


def unlike(epochs: pa.Table, heads: pa.Table, solved: pa.Table) -> list[int]:
    """Return the N whose row in `solved` does not agree with the epoch in which it was solved.

    Args:
        epochs: the rows of one network, one for each epoch.
        heads: the rows of the same network.
        solved: the rows of the same network.
    """
    accuracies = {(row["epoch"], row["n"]): row["accuracy"] for row in heads.to_pylist()}
    taus = {row["epoch"]: (row["tau_mean"], row["tau_sd"]) for row in epochs.to_pylist()}
    return [
        row["n"]
        for row in solved.to_pylist()
        if accuracies.get((row["epoch"], row["n"])) != row["accuracy"]
        or taus.get(row["epoch"]) != (row["tau_mean"], row["tau_sd"])
    ]
