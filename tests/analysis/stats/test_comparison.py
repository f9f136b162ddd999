"""Quantities compared between curricula, and their changes over N, against scipy and statsmodels."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.stats.comparison import changes_over_n, compare_quantities

SINGLE, MULTI = 5, 6


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two quantities of networks of two curricula at N = 2, 3 and 4; single-head ones differ, and one ends at N = 3."""
    rng, found = np.random.default_rng(0), []
    for curriculum, networks, shift in (("single", SINGLE, 2.0), ("multi", MULTI, 0.0)):
        for i in range(networks):
            for n in (2, 3) if (curriculum, i) == ("single", 0) else (2, 3, 4):
                values = {"far": rng.normal() + shift * n, "near": rng.normal() if n < 4 else np.nan}
                found.append(
                    {"group": "all", "curriculum": curriculum, "n": n, "network_id": f"{curriculum}-{i}"} | values
                )
    return pd.DataFrame(found).sample(frac=1, random_state=0)


def values(rows: pd.DataFrame, name: str, curriculum: str, n: int) -> np.ndarray:
    return rows[(rows["curriculum"] == curriculum) & (rows["n"] == n)][name].to_numpy()


def test_each_quantity_is_compared_at_each_n_that_both_have(rows):
    found = compare_quantities(rows, ["far", "near"])
    assert list(zip(found["quantity"], found["n"], strict=True)) == [("far", n) for n in (2, 3, 4)] + [
        ("near", n) for n in (2, 3)
    ]
    assert set(zip(found["curriculum_a"], found["curriculum_b"], strict=True)) == {("multi", "single")}
    for row in found.itertuples():
        a, b = (values(rows, row.quantity, name, row.n) for name in ("multi", "single"))
        assert (row.n_a, row.n_b) == (len(a), len(b))
        assert row.difference == pytest.approx(b.mean() - a.mean())
        exact = stats.permutation_test(
            (b, a), lambda x, y, axis: x.mean(axis) - y.mean(axis), n_resamples=np.inf, vectorized=True
        )
        assert row.p_permutation == pytest.approx(exact.pvalue)
        assert row.p_t == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    for p in ("p_permutation", "p_t"):
        assert found[f"{p}_holm"].to_numpy() == pytest.approx(multipletests(found[p], method="holm")[1])


def test_one_curriculum_or_one_network_is_not_compared(rows):
    assert compare_quantities(rows[rows["curriculum"] == "single"], ["far"]).empty
    alone = rows[(rows["curriculum"] == "multi") | (rows["network_id"] == "single-1")]
    assert compare_quantities(alone, ["far"]).empty


def test_networks_are_not_compared_with_themselves(rows):
    """Single-head and multi-head networks of one seed are the same at N = 2; these rows once weakened all others."""
    at_two = rows[(rows["curriculum"] == "multi") & (rows["n"] == 2)]
    same = pd.concat([rows[rows["n"] > 2], at_two, at_two.assign(curriculum="single")])
    pd.testing.assert_frame_equal(compare_quantities(same, ["far"]), compare_quantities(rows[rows["n"] > 2], ["far"]))


def test_changes_are_within_networks_from_their_smallest_to_their_largest_n(rows):
    found = changes_over_n(rows, ["far", "near"]).set_index(["curriculum", "quantity"])
    for (curriculum, name), row in found.iterrows():
        changes = []
        for _, of_network in rows[rows["curriculum"] == curriculum].dropna(subset=name).groupby("network_id"):
            by_n = of_network.set_index("n")[name]
            changes.append(by_n[by_n.index.max()] - by_n[by_n.index.min()])
        low, high = stats.ttest_1samp(changes, 0).confidence_interval(0.95)
        assert row["networks"] == len(changes) == (SINGLE if curriculum == "single" else MULTI)
        assert (row["change"], row["low"], row["high"]) == pytest.approx((np.mean(changes), low, high))
        assert row["mean_to"] - row["mean_from"] == pytest.approx(row["change"])
        assert (row["n_from"], row["n_to"]) == (2, 4 if name == "far" else 3)


def test_a_network_with_one_n_does_not_change(rows):
    assert changes_over_n(rows[rows["n"] == 2], ["far"]).empty
