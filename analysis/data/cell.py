"""Cells: groups of networks that differ only in their seed, and which networks can be compared.

The networks of one `Cell` with the same training differ only in their seed. Networks with the same training
(`TRAINING`) can be compared across cells. The columns are those of `analysis.data.networks.describe`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import pandas as pd

TRAINING: Final = (
    "hidden",
    "preset",
    "precision",
    "optimizer",
    "learning_rate",
    "momentum",
    "batch_size",
    "steps_per_epoch",
    "settings",
)
"""The columns in which compared networks must agree: their size, and how they were trained."""

_LEAKY: Final = ("tau", "self_interaction", "nonlinearity")


@dataclass(frozen=True)
class Cell:
    """Networks of a grid that differ only in their seed; the defaults are the paper's main networks.

    A field that is None is ignored. Fields of leaky networks are ignored for other architectures.

    Attributes:
        task: the kind of task.
        curriculum: the name of the curriculum.
        tau: the tau constraint, "trained" or the fixed value.
        architecture: the kind of network.
        self_interaction: "inside" or "outside" the nonlinearity.
        nonlinearity: the nonlinearity of leaky networks.
        slope: the slope of the leaky ReLU for negative inputs; "usual" is that of the networks' preset.
        k: the number of time steps for which a bit is held, such as "1" or "7,8,9,10".
        dt: the length of a time step, "1" or "1/k".
        weight_decay: the weight decay of the optimiser.
    """

    task: str | None = "parity"
    curriculum: str | None = "single"
    tau: str | None = "trained"
    architecture: str | None = "leaky"
    self_interaction: str | None = "inside"
    nonlinearity: str | None = "leaky_relu"
    slope: float | str | None = "usual"
    k: str | None = "1"
    dt: str | None = "1"
    weight_decay: float | None = 0.0

    def select(self, networks: pd.DataFrame) -> pd.DataFrame:
        """Return the networks of this cell.

        Args:
            networks: rows of `analysis.data.study.Study.networks`.
        """
        kept = np.ones(len(networks), dtype=bool)
        for name, value in self._values():
            kept &= (networks[name] == value).to_numpy(dtype=bool)
        return networks[kept]

    def conditions(self, preset: str = "paper") -> list[str]:
        """Return the same as conditions on columns of the table `runs`, for `pandas.DataFrame.query`.

        Args:
            preset: the preset of the networks, which determines the usual slope.
        """
        slope = f"slope == {usual_slope(preset)!r}"
        return [slope if name == "usual_slope" else f"{name} == {value!r}" for name, value in self._values()]

    def _values(self) -> Iterator[tuple[str, object]]:
        """Yield the columns that define the cell, and their values."""
        leaky = self.architecture in (None, "leaky")
        for name in COLUMNS:
            value = getattr(self, name)
            if value is None or (not leaky and name in (*_LEAKY, "slope")):
                continue
            if name == "slope" and value == "usual":
                if self.nonlinearity in (None, "leaky_relu"):
                    yield "usual_slope", True
            else:
                yield name, value

    @property
    def words(self) -> str:
        """The cell in words: its differences from the paper's main networks."""
        parts = [str(getattr(self, name)) for name in ("task", "curriculum") if getattr(self, name) is not None]
        for name, text in (
            ("tau", "tau {}"),
            ("self_interaction", "self-interaction {}"),
            ("weight_decay", "weight decay {:g}"),
        ):
            value = getattr(self, name)
            parts += [text.format(value)] if value not in (None, getattr(_MAIN, name)) else []
        if self.architecture not in (None, "leaky"):
            parts.append(str(self.architecture).upper())
        if self.nonlinearity not in (None, "leaky_relu"):
            parts.append(str(self.nonlinearity).replace("_", " "))
        if self.slope not in (None, "usual"):
            parts.append(f"slope {self.slope:g}")
        if (self.k, self.dt) != ("1", "1") and self.k is not None:
            parts.append(f"k = {self.k}, dt = {self.dt}")
        return " ".join(parts)


def usual_slope(preset: str) -> float:
    """Return the slope of the leaky ReLU with a preset: the authors' code has another one than the paper."""
    return 0.01 if preset == "authors" else 0.1


def beyond_main(network: Mapping[Any, Any]) -> str:
    """Return in words how a network, apart from task, curriculum and tau, differs from the paper's main networks.

    Args:
        network: a row of `analysis.data.study.Study.networks`, or of a table with the columns of a cell.
    """
    own = {name: None if pd.isna(network[name]) or network[name] == "" else network[name] for name in COLUMNS}
    usual = own["slope"] is None or own["slope"] == usual_slope(str(network.get("preset")))
    return Cell(**own | {"task": None, "curriculum": None, "tau": None, "slope": None if usual else own["slope"]}).words


COLUMNS: Final = tuple(field.name for field in fields(Cell))
"""The columns that a grid varies, in the order in which tables show them."""

_MAIN: Final[Any] = Cell()


def alike(networks: pd.DataFrame, but: tuple[str, ...] = ()) -> Any:
    """Group networks of the same cell and the same training.

    Args:
        networks: rows of `analysis.data.study.Study.networks`.
        but: columns that may differ within a group, such as ("curriculum",).

    Returns:
        The groups, as in `pandas.DataFrame.groupby`, in the order of their first networks.
    """
    keys = [name for name in (*COLUMNS, *TRAINING) if name not in but]
    return networks.groupby(keys, sort=False, dropna=False)


def differing(networks: pd.DataFrame, always: tuple[str, ...] = ()) -> list[str]:
    """Return the columns of the cell and of the training in which networks differ.

    Args:
        networks: rows of `analysis.data.study.Study.networks`.
        always: columns that are always returned.
    """
    return [name for name in (*COLUMNS, *TRAINING) if name in always or networks[name].nunique(dropna=False) > 1]
