"""The choice of checkpoints that can be compared, and comparisons of curricula after interventions.

Networks are compared if they differ only in curriculum and seed, at the largest N that all of them have solved. The
functions take and return frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.data.cell import alike, differing
from analysis.stats.intervals import bootstrap, mean
from analysis.stats.permutation import Values
from analysis.stats.significance import Comparison, compare, network_tests, pooled_ttests, with_holm

_NAMED: Final = 4


@dataclass(frozen=True)
class Choice:
    """The checkpoints to compare.

    Attributes:
        checkpoints: one row for each network: `network_id`, `group` (in words), `curriculum`, `n`.
        notes: which networks are left out, and which ones limit N.
    """

    checkpoints: pd.DataFrame
    notes: tuple[str, ...]


def choose(
    networks: pd.DataFrame, solved: pd.DataFrame, n: int | None = None, but: tuple[str, ...] = ("curriculum",)
) -> Choice:
    """Choose the N at which the networks of each group are compared.

    Args:
        networks: rows of `analysis.data.study.Study.networks`.
        solved: the table `solved`.
        n: the requested N; by default, and if a network has not solved `n`, the largest N that all have solved.
        but: columns in which networks that are compared at the same N may differ, besides the seed.
    """
    ns = solved.groupby("network_id")["n"].agg(set).to_dict()
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    words_of, compared = in_words(networks), in_words(networks, but)
    for _, group in alike(networks, but=but):
        words = compared[group.index[0]]
        solvers = group[group["network_id"].isin(ns)]
        if len(solvers) < len(group):
            idle = group[~group["network_id"].isin(ns)]
            notes.append(f"{words}: left out, because they have not solved any N yet: {_list(idle)}")
        if solvers.empty:
            continue
        shared = set.intersection(*(ns[network_id] for network_id in solvers["network_id"]))
        chosen = n if n in shared else max((m for m in shared if n is None or m <= n), default=None)
        if n is not None and chosen != n:
            lacking = solvers[[n not in ns[network_id] for network_id in solvers["network_id"]]]
            notes.append(f"{words}: N = {n} is not solved by {_list(lacking)}")
        if chosen is None:
            limit = "" if n is None else f" up to {n}"
            notes.append(f"{words}: left out, because there is no N{limit} that all of its networks have solved")
            continue
        if n is None and (solvers["max_n"] > chosen).any():
            behind = solvers[solvers["max_n"] == solvers["max_n"].min()]
            notes.append(
                f"{words}: compared at N = {chosen}, the largest that all have solved; limited by {_list(behind)}"
            )
        elif n is not None and chosen != n:
            notes.append(f"{words}: compared at N = {chosen}, the largest up to {n} that all have solved")
        rows += [
            {"network_id": row.network_id, "group": words_of[row.Index], "curriculum": row.curriculum, "n": chosen}
            for row in solvers.itertuples()
        ]
    return Choice(pd.DataFrame(rows, columns=["network_id", "group", "curriculum", "n"]), tuple(notes))


def in_words(networks: pd.DataFrame, but: tuple[str, ...] = ("curriculum",)) -> "pd.Series[str]":
    """Return the group of each network in words: task, tau, and other settings that differ between groups.

    Args:
        networks: rows of `analysis.data.study.Study.networks`.
        but: columns that are left out.
    """
    shown = [name for name in differing(networks, always=("task", "tau")) if name not in but]
    words = [
        ", ".join(f"{name} {value}" for name, value in zip(shown, row, strict=True) if value != "" and value == value)
        for row in networks[shown].itertuples(index=False)
    ]
    return pd.Series(words, index=networks.index, dtype="str")


def _list(networks: pd.DataFrame) -> str:
    """Return the names of a few networks, with their largest N."""
    names = [f"{row.curriculum} {row.network_id} (max N {row.max_n})" for row in networks.head(_NAMED).itertuples()]
    return ", ".join(names) + (f" and {len(networks) - _NAMED} more" if len(networks) > _NAMED else "")


def measured(rows: pd.DataFrame, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table for the chosen checkpoints, with their group and curriculum."""
    return rows.merge(checkpoints, on=["network_id", "n"])


def summarise(rows: pd.DataFrame, by: Sequence[str], values: Sequence[str] = ("relative_accuracy",)) -> pd.DataFrame:
    """Average over trials, then over networks.

    Args:
        rows: rows with the columns group, curriculum, n, network_id.
        by: further columns to group by, such as perturbation.
        values: columns to average; for the first, the bootstrap interval over networks is also computed.

    Returns:
        One row for each group, curriculum, n and `by`: `networks`, each value's mean over networks, and `low` and
        `high`, the 95 % interval of the first (see `analysis.stats.intervals.bootstrap`).
    """
    keys = ["group", "curriculum", "n", *by]
    means = rows.groupby([*keys, "network_id"], sort=False, dropna=False)[list(values)].mean().reset_index()
    result = []
    for cell, networks in means.groupby(keys, sort=False, dropna=False):
        low, high = bootstrap(networks[values[0]].to_numpy(dtype=float))
        result.append(
            dict(zip(keys, cell, strict=True))
            | {"networks": len(networks)}
            | {value: float(networks[value].mean()) for value in values}
            | {"low": low, "high": high}
        )
    return pd.DataFrame(result, columns=[*keys, "networks", values[0], "low", "high", *values[1:]])


def compare_curricula(rows: pd.DataFrame, perturbation: str) -> tuple[pd.DataFrame, list[str]]:
    """Compare all pairs of curricula in each group at each perturbation, pooled as in the paper and by network.

    Args:
        rows: rows with the columns group, curriculum, n, network_id, accuracy and `perturbation`.
        perturbation: the column that identifies the perturbation; 0 stands for the unchanged network.

    Returns:
        The tests, one row for each group, pair of curricula and perturbation: the columns of
        `analysis.stats.significance.network_tests`, and `p_pooled`, `stars_pooled`, `n_pooled` of `pooled_ttests`; and
        a note for each comparison that has too few networks.
    """
    frames, notes = [], []
    for group, of_group in rows.groupby("group", sort=False):
        names = sorted(of_group["curriculum"].unique())
        if len(names) < 2:
            notes.append(f"{group}: it has only the curriculum {names[0]}; a comparison needs two")
        for pair in combinations(names, 2):
            part = of_group[of_group["curriculum"].isin(pair)]
            frame = part[["curriculum", "n", "accuracy"]].assign(
                network=part["network_id"], perturbation=part[perturbation].astype(float)
            )
            counts = frame.groupby("curriculum")["network"].nunique()
            if counts.min() < 2:
                few = ", ".join(f"{name} {counts[name]}" for name in pair)
                notes.append(
                    f"{group}: too few networks to test ({few}); a test needs at least two of each, "
                    "and about eight for power"
                )
                continue
            pooled = pooled_ttests(frame).rename(
                columns={"p_value": "p_pooled", "stars": "stars_pooled", "n": "n_pooled"}
            )
            tests = network_tests(frame).merge(pooled, on="perturbation")
            tests.insert(0, "n", part["n"].iloc[0])
            tests.insert(0, "group", group)
            frames.append(tests)
    return (pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()), notes


def compare_quantities(rows: pd.DataFrame, values: Sequence[str]) -> pd.DataFrame:
    """Compare each two curricula of each group in each quantity, at every N that both have networks at.

    Args:
        rows: one row for each network and N, with the columns group, curriculum, n, network_id and `values`.
        values: the columns to compare. Missing values are left out, and so are N at which two curricula have the same
            values: networks that differ in their curriculum alone are the same until their curricula differ, and
            comparing them with themselves would only make the correction stricter.

    Returns:
        One row for each group, quantity, N and pair of curricula with two networks each: `group`, `quantity`, `n`,
        `curriculum_a`, `curriculum_b`, the fields of `analysis.stats.significance.Comparison`, the p-values corrected
        for the number of rows of the group (Holm), and `verdict`; see `analysis.stats.significance.with_holm`.
    """
    keys = ["group", "quantity", "n", "curriculum_a", "curriculum_b"]
    frames = []
    for group, of_group in rows.groupby("group", sort=False):
        found: list[dict[str, Any]] = []
        for value in values:
            for n, at_n in of_group.dropna(subset=value).groupby("n"):
                by = {name: part[value].to_numpy(dtype=float) for name, part in at_n.groupby("curriculum")}
                found += [
                    dict(zip(keys, (group, value, n, *pair), strict=True)) | vars(compare(by[pair[0]], by[pair[1]]))
                    for pair in combinations(by, 2)
                    if min(len(by[name]) for name in pair) >= 2 and not _same(by[pair[0]], by[pair[1]])
                ]
        if found:
            frames.append(with_holm(pd.DataFrame(found)))
    if not frames:
        return pd.DataFrame(columns=[*keys, *Comparison.__dataclass_fields__])
    return pd.concat(frames, ignore_index=True)


def _same(a: Values, b: Values) -> bool:
    return np.array_equal(np.sort(a), np.sort(b))


def changes_over_n(rows: pd.DataFrame, values: Sequence[str]) -> pd.DataFrame:
    """Measure how each quantity changes within networks, from the smallest to the largest N of each.

    Args:
        rows: as in `compare_quantities`.
        values: the columns to measure.

    Returns:
        One row for each group, curriculum and quantity: `networks` (those with two N at least), `n_from` and `n_to`
        (the median of their smallest and largest N), the mean of the quantity there (`mean_from`, `mean_to`), the mean
        `change` and its 95 % interval, `low` to `high` (see `analysis.stats.intervals.mean`).
    """
    keys = ["group", "curriculum", "quantity"]
    result = []
    for (group, curriculum), cell in rows.groupby(["group", "curriculum"], sort=False):
        for value in values:
            by_network = cell.dropna(subset=value).sort_values("n").groupby("network_id")
            ends = by_network[["n", value]].agg(["first", "last"])[by_network.size() > 1]
            if ends.empty:
                continue
            first, last = ends[value, "first"], ends[value, "last"]
            change = mean((last - first).to_numpy(dtype=float))
            result.append(
                dict(zip(keys, (group, curriculum, value), strict=True))
                | {"networks": len(ends), "n_from": ends["n", "first"].median(), "n_to": ends["n", "last"].median()}
                | {"mean_from": float(first.mean()), "mean_to": float(last.mean())}
                | {"change": float(change.estimate), "low": float(change.low), "high": float(change.high)}
            )
    columns = [*keys, "networks", "n_from", "n_to", "mean_from", "mean_to", "change", "low", "high"]
    return pd.DataFrame(result, columns=columns)
