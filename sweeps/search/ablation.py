"""Ablation of the preset tuned: the preset without each of its parts, on the same fresh seeds."""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from analysis.stats.censoring import log_ratio, median
from sweeps.search.names import CurriculumName
from sweeps.search.space import TUNED, Parameters, lying_in_space

# The parts of the preset, replaced by those of the paper's training. Adam has the rate with which it was fastest when
# the rate decreases.
_PARTS: Final[dict[str, Parameters]] = {
    "Muon (Adam at 2e-3)": {"optimizer": "adam", "adam_learning_rate": 2e-3},
    "falling rates (constant)": {"rate_decay": False},
    "batches of 32 (256)": {"batch_size": 256},
    "tests every 20 steps (200)": {"steps_per_epoch": 200},
    "inputs with p = 0.5 (uniform)": {"input_probability": "uniform"},
    "readouts at all steps (1)": {"asked_all": False, "asked": 1},
    "short sequences (up to 4 N)": {"longest_factor": 4},
    "5 heads ahead (1)": {"ahead": 1},
}
_MULTI_HEAD: Final = "5 heads ahead (1)"


def without_each_part(curriculum_name: CurriculumName) -> dict[str, Parameters]:
    """Return the preset tuned, with the key "", and the preset without each of its parts, by the name of the part.

    The names give the replacement of the part in brackets.

    Args:
        curriculum_name: multi or single, which has no heads ahead.
    """
    return {
        name: lying_in_space(TUNED | changed, curriculum_name)
        for name, changed in ({"": Parameters()} | _PARTS).items()
        if curriculum_name == "multi" or name != _MULTI_HEAD
    }


class Part(NamedTuple):
    """The result of the preset without one of its parts.

    Attributes:
        without: the part's name; "" for the whole preset.
        networks: the number of networks.
        max_n: [networks], the largest N that each solved.
        median: median operations to the N of the comparison; infinite if more than half did not solve it.
        ratio: operations of the preset without the part, divided by those of the whole preset.
        low: the lower end of the ratio's 95 % interval (exact log-rank test over networks).
        high: the upper end, which may be infinite.
    """

    without: str
    networks: int
    max_n: tuple[int, ...]
    median: float
    ratio: float
    low: float
    high: float


def parts(candidates: pd.DataFrame, curves: pd.DataFrame, stage: int) -> tuple[int, list[Part]]:
    """Compare the operations that networks needed to one N.

    It is `stage`, or the largest N that all networks of the whole preset solved, if that is smaller. A network that did
    not solve this N counts with the operations that it used, as a lower bound.

    Args:
        candidates: the table `candidates` of the ablation.
        curves: the table `curves` of the ablation.
        stage: the N of the ablation.

    Returns:
        The N, and the parts in the order in which they were tried, with the whole preset first. There are no parts if
        the whole preset has not been trained or has solved nothing.
    """
    solved = candidates.merge(curves[["network_id", "n", "operations"]], on="network_id", suffixes=("_used", ""))
    whole = candidates[candidates["without"] == ""]
    n = min([stage, *whole["max_n"]]) if len(whole) else 0
    to_n = solved[solved["n"] == n].set_index("network_id")["operations"]
    needed = candidates["network_id"].map(to_n)
    rows = candidates.assign(censored=needed.isna(), needed=needed.fillna(candidates["operations"]))
    groups = {str(name): own for name, own in rows.groupby("without", sort=False)}
    if "" not in groups or to_n.empty:
        return n, []
    base, found = groups[""], []
    for name, own in sorted(groups.items(), key=lambda group: group[0] != ""):
        values, censored = own["needed"].to_numpy(float), own["censored"].to_numpy(bool)
        effect = log_ratio(base["needed"].to_numpy(float), base["censored"].to_numpy(bool), values, censored)
        ratio, low, high = (float(value) for value in np.exp([effect.estimate, effect.low, effect.high]))
        max_n = tuple(sorted(int(value) for value in own["max_n"]))
        found.append(Part(name, len(own), max_n, median(values, censored), ratio, low, high))
    return n, found
