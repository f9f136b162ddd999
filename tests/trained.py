"""A sweep's folder with networks that have learnt something."""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tsrnn import EndRules, Leaky, MultiHead, RunConfig, SingleHead, Training, train
from tsrnn.io.checkpoint import CheckpointFolder
from tsrnn.io.rows import runs_row, solved_rows
from tsrnn.io.schemas import RUNS, SOLVED
from tsrnn.io.store import Store


def trained_sweep(folder: Path) -> Path:
    """Copy the folder of two single- and two multi-head networks that have learnt N = 2, and one that has not."""
    return Path(shutil.copytree(_trained(), folder))


@cache
def _trained() -> Path:
    """Train them, once a process."""
    kept = TemporaryDirectory(prefix="trained-")
    atexit.register(kept.cleanup)
    folder = Path(kept.name)
    store = Store(folder)
    store.create()
    training = Training(batch_size=64, steps_per_epoch=100, test_batches=5)
    base = RunConfig(network=Leaky(hidden=32), training=training, end=EndRules(max_epochs=6, max_n=3))
    for curriculum in (SingleHead(), MultiHead()):
        runs = [RunConfig(**(vars(base) | {"curriculum": curriculum, "seed": seed})) for seed in (0, 1)]
        rows: dict[str, list] = {}
        for report in train(runs):
            key = report.config.network_id
            if report.solved:
                paths = {n: CheckpointFolder(folder, key).save_solved(report.solved, n) for n in report.newly_solved}
                rows.setdefault(key, []).extend(solved_rows(report, paths))
        for run in runs:
            store.write(RUNS, run.network_id, [runs_row(run, "test", "quick")])
            store.write(SOLVED, run.network_id, rows[run.network_id])
    idle = RunConfig(**(vars(base) | {"seed": 7}))
    store.write(RUNS, idle.network_id, [runs_row(idle, "test", "quick")])
    return folder
