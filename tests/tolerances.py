"""How close is close: relative errors in norm, one table for all tests."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """Relative errors in norm that rounding may cause.

    Attributes:
        forward: of states and logits.
        gradient: of one parameter's gradient.
        training: of a parameter, a loss or a gradient norm after some tens of optimiser steps.
    """

    forward: float
    gradient: float
    training: float


TOLERANCES = {
    torch.float64: Tolerance(forward=1e-12, gradient=1e-9, training=1e-9),
    torch.float32: Tolerance(forward=1e-5, gradient=1e-4, training=1e-4),
}

# The authors' numbers are float32, computed by other code in another order.
GOLDEN = Tolerance(forward=1e-5, gradient=1e-5, training=1e-5)


def distance(actual: Tensor, expected: Tensor) -> float:
    """Return |actual - expected| / |expected| in float64; the absolute one where the expected is zero."""
    assert actual.shape == expected.shape
    difference = torch.linalg.vector_norm(actual.detach().double() - expected.detach().double())
    scale = torch.linalg.vector_norm(expected.detach().double())
    return float(difference / scale if scale > 0 else difference)
