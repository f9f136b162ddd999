"""`python -m analysis causes`: pair the networks of the two curricula, measure them, and summarise the results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pandas as pd

from analysis.data.cell import alike
from analysis.data.frames import ResultsError
from analysis.data.study import Study
from analysis.measure import causes
from analysis.measure import jobs as _jobs
from analysis.measure.causes import CHANGES, RETRAINED, Partners, Protocol
from analysis.measure.intervention_results import measurable
from analysis.options import Execution
from analysis.stats.comparison import choose, compare_curricula, in_words, measured, summarise
from tsrnn.command_line import counted
from tsrnn.io.files import Location
from tsrnn.io.schemas import CAUSES, SOLVED
from tsrnn.untrusted import below

_PAIRED: Final = ("single", "multi")
_BY: Final = ("change", "share", "retrained")


@dataclass
class Results:
    """The results of the measurement.

    Attributes:
        summary: one row for each group, curriculum, N, change, share and retrained part; see
            `analysis.stats.comparison.summarise`.
        tests: the curricula compared at each of these; see `analysis.stats.comparison.compare_curricula`.
        notes: networks left out, comparisons that could not be made.
        failed: one line for each checkpoint that could not be measured.
    """

    summary: pd.DataFrame
    tests: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(
    results: Location,
    *,
    ns: Sequence[int] | None,
    protocol: Protocol,
    execution: Execution,
) -> Results:
    """Measure what has not been measured yet, then summarise everything that was requested.

    Args:
        results: the sweep's folder.
        ns: the solved N to measure at; by default the largest that all networks of a group have solved.
        protocol: how copies are tested and retrained.
        execution: which networks are measured, and where.

    Raises:
        ResultsError: if there is no pair of networks; the message says what is needed.
        StoreError: if the folder cannot be written.
    """
    study = Study(results, execution.where)
    solved, notes = study.load(SOLVED), list[str]()
    pairs = _pairs(measurable("causes", study.networks, notes), notes)
    chosen = _chosen(pairs, solved, ns, notes)
    partners = _partners(results, pairs, chosen, solved)
    if not partners:
        why = "; ".join(dict.fromkeys(notes)) or "it has no networks"
        raise ResultsError(
            f"{results}: nothing to measure: the command needs single- and multi-head networks with trained taus, the "
            f"same training and the same seed that have solved the same N: {why}"
        )
    chosen = chosen[[key in partners for key in zip(chosen["network_id"], chosen["n"].astype(int), strict=True)]]
    summary = _jobs.run(
        results,
        causes.analysis(protocol, partners),
        only=set(partners),
        execution=execution,
    )
    rows = measured(Study(results).load(CAUSES), chosen)
    notes += _exploded(rows)
    rows = rows.dropna(subset="accuracy")
    tests, more = _tests(rows)
    order = {name: i for i, name in enumerate((*CHANGES, "nothing", "readout", *RETRAINED))}
    rows = rows.sort_values([*_BY], key=lambda values: values.map(order) if values.name != "share" else -values)
    return Results(
        summarise(rows, _BY, ["relative_accuracy", "accuracy"]),
        tests,
        list(dict.fromkeys([*notes, *more])),
        summary.failures,
    )


def _exploded(rows: pd.DataFrame) -> list[str]:
    """Return a line for each curriculum and N with copies of networks whose activity is not finite."""
    lost = rows[rows["accuracy"].isna()]
    return [
        f"{curriculum}, N = {n}: {counted(len(own), 'measurement')} of "
        f"{counted(own['network_id'].nunique(), 'network')} gave no value, since activity was not finite; they are "
        "left out of means and tests"
        for (curriculum, n), own in lost.groupby(["curriculum", "n"])
    ]


def _pairs(networks: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return the networks that have a partner, with its `network_id` as `partner`."""
    kept = networks[(networks["tau"] == "trained") & networks["curriculum"].isin(_PAIRED)]
    for tau in sorted(set(networks["tau"]) - {"trained"}):
        notes.append(f"networks with tau {tau} are left out: fixed taus are the same in all networks")
    for name in sorted(set(networks["curriculum"]) - set(_PAIRED)):
        notes.append(f"curriculum {name} is left out: pairs consist of a single-head and a multi-head network")
    rows = []
    for _, group in alike(kept, but=("curriculum",)):
        for seed, same in group.groupby("seed", sort=False):
            if len(same) == len(_PAIRED) == same["curriculum"].nunique():
                rows.append(same.assign(partner=same["network_id"].to_numpy()[::-1]))
            else:
                words = in_words(kept)[same.index[0]]
                notes.append(f"{words}: seed {seed} is left out: it has only {' and '.join(same['curriculum'])}")
    return pd.concat(rows) if rows else kept.head(0).assign(partner="")


def _chosen(pairs: pd.DataFrame, solved: pd.DataFrame, ns: Sequence[int] | None, notes: list[str]) -> pd.DataFrame:
    """Return the checkpoints to measure: at each requested N, or at the largest N that all networks have solved.

    An N that some networks of a group have not solved is left out for that group.
    """
    found = []
    for n in ns or (None,):
        choice = choose(pairs, solved, n)
        checkpoints = choice.checkpoints
        if n is None or checkpoints.empty:
            notes += choice.notes
        else:
            others = checkpoints.loc[checkpoints["n"] != n, "group"].unique()
            notes += [f"{group}: N = {n} is left out: not all of its networks have solved it" for group in others]
            checkpoints = checkpoints[checkpoints["n"] == n]
        found.append(checkpoints)
    return pd.concat(found, ignore_index=True)


def _partners(results: Location, pairs: pd.DataFrame, chosen: pd.DataFrame, solved: pd.DataFrame) -> Partners:
    """Return the partner's checkpoint for each chosen checkpoint, if it was chosen at the same N."""
    places = zip(solved["network_id"], solved["n"].astype(int), solved["checkpoint"].astype(str), strict=True)
    paths = {(network_id, n): path for network_id, n, path in places}
    other = dict(zip(pairs["network_id"], pairs["partner"], strict=True))
    asked = _jobs.keys_of(chosen)
    try:
        return {
            (key, n): below(results.resolve(), paths[other[key], n]) for key, n in asked if (other[key], n) in asked
        }
    except ValueError as error:
        raise ResultsError(f"{results / SOLVED.name}: {error}; it is not what a sweep wrote") from None


def _tests(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Compare the curricula at each change and retrained part; 0 is the unchanged network."""
    frames, notes = [], list[str]()
    kinds = rows[[*_BY]].drop_duplicates()
    as_it_is = (kinds["change"] == "none") & (kinds["retrained"] == "nothing")
    kinds = pd.concat([kinds[as_it_is], kinds[~as_it_is]]).reset_index(drop=True).rename_axis("code").reset_index()
    for _, at_n in rows.merge(kinds, on=[*_BY]).groupby(["group", "n"]):
        # Values that all networks of a curriculum lack cannot be compared.
        of_both = at_n.groupby("code")["curriculum"].transform("nunique") == at_n["curriculum"].nunique()
        tests, more = compare_curricula(at_n[of_both], "code")
        notes += more
        if len(tests):
            frames.append(tests.rename(columns={"perturbation": "code"}).merge(kinds, on="code").drop(columns="code"))
    return (pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()), notes
