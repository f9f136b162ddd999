"""With which hyperparameters do networks solve the largest N for the same budget?

Question: which N do networks solve with a fixed number of floating-point operations, or of seconds? The paper's
training is one of the candidates.
Space: batch size, steps between tests, optimiser, learning rates and how they fall with N, gradient clip, input
probability, readout steps and lengths of the training sequences, slope of the nonlinearity, initial tau, number of
unsolved heads that are trained, and weight of solved heads. `sweeps/search/space.py` defines it. Whether an N is solved
is always tested on the paper's sequences, and confirmed on further ones.
Search: each optimiser has its own search, with the same number of candidates. Optuna's TPE proposes them, and ASHA
stops the worst three quarters at a fourth of the budget; these count as pruned, and are never ranked with the others. A
candidate is one population of two seeds. Its score is the N that it has solved plus the progress of its next head, as a
mean over seeds.
Stages: 12, 25, 50 and 100, named after the N that they are about; their budgets are in STAGES. Every stage begins with
each optimiser's best candidates of the stage before, which continue from their checkpoints.
Confirmation: `--purpose confirm` trains the best candidates of a stage on four fresh seeds. The best of many candidates
look better than they are on the seeds on which they were chosen.
Ablation: `--purpose ablation` trains the preset tuned on four fresh seeds, and the same without each of its parts in
turn.
"""

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from sweeps.engine.errors import SweepError
from sweeps.engine.folder import SweepFolder
from sweeps.engine.options import Execution, Flag
from sweeps.search.names import OPTIMIZERS, CurriculumName, OptimizerName, Purpose
from tsrnn import command_line
from tsrnn.command_line import Several, Whole, ask, at_least, counted, duration, run_resumable
from tsrnn.config import EndRules
from tsrnn.errors import UsageError
from tsrnn.help_text import program
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, SOLVED
from tsrnn.provenance import code

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.search.candidate import Question
    from sweeps.search.study import Search

NAME: Final = "hyperparameters"


@dataclasses.dataclass(frozen=True)
class Stage:
    """The budget of each network, and how many candidates come from the previous stage."""

    operations: float
    promoted: int


STAGES: Final = {
    12: Stage(operations=1e12, promoted=0),
    25: Stage(operations=4e12, promoted=8),
    50: Stage(operations=4e13, promoted=4),
    100: Stage(operations=4e14, promoted=2),
}


@dataclasses.dataclass(frozen=True)
class _Usual:
    """The defaults of a purpose."""

    candidates: int
    replicates: int
    seed: int


_USUAL: Final = {"search": _Usual(32, 2, 0), "confirm": _Usual(3, 4, 100), "ablation": _Usual(0, 4, 200)}

app = program(f"sweeps/{NAME}.py", __doc__)


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Execution):
    """What is searched, and with which budget; wrong values raise an error on construction.

    Raises:
        UsageError: names the option, its value and what is allowed.
    """

    stage: Annotated[int, Whole] = 12
    """The stage of the search: 12, 25, 50 or 100, the N at which it aims."""

    purpose: Purpose = "search"
    """search: propose candidates, and stop the worse ones early. confirm: train the best candidates of the stage's
    search on fresh seeds. ablation: train the preset tuned without each of its parts in turn."""

    optimizers: Annotated[list[OptimizerName] | None, Several] = None
    """The optimisers to search (or to confirm), one after the other. [default: all]"""

    candidates: Annotated[int | None, at_least(1)] = None
    """How many candidates each optimiser is to have in all, including those that were tried before.
    [default: search 32, confirm 3; an ablation has one for each part]"""

    replicates: Annotated[int | None, at_least(1)] = None
    """The number of networks for each candidate; they are trained together. [default: search 2, others 4]"""

    seed: Annotated[int | None, at_least(0)] = None
    """The seed of the first replicate. [default: search 0, confirm 100, ablation 200]"""

    operations: float | None = None
    """The budget of each network, in floating-point operations. [default: the stage's]"""

    seconds: float | None = None
    """The budget of each network in seconds of computing time, instead of operations. Results then depend on the
    machine, and on what else runs there. [default: operations are counted]"""

    promoted: Annotated[int | None, at_least(0)] = None
    """How many of an optimiser's best candidates of the previous stage are tried first. [default: the stage's]"""

    task: Literal["parity", "dms"] = "parity"
    """The task."""

    curriculum: CurriculumName = "multi"
    """The curriculum."""

    hidden: Annotated[int, at_least(1)] = 500
    """The number of neurons of a network."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """The dtype of the matrix products of the recurrence; bfloat16 is faster on processors that support it."""

    storage: str = "results"
    """The folder for results; the study writes to STORAGE/hyperparameters/."""

    concurrent: Annotated[int, at_least(0)] = 0
    """How many candidates are tried at a time. 0 means as many as the cluster has room for, or 8 where that is not
    known."""

    export: Path | None = None
    """Also write the tables candidates and curves to this folder, as small Parquet files."""

    dry_run: Flag = False
    """Print what it would cost, and run nothing."""

    json: Flag = False
    """Print {"candidates": [...], "importances": {...}}, the importances by study; for an ablation also "parts"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stage not in STAGES:
            raise UsageError(f"stage = {self.stage}: allowed are {', '.join(map(str, STAGES))}")
        for name, budget in (("operations", self.operations), ("seconds", self.seconds)):
            if budget is not None and not budget > 0:
                raise UsageError(f"{name} = {budget:g}: allowed are numbers above 0")
        if self.operations is not None and self.seconds is not None:
            raise UsageError(f"seconds = {self.seconds:g}: allowed is one of operations and seconds")
        if self.purpose == "ablation" and (self.optimizers or self.candidates):
            raise UsageError("purpose = ablation: it has one candidate for each part; leave out optimizers, candidates")

    @property
    def questions(self) -> "list[Question]":
        """The questions of the studies: one for each optimiser, or one for all candidates of an ablation."""
        from sweeps.search.candidate import Question

        usual = _USUAL[self.purpose]
        first = usual.seed if self.seed is None else self.seed
        names = self.optimizers or OPTIMIZERS
        return [
            Question(
                stage=self.stage,
                budget=self.seconds or self.operations or STAGES[self.stage].operations,
                unit="operations" if self.seconds is None else "seconds",
                purpose=self.purpose,
                optimizer=name,
                task=self.task,
                curriculum_name=self.curriculum,
                hidden=self.hidden,
                precision=self.precision,
                seeds=tuple(range(first, first + (self.replicates or usual.replicates))),
            )
            for name in ([""] if self.purpose == "ablation" else dict.fromkeys(names))
        ]


@app.default
def main(settings: Settings = Settings()) -> int:
    """Search one stage. The same command continues where it stopped, and a larger number of candidates extends it.

    Args:
        settings: See `Settings`.
    """
    console = command_line.console(stderr=True)
    folder = SweepFolder(settings.storage, NAME)
    if not folder.path.is_file_system:
        raise UsageError(
            f"storage = {settings.storage}: allowed is a folder of this machine, since it holds the study's database"
        )
    # Ray and Optuna take seconds to import, so they are not imported for --help or an error in the options.
    from sweeps.engine import cluster as _cluster
    from sweeps.engine.same_code import require_same
    from sweeps.search.printing import print_results
    from sweeps.search.study import DATABASE, Search

    if settings.dry_run:
        with TemporaryDirectory() as copy:
            if (database := Path(str(folder.path)) / DATABASE).exists():
                shutil.copy(database, copy)
            tried = [Search(Path(copy), question) for question in settings.questions]
            _say_cost(settings, tried, [_begin(search, settings) for search in tried], console)
        return 0
    folder.require_writable()
    folder.acquire()
    # It has no `runs`, by which folders of sweeps are recognised; its networks are in the study's own table.
    folder.store.create((OUTCOMES, EPOCHS, SOLVED, HEADS))
    path = Path(str(folder.path))
    searches = [Search(path, question) for question in settings.questions]
    wanted = [_begin(search, settings) for search in searches]
    errors: list[str] = []
    if any(search.finished < count for search, count in zip(searches, wanted, strict=True)):
        begun = dict.fromkeys(one for search in searches for one in search.codes())
        going_on = [(one, code()) for one in begun]
        require_same(folder.path, NAME, going_on, console, allowed=settings.allow_other_code, what="stage")
        _say_cost(settings, searches, wanted, console)
        resources = _cluster.connect(settings, console)
        for search, count in zip(searches, wanted, strict=True):
            if search.finished < count:
                console.print(
                    f"{search.question.study}: {search.finished} of {count} candidates tried, in {folder.path}",
                    soft_wrap=True,
                )
                errors += search.run(count, settings.concurrent, resources, console, folder.claim)
    for search in searches:
        for place in filter(None, (path, settings.export)):
            search.export(place)
    print_results(searches, settings.stage, as_json=settings.json)
    unfinished = any(search.finished < count for search, count in zip(searches, wanted, strict=True))
    if unfinished:
        console.print("unfinished; the same command continues")
    for error in errors:
        console.print(f"failed: {error.strip().splitlines()[-1]}", soft_wrap=True)
    return 1 if unfinished else 0


def _begin(search: "Search", settings: Settings) -> int:
    """Add the first candidates of a study to its queue; return how many candidates it will have.

    Raises:
        SweepError: there is nothing to confirm.
    """
    from sweeps.search.ablation import without_each_part
    from sweeps.search.space import known

    question, count = search.question, settings.candidates or _USUAL[settings.purpose].candidates
    if settings.purpose == "ablation":
        candidates = without_each_part(settings.curriculum)
        search.begin_with_parts(candidates)
        return len(candidates)
    if settings.purpose == "search":
        promoted = STAGES[settings.stage].promoted if settings.promoted is None else settings.promoted
        search.begin_with(search.promoted(promoted) or known(question.optimizer, question.curriculum_name))
        return count
    best = search.promoted(count)
    if not best:
        raise SweepError(
            f"purpose = confirm: no search of stage {settings.stage} for {question.optimizer} has a candidate with the "
            f"whole budget; run it without --purpose first"
        )
    search.begin_with(best)
    return len(best)


def _say_cost(settings: Settings, searches: "Sequence[Search]", wanted: Sequence[int], console: "Console") -> None:
    """Print the largest cost of the remaining training, and ask once if it is an hour or more.

    Raises:
        Failure: the answer was no.
    """
    from sweeps.engine.before import joins_cluster, workers_here
    from sweeps.engine.estimate import estimate
    from sweeps.search.space import TUNED, known

    seconds, networks = 0.0, 0
    for search, count in zip(searches, wanted, strict=True):
        question, left = search.question, max(0, count - search.finished) * len(search.question.seeds)
        each = question.budget
        if question.unit == "operations":
            # The rate is that of the first known candidate with this optimiser.
            typical = [*known(question.optimizer, question.curriculum_name), TUNED][0]
            # The budget is in operations; the number of epochs is only used for the rate.
            end = EndRules(max_epochs=100)
            networks_of_one = [dataclasses.replace(network, end=end) for network in question.networks(typical)]
            found = estimate([networks_of_one], question.stage)
            each *= found.core_seconds / found.operations
        seconds, networks = seconds + left * each, networks + left
    if joins_cluster(settings.address):
        where = "of computing time on one core of this machine, shared by the cluster's processors"
    else:
        workers = workers_here(settings, settings.concurrent or networks)
        seconds, where = seconds / workers, f"on {counted(workers, 'core')} of this machine"
    early = "; candidates that are stopped early take a fourth of their share" if settings.purpose == "search" else ""
    cost = f"{NAME}: {counted(networks, 'network')} to train, at most about {duration(seconds)} {where}{early}"
    ask(cost, seconds, yes=settings.yes or settings.dry_run, console=console)


if __name__ == "__main__":
    sys.exit(run_resumable(app, sys.argv[1:]))
