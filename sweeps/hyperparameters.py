"""Which hyperparameters get multi-head networks furthest in N for the same number of operations?

Question: how far in N do networks get with a fixed number of floating-point operations? The paper's training is one
of the candidates.
Space: batch size, steps between tests, optimiser, learning rates and how they fall with N, gradient clip, input
probability, readout steps and lengths of the training sequences, slope of the nonlinearity, initial tau, number of
unsolved heads that are trained, weight of solved heads, and precision. `sweeps/search/space.py` defines it. Whether an
N is solved is always tested on the paper's sequences.
Search: Optuna's TPE proposes candidates, and ASHA stops the worse three quarters at a fourth of the budget. A candidate
is one population of two seeds. Its score is the N that it has solved, plus how far its next head has come, as a mean
over seeds.
Stages: 12, 25, 50 and 100, named after the N that they are about; their budgets are in STAGES. Every stage begins with
the best candidates of the stage before, which continue from their checkpoints.
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
from tsrnn.help_text import HelpText
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

app = App(
    name=f"sweeps/{NAME}.py",
    help=__doc__,
    help_format="plaintext",
    help_formatter=HelpText(),
    suppress_keyboard_interrupt=False,
)


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Execution):
    """What is searched, and with how much; wrong values are refused on construction.

    Raises:
        UsageError: names the option, its value and what is allowed.
    """

    stage: Annotated[int, Whole] = 12
    """The stage of the search: 12, 25, 50 or 100, the N that it is about."""

    candidates: Annotated[int, Whole] = 32
    """How many candidates the stage is to have in all, including those that were tried before."""

    replicates: Annotated[int, Whole] = 2
    """The number of networks for each candidate; they are trained together."""

    seed: Annotated[int, Whole] = 0
    """The seed of the first replicate. Use other seeds than the search's to measure its best candidates in the end."""

    operations: float | None = None
    """The budget of each network, in floating-point operations. [default: the stage's]"""

    promoted: Annotated[int | None, Whole] = None
    """How many of the best candidates of the stage before (or of this stage with other seeds) are tried first.
    [default: the stage's]"""

    task: Literal["parity", "dms"] = "parity"
    """The task."""

    curriculum: Literal["multi", "single"] = "multi"
    """The curriculum."""

    hidden: Annotated[int, Whole] = 500
    """The number of neurons of a network."""

    storage: str = "results"
    """The folder for results; the study writes to STORAGE/hyperparameters/."""

    concurrent: Annotated[int, Whole] = 0
    """How many candidates are tried at a time. 0 means as many as the cluster has room for, or 8 where that is not
    known."""

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
                    raise UsageError(f"{name} = {value}: allowed are numbers of at least {least}")
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
        raise UsageError(
            f"storage = {settings.storage}: allowed is a folder of this machine, since it holds the study's database"
        )
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
