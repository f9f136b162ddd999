"""What is measured from a sweep's tables; the unit is the network.

Frames in, frame out; only `max_n` starts from a folder.
"""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.frames import load
from tsrnn.config import EndState
from tsrnn.io.files import Location
from tsrnn.io.schemas import EPOCHS, OUTCOMES, RUNS, SOLVED

Values = np.ndarray[Any, np.dtype[np.float64]]

CELL: Final = (
    "task",
    "curriculum",
    "tau",
    "architecture",
    "self_interaction",
    "nonlinearity",
    "hidden",
    "scale",
    "settings",
)
"""The columns that say which cell of the grid a row of `max_n_by_cell` is."""

ENDINGS: Final = {state.value: state.label.replace(" ", "_") for state in EndState if state is not EndState.RUNNING}
"""The columns of `max_n_by_cell` that count how networks ended, by the status in `tsrnn.io.schemas.OUTCOMES`."""

RUNNING: Final = "running"
"""The status of a network without an outcome: in training, waiting, or interrupted."""

# Bounds what is held at once: 9999 resamples of so many groups.
_GROUPS_AT_ONCE: Final = 256

_TASKS: Final = ("parity", "dms")
_CURRICULA: Final = ("single", "sliding", "multi", "none", "all")


def networks(runs: pd.DataFrame, outcomes: pd.DataFrame, epochs: pd.DataFrame, solved: pd.DataFrame) -> pd.DataFrame:
    """Return how far each network has come, finished or not.

    Args:
        runs: The table `runs`.
        outcomes: The table `outcomes`; networks without a row in it are running.
        epochs: The table `epochs`.
        solved: The table `solved`.

    Returns:
        One row a network of `runs`: its columns, and `status`, `max_n` (the largest N solved so far; 0 where
        none was), `epochs` (trained so far), and `settings`: what beside the seed tells apart networks that
        agree in the other columns of `CELL`, such as "training.batch_size=64" (most often nothing: "").
    """
    frame = runs.set_index("network_id")
    ended = outcomes.set_index("network_id")
    frame["status"] = ended["status"].reindex(frame.index).fillna(RUNNING)
    # A failed network is trained on when its sweep is resumed: what it has written since is the newest.
    final = ended[ended["status"] != "failed"]
    so_far = pd.DataFrame(
        {
            "max_n": solved.groupby("network_id")["n"].max(),
            "epochs": epochs.groupby("network_id")["epoch"].max(),
        }
    )
    for column in ("max_n", "epochs"):
        values = final[column].reindex(frame.index).fillna(so_far[column].reindex(frame.index)).fillna(0)
        frame[column] = values.astype("int64")
    frame["settings"] = _settings(frame)
    return frame.reset_index()


def max_n(results: str | Location) -> pd.DataFrame:
    """Return `max_n_by_cell` of a sweep's folder, finished or still running.

    Raises:
        ResultsError: see `analysis.data.frames.load`.
    """
    # Outcomes before what they sum up: a network that ends in between is running here, with all it solved.
    runs, outcomes, epochs, solved = (load(results, table) for table in (RUNS, OUTCOMES, EPOCHS, SOLVED))
    return max_n_by_cell(networks(runs, outcomes, epochs, solved))


def max_n_by_cell(networks: pd.DataFrame) -> pd.DataFrame:
    """Return the largest N solved in each cell of a grid (figures 4a, S10, S11).

    Args:
        networks: What `networks` returns.

    Returns:
        One row a cell, ordered by task, curriculum (single, sliding, multi, none, all; by number) and tau (1, 2,
        3, ..., none, trained). Columns: those of `CELL`, missing where the architecture has no such choice; `n`
        networks, of which `finished` have ended, and the columns of `ENDINGS` count how; `mean`, `median`, `min`,
        `max` of max N over networks; `low` and `high`, the 95 % interval of the mean (see `interval`); `epochs_mean`
        and `epochs_max`, the epochs trained.
    """
    rows = []
    for cell, group in networks.groupby(list(CELL), sort=False, dropna=False):
        values = group["max_n"].to_numpy(dtype=float)
        low, high = interval(values)
        rows.append(
            dict(zip(CELL, cell, strict=True))
            | {"n": len(group), "finished": int((group["status"] != RUNNING).sum())}
            | {column: int((group["status"] == status).sum()) for status, column in ENDINGS.items()}
            | {"mean": values.mean(), "median": float(np.median(values))}
            | {"min": int(values.min()), "max": int(values.max()), "low": low, "high": high}
            | {"epochs_mean": float(group["epochs"].mean()), "epochs_max": int(group["epochs"].max())}
        )
    rows.sort(key=_order)
    columns = [*CELL, "n", "finished", *ENDINGS.values(), "mean", "median", "min", "max", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "epochs_mean", "epochs_max"])


def interval(values: Values) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean over networks.

    With few networks it is too narrow: for normal values it holds the true mean in about 50 % of cases at
    n = 2, 80 % at n = 4, 90 % at n = 8. The BCa interval does no better there.

    Args:
        values: One value a network, [n].

    Returns:
        The lower and the upper end; NaN with fewer than two networks, the value itself where all are equal.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(result.low), float(result.high)


def intervals(groups: Sequence[Values]) -> tuple[Values, Values]:
    """Return `interval` of each group of networks; many groups cost little more than one.

    Args:
        groups: One array of values a group, each [n], of any sizes.

    Returns:
        The lower and the upper ends, [len(groups)] each, the same as `interval` gives one by one.
    """
    low, high = np.full(len(groups), np.nan), np.full(len(groups), np.nan)
    sizes = np.array([len(group) for group in groups], dtype=int)
    for size in np.unique(sizes[sizes >= 2]):
        (which,) = np.nonzero(sizes == size)
        draws = _draws(int(size))
        for part in np.array_split(which, -(-len(which) // _GROUPS_AT_ONCE)):
            values = np.stack([groups[i] for i in part])
            low[part], high[part] = np.percentile(values @ draws, [2.5, 97.5], axis=1)
            same = np.ptp(values, axis=1) == 0
            low[part[same]] = high[part[same]] = values[same, 0]
    return low, high


@cache
def _draws(size: int) -> Values:
    """Return how often each of so many networks is drawn, over the size, in each resample: [size, 9999]."""
    drawn = np.random.default_rng(0).integers(0, size, (9999, size))
    counts = np.stack([(drawn == i).sum(axis=1) for i in range(size)])
    result: Values = counts / size
    return result


def _settings(frame: pd.DataFrame) -> pd.Series:
    """Return, for each network, the settings in which its cell is not uniform."""
    settings: dict[Hashable, str] = {}
    for _, group in frame.groupby([column for column in CELL if column != "settings"], dropna=False):
        configs = [dict(_leaves(json.loads(text))) for text in group["config"]]
        names = sorted({name for config in configs for name in config} - {"seed"})
        varying = [name for name in names if len({repr(config.get(name)) for config in configs}) > 1]
        for network_id, config in zip(group.index, configs, strict=True):
            settings[network_id] = ", ".join(f"{name}={config.get(name)}" for name in varying)
    return pd.Series(settings, index=frame.index, dtype="str")


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting of a nested configuration with its dotted name."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what rows of `max_n_by_cell` are sorted by: named orders first, then numbers before words."""
    cell = {column: "" if pd.isna(row[column]) else row[column] for column in CELL}
    kind, *numbers = cell["curriculum"].split("-")
    curriculum = (_rank(kind, _CURRICULA), _number("".join(numbers[:1])))
    named = (_rank(cell["task"], _TASKS), *curriculum, _number(cell["tau"]))
    return named + tuple(cell.values())


def _rank(name: str, order: tuple[str, ...]) -> int:
    return order.index(name) if name in order else len(order)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")
