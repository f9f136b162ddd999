"""The networks of a report: one row each, and its learning curve."""

from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.data.cell import TRAINING, beyond_main, differing
from analysis.data.study import Study
from analysis.report.grids import Cell, Column, Grid, number, word
from tsrnn.io.schemas import EPOCHS

POINTS: Final = 120
"""Epochs of a learning curve at most; fewer where there are many networks."""

ALL_POINTS: Final = 60_000
"""Epochs of all learning curves together at most."""

KIND: Final = ("task", "curriculum", "tau")
"""The columns that say what kind a network is."""


def beyond(frame: pd.DataFrame) -> list[str]:
    """Return in words what a network is beyond the paper's main ones, and how it was trained where networks differ.

    Args:
        frame: rows of `Study.networks` or of `analysis.quantities.reach.max_n_by_cell`.
    """
    varying = [name for name in differing(frame) if name in TRAINING]
    found = []
    for row in frame.to_dict("records"):
        parts = [beyond_main(row)]
        parts += [
            f"{name.replace('_', ' ')} {value}" for name in varying if not pd.isna(value := row[name]) and value != ""
        ]
        found.append(", ".join(part for part in parts if part))
    return found


def curves(study: Study) -> tuple[int, dict[str, Any]]:
    """Return how many epochs a curve was thinned to (0 if none was), and the curves by network."""
    columns = ["epoch", "n_max", "accuracy_newest", "accuracy_mean", "tau_mean"]
    frame = study.load(EPOCHS, columns).sort_values(["network_id", "epoch"], ignore_index=True)
    count = frame["network_id"].nunique()
    most = max(2, min(POINTS, ALL_POINTS // max(1, count)))
    curves, thinned = {}, 0
    for network_id, rows in frame.groupby("network_id", sort=False):
        if len(rows) > most:
            rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]
            thinned = most
        curves[str(network_id)] = {
            "epoch": rows["epoch"].tolist(),
            "n": rows["n_max"].tolist(),
            "accuracy": _rounded(rows["accuracy_newest"], 4),
            "mean": _rounded(rows["accuracy_mean"], 4),
            "tau": _rounded(rows["tau_mean"], 3),
        }
    return thinned, curves


def _rounded(values: pd.Series, digits: int) -> list[float | None]:
    return [round(value, digits) if np.isfinite(value) else None for value in values.to_numpy(dtype=float)]


def grid(networks: pd.DataFrame, known: set[str]) -> Grid:
    """Return the table of networks; those in `known` have a learning curve to open."""
    columns = [Column("network"), *map(Column, KIND), Column("seed", True), Column("status")]
    columns += [Column("max N", True), Column("epochs", True), Column("sweep"), Column("other settings")]
    rows = []
    for row, other in zip(networks.to_dict("records"), beyond(networks), strict=True):
        id = str(row["network_id"])
        tau = f"tau {row['tau']}" if row["tau"] else ""
        words = (row["task"], row["curriculum"], tau, other, f"seed {row['seed']}")
        title = ", ".join(str(word) for word in words if word)
        rows.append(
            [
                Cell(id, network=id, title=title) if id in known else Cell(id),
                *(word(row[name]) for name in KIND),
                number(row["seed"]),
                word(row["status"]),
                number(row["max_n"]),
                number(row["epochs"]),
                word(row["sweep"]),
                word(other),
            ]
        )
    return Grid("Networks, each with its learning curve", columns, rows)
