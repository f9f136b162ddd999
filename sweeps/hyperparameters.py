"""Which hyperparameters get multi-head networks furthest in N for the same number of operations?

Question: how far in N do networks get with a fixed number of floating-point operations, the paper's training being
one candidate of many?
Space: batch size, steps between tests, optimiser, its rates and how they fall with N, clip, input probability, readout
steps and lengths of the training sequences, slope, start of tau, heads ahead, weight of solved heads, precision:
`sweeps/search/space.py`. What counts as solved is always tested on the paper's sequences.
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
from rich.table import Table

from sweeps.engine.errors import UsageError
from sweeps.engine.folder import SweepFolder
from sweeps.engine.options import Execution, Flag
from tsrnn import command_line
from tsrnn.command_line import Whole, run_resumable
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, SOLVED
from tsrnn.provenance import code

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


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Execution):
    """What is searched, and with how much; wrong values are refused on construction.

    Raises:
        UsageError: names the option, its value and what is allowed.
    """

    stage: Annotated[int, Whole] = 12
    """The N it is about: 12, 25, 50 or 100."""

    candidates: Annotated[int, Whole] = 32
    """How many the stage is to have in all."""

    replicates: Annotated[int, Whole] = 2
    """Networks a candidate, one population."""

    seed: Annotated[int, Whole] = 0
    """Seed of the first replicate. Other seeds than the search's are how its best are measured in the end."""

    operations: float | None = None
    """Budget of each network, in floating-point operations. [default: the stage's]"""

    promoted: Annotated[int | None, Whole] = None
    """How many of the best of the stage before (or of this stage on other seeds) come first. [default: the stage's]"""

    task: Literal["parity", "dms"] = "parity"
    """What is learned."""

    curriculum: Literal["multi", "single"] = "multi"
    """Under which curriculum."""

    hidden: Annotated[int, Whole] = 500
    """Neurons of a network."""

    storage: str = "results"
    """Folder for results; the study writes below STORAGE/hyperparameters/."""

    concurrent: Annotated[int, Whole] = 0
    """Candidates at a time; 0 is as many as the cluster has room for, or 8 where it does not say what it may start."""

    export: Path | None = None
    """Also write the tables candidates and curves to this folder, as small Parquet files."""

    json: Flag = False
    """Print {"candidates": [...], "importances": {...}}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stage not in STAGES:
            raise UsageError(f"stage = {self.stage}: allowed are {', '.join(map(str, STAGES))}")
        counts = {"candidates": self.candidates, "replicates": self.replicates, "hidden": self.hidden}
        from_none = {"concurrent": self.concurrent, "promoted": self.promoted or 0, "seed": self.seed}
        for least, values in ((1, counts), (0, from_none)):
            for name, value in values.items():
                if value < least:
                    raise UsageError(f"{name} = {value}: allowed are numbers from {least} on")
        if self.operations is not None and not self.operations > 0:
            raise UsageError(f"operations = {self.operations:g}: allowed are numbers above 0")

    @property
    def budget(self) -> Stage:
        """The stage's budget, with what was given in place of it."""
        stage = STAGES[self.stage]
        return Stage(
            operations=stage.operations if self.operations is None else self.operations,
            promoted=stage.promoted if self.promoted is None else self.promoted,
        )


@app.default
def main(settings: Settings = Settings()) -> int:
    """Search one stage; the same command continues where it stopped, more candidates extend it.

    Args:
        settings: See `Settings`.
    """
    console = command_line.console(stderr=True)
    folder = SweepFolder(settings.storage, NAME)
    if not folder.path.is_file_system:
        raise UsageError(f"storage = {settings.storage}: allowed are folders of this machine, for the study's database")
    folder.require_writable()
    folder.acquire()
    # It has no `runs`, by which a folder is known as a sweep's: its networks are in the study's own table.
    folder.store.create((OUTCOMES, EPOCHS, SOLVED, HEADS))
    # Ray and Optuna take seconds to import: not for --help or a mistake.
    from sweeps.engine import cluster as _cluster
    from sweeps.engine.same_code import require_same
    from sweeps.search.candidate import Question
    from sweeps.search.space import KNOWN
    from sweeps.search.study import Search

    seed = settings.seed
    question = Question(
        stage=settings.stage,
        operations=settings.budget.operations,
        task=settings.task,
        curriculum_name=settings.curriculum,
        hidden=settings.hidden,
        seeds=tuple(range(seed, seed + settings.replicates)),
    )
    search = Search(Path(str(folder.path)), question, seed)
    search.begin_with(search.promoted(settings.budget.promoted) or KNOWN)
    errors: list[str] = []
    if search.finished < settings.candidates:
        going_on = [(begun, code()) for begun in dict.fromkeys(search.codes())]
        require_same(folder.path, NAME, going_on, console, allowed=settings.allow_other_code, what="stage")
        resources = _cluster.connect(settings, console)
        console.print(
            f"{NAME}: {search.finished} of {settings.candidates} candidates have been tried, each network with "
            f"{question.operations:.1e} operations, in {folder.path}",
            highlight=False,
            soft_wrap=True,
        )
        errors = search.run(settings.candidates, settings.concurrent, resources, console, folder.claim)
    search.export(Path(str(folder.path)))
    if settings.export is not None:
        search.export(settings.export)
    tried, importances = search.tables()["candidates"], search.importances()
    if settings.json:
        print(json.dumps({"candidates": json.loads(tried.to_json(orient="records")), "importances": importances}))
    else:
        _print(tried, importances)
    unfinished = search.finished < settings.candidates
    if unfinished:
        console.print("unfinished; the same command continues", highlight=False)
    for error in errors:
        console.print(f"failed: {error.strip().splitlines()[-1]}", highlight=False, soft_wrap=True)
    return 1 if unfinished else 0


def _print(tried: "pd.DataFrame", importances: dict[str, float]) -> None:
    """Print the best candidates, and how much each parameter matters."""
    console, table = command_line.console(), Table(title="Best candidates")
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
