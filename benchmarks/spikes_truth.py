"""Test the timescales of recorded neurons on simulated spikes whose rate has a known timescale.

    python benchmarks/spikes_truth.py [--neurons 100] [--tau 0.15] [--bin 0.05] [--seed 0] [--json]

The rate of a neuron switches at random between two values, so that its autocorrelation is one exponential in continuous
time. For each mean rate, depth of modulation and length of the recording, the output shows how many neurons are found
to have a timescale above a bin, their median, how many of their 95 % intervals contain the true timescale, and why the
others have none.
"""

import itertools
import json
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import numpy as np
import pandas as pd
import torch
from cyclopts import App, Parameter

from analysis.data.spikes import recording
from analysis.measure.spikes import measure, reasons, summary
from tsrnn.command_line import console

app = App(help=__doc__, help_format="plaintext")

RATES: Final = (5.0, 10.0, 20.0, 40.0)
DEPTHS: Final = (0.5, 1.0)
RECORDINGS: Final = ((100, 3.0), (100, 10.0))


@dataclass(frozen=True)
class Found:
    """The results for one kind of neuron.

    Attributes:
        rate: mean rate, in 1 / s.
        depth: the rate is (1 + depth) or (1 - depth) times its mean.
        trials: number of trials.
        seconds: length of a trial.
        above: percentage of neurons with a timescale above a bin.
        median_ms: their median; NaN if there are none.
        coverage: percentage of their 95 % intervals that contain the true timescale; NaN if there are none.
        others: why the other neurons have no such timescale.
    """

    rate: float
    depth: float
    trials: int
    seconds: float
    above: float
    median_ms: float
    coverage: float
    others: str


def telegraph(
    tau: float, *, neurons: int, trials: int, seconds: float, rate: float = 30.0, depth: float = 1.0, seed: int = 0
) -> pd.DataFrame:
    """Return spikes of neurons whose rate switches at random between (1 + depth) and (1 - depth) times its mean.

    The states of a random telegraph process that stays in each state for 2 tau on average have the autocorrelation
    exp(-t / tau). Candidates from a Poisson process of the higher rate are all kept in one state, and at random in the
    other.

    Args:
        tau: the timescale, in seconds.
        neurons: how many.
        trials: how many, each from 0 s on.
        seconds: length of a trial.
        rate: the mean rate, in 1 / s.
        depth: from 0 to 1, for a rate that switches between 0 and twice its mean.
        seed: of the simulation.

    Returns:
        One row for each spike: neuron, trial, time_s.
    """
    draws = np.random.default_rng(seed)
    highest = rate * (1 + depth)
    rows = []
    for neuron, trial in itertools.product(range(neurons), range(trials)):
        switches = np.cumsum(draws.exponential(2 * tau, size=int(2 * seconds / tau) + 50))
        if switches[-1] < seconds:
            raise RuntimeError("the process ended before the trial")
        times = np.sort(draws.uniform(0, seconds, draws.poisson(highest * seconds)))
        high = (np.searchsorted(switches, times) + draws.integers(2)) % 2 == 1
        kept = high | (draws.uniform(size=len(times)) < (1 - depth) / (1 + depth))
        rows.append(pd.DataFrame({"neuron": neuron, "trial": trial, "time_s": times[kept]}))
    return pd.concat(rows, ignore_index=True)


@app.default
def run(
    *,
    neurons: int = 100,
    tau: float = 0.15,
    bin: float = 0.05,
    seed: int = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Simulate and estimate.

    Args:
        neurons: number of simulated neurons of each kind.
        tau: the true timescale, in seconds.
        bin: width of a bin, in seconds.
        seed: the seed of the simulation.
        as_json: Print JSON.
    """
    torch.set_num_threads(1)
    found = []
    for (trials, seconds), depth, rate in itertools.product(RECORDINGS, DEPTHS, RATES):
        spikes = telegraph(tau, neurons=neurons, trials=trials, seconds=seconds, rate=rate, depth=depth, seed=seed)
        windows = pd.DataFrame({"trial": range(trials), "start_s": 0.0, "stop_s": seconds})
        fits = measure(recording(spikes, windows), bin, 31, console(stderr=True))
        above = fits[fits["tau_net"] > 1]
        inside = (above["tau_low_ms"] < 1000 * tau) & (1000 * tau < above["tau_high_ms"])
        median = float(summary(fits)["median_ms"].iloc[0])
        share, coverage = 100 * len(above) / len(fits), 100 * float(inside.mean())
        found.append(Found(rate, depth, trials, seconds, share, median, coverage, reasons(fits)))
    if as_json:
        print(json.dumps([{k: None if v != v else v for k, v in asdict(row).items()} for row in found], indent=2))
        return
    print("| trials | rate, Hz | depth | above a bin, % | median, ms | coverage, % | others |")
    print("|---|---|---|---|---|---|---|")
    for row in found:
        print(
            f"| {row.trials} of {row.seconds:g} s | {row.rate:g} | {row.depth:g} | {row.above:.0f} | "
            f"{_whole(row.median_ms)} | {_whole(row.coverage)} | {row.others} |"
        )


def _whole(value: float) -> str:
    return "" if value != value else f"{value:.0f}"


if __name__ == "__main__":
    app()
