"""`python -m analysis interventions`: measure the checkpoints that can be compared, and summarise the results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import pandas as pd

from analysis.data.frames import ResultsError, load
from analysis.data.study import Study
from analysis.measure import jobs as _jobs
from analysis.measure.interventions import InTime, analyses
from analysis.measure.jobs import Analysis
from analysis.options import Execution, InterventionKind
from analysis.stats.comparison import choose, compare_curricula, measured, summarise
from tsrnn.io.files import Location
from tsrnn.io.schemas import ABLATION, HEADS_RETRAINING, INHIBITION, PERTURBATION, SOLVED
from tsrnn.tasks import TASKS, BitTask

KINDS: Final[tuple[InterventionKind, ...]] = get_args(InterventionKind)

BY: Final[dict[InterventionKind, str]] = {
    "ablation": "removed",
    "perturb-weights": "perturbation",
    "perturb-taus": "perturbation",
    "inhibition": "change",
    "heads-retraining": "head",
}
"""The column that identifies the intervention in the summary and the tests of each kind."""

# The removed sets, as numbers for the tests; 0 is the unchanged network.
_REMOVED: Final = ("none", "longest", "shortest", "longest together", "shortest together")


@dataclass
class Results:
    """The results of the interventions.

    Attributes:
        summaries: for each kind one row for each group, curriculum and intervention; see
            `analysis.stats.comparison.summarise`.
        tests: for each kind the curricula compared; see `analysis.stats.comparison.compare_curricula`.
        notes: networks left out, comparisons that could not be made.
        failed: one line for each checkpoint that could not be measured.
    """

    summaries: dict[InterventionKind, pd.DataFrame] = field(default_factory=dict)
    tests: dict[InterventionKind, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(
    results: Location,
    kinds: Sequence[InterventionKind],
    *,
    n: int | None,
    protocol: InTime,
    draws: int,
    common: bool,
    heads: Sequence[int] | None,
    execution: Execution,
) -> Results:
    """Measure what has not been measured yet, then summarise everything that was requested.

    Args:
        results: the sweep's folder.
        kinds: the interventions.
        n: the N to measure at; by default the largest that all networks of a group have solved and, for
            heads-retraining, every solved N.
        protocol: how accuracy is measured.
        draws: random directions for each strength of a perturbation.
        common: use the same directions at every strength.
        heads: the N' on which readouts are retrained.
        execution: which networks are measured, and where.

    Raises:
        ResultsError: if no checkpoint can be measured; the message says what is needed.
        StoreError: if the folder cannot be written.
    """
    study = Study(results, execution.where)
    networks, solved = study.networks, study.load(SOLVED)
    found = Results()
    wanted: list[tuple[InterventionKind, Analysis, pd.DataFrame]] = []
    for analysis in analyses(kinds, protocol=protocol, draws=draws, common=common, heads=heads):
        kind = next(kind for kind in KINDS if kind == analysis.name)
        choice = choose(measurable(kind, networks, found.notes), solved, n)
        found.notes += choice.notes
        checkpoints = choice.checkpoints
        if checkpoints.empty:
            continue
        if kind == "heads-retraining" and n is None:
            # The result is a matrix of every solved N by every N'.
            every = solved[["network_id", "n"]]
            checkpoints = checkpoints.drop(columns="n").merge(every, on="network_id")
        wanted.append((kind, analysis, checkpoints))
    if not wanted:
        found.notes = list(dict.fromkeys(found.notes))
        raise ResultsError(f"{results}: nothing to measure: {'; '.join(found.notes) or 'it has no networks'}")
    summaries = _jobs.run_all(
        results,
        "interventions",
        [(analysis, _among(checkpoints)) for _, analysis, checkpoints in wanted],
        execution=execution,
    )
    for (kind, _, checkpoints), summary in zip(wanted, summaries, strict=True):
        found.failed += [f"{kind}: {line}" for line in summary.failures]
        _conclude(kind, results, checkpoints, found)
    found.notes = list(dict.fromkeys(found.notes))
    return found


def _among(checkpoints: pd.DataFrame) -> Callable[[str, int], bool]:
    """Return whether a checkpoint (network_id, N) is one of these."""
    pairs = _jobs.keys_of(checkpoints)
    return lambda network_id, n: (network_id, n) in pairs


def measurable(kind: str, networks: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Leave out the networks for which an intervention is not defined.

    Args:
        kind: the intervention; for all but heads-retraining, networks must be leaky ones.
        networks: rows of `analysis.data.study.Study.networks`.
        notes: a list, to which a line is added for each kind of network that is left out.
    """
    kept = networks["task"].map(lambda name: name in set(TASKS) and issubclass(TASKS[name], BitTask))
    for name in networks.loc[~kept, "task"].unique():
        notes.append(
            f"task {name} is left out: interventions need a task in which half of all answers are correct by chance"
        )
    if kind != "heads-retraining":
        leaky = networks["architecture"] == "leaky"
        for name in networks.loc[~leaky, "architecture"].unique():
            notes.append(f"architecture {name} is left out of {kind}, which changes the W or tau of leaky networks")
        kept &= leaky
    return networks[kept]


def _conclude(kind: InterventionKind, results: Location, checkpoints: pd.DataFrame, found: Results) -> None:
    """Summarise and test the results of one kind."""
    values = ["relative_accuracy", "accuracy"]
    match kind:
        case "ablation":
            rows = load(results, ABLATION)
            together = (rows["neuron"] < 0) & (rows["removed"] != "none")
            rows["removed"] += together.map({True: " together", False: ""})
            rows["code"] = rows["removed"].map(_REMOVED.index)
            values += ["tau"]
        case "perturb-weights" | "perturb-taus":
            rows = load(results, PERTURBATION)
            rows = rows[rows["perturbed"] == kind.removeprefix("perturb-")]
        case "inhibition":
            rows = load(results, INHIBITION)
            values += ["activity_low", "activity_high", "exploded"]
        case "heads-retraining":
            rows = load(results, HEADS_RETRAINING)
            values = ["accuracy"]
    rows = measured(rows, checkpoints)
    found.summaries[kind] = summarise(rows, [BY[kind]], values)
    if kind == "heads-retraining" or rows.empty:
        return
    tests, notes = compare_curricula(rows, "code" if kind == "ablation" else BY[kind])
    if kind == "ablation" and len(tests):
        tests["perturbation"] = [_REMOVED[int(code)] for code in tests["perturbation"]]
    found.tests[kind] = tests.rename(columns={"perturbation": BY[kind]})
    found.notes += notes
