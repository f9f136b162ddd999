"""What a sweep's own table says of the paper's findings, in a line each: seen, or inconclusive at this scale.

A finding is an order between groups of cells. It is called seen only if the 95 % intervals of the two groups
do not touch; the statistics proper are the analysis's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finding:
    """A finding of the paper about max N under one curriculum.

    Attributes:
        claim: in words.
        curriculum: the curriculum it is about.
        above: tau constraints that get further.
        below: tau constraints that get less far.
    """

    claim: str
    curriculum: str
    above: tuple[str, ...]
    below: tuple[str, ...]


def readings(table: "pd.DataFrame", findings: Iterable[Finding]) -> Iterator[str]:
    """Yield a line for each finding and task that the table has the cells for; they are about leaky networks.

    Args:
        table: what `analysis.quantities.reach.max_n` returns.
        findings: what to look for.
    """
    for (task, curriculum, where), cells in table.groupby(["task", "curriculum", "self_interaction"], sort=False):
        by_tau = cells.drop_duplicates("tau").set_index("tau")
        for finding in findings:
            named = {*finding.above, *finding.below}
            if finding.curriculum != curriculum or not named <= set(by_tau.index):
                continue
            above, below = by_tau.loc[list(finding.above)], by_tau.loc[list(finding.below)]
            verdict = "seen" if above["low"].min() > below["high"].max() else "inconclusive at this scale"
            yield (
                f"{task}, {curriculum}, self-interaction {where}: {finding.claim}: {verdict} "
                f"(least of the higher {above['mean'].min():.1f}, most of the lower {below['mean'].max():.1f})"
            )
