"""Which hyperparameters get multi-head networks furthest in N for the same number of operations?

Question: how far in N do networks get with a fixed number of floating-point operations, the paper's training being
one candidate of many?
Space: batch size, steps between tests, optimiser, its rates and how they fall with N, clip, input probability, steps
asked and lengths of the training sequences, slope, start of tau, heads ahead, weight of solved heads, precision:
`sweeps/search/space.py`. Solved is always judged on the paper's sequences.
Search: Optuna's TPE proposes, ASHA stops the worse three quarters at a fourth of the budget. A candidate is one
population of two seeds; its score is the N it has solved and how far its next head has come, mean over seeds.
Stages: about N = 12, then the best of it at 25, 50 and 100; the budgets are those of STAGES. Every stage begins with
the best candidates of the one before, which go on from their checkpoints.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from sweeps.engine.errors import UsageError
from sweeps.engine.folder import SweepFolder
from sweeps.engine.runner import require_niceness
from tsrnn.command_line import run_resumable

if TYPE_CHECKING:
    import pandas as pd

NAME: Final = "hyperparameters"


@dataclasses.dataclass(frozen=True)
class Stage:
    """The budget of each network, and how many candidates come from the stage before."""

    operations: float
    promoted: int


STAGES: Final = {
    12: Stage(operations=1e12, promoted=0),
    25: Stage(operations=4e12, promoted=8),
    50: Stage(operations=4e13, promoted=4),
    100: Stage(operations=4e14, promoted=2),
}

app = App(name=f"sweeps/{NAME}.py", help=__doc__, help_format="plaintext", suppress_keyboard_interrupt=False)


@app.default
def main(
    *,
    stage: int = 12,
    candidates: int = 32,
    replicates: int = 2,
    seed: int = 0,
    operations: float | None = None,
    promoted: int | None = None,
    task: Literal["parity", "dms"] = "parity",
    curriculum: Literal["multi", "single"] = "multi",
    hidden: int = 500,
    storage: str = "results",
    address: str = "auto",
    cpus_per_trial: float = 1.0,
    gpus_per_trial: float | None = None,
    niceness: int | None = None,
    concurrent: int = 0,
    export: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Search one stage; the same command continues where it stopped, more candidates extend it.

    Args:
        stage: The N it is about: 12, 25, 50 or 100.
        candidates: How many the stage is to have in all.
        replicates: Networks a candidate, one population.
        seed: Of the first replicate. Other seeds than the search's are how its best are measured in the end.
        operations: Budget of each network, in floating-point operations; the stage's if left out.
        promoted: How many of the best of the stage before (or of this stage on other seeds) come first.
        task: What is learned.
        curriculum: Under which curriculum.
        hidden: Neurons of a network.
        storage: Folder for results; the study writes below STORAGE/hyperparameters/.
        address: Ray to run on: auto, local, or HOST:PORT.
        cpus_per_trial: CPUs of a candidate.
        gpus_per_trial: GPUs of a candidate, a fraction shares one.
        niceness: How far candidates stand back for other programs of this machine, 0 (not at all) to 19; for Ray that
            this command starts. [default: 0]
        concurrent: Candidates at a time; 0 is as many as the cluster has room for.
        export: Also write the tables candidates and curves to this folder, as small Parquet files.
        as_json: Print {"candidates": [...], "importances": {...}}.
    """
    if stage not in STAGES:
        raise UsageError(f"stage = {stage}: allowed are {', '.join(map(str, STAGES))}")
    counts = {"candidates": candidates, "replicates": replicates, "hidden": hidden}
    from_none = {"concurrent": concurrent, "promoted": promoted or 0, "seed": seed}
    for least, values in ((1, counts), (0, from_none)):
        for name, value in values.items():
            if value < least:
                raise UsageError(f"{name} = {value}: allowed are numbers from {least} on")
    if operations is not None and not operations > 0:
        raise UsageError(f"operations = {operations:g}: allowed are numbers above 0")
    require_niceness(niceness)
    console = Console(stderr=True, markup=False, emoji=False)
    folder = SweepFolder(storage, NAME)
    if not isinstance(folder.path, Path):
        raise UsageError(f"storage = {storage}: allowed are folders of this machine, for the study's database")
    folder.require_writable()
    folder.acquire()
    folder.store.create()
    # Ray and Optuna take seconds to import: not for --help or a mistake.
    from sweeps.engine import cluster as _cluster
    from sweeps.search.space import KNOWN
    from sweeps.search.study import Question, Search

    question = Question(
        stage=stage,
        operations=STAGES[stage].operations if operations is None else operations,
        task=task,
        curriculum_name=curriculum,
        hidden=hidden,
        seeds=tuple(range(seed, seed + replicates)),
    )
    search = Search(folder.path, question, seed)
    search.begin_with(search.promoted(STAGES[stage].promoted if promoted is None else promoted) or KNOWN)
    errors: list[str] = []
    if search.finished < candidates:
        resources = _cluster.connect(address, cpus_per_trial, gpus_per_trial, console, niceness)
        console.print(
            f"{NAME}: {search.finished} of {candidates} candidates have been tried, each network with "
            f"{question.operations:.1e} operations, in {folder.path}",
            highlight=False,
            soft_wrap=True,
        )
        errors = search.run(candidates, concurrent, resources, console)
    search.export(folder.path)
    if export is not None:
        search.export(export)
    tried, importances = search.tables()["candidates"], search.importances()
    if as_json:
        print(json.dumps({"candidates": json.loads(tried.to_json(orient="records")), "importances": importances}))
    else:
        _print(tried, importances)
    if search.finished < candidates:
        console.print("unfinished; the same command continues", highlight=False)
    for error in errors:
        console.print(f"failed: {error.strip().splitlines()[-1]}", highlight=False, soft_wrap=True)
    return 1 if search.finished < candidates else 0


def _print(tried: "pd.DataFrame", importances: dict[str, float]) -> None:
    """Print the best candidates, and how much each parameter matters."""
    console, table = Console(), Table(title="Best candidates")
    if tried.empty:
        console.print("No candidate has a score yet.")
        return
    for name in ("candidate", "score", "N", "operations", "parameters"):
        table.add_column(name, justify="left" if name == "parameters" else "right")
    first = list(tried.columns).index("whole_budget") + 1
    for number, networks in sorted(tried.groupby("candidate"), key=lambda group: -group[1]["score"].iloc[0])[:10]:
        settings = networks.iloc[0, first:].dropna()
        solved = networks["max_n"]
        table.add_row(
            str(number),
            f"{networks['score'].iloc[0]:.2f}",
            f"{solved.min()} to {solved.max()}",
            f"{networks['operations'].mean():.1e}",
            " ".join(f"{name}={_short(value)}" for name, value in settings.items()),
        )
    console.print(table)
    if importances:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in importances.items())
        console.print(f"What explains the scores (fANOVA, parameters all candidates have): {shares}", highlight=False)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(run_resumable(app, sys.argv[1:]))
