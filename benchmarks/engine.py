"""The speed of training as a fraction of the machine's limit for matrix products.

    python benchmarks/engine.py --hidden 500 --batch 256 --n 10 [--json]

One process runs the following in turn, several times: (a) whole training steps of the trainer (batch, labels, forward,
backward, clip, update); (b) only the matrix products of one time step, with every library and method: forward and
backward [B, H] . [H, H], and gradient [H, B] . [B, H], for each network; (c) a plain implementation like that of the
authors: an autograd loop over time with nn.Linear, labels of each head computed in Python, and 100 heads.

Rates count only useful operations: 6 B H^2 M for a training step of M time steps, and 2 B H^2 for a product. The limit
is the rate of the three products, each computed by its fastest candidate. Several --n define a population of networks
at different N.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from cyclopts import App, Parameter
from scipy.linalg import blas
from torch import nn

from tsrnn.config import Leaky, Library, MultiHead, Parity, Precision, RunConfig, Training
from tsrnn.io.checkpoint import Checkpoint, Progress
from tsrnn.networks import choice, initial_network, onednn, planning, product_dtype
from tsrnn.training.loop import Trainer
from tsrnn.training.sampling import draw_lengths

_PLAIN_HEADS = 100

app = App(help=__doc__, help_format="plaintext")


class PlainNetwork(nn.Module):
    """A leaky RNN in a simple implementation (equation 1)."""

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
    """Return a function that performs one training step for each length, and its useful operations."""
    network = PlainNetwork(hidden)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.1, nesterov=True)

    def run() -> float:
        for length in lengths:
            bits = (torch.rand(length, batch) < torch.rand(batch)).float()
            labels = [torch.tensor([int(sum(row[-n:])) % 2 for row in bits.T.tolist()]) for n in heads]
            logits = network(bits)
            optimizer.zero_grad()
            losses = [F.cross_entropy(logits[n - 2], label) for n, label in zip(heads, labels, strict=True)]
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            gradient = network.recurrent.weight.grad
            assert gradient is not None
            gradient.fill_diagonal_(0)
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()
        return 6.0 * batch * hidden**2 * sum(lengths)

    return run


def trainer_steps(trainer: Trainer, hidden: int, batch: int, steps: int) -> Callable[[], float]:
    """Return a function that performs `steps` steps of a population, and its useful operations."""

    def run() -> float:
        *_, time_steps = trainer.train_steps(steps)
        return 6.0 * batch * hidden**2 * sum(time_steps)

    return run


Candidates = dict[str, dict[str, Callable[[], object]]]


def bare_products(replicates: int, hidden: int, batch: int, dtype: torch.dtype) -> Candidates:
    """Return functions that multiply the matrices of R networks once, by product and by method."""
    state, delta = (torch.randn(replicates, batch, hidden).to(dtype) for _ in range(2))
    weight = (torch.randn(replicates, hidden, hidden) / hidden**0.5).to(dtype)
    out, sums = torch.empty_like(state), torch.zeros_like(weight)
    shapes = {
        "forward": (state, weight.transpose(1, 2), out),
        "backward": (delta, weight, out),
        "gradient": (delta.transpose(1, 2), state, sums),
    }
    found: Candidates = {}
    for name, (left, right, result) in shapes.items():
        found[name] = {"blas, stacked": partial(torch.bmm, left, right, out=result)}
        ones = list(zip(left, right, result, strict=True))
        found[name]["blas, one by one"] = partial(_one_by_one, torch.mm, ones)
        if name == "forward":
            # A matrix that is used at every step can be transposed beforehand, as in the compiled loop.
            kept = right.contiguous()
            found[name]["blas, stacked, transposed"] = partial(torch.bmm, left, kept, out=result)
            found[name]["blas, one by one, transposed"] = partial(
                _one_by_one, torch.mm, list(zip(left, kept, result, strict=True))
            )
        if "onednn" in choice.libraries(dtype, state.device):
            # A matrix that is used at every step is converted to oneDNN's own layout beforehand.
            matrices = [onednn.pack(one.T) if name == "forward" else one.T for one in right]
            found[name]["onednn"] = partial(_by_onednn, list(zip(left, matrices, strict=True)))
        # scipy's library is not a candidate if it would use more threads than torch; this is the same in training.
        if "compiled-scipy" in choice.libraries(dtype, state.device) and batch * hidden**2 <= planning.ONE_THREAD:
            found[name]["scipy"] = partial(_by_scipy, [_column_by_column(*one) for one in ones])
    return found


def _column_by_column(left: torch.Tensor, right: torch.Tensor, result: torch.Tensor) -> Callable[[], object]:
    """Return a function that writes left . right to the result with scipy's BLAS, which uses column-major matrices."""
    multiply = blas.sgemm if left.dtype == torch.float32 else blas.dgemm
    # The transposed result is right^T . left^T; transposed storage is passed as a flag.
    transposed = not left.is_contiguous()
    first = right.contiguous().numpy().T
    second = left.numpy() if transposed else left.numpy().T
    return partial(multiply, 1.0, first, second, c=result.numpy().T, trans_b=transposed, overwrite_c=True)


def _by_scipy(ones: Sequence[Callable[[], object]]) -> None:
    for multiply in ones:
        multiply()


def _one_by_one(multiply: Callable[..., object], ones: Sequence[tuple[torch.Tensor, ...]]) -> None:
    for left, right, result in ones:
        multiply(left, right, out=result)


def _by_onednn(ones: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for left, matrix in ones:
        onednn.times(left, matrix)


def best_rates(candidates: Candidates, operations: float, seconds: float) -> dict[str, dict[str, float]]:
    """Return the rate of every candidate, by shape: the fastest of several rounds, in which candidates take turns."""
    rates: dict[str, dict[str, float]] = {name: dict.fromkeys(ways, 0.0) for name, ways in candidates.items()}
    counts = {name: {way: _count(run, seconds / 40) for way, run in ways.items()} for name, ways in candidates.items()}
    for _ in range(4):
        for name, ways in candidates.items():
            for way, run in ways.items():
                count = counts[name][way]
                began = time.perf_counter()
                for _ in range(count):
                    run()
                rates[name][way] = max(rates[name][way], operations * count / (time.perf_counter() - began))
    return rates


def limit(rates: dict[str, dict[str, float]]) -> float:
    """Return the rate of the three products together, each computed by its fastest candidate."""
    return len(rates) / sum(1 / max(ways.values()) for ways in rates.values())


def _count(run: Callable[[], object], seconds: float) -> int:
    run()
    began = time.perf_counter()
    run()
    return max(1, round(seconds / (time.perf_counter() - began)))


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
    library: Annotated[Library | None, Parameter(name="--products")] = None,
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
        n: N of the networks; several values define a mixed population of `replicates` networks in total.
        replicates: R.
        threads: number of threads of PyTorch.
        library: the library for matrix products; by default the fastest, as in training.
        precision: the dtype of the products; the plain implementation uses float32 or float64.
        heads: one, or all from N = 2 on.
        self_interaction: inside or outside.
        rounds: how often a, b and c take turns; at least 5.
        seconds: approximate length of one turn.
        plain: also measure the plain implementation.
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
    trainer = Trainer(starts, products=library)
    once = trainer_steps(trainer, hidden, batch, 2)
    once()
    steps = max(2, round(seconds / (once() / _rate(once)) * 2))
    train = trainer_steps(trainer, hidden, batch, steps)
    candidates = bare_products(len(starts), hidden, batch, product_dtype(config.training))
    products_operations = 2.0 * batch * hidden**2 * len(starts)
    found: dict[str, dict[str, float]] = {}
    rates: dict[str, list[float]] = {"train": [], "bare": [], "plain": []}
    plain_lengths = [length for own in ns for length in draw_lengths(Parity(), own, max(1, 4 // len(ns)), 0, "plain")]
    trained = (ns[0],) if heads == "one" else tuple(range(2, ns[0] + 1))
    slow = plain_steps(hidden, batch, plain_lengths, trained)
    if plain:
        slow()
    for _ in range(max(rounds, 5)):
        rates["train"].append(_rate(train))
        now = best_rates(candidates, products_operations, seconds)
        rates["bare"].append(limit(now))
        for name, ways in now.items():
            for way, rate in ways.items():
                found.setdefault(name, {})[way] = max(found.get(name, {}).get(way, 0.0), rate)
        if plain:
            rates["plain"].append(_rate(slow))
    result = {
        "roofline_fraction": _summary([a / b for a, b in zip(rates["train"], rates["bare"], strict=True)]),
        "gflops": _summary([a / 1e9 for a in rates["train"]]),
        "bare_gflops": _summary([b / 1e9 for b in rates["bare"]]),
    }
    bare = {name: {way: rate / 1e9 for way, rate in ways.items()} for name, ways in found.items()}
    chosen = {"processor": trainer.computed.processor, "products": str(trainer.computed.plan)}
    if plain:
        result["plain_gflops"] = _summary([c / 1e9 for c in rates["plain"]])
        result["speedup_over_plain"] = _summary([a / c for a, c in zip(rates["train"], rates["plain"], strict=True)])
    if as_json:
        print(json.dumps(result | {"candidates_gflops": bare} | chosen))
        return
    print(f"H = {hidden}, B = {batch}, N = {ns}, R = {len(starts)}, {threads} thread(s), {precision}")
    print(f"{chosen['processor']}; products: {chosen['products']}")
    for name, ways in bare.items():
        print(f"bare {name:15} " + "  ".join(f"{way} {rate:.0f}" for way, rate in ways.items()) + "  GFLOP/s")
    for name, values in result.items():
        print(f"{name:20} min {values['min']:7.2f}  median {values['median']:7.2f}  max {values['max']:7.2f}")


if __name__ == "__main__":
    app()
