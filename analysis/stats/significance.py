"""Do two curricula differ? Relative accuracy, the paper's pooled t-tests, and tests whose unit is the network.

The paper pools every draw of every network into one sample (Tables 1 to 3). The draws of one network are not
independent, so such a test finds differences where there are none. `network_tests` averages over the draws of each
network first. Functions take and return frames. A frame has one row for each draw, with the columns curriculum,
network, perturbation, trial and accuracy; its rows with perturbation = 0 are the baseline of each network.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from analysis.stats.permutation import LEVEL, Values, attainable, difference, p_value

CHANCE: Final = 0.5
"""The accuracy of a guess between two answers."""

STARS: Final = (0.05, 0.01, 0.001, 1e-4, 1e-5)
"""A p-value gets a star for each of these levels that it is below (section 5)."""

_COLUMNS: Final = ("curriculum", "network", "perturbation", "accuracy")


def relative_accuracy(accuracy: Values | float, baseline: Values | float) -> Values:
    """Return accuracy relative to a baseline: 1 at the baseline, 0 at chance, below 0 under it.

    Args:
        accuracy: values in 0..1, any shape.
        baseline: values above 0.5, of a shape that broadcasts with that of `accuracy`.

    Raises:
        ValueError: if a baseline is not above chance.

    Source: section 5, acc_rel = (acc - 0.5) / (acc_base - 0.5).
    """
    base = np.asarray(baseline, dtype=float)
    if not np.all(base > CHANCE):
        raise ValueError(f"baseline = {base.min():g}: allowed are accuracies above chance, {CHANCE}")
    result: Values = (np.asarray(accuracy, dtype=float) - CHANCE) / (base - CHANCE)
    return result


def relative_to_baseline(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a column `relative`: the accuracy relative to the network's own mean at perturbation 0.

    Args:
        frame: columns curriculum, network, perturbation, accuracy; others are kept.

    Raises:
        ValueError: if a column is missing, a network has no row at perturbation 0, or a baseline is at chance; the
            message names the networks.
    """
    if missing := [name for name in _COLUMNS if name not in frame]:
        raise ValueError(f"frame: lacks the column {', '.join(missing)}")
    own = ["curriculum", "network"]
    baseline = frame[frame["perturbation"] == 0].groupby(own)["accuracy"].mean().rename("baseline")
    joined = frame.join(baseline, on=own)
    bad = joined[~(joined["baseline"] > CHANCE)].drop_duplicates(own)
    if len(bad):
        names = ", ".join(f"{row['curriculum']} {row['network']} ({row['baseline']:g})" for _, row in bad.iterrows())
        raise ValueError(f"frame: needs a baseline above {CHANCE} (rows with perturbation 0) of every network: {names}")
    relative = relative_accuracy(joined["accuracy"].to_numpy(), joined["baseline"].to_numpy())
    return joined.drop(columns="baseline").assign(relative=relative)


def pooled_ttests(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare two curricula at each perturbation as the paper does: every draw of every network is a sample.

    The t-test is two-sided and unpaired, assumes equal variances, and uses accuracy relative to the mean baseline of
    each network. It treats the draws of one network as independent, which they are not; see `network_tests`.

    Args:
        frame: columns curriculum (two different ones), network, perturbation, trial and accuracy in 0..1, at one n;
            rows with perturbation 0 are the baselines.

    Returns:
        One row for each perturbation but 0, ascending: `perturbation`, `p_value`, `stars` ("" to "*****", p < .05, .01,
        .001, 1e-4, 1e-5) and `n`, the number of values in each group (the smaller number if the groups differ).

    Raises:
        ValueError: if a column or a baseline is missing, or there are not exactly two curricula and one n.

    Source: section 5; Tables 1, 2 and 3.
    """
    rows = []
    for perturbation, first, second in _groups(frame):
        one, other = first["relative"].to_numpy(), second["relative"].to_numpy()
        p = _ttest(one, other, equal_var=True)
        rows.append((perturbation, p, stars(p), min(len(one), len(other))))
    return pd.DataFrame(rows, columns=["perturbation", "p_value", "stars", "n"])


@dataclass(frozen=True)
class Comparison:
    """A comparison of two groups of networks, with one value for each network.

    Attributes:
        n_a: number of networks in the first group.
        n_b: number of networks in the second group.
        mean_a: mean over the first group.
        mean_b: mean over the second.
        difference: mean_b - mean_a.
        low: lower end of the 95 % interval of the difference, which contains the values that the permutation test does
            not reject. It is unlimited if there are too few networks for that test to reject anything.
        high: upper end of the interval.
        effect_size: Hedges' g: the difference in pooled standard deviations, corrected for small groups.
        p_permutation: two-sided exact permutation test of the difference.
        p_attainable: the smallest possible value of `p_permutation` for these numbers of networks.
        p_t: two-sided t-test without equal variances (Welch).
    """

    n_a: int
    n_b: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    effect_size: float
    p_permutation: float
    p_attainable: float
    p_t: float


def compare(a: Values, b: Values) -> Comparison:
    """Compare two groups of independent networks; see `analysis.stats.permutation`.

    Args:
        a: [n_a], one value per network.
        b: [n_b].

    Returns:
        The comparison. Interval, effect size and tests are NaN for fewer than two networks in a group.

    Raises:
        ValueError: if a group is empty.
    """
    if not (len(a) and len(b)):
        raise ValueError(f"{len(a)} and {len(b)} networks: allowed is at least one in each group")
    able = min(len(a), len(b)) >= 2
    found = difference(a, b)
    return Comparison(
        n_a=len(a),
        n_b=len(b),
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=float(b.mean() - a.mean()),
        low=float(found.low) if able else math.nan,
        high=float(found.high) if able else math.nan,
        effect_size=hedges_g(a, b),
        p_permutation=p_value(a, b) if able else math.nan,
        p_attainable=attainable(len(a), len(b)),
        p_t=_ttest(a, b, equal_var=False),
    )


def network_tests(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare two curricula at each perturbation; the unit is the network.

    Draws are averaged first, so there is one relative accuracy per network. p-values are corrected for the number of
    perturbations (Holm).

    Args:
        frame: as in `pooled_ttests`.

    Returns:
        One row for each perturbation but 0, ascending: `perturbation`, `curriculum_a`, `curriculum_b` (in alphabetical
        order), the fields of `Comparison`, then `p_permutation_holm`, `p_attainable_holm` (the smallest
        possible `p_permutation_holm`, which is reached if all other p are as small), `p_t_holm`, and `verdict`:
        "different" or "no difference seen" by the corrected permutation test at 0.05, or "inconclusive" if p of that
        test cannot be below 0.05 for these numbers of networks.

    Raises:
        ValueError: as in `pooled_ttests`.
    """
    rows: list[dict[str, Any]] = []
    for perturbation, first, second in _groups(frame):
        a, b = (group.groupby("network")["relative"].mean().to_numpy() for group in (first, second))
        names = {"curriculum_a": first["curriculum"].iloc[0], "curriculum_b": second["curriculum"].iloc[0]}
        rows.append({"perturbation": perturbation} | names | vars(compare(a, b)))
    columns = ["perturbation", "curriculum_a", "curriculum_b", *Comparison.__dataclass_fields__]
    return with_holm(pd.DataFrame(rows, columns=columns))


def with_holm(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Add corrected p-values and verdicts to rows of `Comparison`; see `network_tests`."""
    corrected = comparisons.assign(
        p_permutation_holm=holm(comparisons["p_permutation"].to_numpy(dtype=float)),
        p_attainable_holm=holm(comparisons["p_attainable"].to_numpy(dtype=float)),
        p_t_holm=holm(comparisons["p_t"].to_numpy(dtype=float)),
    )
    verdict = np.where(corrected["p_permutation_holm"] < LEVEL, "different", "no difference seen")
    able = (corrected["p_attainable_holm"] < LEVEL) & corrected["p_permutation"].notna()
    return corrected.assign(verdict=np.where(able, verdict, "inconclusive"))


def holm(p_values: Values) -> Values:
    """Return p-values corrected for their number by Holm's method; NaN remains NaN.

    `statsmodels.stats.multitest.multipletests` gives the same values, but runs the garbage collector at each call,
    which takes longer than everything else if a large study is in memory.
    """
    result = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]
    stepped = p_values[order] * np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return result


def hedges_g(a: Values, b: Values) -> float:
    """Return the difference of means b - a in pooled standard deviations, corrected for few values (Hedges' g).

    NaN for fewer than two values in a group, or if neither group varies.

    Source: Hedges 1981, the approximate correction 1 - 3 / (4 (n_a + n_b) - 9).
    """
    if min(len(a), len(b)) < 2 or (pooled := pooled_sd([a, b])) == 0:
        return math.nan
    return float((b.mean() - a.mean()) / pooled * (1 - 3 / (4 * (len(a) + len(b)) - 9)))


def pooled_sd(groups: Sequence[Values]) -> float:
    """Return the pooled standard deviation of groups, [n] each; NaN if none has two values."""
    freedom = sum(len(values) - 1 for values in groups)
    if freedom < 1:
        return math.nan
    return math.sqrt(sum(((values - values.mean()) ** 2).sum() for values in groups) / freedom)


def stars(p_value: float) -> str:
    """Return "" to "*****": a star for each of .05, .01, .001, 1e-4 and 1e-5 that p is below."""
    return "*" * sum(p_value < level for level in STARS)


def _groups(frame: pd.DataFrame) -> list[tuple[float, pd.DataFrame, pd.DataFrame]]:
    """Return the rows of the two curricula for each perturbation, with relative accuracies."""
    relative = relative_to_baseline(frame)
    names = sorted(relative["curriculum"].unique())
    if len(names) != 2:
        raise ValueError(f"frame: has the curricula {', '.join(map(str, names)) or 'none'}; a comparison needs two")
    if "n" in frame and frame["n"].nunique() > 1:
        found = ", ".join(str(n) for n in sorted(frame["n"].unique()))
        raise ValueError(f"frame: mixes N = {found}; a comparison needs one")
    groups = []
    for perturbation, rows in relative[relative["perturbation"] != 0].groupby("perturbation"):
        first, second = (rows[rows["curriculum"] == name] for name in names)
        if min(len(first), len(second)) == 0:
            raise ValueError(f"frame: perturbation {perturbation} lacks a curriculum; a comparison needs both")
        groups.append((float(str(perturbation)), first, second))
    return groups


def _ttest(a: Values, b: Values, *, equal_var: bool) -> float:
    """Return the two-sided p of an unpaired t-test; NaN for fewer than two values in a group, or if none vary."""
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return float("nan")
    with warnings.catch_warnings():
        # scipy warns of rounding if a group is nearly constant, which is expected for the group at the baseline.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ttest_ind(a, b, equal_var=equal_var).pvalue)
