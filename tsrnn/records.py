"""The schema of every table: what a column is called, holds, is measured in and means."""

from dataclasses import dataclass
from typing import Any, Literal

DType = Literal["string", "int64", "float64"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column: its name, dtype, unit ("" where it has none), meaning, and whether it is part of the key."""

    name: str
    dtype: DType
    unit: str
    meaning: str
    key: bool = False


@dataclass(frozen=True)
class Table:
    """One table, a folder of Parquet files with these columns."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that together identify a row."""
        return tuple(column.name for column in self.columns if column.key)


_NETWORK = Column("network_id", "string", "", "which network: RunConfig.network_id", key=True)
_EPOCH = Column("epoch", "int64", "epochs", "epochs this network had trained, counted from 1", key=True)

RUNS = Table(
    "runs",
    "One row a network, written when the sweep starts: what it is.",
    (
        _NETWORK,
        Column("sweep", "string", "", "the sweep that trained it"),
        Column("scale", "string", "", "quick, laptop or paper"),
        Column("task", "string", "", "the task's kind: parity, dms, sines or a user's own"),
        Column("curriculum", "string", "", "single, multi, sliding-W[-by-SHIFT][-full], none-N or all-N"),
        Column("architecture", "string", "", "the network's kind: leaky, gru, lstm or a user's own"),
        Column("self_interaction", "string", "", "inside or outside the nonlinearity; empty where there is no leak"),
        Column("nonlinearity", "string", "", "leaky_relu, relu or tanh; empty where it is not chosen"),
        Column("tau", "string", "", "the tau constraint: trained, or the fixed value in time steps; empty without tau"),
        Column("hidden", "int64", "neurons", "H"),
        Column("seed", "int64", "", "the network's seed"),
        Column("config", "string", "", "the whole RunConfig as JSON"),
    ),
)

OUTCOMES = Table(
    "outcomes",
    "One row a network, written when it ends: how it ended.",
    (
        _NETWORK,
        Column("status", "string", "", "solved_all, epochs, time, diverged or failed: why it ended"),
        Column("reason", "string", "", "the status in words"),
        Column("max_n", "int64", "time steps", "the largest N solved; 0 where none was"),
        Column("epochs", "int64", "epochs", "epochs trained"),
        Column("steps", "int64", "steps", "optimiser steps taken"),
        Column("operations", "float64", "operations", "useful floating-point operations of its matrix products"),
        Column("wall_s", "float64", "s", "its own computing time: its share of its population's"),
        Column("device", "string", "", "cpu or cuda, with the processor's name"),
        Column("versions", "string", "", "tsrnn, torch and Python, as JSON"),
    ),
)

EPOCHS = Table(
    "epochs",
    "One row a network and epoch: the learning curve. Counters run from the start of training.",
    (
        _NETWORK,
        _EPOCH,
        Column("n_min", "int64", "time steps", "smallest N in training"),
        Column("n_max", "int64", "time steps", "newest N in training"),
        Column(
            "loss",
            "float64",
            "",
            "training loss (cross-entropy in nats; sines: squared error): sum over heads, mean over the epoch's steps",
        ),
        Column(
            "accuracy_newest", "float64", "", "test accuracy of the newest head: share of right answers; sines: R^2"
        ),
        Column("accuracy_mean", "float64", "", "test accuracy, mean over heads"),
        Column("grad_norm", "float64", "", "gradient norm before clipping, mean over the epoch's steps"),
        Column("tau_mean", "float64", "time steps", "mean of tau over neurons; empty without tau"),
        Column(
            "tau_sd", "float64", "time steps", "standard deviation of tau over neurons (population); empty without tau"
        ),
        Column("steps", "int64", "steps", "optimiser steps so far"),
        Column("operations", "float64", "operations", "useful floating-point operations so far"),
        Column("wall_s", "float64", "s", "computing time so far: its share of its population's"),
    ),
)

SOLVED = Table(
    "solved",
    "One row a network and solved N: the first test in which its head was good enough.",
    (
        _NETWORK,
        Column("n", "int64", "time steps", "the N that was solved", key=True),
        Column("epoch", "int64", "epochs", "the epoch whose test it passed"),
        Column("epochs_taken", "int64", "epochs", "epochs trained in the curriculum's step that solved it"),
        Column("accuracy", "float64", "", "test accuracy of its head"),
        Column("tau_mean", "float64", "time steps", "mean of tau over neurons; empty without tau"),
        Column(
            "tau_sd", "float64", "time steps", "standard deviation of tau over neurons (population); empty without tau"
        ),
        Column("checkpoint", "string", "", "the network's weights then: a path below the sweep's folder"),
    ),
)

HEADS = Table(
    "heads",
    "One row a network, epoch and head: test accuracy of every N in training.",
    (
        _NETWORK,
        _EPOCH,
        Column("n", "int64", "time steps", "the head's N", key=True),
        Column("accuracy", "float64", "", "test accuracy: share of right answers; sines: R^2"),
    ),
)

TABLES = (RUNS, OUTCOMES, EPOCHS, SOLVED, HEADS)
"""The tables of a sweep; those below are made by the analysis that fills them."""

_N = Column("n", "int64", "time steps", "the solved N whose checkpoint was measured", key=True)

ANALYSES = Table(
    "analyses",
    "One row a network, solved N and analysis: how measuring the checkpoint ended.",
    (
        _NETWORK,
        Column("analysis", "string", "", "the analysis: the command's name", key=True),
        _N,
        Column("status", "string", "", "done, or failed: its tables then have no rows for this N"),
        Column("message", "string", "", "why it failed, in one line; empty where it is done"),
        Column("settings", "string", "", "what it was measured with, as JSON"),
        Column("wall_s", "float64", "s", "computing time"),
    ),
)
