"""How much faster timescales are measured than by a plain implementation: simulation, autocorrelations, fits.

    python benchmarks/timescales.py [--hidden 500] [--trials 10] [--steps 10000] [--json]

One network is driven by random bits. The autocorrelations of its neurons and of their sum are computed at lags 0 to 30
and fitted by the paper's method. In the same process, this takes turns with a plain implementation: a Python loop over
time steps that keeps every state, numpy's `fft` of each neuron and trial, padded to twice its length, and scipy's
`curve_fit` of both models for each neuron (timed on `--fitted` of them and extrapolated to all). `rfft` instead of
`fft` is also timed. Finally, the peak memory is measured in a new process that does everything that `python -m analysis
timescales` does with one network, with both methods, for `--long` steps.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from cyclopts import App, Parameter
from scipy.optimize import curve_fit
from torch import Tensor

from analysis.measure.dynamics import Protocol, measure
from tsrnn.config import Leaky, LeakyReLU, RunConfig
from tsrnn.dynamics import timescales
from tsrnn.dynamics.autocorrelation import LAGS, Autocovariance
from tsrnn.dynamics.simulation import BURN_IN, simulate
from tsrnn.io.checkpoint import Checkpoint, Progress, new

Values = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")

app = App(help=__doc__, help_format="plaintext")


def network(hidden: int) -> Checkpoint:
    """Return a network whose neurons have different timescales: taus from 1 to 8."""
    fresh = new(RunConfig(network=Leaky(hidden=hidden)))
    tau = 1 + 7 * torch.linspace(0, 1, hidden) ** 2
    return Checkpoint(fresh.config, Progress(heads=fresh.progress.heads), fresh.network | {"tau": tau})


def plain_states(checkpoint: Checkpoint, steps: int, trials: int) -> Values:
    """Return the states [T, B, H] after the burn-in, in a simple implementation."""
    architecture, state = checkpoint.config.network, checkpoint.network
    assert isinstance(architecture, Leaky)
    assert isinstance(architecture.nonlinearity, LeakyReLU)
    weight, bias, alpha = state["recurrent.weight"], state["recurrent.bias"], 1 / state["tau"]
    input_weight, input_bias = state["input.weight"][:, None], state["input.bias"]
    bits = torch.bernoulli(torch.full((BURN_IN + steps, trials), 0.5), generator=torch.Generator().manual_seed(0))
    states: list[Tensor] = []
    with torch.no_grad():
        h = torch.zeros(trials, architecture.hidden)
        for t, x in enumerate(bits):
            drive = F.linear(h, weight, bias) + F.linear(x[:, None], input_weight, input_bias)
            h = F.leaky_relu((1 - alpha) * h + alpha * drive, architecture.nonlinearity.slope)
            if t >= BURN_IN:
                states.append(h)
    result: Values = torch.stack(states).numpy()
    return result


def plain_autocorrelations(states: Values, *, real: bool) -> Values:
    """Return the autocorrelations [H + 1, L], mean over trials, computed neuron by neuron."""
    steps, trials, hidden = states.shape
    forward, back = (np.fft.rfft, np.fft.irfft) if real else (np.fft.fft, np.fft.ifft)
    pairs = np.arange(steps, steps - LAGS, -1)
    result = np.zeros((hidden + 1, LAGS))
    summed = states.sum(2)
    for neuron in range(hidden + 1):
        for trial in range(trials):
            series = summed[:, trial] if neuron == hidden else states[:, trial, neuron]
            spectrum = np.abs(forward(series - series.mean(), 2 * steps)) ** 2
            covariance = np.real(back(spectrum))[:LAGS] / pairs
            result[neuron] += covariance / covariance[0] / trials
    return result


def plain_fits(autocorrelations: Values) -> Values:
    """Return tau_net [P] from one curve_fit of each model for each neuron, chosen by the lower AIC."""

    def single(t: Values, a: float, tau: float) -> Values:
        return a * np.exp(-t / tau)

    def double(t: Values, a: float, c: float, tau1: float, tau2: float) -> Values:
        return a * (c * np.exp(-t / tau1) + (1 - c) * np.exp(-t / tau2))

    t, found = np.arange(LAGS, dtype=float), []
    for y in autocorrelations:
        chosen: list[tuple[float, float]] = []
        for model, start, low, high in (
            (single, [0.9, 2.0], [0, 1e-6], [1, 100]),
            (double, [0.9, 0.5, 5.0, 1.0], [0, 0, 1e-6, 1e-6], [1, 1, 100, 100]),
        ):
            fit, _ = curve_fit(model, t, y, start, bounds=(low, high), maxfev=5000)
            residual = float(np.square(y - model(t, *fit)).sum())
            chosen.append((LAGS * np.log(residual / LAGS) + 2 * len(fit), max(fit[1 if model is single else 2 :])))
        found.append(min(chosen)[1])
    return np.array(found)


def _timed(run: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def own(checkpoint: Checkpoint, steps: int, trials: int) -> tuple[dict[str, float], Tensor]:
    """Time this package; return the seconds of each part, and the autocorrelations."""
    autocovariance, watching = Autocovariance(), 0.0
    began = time.perf_counter()
    for block in simulate(checkpoint.population(), [(0, "benchmark")], steps=steps, trials=trials):
        watching += _timed(partial(autocovariance, block))[0]
    simulated = time.perf_counter()
    autocorrelations = autocovariance.moments().autocorrelation[0]
    averaged = time.perf_counter()
    timescales.paper(autocorrelations)
    seconds = {
        "simulation": simulated - began - watching,
        "autocorrelation": watching + averaged - simulated,
        "fits": time.perf_counter() - averaged,
    }
    return seconds | {"total": sum(seconds.values())}, autocorrelations


def peak_mb(hidden: int, steps: int, trials: int) -> float:
    """Return the peak memory (MiB) of a fresh process that measures a network for many steps."""
    command = [sys.executable, __file__, "--only-memory", "--hidden", str(hidden), "--trials", str(trials)]
    done = subprocess.run([*command, "--long", str(steps)], capture_output=True, text=True, check=True)
    return float(done.stdout)


@app.default
def main(
    *,
    hidden: int = 500,
    trials: int = 10,
    steps: int = 10_000,
    long: int = 100_000,
    threads: int = 1,
    rounds: int = 3,
    fitted: int = 100,
    only_memory: Annotated[bool, Parameter(show=False, negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure.

    Args:
        hidden: H.
        trials: number of sequences.
        steps: number of counted steps per trial, after 500 steps of burn-in.
        long: number of steps in the process whose memory is measured; 0 to skip it.
        threads: number of threads of PyTorch.
        rounds: how often everything takes turns.
        fitted: number of neurons on which `curve_fit` is timed.
        only_memory: Run as the process whose memory is measured.
        as_json: Print JSON.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    checkpoint = network(hidden)
    if only_memory:
        measure(checkpoint, 2, protocol=Protocol(steps=long, trials=trials))
        # On Linux, the peak of this program; that of getrusage includes the peak of the caller.
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print(int(status["VmHWM"].split()[0]) / 1024)
        return
    own(checkpoint, 100, trials)
    parts = ("simulation", "autocorrelation", "fits", "total")
    ours: dict[str, list[float]] = {part: [] for part in parts}
    plain: dict[str, list[float]] = {part: [] for part in parts}
    by_rfft: list[float] = []
    for _ in range(rounds):
        seconds, autocorrelations = own(checkpoint, steps, trials)
        for part in parts:
            ours[part].append(seconds[part])
        took, states = _timed(partial(plain_states, checkpoint, steps, trials))
        plain["simulation"].append(took)
        plain["autocorrelation"].append(_timed(partial(plain_autocorrelations, states, real=False))[0])
        by_rfft.append(_timed(partial(plain_autocorrelations, states, real=True))[0])
        some = autocorrelations[:: max(1, hidden // fitted)].numpy()
        plain["fits"].append(_timed(partial(plain_fits, some))[0] / len(some) * (hidden + 1))
        plain["total"].append(sum(plain[part][-1] for part in parts[:3]))
    result: dict[str, Any] = {
        f"speedup_{part}": _summary([a / b for a, b in zip(plain[part], ours[part], strict=True)]) for part in parts
    }
    result["speedup_autocorrelation_over_rfft"] = _summary(
        [a / b for a, b in zip(by_rfft, ours["autocorrelation"], strict=True)]
    )
    result["seconds"] = {part: _summary(ours[part]) for part in parts}
    result["plain_seconds"] = {part: _summary(plain[part]) for part in parts}
    result["peak_mb"] = peak_mb(hidden, long, trials) if long else None
    if as_json:
        print(json.dumps(result))
        return
    print(f"H = {hidden}, {trials} trials of {BURN_IN} + {steps} steps, {threads} thread(s)")
    for part in parts:
        own_median, plain_median = (result[name][part]["median"] for name in ("seconds", "plain_seconds"))
        ratio = result[f"speedup_{part}"]
        print(
            f"  {part:16} {own_median:7.3f} s, plain {plain_median:7.2f} s: "
            + "  ".join(f"{which} {value:6.1f}" for which, value in ratio.items())
        )
    over = result["speedup_autocorrelation_over_rfft"]
    print("  over rfft        " + "  ".join(f"{which} {value:6.1f}" for which, value in over.items()))
    if long:
        print(f"  peak memory at {long} steps: {result['peak_mb']:.0f} MiB")


if __name__ == "__main__":
    app()
