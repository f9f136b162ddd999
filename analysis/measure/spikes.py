"""Timescales of recorded neurons, with the estimator that is used for networks."""

import time
from typing import Final

import numpy as np
import pandas as pd
from rich.console import Console

from analysis.data.spikes import Binning, Recording, SpikesError
from analysis.measure.progress import JobProgress
from analysis.stats.intervals import median
from tsrnn.command_line import counted
from tsrnn.dynamics.spikes import binned, timescales, whole_bins

_NUMBERS: Final = ("tau_net", "tau_low", "tau_high")

# Neurons that are measured together, and the largest number of their counts.
_TOGETHER, _COUNTS = 64, 2**24
# Bins of one neuron: more would need gigabytes.
_MOST: Final = 1e8

_REASONS: Final = {
    "constant": "all counts are equal",
    "not_a_decay": "the autocorrelation is no decay",
    "too_short": "the trials are shorter than 10 of its timescales",
    "not_finite": "the counts are not finite",
    "failed": "the fit failed",
}
"""Why a neuron has no tau_net, by the status of its fit."""

# Intervals of fewer trials contain the true value more often than in 95 % of cases; see docs/timescales.md.
_FEW_TRIALS: Final = 3

FASTER: Final = "no slower than a bin"
"""What is said of a tau_net that does not exceed a bin."""


def binning(recording: Recording, width: float) -> Binning:
    """Return how `measure` counts the spikes of a recording in bins of `width` seconds."""
    return Binning(width, whole_bins(recording.duration, width), recording.trials)


def measure(recording: Recording, width: float, lags: int, console: Console) -> pd.DataFrame:
    """Return the timescale of each neuron.

    Args:
        recording: the spikes.
        width: of a bin, in seconds.
        lags: lags 0 to `lags` - 1 are fitted.
        console: where progress is shown.

    Returns:
        One row for each neuron: `neuron`, its label; `spikes`, in whole bins; `rate_hz`; `status` of its fit, as
        `tsrnn.dynamics.spikes.timescales` returns it; `tau_net`, `tau_low` and `tau_high`, in bins; `tau_net_ms`,
        `tau_low_ms` and `tau_high_ms`; `weight_slow`; and `reason`, why it has no timescale above a bin, or "".

    Raises:
        SpikesError: there are too few or too many bins for the lags or the memory, or no neuron has a timescale.
    """
    if recording.trials * recording.duration > _MOST * width:
        raise SpikesError(f"too many bins: {recording.trials} trials of {recording.duration:g} s; use a larger --bin")
    bins = binning(recording, width).bins
    if bins <= lags:
        raise SpikesError(
            f"too few bins: the shortest of the trials has {bins} of {width:g} s, and more than the {lags} lags are "
            f"needed; use longer trials, a smaller --bin or fewer --lags"
        )
    size = max(1, min(_TOGETHER, _COUNTS // (recording.trials * bins)))
    starts = range(0, len(recording.neurons), size)
    parts = []
    with JobProgress("spikes", {"groups of neurons": len(starts)}, console) as shown:
        for start in starts:
            began = time.monotonic()
            chosen = range(start, min(start + size, len(recording.neurons)))
            counts = binned(recording.trains(chosen), start=0.0, stop=recording.duration, width=width)
            fits = timescales(counts, lags)
            columns = {name: getattr(fits, name) for name in ("status", *_NUMBERS, "weight_slow")}
            parts.append(pd.DataFrame({"spikes": counts.sum((0, 1)).numpy()} | columns))
            shown.take("groups of neurons", time.monotonic() - began)
    frame = pd.concat(parts, ignore_index=True)
    frame.insert(0, "neuron", recording.neurons)
    frame.insert(2, "rate_hz", frame["spikes"] / (recording.trials * bins * width))
    for name in _NUMBERS:
        frame[f"{name}_ms"] = 1000 * width * frame[name]
    frame["reason"] = np.where(frame["tau_net"] > 1, "", frame["status"].map(_REASONS).fillna(FASTER))
    if frame["tau_net"].isna().all():
        raise SpikesError(f"no neuron has a timescale: {reasons(frame)}")
    return frame


def notes(recording: Recording, neurons: pd.DataFrame) -> list[str]:
    """Return what there is to say of a recording: neurons without a timescale, spikes and seconds not used.

    Args:
        recording: the spikes.
        neurons: the result of `measure`.
    """
    found = []
    if text := reasons(neurons):
        found.append(f"No timescale above a bin: {text}.")
    if np.isinf(neurons["tau_high"]).any():
        found.append("An interval without an upper end is one of a tau_net at the limit of the fit.")
    if recording.outside:
        found.append(f"{counted(recording.outside, 'spike')} in no trial: not used.")
    if recording.longest > recording.duration:
        found.append(
            f"Trials last {recording.duration:g} to {recording.longest:g} s: of each, the first "
            f"{recording.duration:g} s are used. To use more, leave the shortest out of the table of trials."
        )
    if recording.trials < _FEW_TRIALS:
        found.append(f"{counted(recording.trials, 'trial')}: intervals are wider than necessary.")
    return found


def reasons(neurons: pd.DataFrame) -> str:
    """Return in words how many neurons have no timescale above a bin, and why; "" if all have one."""
    found = neurons.loc[neurons["reason"] != "", "reason"].value_counts()
    return ", ".join(f"{counted(count, 'neuron')}: {reason}" for reason, count in found.items())


def summary(neurons: pd.DataFrame) -> pd.DataFrame:
    """Return the median over the neurons with tau_net above a bin.

    Args:
        neurons: the result of `measure`.

    Returns:
        One row: `neurons`, how many were recorded; `above`, how many have tau_net above a bin; `share`; `median_ms`,
        their median; `low_ms` and `high_ms`, its 95 % interval.
    """
    above = neurons.loc[neurons["tau_net"] > 1, "tau_net_ms"].to_numpy(float)
    middle = median(above)
    return pd.DataFrame(
        {
            "neurons": [len(neurons)],
            "above": [len(above)],
            "share": [len(above) / len(neurons)],
            "median_ms": [middle.estimate],
            "low_ms": [middle.low],
            "high_ms": [middle.high],
        }
    ).astype({"median_ms": float, "low_ms": float, "high_ms": float})
