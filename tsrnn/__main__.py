"""The command line for single networks: `python -m tsrnn COMMAND`.

The exit status is 0, 1 if a file cannot be read or written, or 2 if the command is wrong. Errors are one line. torch
takes seconds to import, so the modules that a command needs are imported when it runs, and `--help` does not wait.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, cast

from cyclopts import App, Parameter

from tsrnn import command_line
from tsrnn.command_line import at_least
from tsrnn.config import MultiHead, SingleHead
from tsrnn.config.run import require_readout_at_the_end
from tsrnn.io.schemas import RUNS, SOLVED
from tsrnn.tasks import DMS, Parity

app = App(name="python -m tsrnn", help="Test a network, or convert one that the authors published.", version_flags=[])

FAILURES: Final = MappingProxyType({OSError: 1, ValueError: 2})
"""Errors that these commands may end with, beside those that are failures everywhere, and their exit statuses."""

Seed = Annotated[int, at_least(0)]


@app.command
def import_reference(
    file: Path,
    /,
    *,
    curriculum: Literal["single", "multi"],
    n: Annotated[int, at_least(2)],
    out: command_line.Place,
    task: Literal["parity", "dms"] = "parity",
    network: Seed = 0,
) -> None:
    """Convert a checkpoint that the authors published into a checkpoint of tsrnn, in a results folder.

    Args:
        file: The authors' checkpoint: a .safetensors file, or a file that torch.save wrote.
        curriculum: The curriculum that it was trained with, which its file does not say.
        n: The largest N that it was trained for.
        out: The results folder to write to; several checkpoints may share one.
        task: The task that it was trained on.
        network: A number that distinguishes several networks with the same curriculum and task.
    """
    from tsrnn.io.checkpoint import CheckpointFolder
    from tsrnn.io.reference import read_reference
    from tsrnn.io.rows import runs_row, solved_row
    from tsrnn.io.store import Store
    from tsrnn.networks.leaky import LeakyPopulation

    found = read_reference(
        file, {"parity": Parity, "dms": DMS}[task](), {"single": SingleHead, "multi": MultiHead}[curriculum](), n
    )
    found = dataclasses.replace(found, config=dataclasses.replace(found.config, seed=network))
    key = found.config.network_id
    store = Store(out)
    store.create()
    path = CheckpointFolder(out, key).save_solved(found, n)
    store.write(RUNS, key, [runs_row(found.config, sweep="reference", scale="paper", preset="authors")])
    tau = cast(LeakyPopulation, found.population()).tau()
    row = solved_row(key, n, checkpoint=path, tau_mean=float(tau.mean()), tau_sd=float(tau.std()))
    store.write(SOLVED, key, [*(old for old in store.read(SOLVED, key) if old["n"] != n), row])
    print(out / path)


@app.command
def evaluate(
    checkpoint: command_line.Place,
    /,
    *,
    protocol: Literal["end", "in-time"] = "end",
    k: Annotated[int | None, at_least(1)] = None,
    seed: Seed = 0,
    plugin: command_line.Plugins = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Print the accuracy of every head of a checkpoint, with its standard error.

    Args:
        checkpoint: A .safetensors file of tsrnn, or the folder of a sweep's network, whose largest solved N is taken.
        protocol: end: one answer at the end of each sequence, on as many sequences as in a test during training.
            in-time: an answer at each of 1000 steps, after 100 steps of warm-up (more if the largest N needs them), in
            each of 10 sequences with p = 0.5.
        k: For protocol end, how many time steps each bit is held. Values that were not trained show how well the
            network generalises. [default: those of its training]
        seed: The seed of the test data, which is independent of all training data.
        plugin: Python files that define the task or the network, if they are not part of tsrnn.
        as_json: Print {"heads": [{"n", "accuracy", "standard_error"}, ...]}.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from tsrnn.io.checkpoint import load
    from tsrnn.training.evaluation import end_accuracy, in_time_accuracy

    command_line.import_plugins(plugin)
    found = load(checkpoint)
    population, task, training = found.population(), found.config.task, found.config.training
    addresses = [(seed, "evaluate", 0)]
    time = found.config.time if k is None else dataclasses.replace(found.config.time, k=(k,))
    require_readout_at_the_end(task, time)
    if protocol == "end":
        (heads,) = end_accuracy(
            population, task, addresses, training.test_batches, training.sequences_tested, time, found.config.generator
        )
    elif time.k != (1,):
        raise ValueError(
            f"protocol = {protocol!r}: it reads out after every step, but bits are held for k = {time.k} steps; use "
            "--protocol end"
        )
    else:
        (heads,) = in_time_accuracy(population, task.balanced(), addresses)
    if as_json:
        print(json.dumps({"heads": [{"n": n} | dataclasses.asdict(head) for n, head in heads.items()]}))
        return
    table = Table(box=SIMPLE_HEAD, title=f"{protocol} accuracy", title_justify="left")
    for name in ("N", "accuracy", "standard error"):
        table.add_column(name, justify="right")
    for n, head in heads.items():
        table.add_row(str(n), f"{head.accuracy:.4f}", f"{head.standard_error:.4f}")
    command_line.console().print(table)


def main(arguments: Sequence[str]) -> int:
    """Run a command, given as the words after the program's name, and return its exit status."""
    return command_line.run(app, arguments, FAILURES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
