"""How near training comes to the machine's matrix-multiply limit.

    python benchmarks/engine.py --hidden 500 --batch 256 --n 10 [--json]

One process runs, in turn and several times over: (a) whole training steps as the trainer takes them (batch,
labels, forward, backward, clip, update); (b) a bare matrix product of the shape of one time step; (c) a plain
implementation: an autograd loop over time with nn.Linear, labels per head in Python, 100 heads computed.
Rates count only the useful operations: 6 B H^2 M a training step of M time steps, 2 B H^2 a product.
Several --n make a population of networks at different N.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from cyclopts import App, Parameter
from torch import nn

from tsrnn.checkpoint import Checkpoint, Progress
from tsrnn.config import Leaky, MultiHead, Parity, Precision, RunConfig, Training
from tsrnn.networks import initial_network, product_dtype
from tsrnn.sampling import draw_lengths
from tsrnn.training import Trainer

_PLAIN_HEADS = 100

app = App(help=__doc__, help_format="plaintext")


class PlainNetwork(nn.Module):
    """A leaky RNN as one would write it first (equation 1)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(1, hidden)
        self.recurrent = nn.Linear(hidden, hidden)
        self.heads = nn.ModuleList(nn.Linear(hidden, 2) for _ in range(_PLAIN_HEADS))
        self.tau = nn.Parameter(1 + torch.rand(hidden))

    def forward(self, bits: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits [B, 2] of every head after the last of the bits [M, B]."""
        h = 0.1 * torch.rand(bits.shape[1], self.tau.numel())
        alpha = 1 / self.tau.clamp(min=1)
        for x in bits:
            h = F.leaky_relu((1 - alpha) * h + alpha * (self.recurrent(h) + self.input(x[:, None])), 0.1)
        return [head(h) for head in self.heads]


def plain_steps(hidden: int, batch: int, lengths: list[int], heads: tuple[int, ...]) -> Callable[[], float]:
    """Return a function that takes one training step for each length, and its useful operations."""
    network = PlainNetwork(hidden)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.1, nesterov=True)

    def run() -> float:
        for length in lengths:
            bits = (torch.rand(length, batch) < torch.rand(batch)).float()
            labels = [torch.tensor([int(sum(row[-n:])) % 2 for row in bits.T.tolist()]) for n in heads]
            logits = network(bits)
            optimizer.zero_grad()
            loss = sum(F.cross_entropy(logits[n - 2], label) for n, label in zip(heads, labels, strict=True))
            loss.backward()
            with torch.no_grad():
                network.recurrent.weight.grad.fill_diagonal_(0)
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()
        return 6.0 * batch * hidden**2 * sum(lengths)

    return run


def trainer_steps(trainer: Trainer, hidden: int, batch: int, steps: int) -> Callable[[], float]:
    """Return a function that takes `steps` steps of a population, and its useful operations."""

    def run() -> float:
        *_, time_steps = trainer.train_steps(steps)
        return 6.0 * batch * hidden**2 * sum(time_steps)

    return run


def products(hidden: int, batch: int, count: int, dtype: torch.dtype) -> Callable[[], float]:
    """Return a function that multiplies a batch of states by a weight matrix `count` times."""
    state, weight = torch.randn(batch, hidden, dtype=dtype), torch.randn(hidden, hidden, dtype=dtype)
    out = torch.empty(batch, hidden, dtype=dtype)

    def run() -> float:
        for _ in range(count):
            torch.mm(state, weight, out=out)
        return 2.0 * batch * hidden**2 * count

    return run


def _rate(run: Callable[[], float]) -> float:
    began = time.perf_counter()
    return run() / (time.perf_counter() - began)


def _summary(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


@app.default
def main(
    *,
    hidden: int = 500,
    batch: int = 256,
    n: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    replicates: int = 1,
    threads: int = 1,
    precision: Precision = "float32",
    heads: Literal["one", "all"] = "one",
    self_interaction: Literal["inside", "outside"] = "inside",
    rounds: int = 7,
    seconds: float = 0.6,
    plain: bool = True,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure one setting.

    Args:
        hidden: H.
        batch: B.
        n: N of the networks; several make a mixed population of `replicates` networks in all.
        replicates: R.
        threads: of PyTorch.
        precision: of the products; the plain implementation is in float32, or float64.
        heads: one, or all from N = 2 on.
        self_interaction: inside or outside.
        rounds: how often a, b and c take turns; at least 5.
        seconds: about how long one turn is.
        plain: measure the plain implementation too.
        as_json: Print JSON.
    """
    torch.set_num_threads(threads)
    ns = n or [10]
    config = RunConfig(
        network=Leaky(hidden=hidden, self_interaction=self_interaction),
        curriculum=MultiHead(),
        training=Training(batch_size=batch, precision=precision),
    )
    starts = []
    for i, run in enumerate(config.replicates(max(replicates, len(ns)))):
        own = ns[i % len(ns)]
        trained = (own,) if heads == "one" else tuple(range(2, own + 1))
        starts.append(Checkpoint(run, Progress(heads=trained), initial_network(run, trained)))
    trainer = Trainer(starts)
    once = trainer_steps(trainer, hidden, batch, 2)
    once()
    steps = max(2, round(seconds / (once() / _rate(once)) * 2))
    train = trainer_steps(trainer, hidden, batch, steps)
    dtype = product_dtype(config.training)
    one = products(hidden, batch, 20, dtype)
    count = max(20, round(20 * seconds / (one() / _rate(one))))
    bare = products(hidden, batch, count, dtype)
    rates: dict[str, list[float]] = {"train": [], "bare": [], "plain": []}
    plain_lengths = [length for own in ns for length in draw_lengths(Parity(), own, max(1, 4 // len(ns)), 0, "plain")]
    trained = (ns[0],) if heads == "one" else tuple(range(2, ns[0] + 1))
    slow = plain_steps(hidden, batch, plain_lengths, trained)
    if plain:
        slow()
    for _ in range(max(rounds, 5)):
        rates["train"].append(_rate(train))
        rates["bare"].append(_rate(bare))
        if plain:
            rates["plain"].append(_rate(slow))
    result = {
        "roofline_fraction": _summary([a / b for a, b in zip(rates["train"], rates["bare"], strict=True)]),
        "gflops": _summary([a / 1e9 for a in rates["train"]]),
        "bare_gflops": _summary([b / 1e9 for b in rates["bare"]]),
    }
    if plain:
        result["speedup_over_plain"] = _summary([a / c for a, c in zip(rates["train"], rates["plain"], strict=True)])
    if as_json:
        print(json.dumps(result))
        return
    print(f"H = {hidden}, B = {batch}, N = {ns}, R = {len(starts)}, {threads} thread(s), {precision}")
    for name, values in result.items():
        print(f"{name:20} min {values['min']:7.2f}  median {values['median']:7.2f}  max {values['max']:7.2f}")


if __name__ == "__main__":
    app()
