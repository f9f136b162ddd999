"""The ratio of the training of two cells at every N, and where their order changes (such as in figures 3c and 4a).

A claim about pace is judged at one N, which its rule determines. Which of two cells is faster may depend on N.
Therefore the ratio is also shown at every N, with the same values and the same test.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from analysis.claims import pace
from analysis.claims.catalogue import CLAIMS
from analysis.claims.criteria import Exceeds
from analysis.claims.evidence import Evidence
from analysis.claims.rules import Group, Ratio
from analysis.claims.verdicts import Claim
from analysis.quantities.base import Tables
from analysis.quantities.pace import sequences_until
from analysis.stats.permutation import Effect

# Only the effect and its p are used, which do not depend on the criterion.
_RULE: Final = Ratio(Exceeds(0.0, math.log(1.25)))

COLUMNS: Final = ("n", "first", "second", "ratio", "low", "high", "p")


def course(tables: Tables, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Return the ratio of training at every N, for each claim about pace and each training of the networks.

    Args:
        tables: the results, finished or not.
        claims: all by default; claims that do not compare training have no rows.

    Returns:
        One row for each claim, training and N: `id`, `figure`, `claim`, `part` (the training in words), and the columns
        of `compare`.
    """
    parts = list(Evidence(tables).parts())
    found = []
    for claim in claims:
        for part in parts if claim.compared else []:
            first, second = (part.cell(cell) for cell in claim.compared or ())
            if first.empty or second.empty:
                continue
            rows = compare(first, second, part.rows(sequences_until, part.networks))
            about = {"id": claim.id, "figure": claim.figure, "claim": claim.text, "part": part.part}
            found.append(rows.assign(**about)[[*about, *COLUMNS]])
    if not found:
        return pd.DataFrame(columns=["id", "figure", "claim", "part", *COLUMNS])
    return pd.concat(found, ignore_index=True)


def compare(first: pd.DataFrame, second: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Compare the training of two cells at every N that a network of either has solved.

    Args:
        first: the networks of one cell, rows of `analysis.data.study.Study.networks`.
        second: the networks of the other cell.
        rows: network_id, n and value (the training until N was solved).

    Returns:
        One row for each N: `n`; `first` and `second`, how many networks of each cell have solved it; `ratio`, the
        training of the second cell divided by that of the first, NaN if less than half of either have solved N; `low`
        and `high`, its 95 % interval; `p`, the two-sided p-value of a ratio of 1. A network that has not solved N
        counts with its whole training as a lower bound.
    """
    rows = rows[rows["network_id"].isin([*first["network_id"], *second["network_id"]])]
    ns = sorted(int(n) for n in rows["n"].unique())
    cells = [pace.until_each(networks, rows, ns) for networks in (first, second)]
    found = []
    for i, n in enumerate(ns):
        # Networks that have not trained yet are left out.
        groups = [Group(values[own, i], bounds[own, i]) for values, bounds in cells for own in [values[:, i] > 0]]
        solved = [int((~group.bounds).sum()) for group in groups]
        if min(group.size for group in groups) == 0:
            continue
        enough = all(2 * count >= group.size for count, group in zip(solved, groups, strict=True))
        effect: Effect = _RULE.effect(*groups)
        ratio = math.exp(effect.estimate) if enough else math.nan
        low, high = float(np.exp(effect.low)), float(np.exp(effect.high))
        found.append((n, *solved, ratio, low, high, _RULE.p_value(0.0, *groups)))
    return pd.DataFrame(found, columns=list(COLUMNS))


def turns(ratios: pd.DataFrame) -> list[tuple[int, int]]:
    """Return where the order of two cells changes: pairs of an N and the next one, with ratios on both sides of 1.

    Args:
        ratios: the result of `compare`; an N without a ratio is skipped.
    """
    known = ratios[ratios["ratio"].notna() & (ratios["ratio"] != 1)].sort_values("n")
    slower = [float(ratio) > 1 for ratio in known["ratio"]]
    ns = [int(n) for n in known["n"]]
    return [(ns[i], ns[i + 1]) for i in range(len(ns) - 1) if slower[i] != slower[i + 1]]
