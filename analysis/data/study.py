"""A study: one sweep, or all that a storage folder holds, read as one set of tables."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.data import frames
from analysis.quantities import reach as measures
from tsrnn.io.files import Location, location
from tsrnn.io.schemas import BY_NAME, EPOCHS, OUTCOMES, RUNS, SOLVED, Table

_DTYPES = {"string": "str", "int64": "int64", "float64": "float64"}


class Study:
    """The results of one or several sweeps, finished or still running.

    Args:
        results: A sweep's folder, such as `results/fixed_tau`, or the storage folder of several, such as `results`.

    Attributes:
        folder: The folder.
        sweeps: The sweeps' folders, in order.

    Raises:
        ResultsError: (on construction) no sweep is there.
    """

    def __init__(self, results: str | Location):
        self.folder = location(results)
        self.sweeps = tuple(frames.sweeps_of(results))
        self._tables: dict[tuple[str, ...], pd.DataFrame] = {}

    @property
    def storage(self) -> Location:
        """The folder that sweeps are stored in: what `--storage` was."""
        if self.sweeps != (self.folder,):
            return self.folder
        return self.folder.parent if self.folder.name else self.folder.resolve().parent

    def load(
        self,
        table: str | Table,
        columns: Sequence[str] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
    ) -> pd.DataFrame:
        """Read a table of all sweeps.

        A network that several sweeps trained (the same configuration and seed, hence the same `network_id`) counts
        once: of rows with the same key the first sweep's is kept.

        Args:
            table: The table or its name.
            columns: The columns to read; all by default. The key is always among them.
            where: See `analysis.data.frames.load`.

        Returns:
            The table's columns, and `sweep`, the name of the folder a row is from; no rows where no sweep has the
            table. What was read once is kept: do not change it.

        Raises:
            ResultsError: a file cannot be read.
            KeyError: no such table is known.
        """
        known = table if isinstance(table, Table) else BY_NAME[table]
        names = [column.name for column in known.columns if columns is None or column.key or column.name in columns]
        read = (known.name, *names, repr(where))
        if read in self._tables:
            return self._tables[read]
        parts = [
            frames.load(sweep, known, names, where).assign(sweep=sweep.resolve().name)
            for sweep in self.sweeps
            if known.name in frames.tables_of(sweep)
        ]
        filled = [part for part in parts if len(part)]
        if len(filled) == 1:
            frame = filled[0]
        elif filled:
            frame = pd.concat(filled, ignore_index=True).drop_duplicates(list(known.key), ignore_index=True)
        else:
            dtypes = {column.name: _DTYPES[column.dtype] for column in known.columns if column.name in names}
            frame = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in (dtypes | {"sweep": "str"}).items()})
        self._tables[read] = frame
        return frame

    @cached_property
    def networks(self) -> pd.DataFrame:
        """What each network is and how far it has come.

        One row a network: the columns of `analysis.quantities.reach.networks`, and of its configuration `slope`
        (of the leaky ReLU), `weight_decay`, `k` (time steps a bit, such as "1" or "7,8,9,10") and `dt` ("1" or
        "1/k"), and `recipe`: everything else that may tell apart networks of one size that were trained alike.
        """
        # Outcomes before what they sum up; see measures.max_n.
        outcomes = self.load(OUTCOMES)
        runs = self.load(RUNS)
        epochs = self.load(EPOCHS, ["epoch"])
        networks = measures.networks(runs, outcomes, epochs, self.load(SOLVED))
        configs = [json.loads(text) for text in networks["config"]]
        return networks.assign(
            slope=pd.Series([_slope(config["network"]) for config in configs], index=networks.index, dtype="float64"),
            weight_decay=[config["training"]["optimizer"]["weight_decay"] for config in configs],
            k=[",".join(map(str, config["time"]["k"])) for config in configs],
            dt=[config["time"]["dt"] for config in configs],
            recipe=[_recipe(config) for config in configs],
        ).astype({"weight_decay": "float64"})


def _recipe(config: dict[str, Any]) -> str:
    """Return as JSON the settings that no figure compares: what is left without those that some figure does."""
    training = config["training"]
    kept = {name: value for name, value in config.items() if name not in ("seed", "curriculum", "end", "time")}
    kept["task"] = _without(config["task"], "kind", "input_probability")
    if config.get("shown"):
        kept["shown"] = _without(config["shown"], "kind", "input_probability")
    kept["network"] = _without(config["network"], "kind", "hidden", "tau", "nonlinearity", "self_interaction")
    kept["training"] = training | {"optimizer": _without(training["optimizer"], "weight_decay")}
    return json.dumps(kept, sort_keys=True)


def _without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def _slope(network: dict[str, Any]) -> float | None:
    """Return the slope of a leaky ReLU; a user's own network may call anything its nonlinearity."""
    nonlinearity = network.get("nonlinearity")
    return nonlinearity.get("slope") if isinstance(nonlinearity, dict) else None
