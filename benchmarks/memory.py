"""Memory and time of a training step of one network, for a given sequence length.

    python benchmarks/memory.py --n 100 --steps 400 [--self-interaction outside] [--precision bfloat16]

`--steps 4000` corresponds to N = 100 at dt = 1/10. The peak is that of the whole process, including Python and PyTorch.
"""

import json
import resource
import time
from typing import Annotated, Literal

import torch
from cyclopts import App, Parameter

from tsrnn.config import Leaky, Precision, RunConfig, Training
from tsrnn.io.checkpoint import Checkpoint, Progress
from tsrnn.networks import initial_network
from tsrnn.randomness import Streams
from tsrnn.training.loop import Trainer
from tsrnn.training.sampling import draw_batch, initial_states

app = App(help=__doc__, help_format="plaintext")


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@app.default
def main(
    *,
    n: int = 100,
    steps: int = 400,
    hidden: int = 500,
    batch: int = 256,
    self_interaction: Literal["inside", "outside"] = "inside",
    precision: Precision = "float32",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure one setting.

    Args:
        n: the largest N; heads for N = 2 to this N are trained.
        steps: M, the length of the sequences.
        hidden: H.
        batch: B.
        self_interaction: inside or outside.
        precision: the dtype of the products.
        as_json: Print JSON.
    """
    torch.set_num_threads(1)
    config = RunConfig(
        network=Leaky(hidden=hidden, self_interaction=self_interaction),
        training=Training(batch_size=batch, precision=precision),
    )
    heads = tuple(range(2, n + 1))
    trainer = Trainer([Checkpoint(config, Progress(heads=heads), initial_network(config, heads))])
    networks = trainer.population
    before = _peak_mib()
    drawn = draw_batch(config.task, networks.head_table, [steps], batch, Streams.named([(0, "bits")], networks.device))
    initial = initial_states(networks, Streams.named([(0, "state")], networks.device), batch)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        trainer.step(drawn, initial)
        times.append(time.perf_counter() - began)
    result = {"peak_mib": _peak_mib(), "before_mib": before, "ms_per_time_step": 1000 * min(times) / steps}
    print(json.dumps(result) if as_json else "  ".join(f"{name} {value:.2f}" for name, value in result.items()))


if __name__ == "__main__":
    app()
