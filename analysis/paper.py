"""What the paper gives in numbers: claims are held against them, and figures show them as dotted lines.

Source: arXiv 2309.12927. Numbers that its text does not give are read from its figures ("about"); those of figures 7a
and 7b are from the authors' published data, as relative accuracy.
"""

from collections.abc import Mapping
from typing import Final

HIDDEN: Final = 500
"""Neurons of a network (section 2)."""

EPOCH: Final = 600 * 256
"""Sequences of an epoch: 600 steps of 256 sequences. The text does not say; this is the authors' code."""

BUDGET: Final = 1000
"""Epochs of a network with a curriculum, at most (section 3.2)."""

LIMIT: Final = 101
"""The N at which training ends if it is solved (section 3.2)."""

ALONE_BUDGET: Final = 50
"""Epochs of a network without a curriculum, at most (figure 3a)."""

RETRAINING_BUDGET: Final = 20
"""Epochs of retraining on a larger N, at most (figure 7e)."""

RETRAINED_FROM: Final = 16
"""The N from which networks are retrained (figures 7e, S14)."""

RETRAINED_LATER_FROM: Final = 31
"""The larger N from which networks with windows are retrained (figure S14)."""

SMALL_N: Final = 5
"""The small N at which distributions and ablations are shown (figures 5, 7a, 7b)."""

LARGE_N: Final = 30
"""The large N at which distributions and interventions are shown (figures 5, 7)."""

MAX_N: Final[Mapping[tuple[str, str], int]] = {
    ("parity", "single"): 35,
    ("parity", "multi"): 100,
    ("dms", "single"): 90,
    ("dms", "multi"): 100,
}
"""The largest N solved with trained taus, about, by task and curriculum (figures 3b, 4a, S10)."""

ABLATED: Final[Mapping[tuple[str, str], float]] = {
    ("single", "longest"): 0.454,
    ("single", "shortest"): 0.926,
    ("multi", "longest"): 0.999,
    ("multi", "shortest"): 0.792,
}
"""Relative accuracy at N = 30 without one neuron of the longest or the shortest taus (figures 7a, 7b)."""

ABLATED_TAU: Final[Mapping[str, float]] = {"single": 5.28, "multi": 1.95}
"""Mean tau of the neurons with the longest taus at N = 30, by curriculum (figures 7a, 7b)."""

AGREEMENT: Final = 0.95
"""The share of neurons for which AIC and BIC choose the same model, about (figure S1)."""

RETRAINED_TO: Final = 29
"""Up to about this N multi-head networks retrain better than single-head ones (figure 7e, Table 3)."""
