"""Measures: quantities at the N that a claim is about, one value for each network.

Each function returns a `Measure`. N is chosen by fixed rules that do not depend on any verdict: it is the N of the
claim, or the largest N that enough networks of all compared cells have solved.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis import paper
from analysis.claims.evidence import Evidence, Measure, Sample, joined
from analysis.data.cell import Cell
from analysis.quantities import connectivity, interventions, time_steps
from analysis.quantities.base import TIMESCALES_COMMAND, Quantity
from analysis.quantities.connectivity import KNEE
from analysis.stats.line import least_squares


@dataclass(frozen=True)
class Gap:
    """Why a network has no value.

    Attributes:
        why: the reason, in words.
        takes: what would give it one, in words.
    """

    why: str
    takes: str


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve: a quantity of each network at each N, and how its rows are reduced to one value.

    Two curves are equal if they are the same object, since functions cannot be compared.

    Attributes:
        quantity: the quantity.
        words: a description of the value.
        reduce: turns the rows of the quantity into rows with network_id, n and value; by default it changes nothing.
        short: returns in words in what the training for these values, rows with network_id and n, was less than the
            paper's; "" if it was not.
    """

    quantity: Quantity
    words: str
    reduce: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows
    short: Callable[[Evidence, pd.DataFrame], str] = lambda evidence, rows: ""

    @classmethod
    def of(cls, quantity: Quantity) -> "Curve":
        """Return the curve of a quantity that has one value for each network and N."""
        return cls(quantity, quantity.words)

    def rows(self, evidence: Evidence, cell: Cell) -> pd.DataFrame:
        """Return the known values of a cell's networks, as rows with network_id, n and value; do not change them."""

        def compute() -> pd.DataFrame:
            return self.reduce(evidence.rows(self.quantity, evidence.cell(cell))).dropna(subset="value")

        return evidence.kept((self, cell), compute)


def _mean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby(["network_id", "n"])["value"].mean().reset_index()


def _only(rows: pd.DataFrame, of: Mapping[str, Any]) -> pd.DataFrame:
    for column, value in of.items():
        rows = rows[rows[column] == value]
    return rows[["network_id", "n", "value"]]


def _less(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    both = first.merge(second, on=["network_id", "n"], suffixes=("", "_other"))
    return both[["network_id", "n"]].assign(value=both["value"] - both["value_other"])


def ablated(removed: str) -> Curve:
    """Relative accuracy without one neuron: mean over the neurons with the longest or shortest taus."""
    return Curve(
        interventions.ablated_accuracy,
        f"relative accuracy without one of the neurons with the {removed} taus",
        lambda rows: _only(rows, {"removed": removed, "manner": "alone"}),
    )


def ablated_more(hurts: str, spares: str) -> Curve:
    """How much more relative accuracy is lost by removing one kind of neuron than by removing the other kind."""

    def reduce(rows: pd.DataFrame) -> pd.DataFrame:
        return _less(*(_only(rows, {"removed": name, "manner": "alone"}) for name in (spares, hurts)))

    words = f"relative accuracy lost without one of the neurons with the {hurts} taus, minus that for the {spares} taus"
    return Curve(interventions.ablated_accuracy, words, reduce)


LONGEST_TAU: Final = Curve(
    interventions.ablated_tau,
    "mean tau of the neurons with the longest taus",
    lambda rows: _only(rows, {"removed": "longest", "manner": "alone"}),
)


def perturbed(what: str, strengths: int) -> Curve:
    """Relative accuracy after a perturbation of weights or taus: mean over the `strengths` smallest strengths."""

    def reduce(rows: pd.DataFrame) -> pd.DataFrame:
        own = rows[(rows["perturbed"] == what) & (rows["perturbation"] != 0)]
        rank = own.groupby(["network_id", "n"])["perturbation"].rank()
        return _mean(own[rank <= strengths])

    return Curve(interventions.perturbed_accuracy, f"relative accuracy with perturbed {what}", reduce)


def retrained(beyond: int) -> Curve:
    """Relative accuracy after retraining on N': mean over N' = N + 1 to N + `beyond`."""

    def reduce(rows: pd.DataFrame) -> pd.DataFrame:
        higher = rows["retrained_n"] - rows["n"]
        return _mean(rows[(higher > 0) & (higher <= beyond)])

    def short(evidence: Evidence, rows: pd.DataFrame) -> str:
        trained = evidence.rows(interventions.retrained_for, rows)
        longest = float(trained.loc[trained["n"].isin(rows["n"]), "value"].max())
        if longest >= paper.RETRAINING_BUDGET:
            return ""
        return f"retrained for at most {longest:.3g} of the paper's {paper.RETRAINING_BUDGET} epochs"

    words = f"relative accuracy after retraining on N + 1 to N + {beyond}"
    return Curve(interventions.retrained_accuracy, words, reduce, short)


def readout(low: int, high: int, words: str) -> Curve:
    """Accuracy of the readout after it is retrained on N': mean over N' = N + `low` to N + `high`."""

    def reduce(rows: pd.DataFrame) -> pd.DataFrame:
        away = rows["head"] - rows["n"]
        return _mean(rows[(away >= low) & (away <= high)])

    return Curve(interventions.readout_accuracy, f"accuracy of a readout retrained on {words}", reduce)


def answered(low: int, high: int) -> Curve:
    """Accuracy if bits are held for k steps of 1/k: mean over k = `low` to `high`."""

    def reduce(rows: pd.DataFrame) -> pd.DataFrame:
        return _mean(rows[(rows["asked_k"] >= low) & (rows["asked_k"] <= high)])

    return Curve(time_steps.accuracy_by_k, f"accuracy with k = {low} to {high} steps per bit", reduce)


def answered_less(low: int, high: int) -> Curve:
    """How much lower the accuracy with k = `low` to `high` is than with the k of training, 7 to 10."""

    def reduce(rows: pd.DataFrame) -> pd.DataFrame:
        return _less(answered(7, 10).reduce(rows), answered(low, high).reduce(rows))

    return Curve(time_steps.accuracy_by_k, f"accuracy lost with k = {low} to {high} steps per bit", reduce)


def _explosion(rows: pd.DataFrame) -> pd.DataFrame:
    """Return by how many powers of ten activity grows with the weakest inhibition."""
    keys = ["network_id", "n"]
    weakest = rows[rows["change"] < 0].sort_values("change").drop_duplicates(keys)
    both = weakest.merge(rows[rows["change"] == 0], on=keys, suffixes=("", "_base"))
    return both[keys].assign(value=np.log10(both["value"] / both["value_base"]))


EXPLOSION: Final = Curve(
    interventions.activity_range, "growth of activity (powers of ten) with the weakest inhibition", _explosion
)


# Measures of curves.


def at_n(
    curve: Curve,
    cell: Cell,
    others: Collection[Cell],
    needs: str,
    *,
    n: int | None = None,
    least: int = 2,
    beside: Collection[Curve] = (),
) -> Measure:
    """The value at one N: the largest N up to `n` at which all compared networks have a value.

    Args:
        curve: the value.
        cell: the networks.
        others: the cells with which they are compared.
        needs: the command that produces the results.
        n: the N of the claim; None for the largest N that is available.
        least: the smallest N at which the values can decide the claim.
        beside: other curves that must have a value at this N too.
    """

    def take(evidence: Evidence) -> Sample:
        rows = curve.rows(evidence, cell)
        if rows.empty:
            return Sample()
        sets = [
            set(own["n"])
            for one in (curve, *beside)
            for c in dict.fromkeys((cell, *others))
            for _, own in one.rows(evidence, c).groupby("network_id")
        ]
        shared = {int(m) for m in set.intersection(*sets)}
        allowed = {m for m in shared if n is None or m <= n}
        if not allowed:
            low, high = int(rows["n"].min()), int(rows["n"].max())
            at = f"N = {low} to {high}" if low < high else f"N = {low}"
            blocked = f"measured at {at}; the claim is about N = {n}" if shared else "not measured at a common N"
            of_size = f" in networks of {paper.HIDDEN} neurons" if _too_few_neurons(evidence, curve) else ""
            takes = f"measurements at N = {n or least}{of_size}"
            return Sample(rows.groupby("network_id")["value"].mean(), None, at, blocked, takes)
        chosen = max(allowed)
        own = rows[rows["n"] == chosen]
        values = own.set_index("network_id")["value"]
        blocked = f"measured at N = {chosen}; the claim is judged from N = {least} on" if chosen < least else ""
        takes = _measure_at(least) if blocked else ""
        below = f"the paper's is at N = {n}" if n is not None and chosen < n else ""
        below = joined(below, curve.short(evidence, own))
        if few := _too_few_neurons(evidence, curve):
            blocked, takes = joined(blocked, few), joined(takes, f"networks of {paper.HIDDEN} neurons")
        return _with_idle(evidence, cell, Sample(values, at=f"N = {chosen}", blocked=blocked, takes=takes, below=below))

    where = "at the largest common N" if n is None else f"at the largest common N up to {n}"
    return Measure(f"{curve.words} {where}, {cell.words}", _needs(curve, needs), take, cell.task or "")


def _with_idle(evidence: Evidence, cell: Cell, sample: Sample) -> Sample:
    """Return a sample that decides nothing if networks of the cell have no value because they have solved no N."""
    networks = evidence.cell(cell)
    idle = int((networks["max_n"] == 0).sum())
    if not idle or sample.values.empty:
        return sample
    blocked = joined(sample.blocked, f"{idle} of {len(networks)} networks have no value, since they have solved no N")
    return replace(sample, blocked=blocked, takes=joined(sample.takes, "networks that have all solved an N"))


def _too_few_neurons(evidence: Evidence, curve: Curve) -> str:
    """Return why networks are too small for the effect of one neuron; "" if they are not."""
    hidden = int(evidence.networks["hidden"].max())
    if not curve.quantity.per_neuron or hidden >= paper.HIDDEN:
        return ""
    return f"one neuron of {hidden} matters more than one of {paper.HIDDEN}"


def growth(curve: Curve, cell: Cell, needs: str, *, least: int, paper: int) -> Measure:
    """The logarithm of the ratio between the values at the largest and the smallest N of each network."""

    def value(own: pd.DataFrame) -> float | Gap:
        if len(own) < 2:
            return _few("one measured N", own, 2, least, curve)
        first, last = own["value"].iloc[0], own["value"].iloc[-1]
        if first > 0 and last > 0:
            return math.log(last / first)
        return Gap(
            f"{curve.words}: 0 at the smallest or the largest N, where no ratio exists",
            "a measure of growth that is defined at 0",
        )

    return _over_n(
        curve,
        cell,
        needs,
        value,
        "ratio of the value at the largest N to that at the smallest N",
        least=least,
        paper=paper,
    )


def slope(curve: Curve, cell: Cell, needs: str, *, least: int, paper: int) -> Measure:
    """The slope of the least-squares line through the value against N, per N."""

    def value(own: pd.DataFrame) -> float | Gap:
        if own["n"].nunique() < 3:
            return _few("fewer than 3 measured N", own, 3, least, curve)
        return _line(own)

    return _over_n(curve, cell, needs, value, "change per N", least=least, paper=paper)


def over_n(curve: Curve, cell: Cell, needs: str) -> Measure:
    """The mean over all measured N, for claims about how a quantity is measured.

    They are about measurements, so that networks without one, as those that have solved no N, do not matter.
    """

    def take(evidence: Evidence) -> Sample:
        rows = curve.rows(evidence, cell).sort_values("n")
        return _sample(rows, lambda own: float(own["value"].mean()), least=2, paper=0)

    return Measure(f"{curve.words}: mean over N, {cell.words}", _needs(curve, needs), take, cell.task or "")


def across_networks(curve: Curve, other: Curve, cell: Cell, needs: str, *, least: int, paper: int) -> Measure:
    """Two values of each network at the largest common N, for their correlation across networks."""

    def take(evidence: Evidence) -> Sample:
        first, second = (
            at_n(c, cell, (), needs, n=paper, least=least, beside=(curve, other)).take(evidence) for c in (curve, other)
        )
        both = pd.concat([first.values.rename("a"), second.values.rename("b")], axis=1).dropna()
        pairs = pd.Series([tuple(row) for row in both.to_numpy()], index=both.index, dtype=object)
        blocked = first.blocked or second.blocked
        return Sample(pairs, None, first.at, blocked, first.takes or second.takes, first.below)

    where = f"at the largest common N up to {paper}"
    return Measure(
        f"{curve.words} and {other.words} {where}, {cell.words}", _needs(curve, needs), take, cell.task or ""
    )


def saturation(curve: Curve, cell: Cell, needs: str, *, least: int, paper: int) -> Measure:
    """The ratio of the slope at large N to the slope at small N, minus 0.5.

    The measured N are split in the middle of their range. The value is 0 if the slope beyond is half of the slope
    before, and -0.5 if the curve is flat there.
    """

    def value(own: pd.DataFrame) -> float | Gap:
        middle = (own["n"].min() + own["n"].max()) / 2
        early, late = _line(own[own["n"] <= middle]), _line(own[own["n"] > middle])
        if math.isnan(early + late):
            return _few("fewer than 3 measured N in one half of their range", own, 6, least, curve)
        if early > 0:
            return late / early - 0.5
        return Gap(f"{curve.words}: no growth at small N", "a measure of saturation that is defined without growth")

    return _over_n(
        curve,
        cell,
        needs,
        value,
        "ratio of the slope at large N to that at small N, minus 0.5",
        least=least,
        paper=paper,
    )


def bend(curve: Curve, cell: Cell, needs: str, *, least: int, paper: int) -> Measure:
    """How much steeper the line beyond N = 20 is than the line up to 20, relative to one line through all N."""

    def value(own: pd.DataFrame) -> float | Gap:
        early, late = _line(own[own["n"] <= KNEE]), _line(own[own["n"] > KNEE])
        if math.isnan(early + late):
            return _few(f"fewer than 3 measured N up to {KNEE} or beyond", own, KNEE + 2, least, curve)
        if (whole := _line(own)) > 0:
            return (late - early) / whole
        return Gap(f"{curve.words}: no growth with N", "a measure of the bend that is defined without growth")

    return _over_n(curve, cell, needs, value, f"relative change of slope at N = {KNEE}", least=least, paper=paper)


def before_balance(cell: Cell, needs: str, *, least: int, paper: int) -> Measure:
    """How much inhibition is left, beyond the balance with excitation, when activity explodes.

    Networks are measured at the largest N. The value is the change c of the negative weights at which activity first
    exceeds ten times its range, minus the change at which the mean incoming weight would be 0. A value above 0 means
    that activity explodes while inhibition still outweighs excitation. Networks that do not explode up to the balance
    count with the weakest inhibition that was tried, a value of at most 0; if that is not as weak as the balance, their
    value is unknown.
    """

    def take(evidence: Evidence) -> Sample:
        networks = evidence.cell(cell)
        reach = evidence.rows(interventions.activity_range, networks)
        positive, negative = (
            evidence.rows(q, networks).rename(columns={"value": q.name})
            for q in (connectivity.weight_positive, connectivity.weight_negative)
        )
        keys = ["network_id", "n"]
        base = reach[reach["change"] == 0].rename(columns={"value": "base"})[[*keys, "base"]]
        weaker = reach[reach["change"] <= 0].merge(base, on=keys)
        burst = weaker[weaker["value"] > 10 * weaker["base"]].groupby(keys)["change"].max().rename("burst")
        tried = weaker.groupby(keys)["change"].min().rename("tried")
        frame = tried.to_frame().join(burst).reset_index().merge(positive, on=keys).merge(negative, on=keys)
        balanced = -frame["weight_positive"] / frame["weight_negative"] - 1
        frame = frame.assign(value=frame["burst"].fillna(frame["tried"]) - balanced)
        unknown = frame["burst"].isna() & (frame["value"] > 0)
        farthest = -100 * balanced[unknown].min()

        def value(own: pd.DataFrame) -> float | Gap:
            last = own.index[-1]
            if not unknown[last]:
                return float(own["value"].iloc[-1])
            return Gap(
                "neither explosion nor balance with the weakest inhibition that was tried, "
                f"{-100 * frame['tried'][last]:.0f} % weaker",
                f"inhibition that is up to {farthest:.0f} % weaker",
            )

        sample = _sample(frame.sort_values("n"), value, least, paper)
        lacking = len(set(tried.reset_index()["network_id"]) - set(frame["network_id"]))
        if lacking and not sample.values.empty:
            why = f"{lacking} of {tried.reset_index()['network_id'].nunique()} networks lack measured weights at this N"
            takes = f"{TIMESCALES_COMMAND} --every 1"
            sample = replace(sample, blocked=joined(sample.blocked, why), takes=joined(sample.takes, takes))
        return sample

    words = f"inhibition left, beyond the balance with excitation, when activity explodes, {cell.words}"
    return Measure(
        words, f"{needs}, then {interventions.activity_range.needs} and {TIMESCALES_COMMAND}", take, cell.task or ""
    )


def _over_n(
    curve: Curve,
    cell: Cell,
    needs: str,
    value: Callable[[pd.DataFrame], float | Gap],
    words: str,
    *,
    least: int,
    paper: int,
) -> Measure:
    def take(evidence: Evidence) -> Sample:
        rows = curve.rows(evidence, cell).sort_values("n")
        sample = _with_idle(evidence, cell, _sample(rows, value, least, paper))
        unknown = evidence.unknown(curve.quantity, evidence.cell(cell)).groupby("network_id")["n"].max()
        ended_without = unknown > rows.groupby("network_id")["n"].max().reindex(unknown.index).fillna(0)
        if sample.values.empty or not ended_without.any():
            return sample
        why = f"{ended_without.sum()} of {len(sample.values)} networks have no value at their largest N"
        takes = "a measure that is defined at the largest N of every network"
        return replace(sample, blocked=joined(sample.blocked, why), takes=joined(sample.takes, takes))

    return Measure(f"{curve.words}: {words}, {cell.words}", _needs(curve, needs), take, cell.task or "")


def _sample(rows: pd.DataFrame, value: Callable[[pd.DataFrame], float | Gap], least: int, paper: int) -> Sample:
    """Return the values of networks, and the reason if they cannot decide.

    A network without a value is not left out, since whether it has one may depend on the effect itself.

    Args:
        rows: network_id, n and what `value` needs, by increasing n.
        value: returns the value of one network from its rows, or why it has none.
        least: the smallest N that decides.
        paper: the N at which the paper shows the effect; 0 if it does not depend on N.
    """
    if rows.empty:
        return Sample()
    found = {str(network_id): value(own) for network_id, own in rows.groupby("network_id")}
    values = pd.Series({id: math.nan if isinstance(one, Gap) else one for id, one in found.items()}, dtype="float64")
    first, last = (rows.groupby("network_id")["n"].agg(end) for end in ("min", "max"))
    low, high = int(first.min()), int(last.min())
    at = f"N = {low}" if low == last.max() else f"N = {low} to {high}"
    if high < last.max():
        at = f"N = {low} to the largest of each network, {high} to {last.max()}" if high > low else f"N = {low} or more"
    below = f"the paper shows it at N = {paper}" if high < paper else ""
    if high < least:
        blocked = f"one network has reached only N = {high}; the claim is judged from N = {least} on"
        return Sample(values, None, at, blocked, _measure_at(least), below)
    gaps = [one for one in found.values() if isinstance(one, Gap)]
    why = joined(*(gap.why for gap in gaps))
    blocked = f"{len(gaps)} of {len(found)} networks have no value ({why})" if gaps else ""
    return Sample(values, None, at, blocked, joined(*(gap.takes for gap in gaps)), below)


def _few(why: str, own: pd.DataFrame, points: int, least: int, curve: Curve) -> Gap:
    """Return why too few N of a network are measured.

    Args:
        why: the reason.
        own: the rows of the network.
        points: how many N from the smallest on are enough if each of them is measured.
        least: the smallest N that decides.
        curve: the curve.
    """
    if curve.quantity.needs == TIMESCALES_COMMAND and own["n"].max() - own["n"].min() + 1 >= points:
        return Gap(f"{why}; `--every 1` measures every solved N", f"{TIMESCALES_COMMAND} --every 1")
    return Gap(why, _measure_at(least))


def _measure_at(least: int) -> str:
    return f"networks that have solved N = {least}"


def _needs(curve: Curve, sweep: str) -> str:
    return f"{sweep}, then {curve.quantity.needs}" if curve.quantity.needs else sweep


def _line(rows: pd.DataFrame) -> float:
    """Return the slope of the least-squares line through value against n; NaN with fewer than three N."""
    slope, _ = least_squares(rows["n"].to_numpy(dtype=float), rows["value"].to_numpy(dtype=float))
    return slope
