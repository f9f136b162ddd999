"""How much faster interventions run as one population than one network at a time.

    python benchmarks/interventions.py [--hidden 500] [--trials 10] [--json]

Each kind is measured completely for one network: 7c (W perturbed, 10 strengths x 10 draws), 7d (tau perturbed, 13 x 10)
and 7a (40 neurons ablated, one at a time). Every copy uses the in-time protocol: 100 steps of warm-up, 1000 steps,
`--trials` sequences. In the same process, it takes turns with (a) a simple implementation with one copy, one sequence
and the newest head at a time, and (b) this package's engine with one copy and one sequence at a time. a and b are timed
on a few copies and extrapolated to all. The limit is the time of a single product of the same shape: [trials, H] by a
separate matrix for each copy of 7c, and otherwise a hundred sequences by one matrix.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from cyclopts import App, Parameter
from torch import Tensor

from tsrnn.config import Leaky, LeakyReLU, RunConfig
from tsrnn.interventions import ablate, by_tau, perturb_taus, perturb_weights
from tsrnn.networks import NetworkState, Population, initial_network, population
from tsrnn.tasks import Parity
from tsrnn.training.evaluation import in_time_accuracy

N, WARM_UP = 30, 100

app = App(help=__doc__, help_format="plaintext")


def plain_accuracy(network: Leaky, state: NetworkState, bits: Tensor, initial: Tensor) -> float:
    """Return the in-time accuracy of one network over one sequence [T], in a simple implementation."""
    assert isinstance(network.nonlinearity, LeakyReLU)
    weight, bias, tau = state["recurrent.weight"], state["recurrent.bias"], state["tau"]
    input_weight, input_bias = state["input.weight"][:, None], state["input.bias"]
    head, head_bias = state[f"heads.{N}.weight"], state[f"heads.{N}.bias"]
    alpha, slope, right, sequence = 1 / tau, network.nonlinearity.slope, 0, bits.tolist()
    with torch.no_grad():
        h = initial
        for t, x in enumerate(bits):
            drive = F.linear(h, weight, bias) + F.linear(x.view(1, 1), input_weight, input_bias)
            h = F.leaky_relu((1 - alpha) * h + alpha * drive, slope)
            if t >= WARM_UP:
                answer = int(F.linear(h, head, head_bias).argmax())
                right += answer == int(sum(sequence[t + 1 - N : t + 1])) % 2
    return right / (len(bits) - WARM_UP)


def copies_of(networks: Population, name: str) -> Iterator[Population]:
    """Yield all copies of one kind of intervention, with the numbers of the paper, as the analysis creates them."""
    match name:
        case "perturb weights (7c)":
            for strength in np.logspace(-2, 1, 10):
                yield perturb_weights(networks, [strength], 10, [0])
        case "perturb taus (7d)":
            for strength in np.logspace(-3, 1, 13):
                yield perturb_taus(networks, [strength], 10, [0])
        case _:
            (order,) = by_tau(networks)
            few = max(1, round(0.04 * len(order)))
            yield ablate(networks, [[neuron] for neuron in (*order[-few:], *order[:few])])


def products(hidden: int, batch: int, count: int) -> Callable[[], None]:
    """Return a function that multiplies states by one matrix `count` times."""
    state, weight, out = torch.randn(batch, hidden), torch.randn(hidden, hidden), torch.empty(batch, hidden)

    def run() -> None:
        for _ in range(count):
            torch.mm(state, weight, out=out)

    return run


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


@app.default
def main(
    *,
    hidden: int = 500,
    trials: int = 10,
    steps: int = 1000,
    threads: int = 1,
    rounds: int = 3,
    singles: int = 2,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure.

    Args:
        hidden: H.
        trials: number of sequences per copy.
        steps: number of counted steps, after 100 steps of warm-up.
        threads: number of threads of PyTorch.
        rounds: how often everything takes turns.
        singles: number of sequences on which a and b are timed in each round.
        as_json: Print JSON.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    leaky, task = Leaky(hidden=hidden), Parity(input_probability=0.5)
    state = initial_network(RunConfig(network=leaky), (N,))
    networks = population(leaky, [state], [(N,)])
    bits = torch.bernoulli(torch.full((WARM_UP + steps,), 0.5), generator=torch.Generator().manual_seed(0))

    def whole(name: str) -> None:
        for copies in copies_of(networks, name):
            own(copies, trials)

    def own(copies: Population, trials: int) -> None:
        in_time_accuracy(copies, task, [(0, "benchmark", 0)] * copies.replicates, steps=steps, trials=trials)

    def singly_plain() -> None:
        for _ in range(singles):
            plain_accuracy(leaky, state, bits, torch.zeros(1, hidden))

    def singly_own() -> None:
        for _ in range(singles):
            own(networks, 1)

    kinds = ("perturb weights (7c)", "perturb taus (7d)", "ablation (7a)")
    times: dict[str, dict[str, list[float]]] = {
        name: {"all": [], "plain": [], "own": [], "limit": []} for name in kinds
    }
    count = {name: sum(copies.replicates for copies in copies_of(networks, name)) for name in kinds}
    singly_plain()
    singly_own()
    for _ in range(rounds):
        for name, found in times.items():
            sequences = count[name] * trials
            together = trials if "weights" in name else min(100, sequences)
            found["all"].append(_seconds(partial(whole, name)))
            found["plain"].append(_seconds(singly_plain) / singles * sequences)
            found["own"].append(_seconds(singly_own) / singles * sequences)
            bare = products(hidden, together, max(20, 4000 // together))
            bare()
            one = _seconds(bare) / max(20, 4000 // together)
            found["limit"].append(one * sequences / together * (WARM_UP + steps))
    result: dict[str, dict[str, Any]] = {
        name: {
            "copies": count[name],
            "seconds": _summary(found["all"]),
            "speedup_over_plain": _summary([a / b for a, b in zip(found["plain"], found["all"], strict=True)]),
            "speedup_over_own_single": _summary([a / b for a, b in zip(found["own"], found["all"], strict=True)]),
            "limit_of_the_product": _summary([a / b for a, b in zip(found["limit"], found["all"], strict=True)]),
        }
        for name, found in times.items()
    }
    if as_json:
        print(json.dumps(result))
        return
    print(f"H = {hidden}, {trials} sequence(s) of {WARM_UP} + {steps} steps a copy, {threads} thread(s)")
    for name, values in result.items():
        print(f"{name}, {values.pop('copies')} copies")
        for measure, summary in values.items():
            print(f"  {measure:24} " + "  ".join(f"{which} {value:7.2f}" for which, value in summary.items()))


if __name__ == "__main__":
    app()
