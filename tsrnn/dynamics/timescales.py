"""tau_net: the timescale of a neuron's activity inside its network, from its autocorrelation.

There are two methods. `paper` is the method of the study: least squares on the mean autocorrelation, with Akaike's
criterion to choose between one exponential and two. It does not account for random errors. `robust` does.
docs/timescales.md compares the two.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from tsrnn.dynamics.bartlett import covariance, whitening
from tsrnn.dynamics.exponentials import Bounds, Fit, fit_double, fit_single

Floats = np.ndarray[Any, np.dtype[np.float64]]
Strings = np.ndarray[Any, np.dtype[np.str_]]

_PAPER: Final = Bounds(tau=100.0, amplitude=1.0)
# Parameters of each model: a and tau; a, c and two taus.
_SINGLE, _DOUBLE = 2, 4
# A fit with a residual below this share of the series' sum of squares is exact up to rounding.
_EXACT: Final = 1e-20


@dataclass(frozen=True)
class Fits:
    """The estimates for each of P series; the columns of the table `timescales`, in tsrnn/io/schemas.py.

    Attributes:
        status: [P] "single" or "double", the chosen model; or the reason why there is no tau_net: "not_a_decay",
            "constant", "not_finite", "too_short" or "failed". Then all numbers are NaN, except the criteria of fits.
        tau_net: [P] time steps.
        tau_low: [P] lower end of its 95 % interval; NaN for the paper's method.
        tau_high: [P] upper end.
        tau_fast: [P] the faster of two; NaN for a single timescale.
        weight_slow: [P] share of the slower component; 1 for a single one.
        amplitude: [P] the chosen fit at lag 0.
        r_squared: [P] of the chosen fit.
        aic_single: [P] Akaike's criterion of one exponential.
        aic_double: [P] of the sum of two.
        lags: L, the number of lags of every series.
    """

    status: Strings
    tau_net: Floats
    tau_low: Floats
    tau_high: Floats
    tau_fast: Floats
    weight_slow: Floats
    amplitude: Floats
    r_squared: Floats
    aic_single: Floats
    aic_double: Floats
    lags: int

    def __len__(self) -> int:
        return len(self.status)


NUMBERS: Final = tuple(field.name for field in fields(Fits) if field.name not in ("status", "lags"))
"""The fields of `Fits` with a number for each series."""


def paper(autocorrelation: Tensor) -> Fits:
    """Return tau_net by the study's protocol, from autocorrelations at lags 0, 1, ...

    One exponential a exp(-t / tau) and two, a (c exp(-t / tau1) + (1 - c) exp(-t / tau2)), with a and c in 0..1 and
    taus in 0..100, are fitted by least squares; the lower AIC = L ln(residual / L) + 2 parameters chooses. tau_net is
    the single timescale, or the slower of the two, whatever its weight.

    Args:
        autocorrelation: [P, L] mean over trials, normalised, at lags 0..L-1; a row of NaN is "not_finite", a row of
            zeros (no variance) "constant".

    Returns:
        the fits, without intervals. With L < 5, fewer points than parameters + 1, all are "too_short".

    Raises:
        ValueError: if the autocorrelation is not [P, L].

    Source: section 2 and appendix; lags, bounds and criterion from the authors' code.
    """
    y = _matrix(autocorrelation)
    result = _Result(y)
    if y.shape[1] < _DOUBLE + 1:
        return result.ended(result.rows, "too_short").fits()
    y = y[result.rows]
    single, double = fit_single(y, _PAPER), fit_double(y, _PAPER)
    count, total = y.shape[1], y.square().sum(1)
    criteria = {}
    for name, fit, parameters in (("single", single, _SINGLE), ("double", double, _DOUBLE)):
        likelihood = count * (torch.maximum(fit.residual, _EXACT * total) / count).log()
        criteria[f"aic_{name}"] = likelihood + 2 * parameters
    result.set(result.rows, **criteria)
    return result.chosen(y, single, double, criteria["aic_double"] < criteria["aic_single"]).fits()


# The robust method. Lag 0 is not a measurement; only the discrepancy keeps a near 1, which therefore needs no bound.
# With 31 lags, timescales beyond about 100 cannot be distinguished beside another one.
_ONE: Final = Bounds(tau=1000.0, amplitude=2.0)
_TWO: Final = Bounds(tau=100.0, amplitude=2.0)
# The standard deviation of deviations from a decay that are not of interest.
_DISCREPANCY: Final = 0.002
# Two exponentials must lower chi^2 by more than this: 5 % of a chi^2 with the 2 parameters they have more.
_CHI2: Final = float(stats.chi2.ppf(0.95, 2))
# And each of the two must have at least this share.
_SHARE: Final = 0.02
# The variance from Bartlett's formula counts as much as that between this many more trials.
_MODEL_TRIALS: Final = 4
_CONFIDENCE: Final = 0.95
# Not a decay: at some lag beyond chance (this level, all lags together), and by squares, summed over lags from 1 on,
# more than this share of the autocorrelation's own and more than this in all.
_CHANCE, _UNEXPLAINED, _UNEXPLAINED_LEAST = 0.01, 0.5, 0.1**2
# A trial must be longer than this many timescales.
_TIMESCALES: Final = 10
_ROUNDS: Final = 3
# Beyond this atanh(rate), tau is infinite in double precision.
_HIGHEST: Final = 17.0
# Keeps the equations of an interval solvable if two components are nearly equal.
_RIDGE, _TINY = 1e-10, 1e-300


def robust(trials: Tensor, steps: int) -> Fits:
    """Return tau_net with 95 % intervals, from the autocovariances of single trials.

    The errors of autocorrelations at different lags are correlated, so the fit uses generalised least squares. The
    covariance is Bartlett's, for the single exponential that fits best. It is scaled up if trials differ more than it
    predicts, and each lag also gets an independent discrepancy, as large as what two exponentials leave unexplained.
    Two exponentials are chosen if chi^2 rejects one (at 5 %) and both have weight. The effect of subtracting each
    trial's own mean is corrected. Intervals are symmetric in atanh(exp(-1 / tau)), and use the variance between trials
    together with Bartlett's. A timescale at its limit (1000 steps for a single one, 100 beside another) has no upper
    end (infinite).

    Args:
        trials: [B, P, L] each trial's autocovariances at lags 0..L-1: its own mean subtracted, the sum at lag k divided
            by steps - k.
        steps: T, of each trial.

    Returns:
        the fits. Criteria are chi^2 + 2 parameters. Statuses: "not_finite" and "constant" where a series is, in any
        trial or in all; "too_short" with L < 5, T <= L, or trials of fewer than 10 timescales; "not_a_decay" where the
        chosen fit leaves more than half of the autocorrelation unexplained.

    Raises:
        ValueError: if the trials are not [B, P, L] with B >= 1.
    """
    if trials.ndim != 3 or len(trials) < 1:
        raise ValueError(f"trials: has the shape {tuple(trials.shape)}; allowed is [B, P, L] with B >= 1")
    trials = trials.double()
    mean = torch.where(torch.isfinite(trials).all(0), trials.mean(0), torch.nan)
    mean = torch.where((mean[:, :1] > 0) | mean.isnan().any(1, keepdim=True), mean, 0.0)
    result = _Result(mean)
    if trials.shape[2] < _DOUBLE + 1 or steps <= trials.shape[2]:
        return result.ended(result.rows, "too_short").fits()
    if not len(result.rows):
        return result.fits()
    data = _Trials.of(trials[:, result.rows], steps)
    single, double, error = data.compared()
    for name, fit, parameters in (("single", single, _SINGLE), ("double", double, _DOUBLE)):
        result.set(result.rows, **{f"aic_{name}": fit.residual + 2 * parameters})
    share = double.weights[:, 0] / double.amplitude
    two = (single.residual - double.residual > _CHI2) & (share > _SHARE) & (share < 1 - _SHARE)
    low, high = data.interval(single, error)
    variance = error.sampling.diagonal(dim1=1, dim2=2).clone()
    y, curve = data.corrected(single), single.curve(data.lags)
    if two.any():
        rows = torch.nonzero(two)[:, 0]
        found, refined = data.rows(rows).refined(double.rows(rows))
        double = double.replaced(rows, found)
        low[rows], high[rows] = data.rows(rows).interval(found, refined)
        variance[rows] = refined.sampling.diagonal(dim1=1, dim2=2)
        y[rows], curve[rows] = data.rows(rows).corrected(found), found.curve(data.lags)
    result.chosen(y, single, double, two)
    result.set(result.rows, tau_low=low, tau_high=high)
    missed = (y - curve)[:, 1:]
    beyond = missed.abs() > stats.norm.isf(_CHANCE / 2 / (data.lags - 1)) * variance[:, 1:].sqrt()
    unexplained = missed.square().sum(1) - variance[:, 1:].sum(1)
    total = y[:, 1:].square().sum(1)
    wrong = beyond.any(1) & (unexplained > _UNEXPLAINED * total) & (unexplained > _UNEXPLAINED_LEAST)
    slowest = torch.where(two, double.taus[:, 0], single.taus[:, 0])
    result.without(result.rows[wrong], "not_a_decay")
    result.without(result.rows[slowest > steps / _TIMESCALES], "too_short")
    return result.fits()


@dataclass(frozen=True)
class _Error:
    """The expected errors: covariance by chance [P, L, L], and the whitening [P, L, L] for all errors together."""

    sampling: Tensor
    whitening: Tensor


@dataclass(frozen=True)
class _Trials:
    """Autocorrelations over trials.

    Attributes:
        raw: [P, L] the mean over trials, normalised.
        deviations: [B, P, L] each trial's deviation from it, to first order.
        steps: of each trial.
        discrepancy: [P] variance that no decay explains.
    """

    raw: Tensor
    deviations: Tensor
    steps: int
    discrepancy: Tensor

    @classmethod
    def of(cls, trials: Tensor, steps: int) -> "_Trials":
        mean = trials.mean(0)
        raw = mean / mean[:, :1]
        deviations = (trials - raw * trials[:, :, :1]) / mean[:, :1]
        data = cls(raw, deviations, steps, torch.full_like(raw[:, 0], _DISCREPANCY**2))
        # The residual of two exponentials, beyond chance.
        y = data.corrected(fit_single(raw, _ONE))
        single = fit_single(y, _ONE)
        chance = covariance(single.rates, _shares(single), data.lags).diagonal(dim1=1, dim2=2).sum(1)
        left = (fit_double(y, _TWO).residual - chance / (len(trials) * steps)) / (data.lags - _DOUBLE)
        return cls(raw, deviations, steps, data.discrepancy + left.clamp(min=0))

    @property
    def lags(self) -> int:
        return self.raw.shape[1]

    def rows(self, chosen: Tensor) -> "_Trials":
        return _Trials(self.raw[chosen], self.deviations[:, chosen], self.steps, self.discrepancy[chosen])

    def corrected(self, fit: Fit) -> Tensor:
        """Return the autocorrelations after adding the variance of the trials' means, estimated from the fit."""
        share = _shares(fit)
        lost = (share * (1 + fit.rates) / (1 - fit.rates)).sum(1, keepdim=True) / self.steps
        return self.raw + lost.clamp(max=0.5) * (1 - self.raw)

    def error(self, fit: Fit) -> _Error:
        """Return the expected errors if the fit is true."""
        count = len(self.deviations)
        chance = covariance(fit.rates, _shares(fit), self.lags) / self.steps
        discrepancy = self.discrepancy[:, None, None] * torch.eye(self.lags, dtype=self.raw.dtype)
        if count > 1:
            # If the process is not linear, trials differ by more than predicted.
            white = whitening(chance / count + discrepancy)
            scatter = (self.deviations.transpose(0, 1) @ white.transpose(1, 2)).square().sum((1, 2)) / (count - 1)
            expected = ((white @ chance) * white).sum((1, 2))
            chance = chance * (scatter / expected).clamp(min=1)[:, None, None]
        return _Error(chance / count, whitening(chance / count + discrepancy))

    def compared(self) -> tuple[Fit, Fit, _Error]:
        """Return the single and the double fit with the errors of the single fit, and these errors."""
        single = fit_single(self.raw, _ONE)
        for _ in range(_ROUNDS):
            y, error = self.corrected(single), self.error(single)
            single = fit_single(y, _ONE, error.whitening)
        return single, fit_double(y, _TWO, error.whitening), error

    def refined(self, double: Fit) -> tuple[Fit, _Error]:
        """Return the double fit with its own errors, and these errors."""
        for _ in range(_ROUNDS - 1):
            error = self.error(double)
            double = fit_double(self.corrected(double), _TWO, error.whitening)
        return double, error

    def interval(self, fit: Fit, error: _Error) -> tuple[Tensor, Tensor]:
        """Return the ends [P] of the 95 % interval of the slower tau."""
        count, components = len(self.deviations), fit.rates.shape[1]
        slopes = fit.slopes(self.lags) @ error.whitening.transpose(1, 2)
        if components > 1:
            # A component that decays within one step is kept so.
            gone = torch.cat([torch.zeros_like(fit.rates, dtype=torch.bool), fit.rates <= 0], 1)
            slopes = slopes.masked_fill(gone[:, :, None], 0)
        # The derivative of the rate with respect to the autocorrelation at each lag.
        normal = slopes @ slopes.transpose(1, 2)
        normal = normal + torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * _RIDGE + _TINY)
        follows = torch.linalg.solve(normal, slopes @ error.whitening)[:, components]
        variance = (follows[:, None] @ error.sampling @ follows[:, :, None])[:, 0, 0] * _MODEL_TRIALS
        between = (self.deviations * follows).sum(2).square().sum(0) / count
        degrees = _MODEL_TRIALS + count - 1
        rate = fit.rates[:, 0]
        spread = (
            (variance + between).div(degrees).sqrt() / (1 - rate * rate) * stats.t.isf((1 - _CONFIDENCE) / 2, degrees)
        )
        high = _tau(rate.atanh() + spread)
        limit = (_ONE if components == 1 else _TWO).tau
        high = torch.where(rate < math.exp(-1 / limit), high, torch.inf)
        return _tau(rate.atanh() - spread), high


def _tau(z: Tensor) -> Tensor:
    """Return tau for z = atanh(rate); 0 below 0, infinite where the rate is 1."""
    return torch.where(z < _HIGHEST, -1 / z.clamp(min=0).tanh().log(), torch.inf)


def _shares(fit: Fit) -> Tensor:
    return fit.weights / fit.amplitude[:, None]


class _Result:
    """The columns of the result, initially NaN; `rows` are the rows that can be fitted."""

    def __init__(self, y: Tensor) -> None:
        finite = torch.isfinite(y).all(1)
        constant = finite & (y == 0).all(1)
        self.rows = torch.nonzero(finite & ~constant)[:, 0]
        self.status = np.where(finite.numpy(), np.where(constant.numpy(), "constant", "failed"), "not_finite")
        self.status = self.status.astype("<U16")
        self.columns = {name: np.full(len(y), np.nan) for name in NUMBERS}
        self.lags = y.shape[1]

    def ended(self, rows: Tensor, status: str) -> "_Result":
        self.status[rows.numpy()] = status
        return self

    def without(self, rows: Tensor, status: str) -> None:
        """Remove the chosen fits of rows; only the criteria remain."""
        self.ended(rows, status)
        for name in ("tau_net", "tau_low", "tau_high", "tau_fast", "weight_slow", "amplitude", "r_squared"):
            self.columns[name][rows.numpy()] = np.nan

    def set(self, rows: Tensor, **columns: Tensor) -> None:
        for name, values in columns.items():
            self.columns[name][rows.numpy()] = values.numpy()

    def chosen(self, y: Tensor, single: Fit, double: Fit, two: Tensor) -> "_Result":
        """Enter the chosen fits of the rows that can be fitted; `y` are their series."""
        self.ended(self.rows, "single").ended(self.rows[two], "double")
        missing = torch.full_like(single.residual, torch.nan)
        amplitude = torch.where(two, double.amplitude, single.amplitude)
        curve = torch.where(two[:, None], double.curve(y.shape[1]), single.curve(y.shape[1]))
        spread = (y - y.mean(1, keepdim=True)).square().sum(1)
        self.set(
            self.rows,
            tau_net=torch.where(two, double.taus[:, 0], single.taus[:, 0]),
            tau_fast=torch.where(two, double.taus[:, 1], missing),
            weight_slow=torch.where(two, double.weights[:, 0] / amplitude, 1.0),
            amplitude=amplitude,
            r_squared=torch.where(spread > 0, 1 - (y - curve).square().sum(1) / spread, missing),
        )
        return self

    def fits(self) -> Fits:
        return Fits(status=self.status, lags=self.lags, **self.columns)


def _matrix(values: Tensor) -> Tensor:
    if values.ndim != 2:
        raise ValueError(f"autocorrelation: has the shape {tuple(values.shape)}; allowed is [P, L]")
    return values.double()
