"""How well does a trained network learn a larger N? (figures 7e, S14c, d; Table 3).

Question: networks that have solved N are trained on each higher N', all weights free; how much of the accuracy they
had at N do they reach?
Grid: every network of a sweep that solved N x N' = N + 1 .. N + 16.
Start: the network's weights, with its newest head for N'. No curriculum: one head, one N'.
Stop rule: 20 epochs, or N' solved. Accuracy is then taken in time at p = 0.5, relative to that of the source at N.
The paper found: from N = 16 multi-head networks retrain better up to N' of about 29; from N = 31 those of a sliding
window do better still.
"""

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from sweeps.engine.errors import UsageError
from sweeps.engine.folder import Record, SweepFolder
from sweeps.engine.runner import groups_of, require_niceness
from tsrnn.command_line import Place, run_resumable
from tsrnn.config import EndRules, NoCurriculum
from tsrnn.io.files import Location
from tsrnn.io.schemas import EPOCHS, OUTCOMES, RETRAINING, RUNS, SOLVED

if TYPE_CHECKING:
    import pandas as pd

    from tsrnn.io.checkpoint import Checkpoint

NAME = "retrained"
"""The folder below RESULTS that holds the runs, a sweep's like any other; the table `retraining` is in RESULTS."""

app = App(name="sweeps/retraining.py", help=__doc__, help_format="plaintext", suppress_keyboard_interrupt=False)


def retrained(source: "Checkpoint", n: int, larger: int, epochs: int) -> "Checkpoint":
    """Return where a run starts that trains a network on a larger N, its head for `n` handed on."""
    from tsrnn.io.checkpoint import Checkpoint, Progress

    config = dataclasses.replace(
        source.config,
        curriculum=NoCurriculum(n=larger),
        end=EndRules(max_epochs=epochs, max_n=max(EndRules().max_n, larger)),
        source=f"{source.config.network_id}/{n}",
    )
    network = {name: tensor for name, tensor in source.network.items() if not name.startswith("heads.")}
    for part in ("weight", "bias"):
        network[f"heads.{larger}.{part}"] = source.network[f"heads.{n}.{part}"]
    return Checkpoint(config, Progress(heads=(larger,)), network)


@app.default
def main(
    results: Place,
    /,
    *,
    n: int = 16,
    higher: int = 16,
    epochs: int = 20,
    trials: int = 10,
    address: str = "auto",
    cpus_per_trial: float = 1.0,
    gpus_per_trial: float | None = None,
    niceness: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Retrain the networks of a sweep; the same command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/fixed_tau.
        n: The N the networks start from; where some have not solved it, the largest below that all have.
        higher: How many higher N' to retrain on.
        epochs: Of each run.
        trials: Sequences that the accuracy is taken over, 1000 answers each.
        address: Ray to run on: auto, local, or HOST:PORT.
        cpus_per_trial: CPUs of a trial (all networks retrained on one N').
        gpus_per_trial: GPUs of a trial, a fraction shares one.
        niceness: How far the trials stand back for other programs of this machine, 0 (not at all) to 19; for Ray that
            this command starts.
        as_json: Print {"summary": [...], "tests": [...], "notes": [...]}.
    """
    if min(n - 1, higher, epochs, trials) < 1:
        raise UsageError("n: allowed are numbers from 2 on; higher, epochs, trials: from 1 on")
    require_niceness(niceness)
    # pandas and torch take seconds to import: not for --help or a mistake.
    from analysis.data.frames import ResultsError, load
    from analysis.quantities import reach as measures
    from analysis.stats.comparison import choose, compare_curricula, summarise
    from analysis.tables import json_rows, print_interventions
    from tsrnn.io import checkpoint
    from tsrnn.io.checkpoint import CheckpointFolder

    console = Console(stderr=True, markup=False, emoji=False)
    outcomes, runs, seen, solved = (load(results, table) for table in (OUTCOMES, RUNS, EPOCHS, SOLVED))
    choice = choose(measures.networks(runs, outcomes, seen, solved), solved, n)
    if choice.checkpoints.empty:
        raise ResultsError(f"{results}: nothing to retrain: {'; '.join(choice.notes) or 'it has no networks'}")
    chosen = choice.checkpoints.merge(solved, on=["network_id", "n"])
    sources = {row.network_id: (checkpoint.load(results / row.checkpoint), int(row.n)) for row in chosen.itertuples()}
    starts = {
        (key, larger): retrained(source, own, larger, epochs)
        for key, (source, own) in sources.items()
        for larger in range(own + 1, own + higher + 1)
    }
    folder = SweepFolder(str(results), NAME)
    networks = tuple(start.config for start in starts.values())
    folder.require_writable()
    folder.acquire()
    before = folder.read() or Record(NAME, runs["scale"].iloc[0], "paper", networks[0], ())
    folder.write(before.including(networks))
    for start in starts.values():
        if not any((folder.path / "checkpoints" / start.config.network_id).glob("epoch-*")):
            CheckpointFolder(folder.path, start.config.network_id).save_resume(start)
    if waiting := folder.unfinished(networks):
        from sweeps.engine import cluster as _cluster

        resources = _cluster.connect(address, cpus_per_trial, gpus_per_trial, console, niceness)
        console.print(f"retraining: {len(waiting)} of {len(networks)} networks to train, in {folder.path}")
        reasons = _cluster.run(groups_of(waiting), folder.path, resources, console)
        for network in folder.unfinished(waiting):
            if network.network_id in reasons:
                folder.fail(network, reasons[network.network_id])
                console.print(f"failed: {network.network_id}: {reasons[network.network_id]}", highlight=False)
    unfinished = folder.unfinished(networks)
    ended = {network.network_id for network in networks} - {network.network_id for network in unfinished}
    rows = _measure(results, folder, sources, starts, ended, trials, console)
    rows = rows.merge(choice.checkpoints, on=["network_id", "n"]).assign(beyond=lambda f: f["retrained_n"] - f["n"])
    summary = summarise(rows, ["retrained_n"], ["relative_accuracy", "accuracy", "epochs"])
    tests, notes = compare_curricula(rows, "beyond")
    tests = tests.rename(columns={"perturbation": "beyond"})
    notes = [*choice.notes, *notes]
    if unfinished:
        notes.append(f"{len(unfinished)} of {len(networks)} networks are unfinished; the same command continues them")
    if as_json:
        print(json.dumps({"summary": json_rows(summary), "tests": json_rows(tests), "notes": notes}))
    else:
        print_interventions([("retraining", summary)], [("retraining: curricula compared", tests)], notes)
    return 1 if unfinished else 0


def _measure(
    results: Location,
    folder: SweepFolder,
    sources: dict[str, tuple["Checkpoint", int]],
    starts: dict[tuple[str, int], "Checkpoint"],
    ended: set[str],
    trials: int,
    console: Console,
) -> "pd.DataFrame":
    """Write the table `retraining`, and return it."""
    import time

    import pandas as pd

    from analysis.measure.interventions import InTime, accuracy_in_time
    from analysis.measure.progress import Shown
    from analysis.stats.significance import relative_accuracy
    from tsrnn.io.checkpoint import CheckpointFolder
    from tsrnn.io.store import Store, encode

    store, protocol, written = Store(results), InTime(trials=trials), []
    store.create((RETRAINING,))
    with Shown("retraining: accuracies", {"networks": len(sources)}, console, quiet=True) as shown:
        for key, (source, n) in sources.items():
            began = time.monotonic()
            found = {n: (accuracy_in_time(source, n, protocol), 0)}
            for (of, larger), start in starts.items():
                if of == key and start.config.network_id in ended:
                    end, _ = CheckpointFolder(folder.path, start.config.network_id).newest(start.config)
                    found[larger] = accuracy_in_time(end, larger, protocol), end.progress.epoch
            rows = [
                {
                    "network_id": key,
                    "n": n,
                    "retrained_n": larger,
                    "epochs": epoch,
                    "accuracy": accuracy.accuracy,
                    "standard_error": accuracy.standard_error if trials > 1 else None,
                    "relative_accuracy": float(relative_accuracy(accuracy.accuracy, found[n][0].accuracy)),
                }
                for larger, (accuracy, epoch) in found.items()
            ]
            store.write_solved(RETRAINING, key, n, encode(RETRAINING, key, rows))
            written += rows
            shown.take("networks", time.monotonic() - began)
    return pd.DataFrame(written)


if __name__ == "__main__":
    sys.exit(run_resumable(app, sys.argv[1:]))
