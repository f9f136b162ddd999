"""The networks of a report: a row for each, and its page with learning curve, taus and interventions."""

from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.data.cell import TRAINING, beyond_main, differing
from analysis.data.study import Study
from analysis.quantities import interventions, taus, timescales
from analysis.quantities.base import Quantity
from analysis.report.grids import Cell, Column, Grid, number, word
from tsrnn.io.schemas import EPOCHS

POINTS: Final = 120
"""The largest number of epochs of a learning curve; it is smaller if there are many networks."""

ALL_POINTS: Final = 60_000
"""The largest number of epochs of all learning curves together."""

KIND: Final = ("task", "curriculum", "tau")
"""The columns that define the kind of a network."""


def beyond(frame: pd.DataFrame) -> list[str]:
    """Return in words how networks differ from the paper's main networks, and in their training from each other.

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
    """Return the number of epochs to which curves were thinned (0 if none was), and the curves by network."""
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


TAUS: Final = (taus.tau_mean, taus.tau_sd, timescales.tau_net_mean)
"""The quantities that the page of a network draws against N."""

HURT: Final = (
    interventions.ablated_accuracy,
    interventions.perturbed_accuracy,
    interventions.inhibited_accuracy,
    interventions.retrained_accuracy,
    interventions.readout_accuracy,
)
"""The quantities that the page of a network lists."""


ROWS: Final = 60
"""Tables on the page of a network that would have more rows show only the largest N."""


def pages(study: Study) -> dict[str, Any]:
    """Return the content of the page of each network, apart from its learning curve, by network.

    It has `taus`, with quantities against N as {"words", "n", "values"}, and `hurt`, with tables of interventions as
    {"words", "columns", "rows"}. Quantities that were not measured are left out.
    """
    found: dict[str, Any] = {}
    for quantity in TAUS:
        for network_id, rows in quantity.rows(study).sort_values("n").groupby("network_id"):
            part = {"words": quantity.words, "n": rows["n"].tolist(), "values": _rounded(rows["value"], 3)}
            _page(found, network_id)["taus"].append(part)
    for quantity in HURT:
        frame = quantity.rows(study)
        keys = [str(name) for name in frame if name not in ("network_id", "value")]
        for network_id, rows in frame.sort_values(keys).groupby("network_id"):
            words = quantity.words
            if len(rows) > ROWS:
                rows = rows[rows["n"] == rows["n"].max()]
                words += f", at N = {rows['n'].max()}"
            cells = [rows[name].tolist() for name in keys] + [_rounded(rows["value"], 3)]
            part = {"words": words, "columns": _heads(quantity, keys), "rows": list(zip(*cells, strict=True))}
            _page(found, network_id)["hurt"].append(part)
    return found


def _page(pages: dict[str, Any], network_id: object) -> dict[str, Any]:
    page: dict[str, Any] = pages.setdefault(str(network_id), {"taus": [], "hurt": []})
    return page


_HEADS: Final = {
    "n": "N",
    "removed": "removed neurons",
    "manner": "how",
    "perturbation": "relative norm",
    "change": "change c",
    "retrained_n": "N'",
    "head": "N'",
}


def _heads(quantity: Quantity, keys: list[str]) -> list[str]:
    return [*(_HEADS.get(name, name) for name in keys), quantity.label]


def _rounded(values: pd.Series, digits: int) -> list[float | None]:
    return [round(value, digits) if np.isfinite(value) else None for value in values.to_numpy(dtype=float)]


def grid(networks: pd.DataFrame, known: set[str]) -> Grid:
    """Return the table of networks; those in `known` have a page."""
    networks = networks.sort_values(["sweep", *KIND, "seed"], kind="stable")
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
    return Grid("Networks, each with a page of its learning curve, taus and interventions", columns, rows)
