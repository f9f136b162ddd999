"""What the paper's claims are about: quantities of networks, each taken from results as one value a network.

First how far networks get and how fast; then curves, quantities that change with N, and what is taken from them.
"""

import json
from collections.abc import Callable, Collection
from typing import Final

import numpy as np
import pandas as pd

from analysis.claims.evidence import Cell, Curve, Evidence, Quantity, Sample, Source, budget, joined, waiting
from tsrnn.io.schemas import (
    ABLATION,
    CONNECTIVITY,
    DIMENSIONALITY,
    HEADS_RETRAINING,
    INHIBITION,
    PERTURBATION,
    RETRAINING,
    SOLVED,
    TIME_STEPS,
    TIMESCALES,
)

ALONE_EPOCHS: Final = 50

PAPER_HIDDEN: Final = 500

REACH: Final = 20
"""A trend over N is not ruled out by networks that did not get as far as this N."""

NEAR: Final = 2 / 3
"""A claim about one N is judged at no less than this part of it."""

_LARGEST: Final = float(np.finfo(np.float32).max)


# How far, and how fast.


def max_n(cell: Cell, needs: str) -> Quantity:
    """The largest N solved by the networks that have ended."""

    def take(evidence: Evidence) -> Sample:
        networks = evidence.cell(cell)
        ended = evidence.ended(networks)
        values = ended.set_index("network_id")["max_n"].astype(float)
        return Sample(values, short=joined(budget(ended), waiting(evidence, networks)))

    return Quantity(f"max N of {cell.words}", needs, take)


def epochs_per_n(cell: Cell, other: Cell, needs: str) -> Quantity:
    """Epochs of training for each N, from the smallest N to the largest that all networks of both cells solved."""

    def take(evidence: Evidence) -> Sample:
        solved = evidence.source.load(SOLVED)
        both = pd.concat([evidence.cell(cell), evidence.cell(other)])
        both = both[both["max_n"] > 0]
        last = int(both["max_n"].min()) if len(both) else 0
        own = solved[solved["network_id"].isin(evidence.cell(cell)["network_id"]) & (solved["n"] <= last)]
        counts = own.groupby("network_id")
        values = (counts["epoch"].max() / counts["n"].nunique()).astype(float)
        short = "" if last >= REACH else f"compared up to N = {last}; the paper's networks got far beyond {REACH}"
        return Sample(values, at=f"N = 2 to {last}" if last else "", short=short)

    return Quantity(f"epochs per N of {cell.words}", needs, take)


def epochs_alone(task: str, ns: range, needs: str) -> Quantity:
    """Epochs that networks without a curriculum trained until they solved their N or ran out of epochs."""

    def take(evidence: Evidence) -> Sample:
        networks = _alone(evidence, task, ns)
        ended = evidence.ended(networks)
        values = ended.set_index("network_id")["epochs"].astype(float)
        # An epoch of fewer steps is less training: so many more of them are no contradiction.
        full = all(_steps(config) >= _PAPER_STEPS for config in ended["config"])
        short = "" if full else "epochs shorter than the paper's 600 steps of 256 sequences"
        return Sample(values, at=_ns(ended), short=joined(short, budget(ended, ALONE_EPOCHS)))

    return Quantity(f"epochs of {task} without curriculum, N {_span(ns)}", needs, take)


def solved_alone(task: str, ns: range, needs: str) -> Quantity:
    """Which networks without a curriculum solved their N: 1 or 0."""

    def take(evidence: Evidence) -> Sample:
        ended = evidence.ended(_alone(evidence, task, ns))
        values = (ended.set_index("network_id")["max_n"] > 0).astype(float)
        return Sample(values, at=_ns(ended), lacks=budget(ended, ALONE_EPOCHS))

    return Quantity(f"part of {task} networks that solve N {_span(ns)} without curriculum", needs, take)


def _alone(evidence: Evidence, task: str, ns: range) -> pd.DataFrame:
    cells = [evidence.cell(Cell(task=task, curriculum=f"none-{n}")) for n in ns]
    return pd.concat([cell for cell in cells if len(cell)] or cells[:1])


def _ns(networks: pd.DataFrame) -> str:
    ns = sorted({int(name.split("-")[1]) for name in networks["curriculum"]})
    return f"N = {', '.join(map(str, ns))}" if ns else ""


def _span(ns: range) -> str:
    return f"up to {ns[-1]}" if ns[0] == 2 else f"from {ns[0]} on"


_PAPER_STEPS: Final = 600 * 256


def _steps(config: str) -> int:
    training = json.loads(config)["training"]
    return int(training["steps_per_epoch"] * training["batch_size"])


def epochs_until_alone(architecture: str, curriculum: str, needs: str) -> Quantity:
    """Epochs until the N was solved that networks without a curriculum were trained on (the largest there is).

    Under a curriculum every epoch before counts. Networks that did not solve it count with all they trained.
    """

    def take(evidence: Evidence) -> Sample:
        frame = evidence.networks
        same = frame[(frame["architecture"] == architecture) & (frame["task"] == "parity")]
        ns = sorted(int(name.removeprefix("none-")) for name in same["curriculum"].unique() if name.startswith("none-"))
        ns = [n for n in ns if len(evidence.cell(Cell(curriculum=f"none-{n}", architecture=architecture)))]
        if not ns:
            return Sample()
        # Of the N trained alone, the largest up to the 10 of the paper's comparison.
        n = max([n for n in ns if n <= 10] or ns[:1])
        name = f"none-{n}" if curriculum == "none" else curriculum
        networks = evidence.ended(evidence.cell(Cell(curriculum=name, architecture=architecture)))
        solved = evidence.source.load(SOLVED)
        epoch = solved[solved["n"] == n].set_index("network_id")["epoch"]
        ids = pd.Index(networks["network_id"])
        values = epoch.reindex(ids).fillna(networks.set_index("network_id")["epochs"].reindex(ids)).astype(float)
        # A network that ran out of a small budget might have solved it yet.
        unsolved = budget(networks[~networks["network_id"].isin(epoch.index)], ALONE_EPOCHS)
        small = "" if n >= 10 * NEAR else f"N = {n}; the paper's are about 10"
        return Sample(values, at=f"N = {n}", short=joined(unsolved, small))

    words = "without curriculum" if curriculum == "none" else curriculum
    kind = "leaky RNN" if architecture == "leaky" else architecture.upper()
    return Quantity(f"epochs until N of {kind} parity {words}", needs, take)


def solving_order(needs: str) -> Quantity:
    """Spearman's correlation between N and the epoch it was solved in, of networks with all heads from the start."""

    def take(evidence: Evidence) -> Sample:
        frame = evidence.networks
        names = frame.loc[frame["curriculum"].str.startswith("all-"), "curriculum"].unique()
        cells = [evidence.cell(Cell(curriculum=name)) for name in names]
        if not cells:
            return Sample()
        solved = evidence.source.load(SOLVED)
        solved = solved[solved["network_id"].isin(pd.concat(cells)["network_id"])]
        return Sample(_by_network(solved, lambda rows: _spearman(rows["n"], rows["epoch"])))

    return Quantity("correlation (Spearman) of N and the epoch it is solved in, all heads at once", needs, take)


# Curves over N.


def _mean(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Average a column for each network and N."""
    return frame.groupby(["network_id", "n"])[column].mean().rename("value").reset_index()


def _named(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame[["network_id", "n"]].assign(value=frame[column].astype(float))


_TIMESCALES: Final = "python -m analysis timescales RESULTS"
_INTERVENTIONS: Final = "python -m analysis interventions RESULTS"
_RETRAINING: Final = "python sweeps/retraining.py RESULTS"
_TIME_STEPS: Final = "python -m analysis time-steps RESULTS"


def _fits(source: Source) -> pd.DataFrame:
    frame = source.load(TIMESCALES)
    return frame[(frame["method"] == "paper") & (frame["neuron"] >= 0)]


def _tau_net(source: Source) -> pd.DataFrame:
    fits = _fits(source)
    return _mean(fits[fits["tau_net"] > 1], "tau_net")


def _tau_pop(source: Source) -> pd.DataFrame:
    frame = source.load(TIMESCALES)
    return _mean(frame[(frame["method"] == "paper") & (frame["neuron"] < 0)], "tau_net")


def _agreement(source: Source) -> pd.DataFrame:
    fits = _fits(source).dropna(subset=["aic_single", "aic_double", "bic_single", "bic_double"])
    same = (fits["aic_single"] < fits["aic_double"]) == (fits["bic_single"] < fits["bic_double"])
    return _mean(fits.assign(same=same.astype(float)), "same")


def _r_squared(source: Source) -> pd.DataFrame:
    fits = _fits(source)
    fits = fits[fits["tau_net"] > 1]
    return fits.groupby(["network_id", "n"])["r_squared"].median().rename("value").reset_index()


def _balance(source: Source) -> pd.DataFrame:
    frame = source.load(CONNECTIVITY)
    return _named(
        frame.assign(balance=frame["weight_mean"] / (frame["weight_positive"] - frame["weight_negative"])), "balance"
    )


def _components(source: Source) -> pd.DataFrame:
    frame = source.load(DIMENSIONALITY)
    return _named(frame[frame["trial"] < 0], "components")


def _one_at_a_time(source: Source, removed: str) -> pd.DataFrame:
    frame = source.load(ABLATION)
    return frame[(frame["removed"] == removed) & (frame["neuron"] >= 0)]


def ablated(removed: str) -> Curve:
    """Relative accuracy, mean over the 20 neurons removed one at a time."""
    return Curve(
        f"relative accuracy without one of the {removed}-tau neurons",
        _INTERVENTIONS,
        lambda source: _mean(_one_at_a_time(source, removed), "relative_accuracy"),
        per_neuron=True,
    )


def ablated_more(hurts: str, spares: str) -> Curve:
    """How much more relative accuracy is lost by removing one kind of neuron than the other, in the same network."""

    def frame(source: Source) -> pd.DataFrame:
        both = [_mean(_one_at_a_time(source, name), "relative_accuracy") for name in (spares, hurts)]
        joined = both[0].merge(both[1], on=["network_id", "n"], suffixes=("_spares", "_hurts"))
        return joined[["network_id", "n"]].assign(value=joined["value_spares"] - joined["value_hurts"])

    return Curve(
        f"relative accuracy lost with a {hurts}-tau neuron beyond that with a {spares}-tau one", _INTERVENTIONS, frame
    )


def perturbed(what: str, strengths: int) -> Curve:
    """Relative accuracy, mean over draws, then over the smallest `strengths` strengths."""

    def frame(source: Source) -> pd.DataFrame:
        rows = source.load(PERTURBATION)
        rows = rows[(rows["perturbed"] == what) & (rows["perturbation"] != 0)]
        means = rows.groupby(["network_id", "n", "perturbation"])["relative_accuracy"].mean().reset_index()
        rank = means.groupby(["network_id", "n"])["perturbation"].rank()
        return _mean(means[rank <= strengths], "relative_accuracy")

    return Curve(f"relative accuracy with perturbed {what}", _INTERVENTIONS, frame)


def retrained(beyond: int) -> Curve:
    """Relative accuracy on N' after retraining, mean over N' = N + 1 to N + `beyond`."""

    def frame(source: Source) -> pd.DataFrame:
        rows = source.load(RETRAINING)
        higher = rows["retrained_n"] - rows["n"]
        return _mean(rows[(higher > 0) & (higher <= beyond)], "relative_accuracy")

    return Curve(f"relative accuracy retrained on N + 1 to N + {beyond}", _RETRAINING, frame)


def readout(low: int, high: int, words: str) -> Curve:
    """Accuracy of the readout retrained on N' = N + low to N + high, mean over N'."""

    def frame(source: Source) -> pd.DataFrame:
        rows = source.load(HEADS_RETRAINING)
        away = rows["head"] - rows["n"]
        return _mean(rows[(away >= low) & (away <= high)], "accuracy")

    return Curve(f"accuracy of a readout retrained on {words}", _INTERVENTIONS, frame)


def answered(low: int, high: int) -> Curve:
    """Accuracy where bits are held for `low` to `high` steps of 1/k, mean over k."""

    def frame(source: Source) -> pd.DataFrame:
        rows = source.load(TIME_STEPS)
        return _mean(rows[(rows["k"] >= low) & (rows["k"] <= high)], "accuracy")

    return Curve(f"accuracy with k = {low} to {high} steps a bit", _TIME_STEPS, frame)


def answered_less(low: int, high: int) -> Curve:
    """How much lower that accuracy is than with the k of training, 7 to 10."""

    def frame(source: Source) -> pd.DataFrame:
        both = [answered(*span).frame(source) for span in ((7, 10), (low, high))]
        joined = both[0].merge(both[1], on=["network_id", "n"], suffixes=("_own", "_other"))
        return joined[["network_id", "n"]].assign(value=joined["value_own"] - joined["value_other"])

    return Curve(f"accuracy lost with k = {low} to {high} steps a bit", _TIME_STEPS, frame)


def _explosion(source: Source) -> pd.DataFrame:
    """Return by how many powers of ten activity grows where inhibition is weakest."""
    frame = source.load(INHIBITION)
    reach = frame[["activity_low", "activity_high"]].abs().max(axis=1)
    reach = reach.where((frame["exploded"] == 0) & reach.notna(), _LARGEST)
    frame = frame.assign(reach=reach)
    keys = ["network_id", "n"]
    weakest = frame[frame["change"] < 0].sort_values("change").drop_duplicates(keys)
    joined = weakest.merge(frame[frame["change"] == 0], on=keys, suffixes=("", "_base"))
    return joined[keys].assign(value=np.log10(joined["reach"] / joined["reach_base"]))


TAU_MEAN: Final = Curve("mean tau", "", lambda source: _named(source.load(SOLVED), "tau_mean"))
TAU_SD: Final = Curve("SD of tau", "", lambda source: _named(source.load(SOLVED), "tau_sd"))
TAU_NET: Final = Curve("mean tau_net over neurons with tau_net > 1", _TIMESCALES, _tau_net)
TAU_POP: Final = Curve("tau_pop", _TIMESCALES, _tau_pop)
AGREEMENT: Final = Curve("part of neurons where AIC and BIC choose the same model", _TIMESCALES, _agreement)
R_SQUARED: Final = Curve("median R² of the fits with tau_net > 1", _TIMESCALES, _r_squared)
WEIGHT: Final = Curve(
    "mean incoming weight", _TIMESCALES, lambda source: _named(source.load(CONNECTIVITY), "weight_mean")
)
BALANCE: Final = Curve("mean incoming weight relative to the mean absolute weight", _TIMESCALES, _balance)
WEIGHT_AND_TAU: Final = Curve(
    "correlation of a neuron's incoming weight with its tau",
    _TIMESCALES,
    lambda source: _named(source.load(CONNECTIVITY), "tau_correlation"),
)
COMPONENTS: Final = Curve("components for 90 % of the variance", _TIMESCALES, _components)
LONGEST_TAU: Final = Curve(
    "mean tau of the 20 longest", _INTERVENTIONS, lambda source: _mean(_one_at_a_time(source, "longest"), "tau")
)
EXPLOSION: Final = Curve("growth of activity (powers of ten) with the weakest inhibition", _INTERVENTIONS, _explosion)


def slope(curve: Curve, cell: Cell, needs: str) -> Quantity:
    """Least-squares slope over N of each network's curve; networks with three N or more."""

    def take(evidence: Evidence) -> Sample:
        rows = evidence.curve(curve, evidence.cell(cell))
        values = _by_network(rows, _slope)
        if len(rows) and values.empty:
            return _too_few(rows, curve, "fewer than three N")
        return Sample(values, at=_reached(rows), short=_short(rows))

    return Quantity(f"slope over N of the {curve.words}, {cell.words}", _needs(curve, needs), take)


def saturation(curve: Curve, cell: Cell, needs: str) -> Quantity:
    """The slope over the upper half of N, less that over the lower half."""

    def take(evidence: Evidence) -> Sample:
        rows = evidence.curve(curve, evidence.cell(cell))
        values = _by_network(rows, _change_of_slope)
        if len(rows) and values.empty:
            return _too_few(rows, curve, "fewer than three N in each half")
        return Sample(values, at=_reached(rows), lacks=_short(rows))

    return Quantity(
        f"slope over the upper half of N less that over the lower, {curve.words}, {cell.words}",
        _needs(curve, needs),
        take,
    )


def bend(curve: Curve, cell: Cell, needs: str, at: int = 20) -> Quantity:
    """The slope above an N relative to that below it: 1 for a straight line."""

    def take(evidence: Evidence) -> Sample:
        rows = evidence.curve(curve, evidence.cell(cell))
        values = _by_network(rows, lambda own: _slope(own[own["n"] > at]) / _slope(own[own["n"] <= at]))
        if len(rows) and values.empty:
            return _too_few(rows, curve, f"fewer than three N on each side of {at}")
        return Sample(values, at=_reached(rows))

    return Quantity(
        f"slope above N = {at} relative to that below, {curve.words}, {cell.words}", _needs(curve, needs), take
    )


def last_over_first(curve: Curve, cell: Cell, needs: str) -> Quantity:
    """The value at each network's largest N, relative to that at its smallest."""

    def take(evidence: Evidence) -> Sample:
        rows = evidence.curve(curve, evidence.cell(cell)).sort_values("n")
        ends = rows.groupby("network_id")["value"].agg(["first", "last", "size"])
        ends = ends[ends["size"] > 1]
        return Sample((ends["last"] / ends["first"]).astype(float), at=_reached(rows), short=_short(rows))

    return Quantity(
        f"{curve.words} at the largest N relative to that at the smallest, {cell.words}", _needs(curve, needs), take
    )


def over_all_n(curve: Curve, cells: Collection[Cell], words: str, needs: str) -> Quantity:
    """The mean over all N measured."""

    def take(evidence: Evidence) -> Sample:
        networks = pd.concat([evidence.cell(cell) for cell in cells])
        rows = evidence.curve(curve, networks)
        return Sample(rows.groupby("network_id")["value"].mean().astype(float), at=_reached(rows))

    return Quantity(f"{curve.words}, {words}", _needs(curve, needs), take)


def at_largest(curve: Curve, cell: Cell, needs: str, divided_by: float = 1.0) -> Quantity:
    """The value at each network's largest N."""

    def take(evidence: Evidence) -> Sample:
        rows = evidence.curve(curve, evidence.cell(cell)).sort_values("n")
        values = rows.groupby("network_id")["value"].last().astype(float) / divided_by
        return Sample(values, at=_reached(rows), short=_short(rows))

    relative = "" if divided_by == 1 else f" divided by {divided_by:g}"
    return Quantity(f"{curve.words} at the largest N{relative}, {cell.words}", _needs(curve, needs), take)


def at_shared(
    curve: Curve,
    cell: Cell,
    others: Collection[Cell],
    needs: str,
    *,
    n: int | None = None,
    relative_to: Cell | None = None,
) -> Quantity:
    """The value at one N, the largest where all networks compared have one.

    Args:
        curve: the value.
        cell: the networks.
        others: the cells they are compared with.
        needs: the command that makes the results.
        n: the N that the claim is about: no larger one is taken, and one below two thirds of it decides nothing. Where
            it is None, the claim is about every N.
        relative_to: the cell whose mean over networks the values are divided by.
    """

    def take(evidence: Evidence) -> Sample:
        rows = evidence.curve(curve, evidence.cell(cell))
        ids = [
            set(of["n"])
            for c in (cell, *others)
            for _, of in evidence.curve(curve, evidence.cell(c)).groupby("network_id")
        ]
        shared = {m for m in set.intersection(*ids) if n is None or m <= n} if ids else set()
        if rows.empty:
            return Sample()
        if not shared:
            # Each network at an N of its own is no comparison: where there is none in common, say so.
            return Sample(
                rows.groupby("network_id")["value"].mean().astype(float), lacks="no N that all have in common"
            )
        chosen = max(shared)
        values = rows[rows["n"] == chosen].set_index("network_id")["value"].astype(float)
        if relative_to is not None:
            base = evidence.curve(curve, evidence.cell(relative_to))
            values = values / base.loc[base["n"] == chosen, "value"].mean()
        lacks = "" if n is None or chosen >= n * NEAR else f"measured at N = {chosen}; the claim is about N = {n}"
        short = (
            "" if n is not None or chosen >= REACH else f"measured at N = {chosen}; the paper's reach beyond {REACH}"
        )
        hidden = int(evidence.networks["hidden"].max())
        if curve.per_neuron and hidden < PAPER_HIDDEN:
            short = joined(short, f"one of {hidden} neurons weighs more than one of {PAPER_HIDDEN}")
        return Sample(values, at=f"N = {chosen}", short=short, lacks=lacks)

    where = "at the largest N in common" if n is None else f"at N = {n}"
    relative = "" if relative_to is None else f" relative to the mean of {relative_to.words}"
    return Quantity(f"{curve.words}{relative} {where}, {cell.words}", _needs(curve, needs), take)


def _too_few(rows: pd.DataFrame, curve: Curve, what: str) -> Sample:
    """Return a value that is not known for each network that has some rows, but not enough."""
    values = pd.Series(np.nan, index=pd.Index(rows["network_id"].unique()), dtype="float64")
    more = "; `--every 1` measures them all" if curve.needs == _TIMESCALES else ""
    return Sample(values, at=_reached(rows), lacks=f"{what} of each network{more}")


def _needs(curve: Curve, sweep: str) -> str:
    return f"{sweep}, then {curve.needs}" if curve.needs else sweep


def _reached(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    low, high = int(rows["n"].min()), int(rows["n"].max())
    return f"N = {low} to {high}" if low < high else f"N = {low}"


def _short(rows: pd.DataFrame) -> str:
    """Return in words that networks did not get far in N; "" where each did."""
    if rows.empty:
        return ""
    least = int(rows.groupby("network_id")["n"].max().min())
    return "" if least >= REACH else f"up to N = {least} only; the paper's networks got beyond {REACH}"


def _by_network(rows: pd.DataFrame, value: Callable[[pd.DataFrame], float]) -> pd.Series:
    """Return a value of each network's rows, those left out where it is NaN."""
    found = {network_id: value(own) for network_id, own in rows.groupby("network_id")}
    return pd.Series(found, dtype="float64").dropna()


def _slope(rows: pd.DataFrame) -> float:
    if rows["n"].nunique() < 3:
        return float("nan")
    n = rows["n"].to_numpy(dtype=float)
    centred = n - n.mean()
    return float(centred @ rows["value"].to_numpy(dtype=float) / (centred @ centred))


def _change_of_slope(rows: pd.DataFrame) -> float:
    middle = (rows["n"].min() + rows["n"].max()) / 2 if len(rows) else 0
    return _slope(rows[rows["n"] > middle]) - _slope(rows[rows["n"] <= middle])


def _spearman(a: pd.Series, b: pd.Series) -> float:
    if a.nunique() < 3 or b.nunique() < 2:
        return float("nan")
    return float(a.corr(b, method="spearman"))
