"""tau_net: the timescale of a neuron's activity inside its network, from its autocorrelation.

Two methods. `paper` is the study's: least squares on the mean autocorrelation, and Akaike's criterion chooses one
exponential or two. It takes no account of chance. `robust` does: see docs/timescales.md for both, side by side.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from tsrnn.exponentials import Bounds, Fit, fit_double, fit_single

Floats = np.ndarray[Any, np.dtype[np.float64]]
Strings = np.ndarray[Any, np.dtype[np.str_]]

LAGS: Final = 31
"""Lags 0..30 are fitted, as in the authors' code."""

_PAPER: Final = Bounds(tau=100.0, amplitude=1.0)
# Parameters of each model: a and tau; a, c and two taus.
_SINGLE, _DOUBLE = 2, 4
# A fit that misses a series by less than this share of its sum of squares is exact: what is left is rounding.
_EXACT: Final = 1e-20


@dataclass(frozen=True)
class Fits:
    """What was found for each of P series; the columns of the table `timescales`, in tsrnn/records.py.

    Attributes:
        status: [P] "single" or "double": the model chosen; else why there is no tau_net: "not_a_decay", "constant",
            "not_finite", "too_short" or "failed". All numbers are then NaN, but those of the fits that were made.
        tau_net: [P] time steps.
        tau_low: [P] lower end of its 95 % interval; NaN for the paper's method.
        tau_high: [P] upper end.
        tau_fast: [P] the faster of two; NaN for a single timescale.
        weight_slow: [P] share of the slower component; 1 for a single one.
        amplitude: [P] the chosen fit at lag 0.
        r_squared: [P] of the chosen fit.
        aic_single: [P] Akaike's criterion of one exponential.
        aic_double: [P] of the sum of two.
        bic_single: [P] the Bayesian criterion of one exponential.
        bic_double: [P] of the sum of two.
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
    bic_single: Floats
    bic_double: Floats

    def __len__(self) -> int:
        return len(self.status)


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
        criteria[f"bic_{name}"] = likelihood + np.log(count) * parameters
    result.set(result.rows, **criteria)
    return result.chosen(y, single, double, criteria["aic_double"] < criteria["aic_single"]).fits()


class _Result:
    """Columns being filled: NaN where nothing is said. `rows` are those that can be fitted."""

    def __init__(self, y: Tensor) -> None:
        finite = torch.isfinite(y).all(1)
        constant = finite & (y == 0).all(1)
        self.rows = torch.nonzero(finite & ~constant)[:, 0]
        self.status = np.where(finite.numpy(), np.where(constant.numpy(), "constant", "failed"), "not_finite")
        self.status = self.status.astype("<U16")
        self.columns = {field.name: np.full(len(y), np.nan) for field in fields(Fits) if field.name != "status"}

    def ended(self, rows: Tensor, status: str) -> "_Result":
        self.status[rows.numpy()] = status
        return self

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
        return Fits(status=self.status, **self.columns)


def _matrix(values: Tensor) -> Tensor:
    if values.ndim != 2:
        raise ValueError(f"autocorrelation: has the shape {tuple(values.shape)}; allowed is [P, L]")
    return values.double()
