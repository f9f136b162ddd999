"""Gradients and curvature: gradients at past states, cosines between heads' gradients, and sharpness."""

from typing import Final

import pandas as pd

from analysis.quantities.base import GRADIENTS_COMMAND, quantity


@quantity(
    "gradient at the oldest bit, relative to the newest",
    "gradient at delay N - 1\nover that at delay 0",
    needs=GRADIENTS_COMMAND,
)
def gradient_reach(gradients: pd.DataFrame) -> pd.DataFrame:
    """Return the norm of the gradient of the newest head's loss at delay N - 1, divided by that at delay 0."""
    rows = gradients[gradients["loss"] == "newest"]
    ends = rows[rows["delay"] == 0].merge(rows[rows["delay"] == rows["n"] - 1], on=["network_id", "n"])
    return ends[["network_id", "n"]].assign(value=ends["norm_y"] / ends["norm_x"].where(ends["norm_x"] > 0))


@quantity(
    "the same for the next N, before it is trained",
    "the same for the next N,\nbefore it is trained",
    needs=GRADIENTS_COMMAND,
)
def gradient_reach_next(gradients: pd.DataFrame) -> pd.DataFrame:
    """Return the ratio of the norms at delay N and delay 0 for the next N of the curriculum, before it is trained."""
    rows = gradients[gradients["loss"] == "next"]
    ends = rows[rows["delay"] == 0].merge(rows[rows["delay"] == rows["n"]], on=["network_id", "n"])
    return ends[["network_id", "n"]].assign(value=ends["norm_y"] / ends["norm_x"].where(ends["norm_x"] > 0))


@quantity(
    "cosine between the gradients of the newest head and of the older heads",
    "cosine of gradients w.r.t. W,\nnewest and older heads",
    needs=GRADIENTS_COMMAND,
)
def gradient_agreement(gradient_cosines: pd.DataFrame) -> pd.DataFrame:
    """Return the cosine between the gradients (by W) of the newest head's loss and of the sum of the older heads'."""
    rows = gradient_cosines[(gradient_cosines["head"] == gradient_cosines["n"]) & (gradient_cosines["other"] == -1)]
    return rows[["network_id", "n"]].assign(value=rows["cosine_weights"].astype(float))


@quantity(
    "sharpness of the newest head's loss", "largest eigenvalue of the\nHessian, newest head", needs=GRADIENTS_COMMAND
)
def sharpness(curvature: pd.DataFrame) -> pd.DataFrame:
    """Return the largest eigenvalue of the Hessian of the newest head's loss."""
    rows = curvature[curvature["loss"] == "newest"]
    return rows[["network_id", "n"]].assign(value=rows["sharpness"].astype(float))


GRADIENTS: Final = (gradient_reach, gradient_reach_next, gradient_agreement, sharpness)
"""The quantities that the command summarises and figure M3 shows."""
