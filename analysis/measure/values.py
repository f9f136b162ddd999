"""Measured values as tables store them: what does not exist is None."""

import math

from analysis.stats.significance import relative_accuracy
from tsrnn.io.schemas import Row
from tsrnn.training.evaluation import Accuracy


def finite(value: float) -> float | None:
    """Return a value, or None if it is infinite or NaN."""
    return value if math.isfinite(value) else None


def accuracy_columns(found: Accuracy, baseline: float | None = None) -> Row:
    """Return the columns of an accuracy: `accuracy`, `standard_error`, and `relative_accuracy` if there is a baseline.

    The standard error is None if a single sequence was tested.

    Args:
        found: the accuracy.
        baseline: the accuracy to which it is relative.
    """
    row: Row = {"accuracy": found.accuracy, "standard_error": finite(found.standard_error)}
    return row if baseline is None else row | {"relative_accuracy": float(relative_accuracy(found.accuracy, baseline))}
