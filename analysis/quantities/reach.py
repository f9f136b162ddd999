"""The largest N solved in each cell of a grid, as the table that `max-n` and sweeps print (figures 4a, S10, S11)."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.data.cell import COLUMNS, TRAINING, alike
from analysis.data.networks import once
from analysis.stats.intervals import bootstrap
from tsrnn import curricula
from tsrnn.config import EndState
from tsrnn.tasks import TASKS

ENDINGS: Final = {state: state.label.replace(" ", "_") for state in EndState if state is not EndState.RUNNING}
"""The columns of `max_n_by_cell` that count how networks ended, by their end state."""


def max_n_by_cell(networks: pd.DataFrame) -> pd.DataFrame:
    """Return the largest N solved in each cell of a grid (figures 4a, S10, S11).

    Args:
        networks: rows of `analysis.data.study.Study.networks`. A network that was trained with two end rules counts
            once.

    Returns:
        One row for each group of networks that differ only in their seed (see `analysis.data.cell`), ordered by task,
        curriculum (by registration, then by number) and tau (1, 2, 3, ..., none, trained). Columns: those of a cell and
        of the training;
        `scale`, the scale's name; `n` networks, of which `finished` have ended, and counts of how (`ENDINGS`); `mean`,
        `median`, `min`, `max` of max N over networks; `low` and `high`, the 95 % bootstrap interval of the mean;
        `epochs_mean` and `epochs_max`, the epochs trained.
    """
    rows = []
    for cell, group in alike(once(networks)):
        values = group["max_n"].to_numpy(dtype=float)
        low, high = bootstrap(values)
        rows.append(
            dict(zip((*COLUMNS, *TRAINING), cell, strict=True))
            | {"scale": group["scale"].iloc[0], "n": len(group)}
            | {"finished": int((group["status"] != EndState.RUNNING).sum())}
            | {column: int((group["status"] == status).sum()) for status, column in ENDINGS.items()}
            | {"mean": values.mean(), "median": float(np.median(values))}
            | {"min": int(values.min()), "max": int(values.max()), "low": low, "high": high}
            | {"epochs_mean": float(group["epochs"].mean()), "epochs_max": int(group["epochs"].max())}
        )
    rows.sort(key=_order)
    columns = [*COLUMNS, *TRAINING, "scale", "n", "finished", *ENDINGS.values(), "mean", "median", "min", "max"]
    return pd.DataFrame(rows, columns=[*columns, "low", "high", "epochs_mean", "epochs_max"])


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the sort key of rows of `max_n_by_cell`: named orders first, then numbers before words."""
    cell = {column: "" if pd.isna(row[column]) else str(row[column]) for column in (*COLUMNS, *TRAINING)}
    tasks = list(TASKS)
    task = tasks.index(cell["task"]) if cell["task"] in tasks else len(tasks)
    return (task, *curricula.order(cell["curriculum"]), _number(cell["tau"]), *cell.values())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")
