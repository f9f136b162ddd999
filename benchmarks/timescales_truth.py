"""Test the estimators of tau_net on simulated neurons with known timescales.

    python benchmarks/timescales_truth.py [--series 200] [--trials 10] [--steps 10000] [--seed 0] [--json]

Simulated neurons are AR(1) processes, whose autocorrelation is one exponential, and sums of two independent ones. For
each kind, both methods are applied to `--series` neurons with `--trials` trials of `--steps` steps. The output shows
how often two timescales are found, the error of tau_net relative to the slower true timescale if their number is right
(mean and median, in percent), and how often the robust method's 95 % interval contains the true value.
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import numpy as np
import torch
from cyclopts import App, Parameter
from scipy.signal import lfilter

from tsrnn.dynamics.autocorrelation import LAGS
from tsrnn.dynamics.timescales import Fits, paper, robust

app = App(help=__doc__, help_format="plaintext")

SINGLE: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
DOUBLE: Final = ((1.0, 5.0), (1.0, 10.0), (1.0, 50.0), (2.0, 10.0), (2.0, 20.0), (5.0, 20.0), (5.0, 50.0), (10.0, 50.0))
WEIGHTS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
# Number of neurons that are simulated together, so that their activity fits the cache.
_CHUNK: Final = 2


@dataclass(frozen=True)
class Truth:
    """An autocorrelation: weight_slow exp(-k / tau_slow) + (1 - weight_slow) exp(-k / tau_fast)."""

    tau_slow: float
    tau_fast: float | None = None
    weight_slow: float = 1.0

    @property
    def parts(self) -> list[tuple[float, float]]:
        """The pair (variance, tau) of each process."""
        slow = (self.weight_slow, self.tau_slow)
        return [slow] if self.tau_fast is None else [slow, (1 - self.weight_slow, self.tau_fast)]


@dataclass(frozen=True)
class Found:
    """The results of one method for the series of one truth, with errors relative to the slower timescale.

    Attributes:
        two: share of series in which two timescales are found.
        none: share of series without a tau_net.
        mean_error: mean error of tau_net in series with the right number of timescales; NaN if there are none.
        median_error: median error in the same series.
        coverage: share of intervals in the same series that contain the slower timescale; NaN without intervals.
    """

    two: float
    none: float
    mean_error: float
    median_error: float
    coverage: float


def truths() -> list[Truth]:
    """Return all truths of the table."""
    return [Truth(tau) for tau in SINGLE] + [Truth(slow, fast, weight) for fast, slow in DOUBLE for weight in WEIGHTS]


def simulate(truth: Truth, series: int, trials: int, steps: int, generator: np.random.Generator) -> torch.Tensor:
    """Return the autocovariances [trials, series, LAGS] of simulated neurons."""
    found = []
    for first in range(0, series, _CHUNK):
        activity = np.zeros((trials, min(_CHUNK, series - first), steps))
        for variance, tau in truth.parts:
            rate = math.exp(-1 / tau) if tau > 0 else 0.0
            noise = generator.standard_normal(activity.shape)
            noise[..., 1:] *= math.sqrt(1 - rate**2)
            activity += math.sqrt(variance) * lfilter([1], [1, -rate], noise)
        found.append(autocovariances(activity))
    return torch.cat(found, 1)


def autocovariances(activity: np.ndarray) -> torch.Tensor:
    """Return autocovariances [B, P, LAGS] of activity [B, P, T] about the mean of each trial, divided by T - k."""
    x = activity - activity.mean(-1, keepdims=True)
    steps = x.shape[-1]
    lags = [np.einsum("bpt,bpt->bp", x[..., : steps - k], x[..., k:]) / (steps - k) for k in range(LAGS)]
    return torch.tensor(np.stack(lags, -1))


def judge(fits: Fits, truth: Truth) -> Found:
    """Compare fits with the truth."""
    two = fits.status == "double"
    right = two if truth.tau_fast is not None else fits.status == "single"
    errors = fits.tau_net[right] / truth.tau_slow - 1
    covered = (fits.tau_low <= truth.tau_slow) & (truth.tau_slow <= fits.tau_high)
    with_interval = right & ~np.isnan(fits.tau_high)
    return Found(
        two=float(two.mean()),
        none=float(np.isnan(fits.tau_net).mean()),
        mean_error=float(errors.mean()) if right.any() else math.nan,
        median_error=float(np.median(errors)) if right.any() else math.nan,
        coverage=float(covered[with_interval].mean()) if with_interval.any() else math.nan,
    )


def measure(truth: Truth, series: int, trials: int, steps: int, seed: int) -> dict[str, Found]:
    """Return the results of both methods for the same simulated series."""
    # Every truth has its own random numbers, whatever other truths are measured.
    words = np.random.SeedSequence([seed, *(round(1000 * x) for part in truth.parts for x in part)])
    autocovariances = simulate(truth, series, trials, steps, np.random.default_rng(words))
    normalised = (autocovariances / autocovariances[:, :, :1]).mean(0)
    return {"robust": judge(robust(autocovariances, steps), truth), "paper": judge(paper(normalised), truth)}


@app.default
def run(
    *,
    series: int = 200,
    trials: int = 10,
    steps: int = 10_000,
    seed: int = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Simulate, estimate and compare.

    Args:
        series: number of simulated neurons for each truth.
        trials: number of trials per neuron.
        steps: number of steps per trial.
        seed: the seed of the simulation.
        as_json: Print JSON.
    """
    torch.set_num_threads(1)
    rows = [(truth, measure(truth, series, trials, steps, seed)) for truth in truths()]
    alone = [found for truth, found in rows if truth.tau_fast is None]
    false = {method: max(found[method].two for found in alone) for method in ("robust", "paper")}
    if as_json:
        cells = [
            asdict(truth) | {method: _without_nan(asdict(values)) for method, values in found.items()}
            for truth, found in rows
        ]
        settings = {"series": series, "trials": trials, "steps": steps, "seed": seed}
        print(json.dumps({"settings": settings, "false_two": false, "cells": cells}))
        return
    print(
        f"{series} series a row, {trials} trials of {steps} steps. Errors in %, of tau_net where the number is right.\n"
    )
    print("| truth | robust: two, % | mean error | median | coverage, % | paper: two, % | mean error | median |")
    print("|---|---|---|---|---|---|---|---|")
    for truth, found in rows:
        one, other = found["robust"], found["paper"]
        name = f"{truth.tau_slow:g}"
        if truth.tau_fast is not None:
            name = f"{truth.weight_slow:g} of {truth.tau_slow:g}, {1 - truth.weight_slow:g} of {truth.tau_fast:g}"
        print(
            f"| {name} | {100 * one.two:.1f} | {100 * one.mean_error:+.1f} | {100 * one.median_error:+.1f} "
            f"| {100 * one.coverage:.1f} | {100 * other.two:.1f} | {100 * other.mean_error:+.1f} "
            f"| {100 * other.median_error:+.1f} |"
        )
    most = {method: f"{100 * share:.1f} %" for method, share in false.items()}
    print(f"\nTwo found where one is true, at most: robust {most['robust']}, paper {most['paper']}")


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}


if __name__ == "__main__":
    app()
