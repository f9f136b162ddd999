"""The number of optimiser steps and the time for each N, compared between two settings.

    python benchmarks/steps_per_n.py --hidden 256 --max-n 8 --vary precision
    python benchmarks/steps_per_n.py --hidden 128 --batch 128 --max-n 20 --vary steps-per-epoch

"precision" compares float32 with bfloat16 products. "steps-per-epoch" compares a test every 600 steps, as in the paper,
with a test every 100 steps. The task is parity, with one population of `seeds` networks for each setting.
"""

import dataclasses
import json
import time
from typing import Annotated, Any, Literal

import torch
from cyclopts import App, Parameter

from tsrnn import EndRules, Leaky, MultiHead, RunConfig, SingleHead, Training, train

app = App(help=__doc__, help_format="plaintext")


def steps_per_n(config: RunConfig, seeds: int) -> dict[str, Any]:
    """Train `seeds` networks; return the steps of each network for every N from 2 on, and the total time."""
    began = time.perf_counter()
    steps: list[list[int]] = [[] for _ in range(seeds)]
    spent = [0.0] * seeds
    for report in train(config.replicates(seeds)):
        seed = report.config.seed
        spent[seed] = report.checkpoint.progress.wall_s
        if report.solved:
            steps[seed].append(report.epochs_taken * config.training.steps_per_epoch)
    wall_s = time.perf_counter() - began
    return {"steps": steps, "total_steps": [sum(own) for own in steps], "wall_s": wall_s, "wall_s_each": spent}


@app.default
def main(
    *,
    vary: Literal["precision", "steps-per-epoch"] = "precision",
    curriculum: Literal["multi", "single"] = "multi",
    hidden: int = 256,
    batch: int = 256,
    max_n: int = 8,
    max_epochs: int = 1000,
    seeds: int = 4,
    threads: int = 1,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compare two settings.

    Args:
        vary: the setting that differs.
        curriculum: multi-head or single-head.
        hidden: H.
        batch: B.
        max_n: train until this N is solved.
        max_epochs: the largest number of epochs.
        seeds: number of networks per setting.
        threads: number of threads of PyTorch.
        as_json: Print JSON.
    """
    torch.set_num_threads(threads)
    base = Training(batch_size=batch, steps_per_epoch=100)
    settings = {
        "precision": {name: dataclasses.replace(base, precision=name) for name in ("float32", "bfloat16")},
        "steps-per-epoch": {str(count): dataclasses.replace(base, steps_per_epoch=count) for count in (600, 100)},
    }[vary]
    result = {}
    for name, training in settings.items():
        config = RunConfig(
            network=Leaky(hidden=hidden),
            curriculum=MultiHead() if curriculum == "multi" else SingleHead(),
            training=training,
            end=EndRules(max_n=max_n, max_epochs=max_epochs),
        )
        result[name] = steps_per_n(config, seeds)
        if not as_json:
            print(f"{vary} {name}, {curriculum}, H = {hidden}, B = {batch}: {result[name]['wall_s']:.0f} s")
            for seed, own in enumerate(result[name]["steps"]):
                print(f"  seed {seed}: {sum(own)} steps to N = {len(own) + 1}: {' '.join(map(str, own))}", flush=True)
    if as_json:
        print(json.dumps(result))


if __name__ == "__main__":
    app()
