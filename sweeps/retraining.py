"""How well does a trained network learn a larger N? (figures 7e, S14c, d; Table 3).

Question: networks that have solved N are trained on a larger N', with all weights trainable. How much of the accuracy
that they had at N do they reach?
Grid: every network of a sweep that has solved N; each N' from N + 1 to N + 16.
Start: the network's weights; its newest head becomes the head for N'. There is no curriculum: one head, one N'.
Stop rule: 20 epochs (of the size that they had in the networks' own training), or N' solved. Accuracy is then measured
in time at p = 0.5, relative to that of the original network at N.
The paper found: networks that start from N = 16 retrain better if they are multi-head, up to N' of about 29. Of those
that start from N = 31, networks trained with a sliding window retrain better still.
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter
from rich.console import Console

from sweeps.engine.before import say_cost
from sweeps.engine.dry_run import dry_run
from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder, read_record
from sweeps.engine.launch import train
from sweeps.engine.options import Execution, Flag
from sweeps.engine.plan import Plan
from tsrnn import command_line
from tsrnn.command_line import Place, Plugins, at_least, counted, import_plugins, run_resumable
from tsrnn.config import EndRules, NoCurriculum, RunConfig
from tsrnn.help_text import program
from tsrnn.io.files import Location
from tsrnn.io.schemas import RETRAINING, SOLVED

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stats.comparison import Choice
    from tsrnn.io.checkpoint import Checkpoint

NAME: Final = "retrained"
"""The folder below RESULTS that holds the runs, with the tables and checkpoints of a sweep.

It is inside the folder of the sweep from which its networks start, because commands that read several sweeps (`report`,
`figures`, `claims`) would otherwise count these networks like networks that were trained from their start. The table
`retraining`, with the results, is in RESULTS.
"""
_USUAL_N: Final = 16

app = program("sweeps/retraining.py", __doc__)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Settings(Execution):
    """What to retrain, and for how long."""

    n: Annotated[int | None, at_least(2)] = None
    """The N that the networks start from; all of them must have solved it. [default: 16, or the largest smaller N that
    all have solved]"""

    higher: Annotated[int, at_least(1)] = 16
    """How many larger N' to retrain on: N + 1, N + 2, and so on. The table keeps the rows of others from before."""

    epochs: Annotated[int, at_least(1)] = 20
    """The largest number of epochs of each run. They are the epochs of the networks' own training, which have fewer
    sequences at small scales and with the presets tuned and soap than the paper's have."""

    trials: Annotated[int, at_least(1)] = 10
    """The number of sequences over which accuracy is measured, each with 1000 answers."""

    where: str = ""
    """Retrain only the networks for which this condition holds, as in pandas.DataFrame.query, such as "task ==
    'parity'"; the columns are those of the table runs. [default: all networks]"""

    plugin: Plugins = None
    """Python files that define the task or the networks, if they are not part of tsrnn."""

    dry_run: Flag = False
    """Print the runs, their floating-point operations and the time they would take on this machine, and run nothing."""

    json: Flag = False
    """Print {"summary": [...], "tests": [...], "notes": [...]} (or the dry run) as JSON."""


def retrained(source: "Checkpoint", n: int, larger: int, epochs: int) -> "Checkpoint":
    """Return the start of a run that trains a network on a larger N, with its head for `n`."""
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
def main(results: Place, /, settings: Settings = Settings()) -> int:
    """Retrain the networks of a sweep; the same command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        settings: See `Settings`.
    """
    import_plugins(settings.plugin)
    # pandas and torch take seconds to import: not for --help or a mistake.
    from analysis.stats.comparison import compare_curricula, summarise
    from analysis.tables import json_rows, print_interventions

    console = command_line.console(stderr=True)
    choice, sources = _sources(results, settings, console)
    starts = {
        (key, larger): retrained(source, own, larger, settings.epochs)
        for key, (source, own) in sources.items()
        for larger in range(own + 1, own + settings.higher + 1)
    }
    networks = tuple(start.config for start in starts.values())
    folder = SweepFolder(str(results), NAME)

    def plan() -> Plan:
        return Plan(_record(results, folder, networks), networks)

    if settings.dry_run:
        dry_run(plan(), settings, as_json=settings.json)
        return 0
    if waiting := folder.unfinished(networks):
        start_n = ", ".join(str(n) for n in sorted(set(choice.checkpoints["n"])))
        console.print(
            f"retraining: from N = {start_n}, {settings.higher} higher N' each: "
            f"{len(waiting)} of {counted(len(networks), 'network')} to train; writes {folder.path} and "
            f"{results / RETRAINING.name}",
            soft_wrap=True,
        )
        with folder:
            then = _accuracy_seconds(sources, settings)
            say_cost("retraining", waiting, plan().record.scale, settings, console, said_from=0.0, then=then)
            keys = {network.network_id for network in waiting}
            to_begin = [start for start in starts.values() if start.config.network_id in keys]
            train(plan, folder, settings, console, prepare=lambda: _begin(folder, to_begin))
    unfinished = folder.unfinished(networks)
    ended = {network.network_id for network in networks} - {network.network_id for network in unfinished}
    rows = _measure(results, folder, sources, starts, ended, settings.trials, console)
    rows = rows.merge(choice.checkpoints, on=["network_id", "n"]).assign(beyond=lambda f: f["retrained_n"] - f["n"])
    summary = summarise(rows, ["retrained_n"], ["relative_accuracy", "accuracy", "epochs"])
    tests, notes = compare_curricula(rows, "beyond")
    tests = tests.rename(columns={"perturbation": "beyond"})
    notes = [*choice.notes, *notes]
    if unfinished:
        notes.append(f"{len(unfinished)} of {len(networks)} networks are unfinished; the same command continues them")
    if settings.json:
        print(json.dumps({"summary": json_rows(summary), "tests": json_rows(tests), "notes": notes}))
    else:
        print_interventions([("retraining", summary)], [("retraining: curricula compared", tests)], notes)
    return 1 if unfinished else 0


def _sources(
    results: Location, settings: Settings, console: Console
) -> tuple["Choice", dict[str, tuple["Checkpoint", int]]]:
    """Return the chosen checkpoints, and the checkpoint and N of each network, by network_id.

    Raises:
        ResultsError: there is nothing to retrain.
        SweepError: not all networks have solved the requested N, or their in-time accuracy is not defined.
    """
    from analysis.data.frames import ResultsError
    from analysis.data.study import Study
    from analysis.stats.comparison import choose
    from tsrnn.io import checkpoint
    from tsrnn.io.published import is_published
    from tsrnn.untrusted import below

    study = Study(results, settings.where)
    solved = study.load(SOLVED)
    choice = choose(study.networks, solved, settings.n or _USUAL_N)
    notes = "; ".join(choice.notes)
    if choice.checkpoints.empty:
        raise ResultsError(f"{results}: nothing to retrain: {notes or 'it has no networks'}")
    if settings.n is not None and (choice.checkpoints["n"] != settings.n).any():
        raise SweepError(f"n = {settings.n}: not all networks start from it: {notes}; leave --n out to take those N")
    for note in choice.notes:
        console.print(f"retraining: {note}", soft_wrap=True)
    chosen = choice.checkpoints.merge(solved, on=["network_id", "n"])
    try:
        paths = {
            str(key): below(results, str(path)) for key, path in chosen.set_index("network_id")["checkpoint"].items()
        }
    except ValueError as error:
        raise SweepError(f"{results / SOLVED.name}: {error}; it is not what a sweep wrote") from None
    if is_published(results) and (absent := {key for key, path in paths.items() if not path.is_file()}):
        if len(absent) == len(paths):
            raise ResultsError(f"{results}: nothing to retrain: the checkpoints of these N were not published with it")
        console.print(
            f"retraining: {counted(len(absent), 'network')} left out: not published in {results}",
            soft_wrap=True,
        )
        chosen = chosen[~chosen["network_id"].isin(absent)]
    sources = {
        str(key): (checkpoint.load(paths[str(key)]), int(n))
        for key, n in zip(chosen["network_id"], chosen["n"], strict=True)
    }
    for source, _ in sources.values():
        if source.config.time.k != (1,):
            raise SweepError(
                f"{results}: its networks hear bits of k = {', '.join(map(str, source.config.time.k))} time steps; "
                f"retraining takes accuracies at every step, which is defined for k = 1 only"
            )
    return choice, sources


def _record(results: Location, folder: SweepFolder, networks: Sequence[RunConfig]) -> Record:
    """Return the record of the runs' folder; scale and preset are those of the networks from which they start."""
    source = read_record(results)
    if source is not None:
        scale, preset = source.scale, source.preset
    else:  # such as the authors' networks, which no sweep has trained
        scale, preset = "paper", "authors"
    before = folder.read() or Record(NAME, scale, preset, networks[0], ())
    return dataclasses.replace(before, scale=scale, preset=preset).including(networks)


def _begin(folder: SweepFolder, starts: Iterable["Checkpoint"]) -> None:
    """Write the starts of runs that have not begun, or whose checkpoints are all damaged."""
    from tsrnn.io.checkpoint import CheckpointError, CheckpointFolder

    for start in starts:
        try:
            CheckpointFolder(folder.path, start.config.network_id).newest(start.config)
        except CheckpointError:
            claim = folder.claim.within(start.config.network_id)
            CheckpointFolder(folder.path, start.config.network_id, claim).save_resume(start)
            claim.release()


def _accuracy_seconds(sources: dict[str, tuple["Checkpoint", int]], settings: Settings) -> float:
    """Estimate how long it takes to measure all accuracies, before and after retraining."""
    from analysis.measure.cost import extrapolated
    from analysis.measure.interventions import InTime, accuracy_in_time

    source, n = next(iter(sources.values()))
    whole = InTime(trials=settings.trials)
    one = extrapolated(
        lambda steps: accuracy_in_time(source, n, dataclasses.replace(whole, steps=steps)), 20, 200, whole.steps
    )
    return one * len(sources) * (1 + settings.higher)


def _measure(
    results: Location,
    folder: SweepFolder,
    sources: dict[str, tuple["Checkpoint", int]],
    starts: dict[tuple[str, int], "Checkpoint"],
    ended: set[str],
    trials: int,
    console: Console,
) -> "pd.DataFrame":
    """Write the table `retraining`, and return its rows of these runs; it keeps those of other N'."""
    import time

    import pandas as pd

    from analysis.measure.interventions import InTime, accuracy_in_time
    from analysis.measure.progress import JobProgress
    from analysis.measure.values import accuracy_columns
    from tsrnn.io.checkpoint import CheckpointFolder
    from tsrnn.io.claims import take
    from tsrnn.io.store import Store, encode

    store, protocol, written = Store(results, take(results, NAME)), InTime(trials=trials), []
    store.create((RETRAINING,))
    with JobProgress("retraining: accuracies", {"networks": len(sources)}, console) as progress:
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
                    **accuracy_columns(accuracy, found[n][0].accuracy),
                }
                for larger, (accuracy, epoch) in found.items()
            ]
            before = [row for row in store.read(RETRAINING, key) if row["n"] == n and row["retrained_n"] not in found]
            store.write_solved(RETRAINING, key, n, encode(RETRAINING, key, [*before, *rows]))
            written += rows
            progress.take("networks", time.monotonic() - began)
    return pd.DataFrame(written)


if __name__ == "__main__":
    sys.exit(run_resumable(app, sys.argv[1:]))
