"""What claims are judged by: one value a network, and what the results lack for a verdict.

The unit is the network: trials, draws and neurons are averaged first. A `Quantity` says in words what its value is,
takes it from results, and says what command makes the results it needs.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Final, Protocol

import numpy as np
import pandas as pd

from tsrnn.config import EndState
from tsrnn.io.schemas import Table

PAPER_EPOCHS: Final = 1000
"""The paper's budget under a curriculum; `analysis.quantities.formulas.ALONE_EPOCHS` without one."""

PAPER_SECONDS: Final = 3 * 24 * 3600.0

_ENDED: Final = tuple(state.value for state in EndState if state.is_final)


class Source(Protocol):
    """Where results come from: `analysis.data.study.Study`, or frames made by hand."""

    @property
    def networks(self) -> pd.DataFrame:
        """One row a network: see `analysis.data.study.Study.networks`."""
        ...

    def load(self, table: Table, /) -> pd.DataFrame:
        """Return a table, each key once; an empty frame with its columns where it is absent."""
        ...


@dataclass(frozen=True)
class Cell:
    """Networks that differ in seed alone; the defaults are the paper's main networks."""

    task: str = "parity"
    curriculum: str = "single"
    tau: str = "trained"
    architecture: str = "leaky"
    self_interaction: str = "inside"
    nonlinearity: str = "leaky_relu"
    k: str = "1"
    dt: str = "1"
    weight_decay: float = 0.0

    @property
    def words(self) -> str:
        """The cell in words: what differs from the paper's main networks."""
        parts = [self.task, self.curriculum]
        parts += [f"tau {self.tau}"] if self.tau != "trained" else []
        parts += [self.architecture.upper()] if self.architecture != "leaky" else []
        parts += [f"self-interaction {self.self_interaction}"] if self.self_interaction != "inside" else []
        parts += [self.nonlinearity.replace("_", " ")] if self.nonlinearity != "leaky_relu" else []
        parts += [f"k = {self.k}, dt = {self.dt}"] if (self.k, self.dt) != ("1", "1") else []
        parts += [f"weight decay {self.weight_decay:g}"] if self.weight_decay else []
        return " ".join(parts)


_CELL: Final = tuple(field.name for field in fields(Cell))


@dataclass(frozen=True)
class Sample:
    """One value a network.

    Attributes:
        values: by `network_id`; empty where nothing is there.
        at: where it was measured, in words, such as "N = 5"; "" where that is nowhere in particular.
        short: why the networks were not brought as far as the paper's, so that what they do not show is not ruled out;
            "" where they were.
        lacks: why these values decide nothing of the claim, in either direction; "" where they do.
    """

    values: pd.Series = field(default_factory=lambda: pd.Series(dtype="float64"))
    at: str = ""
    short: str = ""
    lacks: str = ""


@dataclass(frozen=True)
class Quantity:
    """What is measured of each network of some cells.

    Attributes:
        words: the value, in words.
        needs: the command whose results it is taken from.
        take: from results to values.
    """

    words: str
    needs: str
    take: Callable[["Evidence"], Sample]


@dataclass(frozen=True)
class Curve:
    """A value of each network at each N.

    Attributes:
        words: the value, in words.
        needs: the command that fills its table; "" where a sweep does.
        frame: from results to columns network_id, n, value.
        per_neuron: it is what one neuron does, and so depends on how many there are.
    """

    words: str
    needs: str
    frame: Callable[[Source], pd.DataFrame]
    per_neuron: bool = False


class Evidence:
    """Results of networks of one size, scale and preset.

    Args:
        source: the results.
        networks: the networks among them; all by default.
    """

    def __init__(self, source: Source, networks: pd.DataFrame | None = None):
        self.source = source
        self.networks = source.networks if networks is None else networks
        self._presets = pd.Series(
            [_preset(recipe) for recipe in self.networks["recipe"]], index=self.networks.index, dtype="str"
        )
        self._cells = dict(list(self.networks.groupby(list(_CELL), sort=False)))
        self._curves: dict[str, pd.DataFrame] = {}

    def parts(self) -> Iterator["Evidence"]:
        """Yield the results of each scale, size and preset by itself, the largest networks first."""
        keys = [self.networks["hidden"], self.networks["scale"], self._presets.rename("preset")]
        groups = [group for _, group in self.networks.groupby(keys, sort=False)]
        for group in sorted(groups, key=lambda group: -int(group["hidden"].iloc[0])):
            yield Evidence(self.source, group)

    @property
    def scale(self) -> str:
        """The scale and the networks' size, in words."""
        first = self.networks.iloc[0]
        preset = f", preset {self._presets.iloc[0]}" if self._presets.iloc[0] else ""
        return f"{first['scale']}, H = {first['hidden']}{preset}"

    def cell(self, cell: Cell) -> pd.DataFrame:
        """Return the networks of a cell."""
        leaky = cell.architecture == "leaky"
        chosen = ("tau", "self_interaction", "nonlinearity")
        key = tuple(getattr(cell, column) if leaky or column not in chosen else "" for column in _CELL)
        frame = self._cells.get(key, self.networks.iloc[:0])
        if leaky and cell.nonlinearity == "leaky_relu":
            # The slope is another choice of the preset, not of the cell.
            usual = np.where(self._presets[frame.index] == "authors", 0.01, 0.1)
            return frame[frame["slope"] == usual]
        return frame

    def ended(self, networks: pd.DataFrame) -> pd.DataFrame:
        """Return those of the networks that have come to their end."""
        return networks[networks["status"].isin(_ENDED)]

    def curve(self, curve: Curve, networks: pd.DataFrame) -> pd.DataFrame:
        """Return a curve's known values for these networks: columns network_id, n, value."""
        if curve.words not in self._curves:
            self._curves[curve.words] = curve.frame(self.source).dropna(subset=["value"])
        frame = self._curves[curve.words]
        return frame[frame["network_id"].isin(networks["network_id"])]


def _preset(recipe: str) -> str:
    """Return "authors" or "tuned" for networks of these presets: the sequences they are tested on and shown tell."""
    settings = json.loads(recipe)
    if settings.get("shown"):
        return "tuned"
    lengths = settings["task"].get("lengths") or {}
    return "authors" if lengths.get("longest_beyond", 0) else ""


def budget(networks: pd.DataFrame, epochs: int = PAPER_EPOCHS) -> str:
    """Return in words that some networks were stopped by a budget below the paper's; "" where none was."""
    ends = [json.loads(config)["end"] for config in networks["config"]]
    status = networks["status"].to_numpy()
    less = [
        end["max_epochs"]
        for end, how in zip(ends, status, strict=True)
        if how == "epochs" and end["max_epochs"] < epochs
    ]
    if less:
        return f"out of budget after {min(less)} epochs; the paper's networks had {epochs}"
    if any(how == "time" and end["max_seconds"] < PAPER_SECONDS for end, how in zip(ends, status, strict=True)):
        return "out of time before the paper's 3 days"
    return ""


def waiting(evidence: Evidence, networks: pd.DataFrame) -> str:
    """Return in words how many networks have not ended; "" where all have."""
    running = len(networks) - len(evidence.ended(networks))
    return f"{running} of {len(networks)} networks have not ended" if running else ""


def joined(*reasons: str) -> str:
    """Return reasons as one text, each once; "" where there are none."""
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def counts(values: Iterable[pd.Series]) -> str:
    """Return how many networks each group has, such as "4 and 4"."""
    return " and ".join(str(len(group)) for group in values)
