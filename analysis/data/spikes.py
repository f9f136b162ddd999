"""Recorded spikes: reads a table of spikes and one of trials, and assigns spikes to trials."""

import io
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from tsrnn.errors import Failure
from tsrnn.io.files import Location

Floats = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]

SPIKES: Final = ("neuron", "time_s")
"""The columns that a table of spikes must have; it may also have `trial`."""

TRIALS: Final = ("start_s", "stop_s")
"""The columns that a table of trials must have; it needs `trial` too if the table of spikes has it."""


class SpikesError(Failure):
    """Recorded spikes cannot be used; the message is one line that says what is wrong and what to do."""


class TimesError(SpikesError):
    """When trials begin and end is not given, or given twice. The exit status is 2."""

    status: ClassVar[int] = 2


@dataclass(frozen=True)
class Recording:
    """Spikes of P neurons in B trials, ordered by neuron and trial.

    Attributes:
        neurons: [P] labels, sorted.
        trials: B.
        duration: of the shortest trial, in seconds; all trials are used for this long.
        longest: of the longest trial.
        neuron: [S] the neuron of each spike, as a position in `neurons`.
        trial: [S] its trial, from 0 to B - 1.
        time: [S] seconds since the start of its trial.
        outside: how many further spikes lie in no trial.
    """

    neurons: "pd.Index[Any]"
    trials: int
    duration: float
    longest: float
    neuron: Whole
    trial: Whole
    time: Floats
    outside: int

    def trains(self, neurons: range) -> list[list[Floats]]:
        """Return the spike trains of some neurons: for each trial, an array of times for each neuron."""
        pairs = np.arange(neurons.start * self.trials, neurons.stop * self.trials + 1)
        ends = np.searchsorted(self.neuron * self.trials + self.trial, pairs)
        return [
            [self.time[ends[i * self.trials + b] : ends[i * self.trials + b + 1]] for i in range(len(neurons))]
            for b in range(self.trials)
        ]


class Binning(NamedTuple):
    """How spikes were counted.

    Attributes:
        width: of a bin, in seconds.
        bins: whole bins of a trial.
        trials: how many.
    """

    width: float
    bins: int
    trials: int


def read(spikes: Location, trials: Location | None, start: float | None, stop: float | None) -> Recording:
    """Read a recording.

    Args:
        spikes: a CSV or Parquet file with a row for each spike: see `recording`.
        trials: a CSV or Parquet file with a row for each trial; None if all trials are from `start` to `stop`.
        start: of each trial, in seconds, on the clock of `time_s`.
        stop: of each trial.

    Raises:
        TimesError: neither `trials`, nor `start` and `stop`, are given, or all are.
        SpikesError: a file or the times cannot be used.
    """
    table = _read(spikes)
    _require(table, SPIKES, str(spikes))
    if trials is not None:
        if start is not None or stop is not None:
            raise TimesError("give either --trials, or --start and --stop")
        return recording(table, _read(trials), str(spikes), str(trials))
    if start is None or stop is None:
        raise TimesError(
            "when trials begin and end is not known: give --trials TABLE, or --start and --stop in seconds"
        )
    windows = pd.DataFrame({"start_s": [start], "stop_s": [stop]})
    if "trial" in table:
        windows = windows.merge(pd.DataFrame({"trial": table["trial"].dropna().unique()}), how="cross")
    return recording(table, windows, str(spikes), "--start and --stop")


def recording(
    spikes: pd.DataFrame, trials: pd.DataFrame, spikes_name: str = "spikes", trials_name: str = "trials"
) -> Recording:
    """Assign spikes to trials.

    Args:
        spikes: a row for each spike: `neuron`, any label; `time_s`, seconds; perhaps `trial`, the label of its trial.
        trials: a row for each trial, also for trials without spikes: `start_s` and `stop_s`, seconds, on the clock of
            `time_s`. If `spikes` has the column `trial`, so must `trials`; each trial may then have a clock of its own.
            Otherwise a spike belongs to the trial during which it occurred.
        spikes_name: what errors call `spikes`.
        trials_name: what errors call `trials`.

    Returns:
        The spikes from the start of each trial up to its stop, without the spike at the stop itself. Spikes of other
        trials, or with no label, are counted as outside.

    Raises:
        SpikesError: a column is missing, a time is not a number, a trial does not stop after its start, trials
            overlap or have the same label, or no spike lies in a trial.
    """
    _require(spikes, SPIKES, spikes_name)
    _require(trials, TRIALS, trials_name)
    labelled = "trial" in spikes
    if labelled:
        _require(trials, ("trial",), trials_name)
    for frame, name, row in ((spikes, spikes_name, "spike"), (trials, trials_name, "trial")):
        if frame.empty:
            raise SpikesError(f"{name}: has no {row}s; a table with a row for each {row} is needed")
    if spikes["neuron"].isna().any():
        raise SpikesError(f"{spikes_name}: neuron is empty in row {_first(spikes['neuron'].isna())}")
    times, starts, stops = (
        _seconds(frame, column, name)
        for frame, column, name in (
            (spikes, "time_s", spikes_name),
            (trials, "start_s", trials_name),
            (trials, "stop_s", trials_name),
        )
    )
    if not (stops > starts).all():
        i = int(np.argmax(stops <= starts))
        raise SpikesError(
            f"{trials_name}: a trial is from {starts[i]:g} to {stops[i]:g} s (row {i + 1}); allowed is a later stop"
        )
    which = _by_label(spikes, trials, trials_name) if labelled else _by_time(times, starts, stops, trials_name)
    inside = (which >= 0) & (times >= starts[which]) & (times < stops[which])
    if not inside.any():
        raise SpikesError(
            f"{spikes_name}: no spike lies in a trial; spikes are from {times.min():g} to {times.max():g} s, and "
            f"trials from {starts.min():g} to {stops.max():g} s"
        )
    codes, neurons = pd.factorize(spikes["neuron"], sort=True)
    order = np.flatnonzero(inside)
    order = order[np.lexsort((which[order], codes[order]))]
    lengths = stops - starts
    return Recording(
        neurons=pd.Index(neurons),
        trials=len(trials),
        duration=float(lengths.min()),
        longest=float(lengths.max()),
        neuron=codes[order],
        trial=which[order],
        time=(times - starts[which])[order],
        outside=int((~inside).sum()),
    )


def _by_label(spikes: pd.DataFrame, trials: pd.DataFrame, name: str) -> Whole:
    """Return the trial of each spike by its label, -1 for none."""
    labels = pd.Index(trials["trial"])
    if labels.hasnans or labels.has_duplicates:
        raise SpikesError(f"{name}: in the column trial a label is missing or there twice; each trial needs its own")
    return np.asarray(labels.get_indexer(pd.Index(spikes["trial"])), dtype=np.int64)


def _by_time(times: Floats, starts: Floats, stops: Floats, name: str) -> Whole:
    """Return the trial that had begun last at each spike, -1 for none."""
    order = np.argsort(starts, kind="stable")
    if (stops[order][:-1] > starts[order][1:]).any():
        row = int(np.argmax(stops[order][:-1] > starts[order][1:]))
        first, second = sorted((int(order[row]) + 1, int(order[row + 1]) + 1))
        raise SpikesError(f"{name}: the trials of rows {first} and {second} overlap; a spike would count twice")
    before = np.searchsorted(starts[order], times, side="right") - 1
    return np.where(before >= 0, order[before], -1).astype(np.int64)


def _read(path: Location) -> pd.DataFrame:
    kind = path.name.lower().rpartition(".")[2]
    if kind not in ("csv", "parquet"):
        raise SpikesError(f"{path}: allowed are tables in files that end in .csv or .parquet")
    try:
        data = io.BytesIO(path.read_bytes())
        return pd.read_csv(data) if kind == "csv" else pd.read_parquet(data)
    except OSError as error:
        raise SpikesError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, pa.ArrowException) as error:
        raise SpikesError(f"{path} cannot be read: {error}") from error


def _require(frame: pd.DataFrame, columns: tuple[str, ...], name: str) -> None:
    if missing := [column for column in columns if column not in frame]:
        raise SpikesError(f"{name}: lacks the column {missing[0]}; it has {', '.join(map(str, frame)) or 'none'}")


def _seconds(frame: pd.DataFrame, column: str, name: str) -> Floats:
    values = frame[column]
    # Dates and durations would become nanoseconds.
    known = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_string_dtype(values) or values.dtype == object
    numbers = pd.to_numeric(values if known else values.astype(str), errors="coerce").to_numpy(float, na_value=np.nan)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = _first(wrong)
        raise SpikesError(f"{name}: {column} is {values.iloc[row - 1]} in row {row}; allowed are numbers of seconds")
    return numbers


def _first(where: Any) -> int:
    """Return the number of the first row where a condition holds, counted from 1."""
    return int(np.argmax(np.asarray(where))) + 1
