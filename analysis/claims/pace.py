"""Measures of the largest N and of the training that it takes: one value for each network.

The value of a network whose training was cut short is a lower bound.

Each function returns a `Measure`; see `analysis.claims.measures` for values that are taken from curves over N.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from scipy import stats

from analysis import paper
from analysis.claims.evidence import (
    Evidence,
    Measure,
    Sample,
    at_ceiling,
    cut_short,
    ended,
    joined,
)
from analysis.data.cell import Cell
from analysis.quantities import pace
from analysis.stats.permutation import Flags, Values
from tsrnn.config import EndState

ENOUGH: Final = 0.75
"""The common N is the largest N that this share of the networks of each compared cell has solved."""


def furthest(cell: Cell, needs: str) -> Measure:
    """The largest N solved by the networks that have ended; a lower bound for those that might have reached a larger N.

    The latter are networks that ended at a budget below the paper's, or that solved the largest N of their run.
    Networks that solved nothing count as N = 1, and diverged networks with the largest N that they had solved.
    """

    def take(evidence: Evidence) -> Sample:
        networks = evidence.cell(cell)
        own = ended(networks).set_index("network_id", drop=False)
        bounds = cut_short(own) | at_ceiling(own)
        values = own["max_n"].astype(float).clip(lower=1)
        return Sample(values, bounds, blocked=_waiting(networks, own), below=_short_of_paper(own))

    return Measure(f"largest N solved by {cell.words}", needs, take, cell.task or "")


def furthest_within(cell: Cell, needs: str) -> Measure:
    """The largest N solved within the paper's budget and up to N = 101, for claims about the largest N itself.

    It is a lower bound for networks that ended at a smaller budget, or that solved the largest N of a run with a
    smaller limit.
    """

    def take(evidence: Evidence) -> Sample:
        networks = evidence.cell(cell)
        own = ended(networks).set_index("network_id", drop=False)
        values = own["max_n"].astype(float)
        bounds = cut_short(own) | (at_ceiling(own) & (own["limit"] < paper.LIMIT))
        return Sample(values, bounds, blocked=_waiting(networks, own), below=_short_of_paper(own))

    return Measure(f"largest N solved by {cell.words}", needs, take, cell.task or "")


def until_common(cell: Cell, others: Collection[Cell], needs: str, *, least: int, paper: int) -> Measure:
    """Training until the largest N that three quarters of the networks of each compared cell have solved.

    It is measured in the paper's epochs, and is a lower bound for networks that have not solved this N.

    Args:
        cell: the networks.
        others: the cells with which they are compared.
        needs: the command that produces the results.
        least: the smallest N at which the comparison can decide the claim.
        paper: the largest N of the paper's networks.
    """

    def take(evidence: Evidence) -> Sample:
        every = [evidence.cell(c) for c in (cell, *others)]
        n = min((_reached_by_enough(networks) for networks in every), default=0)
        if n < 2 and len(every[0]):
            values = every[0].set_index("network_id")["max_n"].astype(float).clip(lower=1)
            return Sample(values, blocked="no N has been solved by three quarters of the networks of each kind")
        found = _until(evidence, every[0], n)
        found = replace(found, takes=_more_training(every[0], n))
        below = f"the paper shows it at N = {paper}" if n < paper else ""
        if n < least:
            blocked = f"the largest common N is {n}; the claim is judged from N = {least} on"
            return replace(found, blocked=blocked, takes=f"networks that have solved N = {least}", below=below)
        return replace(found, below=below)

    return Measure(f"training until a common N, {cell.words}", needs, take, cell.task or "")


def until_alone(cell: Cell, needs: str, *, paper: int) -> Measure:
    """Training until one N, in the paper's epochs: the largest N trained alone that the curriculum also reached.

    Under a curriculum, all earlier training counts too. The value is a lower bound for networks that have not solved N.

    Args:
        cell: the networks; the curriculum "none" stands for networks that were trained on that N alone.
        needs: the command that produces the results.
        paper: the N at which the paper shows the effect.
    """

    def take(evidence: Evidence) -> Sample:
        alone = replace(cell, curriculum=None).select(evidence.networks)
        alone = alone[alone["curriculum"].str.startswith("none-")]
        reached = _reached_by_enough(evidence.cell(replace(cell, curriculum="multi")))
        ns = sorted({_only_n(name) for name in alone["curriculum"]})
        chosen = [n for n in ns if n <= reached] or ns[:1]
        if not chosen:
            return Sample()
        n = chosen[-1]
        name = f"none-{n}" if cell.curriculum == "none" else cell.curriculum
        networks = evidence.cell(replace(cell, curriculum=name))
        own = ended(networks)
        found = _until(evidence, own, n)
        below = f"the paper shows it at N = {paper}" if n < paper else ""
        return replace(found, blocked=joined(found.blocked, _waiting(networks, own)), below=below)

    words = "without a curriculum" if cell.curriculum == "none" else str(cell.curriculum)
    kind = "leaky RNN" if cell.architecture == "leaky" else str(cell.architecture).upper()
    return Measure(f"training until the same N, {kind} {words}", needs, take, cell.task or "")


def until_n(cell: Cell, n: int, needs: str) -> Measure:
    """Training until N = `n` was solved, in the paper's epochs; a lower bound for networks that have not solved it."""

    def take(evidence: Evidence) -> Sample:
        return _until(evidence, evidence.cell(cell), n)

    return Measure(f"training until N = {n}, {cell.words}", needs, take, cell.task or "")


def alone(task: str, needs: str, *, n: int, least: int = 2) -> Measure:
    """Training of networks without a curriculum until they solved their N, in the paper's epochs.

    It is a lower bound for networks that have not solved it. Networks of different N are not alike, and are not pooled:
    those of the largest N from `least` to `n` are measured.

    Args:
        task: the kind of task.
        needs: the command that produces the results.
        n: the N of the claim.
        least: the smallest N that it is about.
    """

    def take(evidence: Evidence) -> Sample:
        networks = _alone(evidence, task, range(least, n + 1))
        trained = networks["curriculum"].map(_only_n)
        networks = networks[trained == trained.max()]
        own = ended(networks).set_index("network_id", drop=False)
        values = own["sequences"].astype(float)
        below = f"the paper's is at N = {n}" if len(own) and trained.max() < n else ""
        return Sample(values, own["max_n"] == 0, _ns(own), _waiting(networks, own), below=below)

    words = f"training until N is solved without a curriculum, {task}, at the largest N from {least} to {n}"
    return Measure(words, needs, take, task)


def solved_alone(task: str, ns: range, needs: str) -> Measure:
    """1 or 0: whether a network without a curriculum solved its N within the paper's budget, pooled over N."""

    def take(evidence: Evidence) -> Sample:
        networks = _alone(evidence, task, ns)
        own = ended(networks).set_index("network_id", drop=False)
        solved = (own["max_n"] > 0) & (own["sequences"] <= paper.ALONE_BUDGET)
        # They might have solved it within the paper's budget.
        open_still = cut_short(own, paper.ALONE_BUDGET) & (own["max_n"] == 0)
        blocked = (
            f"{int(open_still.sum())} networks trained for less than the paper's {paper.ALONE_BUDGET} epochs"
            if open_still.any()
            else ""
        )
        takes = f"a budget of {paper.ALONE_BUDGET} of the paper's epochs" if blocked else ""
        return Sample(solved.astype(float), None, _ns(own), blocked or _waiting(networks, own), takes)

    return Measure(f"share of networks that solve N without a curriculum, {task}, N from {ns[0]} on", needs, take, task)


def solving_order(needs: str) -> Measure:
    """The rank correlation between N and the epoch in which it was solved, for networks trained on all N at once.

    It is Somers' D of N given the epoch: of the pairs of N of which one is known to have been solved first, the share
    in which this is the smaller N, minus the share in which it is the larger. An N that is not solved yet comes after
    all that are. Networks that have solved no N, or all in the same epoch, have no value.

    Source: Somers 1962.
    """

    def take(evidence: Evidence) -> Sample:
        networks = Cell(curriculum=None).select(evidence.networks)
        networks = networks[networks["curriculum"].str.startswith("all-")].set_index("network_id")
        rows = evidence.rows(pace.epoch_solved, networks.reset_index())
        known = {str(key): own.set_index("n")["value"] for key, own in rows.groupby("network_id")}
        orders = {str(key): _order(known.get(str(key)), limit) for key, limit in networks["limit"].items()}
        values = pd.Series(orders, dtype="float64")
        lacking = int(values.isna().sum())
        blocked = f"{lacking} of {len(values)} networks have solved no N, or all in one epoch" if lacking else ""
        return Sample(values, blocked=blocked, takes="networks that have solved several N" if lacking else "")

    return Measure(
        "rank correlation (Somers' D) between N and the epoch in which it was solved, all heads at once",
        needs,
        take,
        "parity",
    )


def _order(solved: "pd.Series[float] | None", limit: int) -> float:
    """Return Somers' D of N = 2 to `limit` given the epochs in which they were solved; NaN without an order."""
    if solved is None:
        return math.nan
    ns = np.arange(2, limit + 1)
    # Somers' D depends on the order of epochs alone.
    epochs = solved.reindex(ns).fillna(solved.max() + 1)
    return float(stats.somersd(epochs, ns).statistic) if epochs.nunique() > 1 else math.nan


def _until(evidence: Evidence, networks: pd.DataFrame, n: int) -> Sample:
    """Return the training until N = `n` was solved, in the paper's epochs; a lower bound if it is not solved yet."""
    rows = evidence.rows(pace.sequences_until, networks)
    values, bounds = (
        pd.Series(each[:, 0], index=networks["network_id"]) for each in until_each(networks, rows[rows["n"] == n], [n])
    )
    kept = values > 0
    return Sample(values[kept], bounds[kept], f"N = {n}")


def until_each(networks: pd.DataFrame, rows: pd.DataFrame, ns: Sequence[int]) -> tuple[Values, Flags]:
    """Return the training until each N was solved, in the paper's epochs.

    Args:
        networks: rows of `analysis.data.study.Study.networks`.
        rows: `analysis.quantities.pace.sequences_until` of these networks, and possibly of others, at these N.
        ns: the N.

    Returns:
        The values, [networks, N], and whether each is a lower bound: the whole training of a network that has not
        solved N, which is 0 if it has not trained yet.
    """
    trained = networks["sequences"].to_numpy(dtype=float)
    values, bounds = np.tile(trained[:, None], len(ns)), np.ones((len(trained), len(ns)), dtype=bool)
    network = pd.Index(networks["network_id"]).get_indexer(pd.Index(rows["network_id"]))
    known = network >= 0
    at = network[known], pd.Index(ns).get_indexer(pd.Index(rows["n"]))[known]
    values[at], bounds[at] = rows["value"].to_numpy(dtype=float)[known], False
    return values, bounds


def _reached_by_enough(networks: pd.DataFrame) -> int:
    """Return the largest N that three quarters of the networks have solved; 0 if there is none."""
    if networks.empty:
        return 0
    ordered = sorted((int(n) for n in networks["max_n"]), reverse=True)
    return ordered[math.ceil(ENOUGH * len(ordered)) - 1]


def _alone(evidence: Evidence, task: str, ns: range) -> pd.DataFrame:
    networks = Cell(task=task, curriculum=None).select(evidence.networks)
    names = {f"none-{n}" for n in ns}
    return networks[networks["curriculum"].isin(names)]


def _only_n(curriculum: object) -> int:
    """Return the N of the name of a network that was trained on this N alone."""
    return int(str(curriculum).split("-")[1])


def _ns(networks: pd.DataFrame) -> str:
    ns = sorted({_only_n(name) for name in networks["curriculum"]})
    return f"N = {', '.join(map(str, ns))}" if ns else ""


def _waiting(networks: pd.DataFrame, own: pd.DataFrame) -> str:
    """Return in words how many networks have not ended; "" if all have."""
    running = len(networks) - len(own)
    return f"{running} of {len(networks)} networks have not ended" if running and len(own) else ""


def _more_training(networks: pd.DataFrame, n: int) -> str:
    """Return in words how many networks might solve N = `n` with more training; "" if none might."""
    might = (networks["status"] == EndState.RUNNING) | cut_short(networks)
    count = int((might & (networks["max_n"] < n)).sum())
    return f"more training for {count} of {len(networks)} networks, which have not solved N = {n}" if count else ""


def _short_of_paper(own: pd.DataFrame) -> str:
    """Return in words in which respects networks had less training than the paper's; "" if they had not."""
    return joined(_budget(own), _ceiling(own), _failed(own))


def _failed(own: pd.DataFrame) -> str:
    """Return in words that networks stalled or diverged before the paper's budget; "" if none did."""
    short = own[own["status"].isin([EndState.STALLED, EndState.DIVERGED]) & (own["sequences"] < paper.BUDGET)]
    if short.empty:
        return ""
    longest = f"{short['sequences'].max():.3g} of the paper's {paper.BUDGET} epochs"
    return f"{len(short)} networks stalled or diverged in {longest}"


def _budget(own: pd.DataFrame) -> str:
    """Return in words that networks ended at a smaller budget than the paper's; "" if none did."""
    short = own[cut_short(own)]
    if short.empty:
        return ""
    return f"a budget of {short['sequences'].max():.3g} of the paper's {paper.BUDGET} epochs"


def _ceiling(own: pd.DataFrame) -> str:
    """Return in words that networks ended at a smaller N than the paper's limit; "" if none did."""
    limited = own[at_ceiling(own) & (own["limit"] < paper.LIMIT)]
    return "" if limited.empty else f"training ended at N = {int(limited['limit'].max())}, the paper's at {paper.LIMIT}"
