"""The least-squares line through values against N."""

import numpy as np
from scipy import stats

from analysis.stats.permutation import Values


def least_squares(n: Values, values: Values) -> tuple[float, float]:
    """Return the slope and the intercept of the line through values against N; NaN with fewer than three different N.

    Args:
        n: [P].
        values: [P].
    """
    if len(np.unique(n)) < 3:
        return float("nan"), float("nan")
    fit = stats.linregress(n, values)
    return float(fit.slope), float(fit.intercept)
