"""Train as the authors did, from their own initial network, and write the learning curves as Parquet.

    python benchmarks/authors_start.py --init init.safetensors --out docs/fidelity

It trains multi-head parity with the preset "authors", for four seeds of the data and 12 epochs. The authors' run had a
mean loss of 0.0918 in epoch 1 and reached N = 12 in epoch 12. This takes about 25 minutes on 2 cores; an interrupted
run starts again.
"""

import dataclasses
import sys
from pathlib import Path

import torch
from cyclopts import App

from tsrnn.config import EndRules, MultiHead, Parity
from tsrnn.io.checkpoint import Progress
from tsrnn.io.reference import read_reference
from tsrnn.io.rows import epochs_row
from tsrnn.io.schemas import EPOCHS
from tsrnn.io.store import Store
from tsrnn.training.loop import Trainer

app = App(help=__doc__, help_format="plaintext")


@app.default
def main(*, init: Path, out: Path, seeds: int = 4, epochs: int = 12, threads: int = 2) -> None:
    """Train and write `OUT/epochs/`."""
    torch.set_num_threads(threads)
    theirs = read_reference(init, Parity(), MultiHead(), n=2)
    config = dataclasses.replace(theirs.config, end=EndRules(max_epochs=epochs))
    starts = [
        dataclasses.replace(theirs, config=dataclasses.replace(config, seed=seed), progress=Progress(heads=(2,)))
        for seed in range(seeds)
    ]
    store = Store(out)
    rows: dict[str, list[dict[str, object]]] = {}
    trainer = Trainer(starts)
    while trainer.networks:
        for report in trainer.run_epoch():
            key = report.config.network_id
            rows.setdefault(key, []).append(epochs_row(report))
            store.write(EPOCHS, key, rows[key])
            print(
                f"seed {report.config.seed} epoch {report.epoch} N {report.n} loss {report.loss:.4f} "
                f"accuracy {report.accuracy:.4f}{' solved' if report.solved else ''}",
                file=sys.stderr,
                flush=True,
            )


if __name__ == "__main__":
    app()
