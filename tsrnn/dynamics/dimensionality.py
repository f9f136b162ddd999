"""The dimensionality of a population's activity, and the mean incoming weights of its neurons."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from tsrnn.networks import Population
from tsrnn.networks.leaky import WEIGHT, LeakyPopulation

SHARE: Final = 0.9
"""The share of the variance that the counted components explain (figures 6b, S20)."""


class Covariance:
    """An observer of activities (see `tsrnn.dynamics.simulation.observe`) that computes their covariances over neurons.

    It keeps one matrix [H, H] for each trial, however many steps there are.
    """

    def __init__(self) -> None:
        """Create an observer without data."""
        self._steps = 0

    def __call__(self, activity: Tensor) -> None:
        """Update with a block [t, R, B, H]."""
        _, R, B, H = activity.shape
        if not self._steps:
            # A shift, the same for all trials of a network so that they can be pooled, reduces rounding.
            self._shift = activity[:1, :, :1].clone()
            self._products = torch.zeros(R, B, H, H, dtype=torch.float64, device=activity.device)
            self._total = torch.zeros(R, B, H, dtype=torch.float64, device=activity.device)
        series = (activity - self._shift).permute(1, 2, 0, 3).flatten(0, 1)
        self._products += torch.bmm(series.transpose(1, 2), series).view(R, B, H, H)
        self._total += series.sum(1).view(R, B, H)
        self._steps += len(activity)

    def of_trials(self) -> Tensor:
        """Return the covariance [R, B, H, H] of each trial, over its steps, in float64.

        Raises:
            ValueError: if nothing was observed.
        """
        return self._about_the_mean(self._products, self._total, self._counted())

    def pooled(self) -> Tensor:
        """Return the covariance [R, H, H] over the steps of all trials.

        Raises:
            ValueError: if nothing was observed.
        """
        steps = self._counted() * self._total.shape[1]
        return self._about_the_mean(self._products.sum(1), self._total.sum(1), steps)

    def _counted(self) -> int:
        if not self._steps:
            raise ValueError("no activity was observed yet")
        return self._steps

    @staticmethod
    def _about_the_mean(products: Tensor, total: Tensor, steps: int) -> Tensor:
        mean = total / steps
        return products / steps - mean[..., None] * mean[..., None, :]


@dataclass(frozen=True)
class Dimensionality:
    """The dimensionality of activity with a given covariance.

    Attributes:
        components: the smallest number of principal components that have 90 % of the variance; 0 if there is no
            variance, -1 if the covariance is not finite.
        participation_ratio: (sum of variances)^2 / (sum of their squares); NaN in both of these cases.
    """

    components: int
    participation_ratio: float


def dimensionality(covariance: Tensor, share: float = SHARE) -> Dimensionality:
    """Count the principal components of a covariance [H, H].

    Source: figures 6b, S20. The authors' code returns one less: the index of the last component counted.
    """
    if not covariance.isfinite().all():
        return Dimensionality(-1, float("nan"))
    # Negative values are due to rounding.
    variances = torch.linalg.eigvalsh(covariance).clamp(min=0).flip(0)
    total = variances.sum()
    if total == 0:
        return Dimensionality(0, float("nan"))
    # The last sum equals the total only up to rounding, so a share of 1 may exceed it.
    components = min(int((variances.cumsum(0) < share * total).sum()) + 1, len(variances))
    return Dimensionality(components, float(total**2 / variances.square().sum()))


@dataclass(frozen=True)
class IncomingWeights:
    """Incoming recurrent weights of R networks' neurons, averaged over the H - 1 others; [R, H] float64.

    Attributes:
        mean: their mean.
        positive: the part of it from positive weights.
        negative: the part from negative weights, <= 0.
    """

    mean: Tensor
    positive: Tensor
    negative: Tensor


def incoming_weights(population: Population) -> IncomingWeights:
    """Return the mean weights that each neuron receives from the others (figures 6a, S19c).

    Raises:
        TypeError: if the networks are not leaky ones: those have no W without self-connections.
        ValueError: if a network has only one neuron.
    """
    if not isinstance(population, LeakyPopulation):
        raise TypeError(f"population: of {population.network.kind} networks; recurrent weights are those of leaky ones")
    others = population.network.hidden - 1
    if not others:
        raise ValueError("hidden = 1: there are no recurrent weights; allowed are numbers of at least 2")
    weight = population.parameters[WEIGHT].detach().double()
    positive, negative = weight.clamp(min=0).sum(2) / others, weight.clamp(max=0).sum(2) / others
    return IncomingWeights(positive + negative, positive, negative)
