"""Timescales of recorded spikes, with the same estimator as for networks.

The number of spikes of a neuron in a bin is a random count around a rate that changes slowly. The randomness of the
counts is independent from bin to bin. It is a second component of the activity, with a timescale far below a bin. The
estimator separates the two, and its intervals take the randomness of both into account.

    counts = binned([[times of a neuron's spikes, ...] for each trial], start=0.0, stop=2.0, width=0.02)
    fits = timescales(counts)
    fits.tau_net * 0.02  # seconds, one value for each neuron; tau_low and tau_high are the ends of the 95 % interval

Source: autocorrelations of binned counts, as in Murray et al. (2014), "A hierarchy of intrinsic timescales across
primate cortex"; the estimator is `tsrnn.dynamics.timescales.robust`.
"""

from collections.abc import Sequence
from typing import Any, Final, SupportsFloat

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tsrnn.dynamics.autocorrelation import LAGS, Autocovariance
from tsrnn.dynamics.timescales import Fits, robust

# Bins that lie between two edges up to this share of their width are taken to fit exactly.
_EXACT: Final = 1e-6


def whole_bins(duration: SupportsFloat, width: SupportsFloat) -> int:
    """Return how many whole bins of `width` seconds a trial of `duration` seconds has; 0 for a width of 0 or less."""
    return int(max(float(duration) / float(width), 0.0) + _EXACT) if float(width) > 0 else 0


def binned(
    trials: Sequence[Sequence[Any]], *, start: SupportsFloat, stop: SupportsFloat, width: SupportsFloat
) -> Tensor:
    """Count spikes in bins of equal width.

    Args:
        trials: B trials of P spike trains each, the same neurons in every trial. A train is an array of times in
            seconds, as the `spike_times` of an NWB file's units are, or a `neo.SpikeTrain`, whose unit is converted.
        start: of the first bin, in seconds.
        stop: end of the last bin.
        width: of a bin. Spikes that lie in no whole bin are left out.

    Returns:
        [B, T, P] counts.

    Raises:
        ValueError: there is no trial or no train, trials have different numbers of trains, a time is not finite, or
            there is no whole bin from `start` to `stop`.
    """
    begin, bins = float(start), whole_bins(float(stop) - float(start), width)
    if not bins:
        raise ValueError(f"width = {width}: allowed are widths above 0 and up to stop - start = {stop} - {start}")
    edges = begin + np.arange(bins + 1) * float(width)
    trains = {len(trial) for trial in trials}
    if len(trains) != 1 or trains == {0}:
        raise ValueError(f"trials: with {sorted(trains)} spike trains; allowed is one number for all, and not 0")
    return torch.from_numpy(np.stack([[np.histogram(_seconds(t), edges)[0] for t in trial] for trial in trials], 0)).mT


def timescales(counts: Tensor, lags: int = LAGS) -> Fits:
    """Return the timescale of each neuron's rate, in bins, with its 95 % interval.

    Args:
        counts: [B, T, P] spikes in T bins of B trials, such as `binned` returns.
        lags: L; lags 0 to L - 1 are fitted.

    Returns:
        the fits of P neurons, as `tsrnn.dynamics.timescales.robust` returns them, in bins. Where the rate varies, the
        status is "double": `tau_net` is its timescale, `weight_slow` its share of the variance of counts, and
        `tau_fast`, near 0, is that of the counts' own randomness. A neuron whose counts are independent from bin to bin
        is "single" with a tau_net near 0, and so is one whose rate makes up less than 2 % of the variance. Of rates
        with two timescales of their own, a mixture is found.

    Raises:
        ValueError: `counts` is not [B, T, P] with at least one of each.
    """
    if counts.ndim != 3 or 0 in counts.shape:
        raise ValueError(f"counts: has the shape {tuple(counts.shape)}; allowed is [B, T, P], at least one of each")
    seen = Autocovariance(lags)
    seen(counts.double().transpose(0, 1)[:, None])
    return robust(seen.moments().neurons.autocovariance[0], counts.shape[1])


def _seconds(train: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the times of a spike train in seconds."""
    # neo's trains, like all quantities of their kind, convert themselves.
    convert = getattr(train, "rescale", None)
    times = np.asarray(train if convert is None else convert("s").magnitude, dtype=float)
    if not np.isfinite(times).all():
        raise ValueError("trials: a spike has a time that is not finite; allowed are seconds")
    return times
