"""Optimisers over a population's stacked tensors: R independent optimisers in one update.

torch.optim holds one step count and one set of moments for a whole tensor; here a head that is created late,
or a network that leaves, must not touch the others. The update rules are torch's, and tested against it.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from tsrnn.config import SGD, GradientClip
from tsrnn.networks.base import NetworkState, Stack, stack, unstack


def gradient_norms(gradients: Mapping[str, Tensor]) -> Tensor:
    """Return each network's gradient norm over all its tensors, [R]."""
    squares = [torch.linalg.vector_norm(g.flatten(1), dim=1) ** 2 for g in gradients.values()]
    return torch.stack(squares).sum(0).sqrt()


def clip_(gradients: Stack, norms: Tensor, clip: GradientClip) -> None:
    """Scale each network's gradient, in place, so that its norm is at most `clip.max_norm`.

    Args:
        gradients: [R, ...] by name.
        norms: [R], from `gradient_norms`.
        clip: the limit.
    """
    scale = (clip.max_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients.values():
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))


class StackedSGD:
    """Stochastic gradient descent with Nesterov momentum; the momentum of a new head starts at zero."""

    def __init__(self, config: SGD, momentum: Stack) -> None:
        """Take the momentum buffers [R, ...] by parameter name, without a copy."""
        self.config = config
        self.momentum = momentum

    @classmethod
    def from_states(
        cls,
        config: SGD,
        momenta: Sequence[Mapping[str, Tensor]],
        networks: Sequence[Mapping[str, Tensor]],
        heads: Sequence[Sequence[int]],
    ) -> Self:
        """Stack R networks' momenta; what a network has no momentum for yet starts at zero."""
        whole = [
            {name: momentum.get(name, torch.zeros_like(tensor)) for name, tensor in network.items()}
            for momentum, network in zip(momenta, networks, strict=True)
        ]
        return cls(config, stack(whole, heads))

    def states(self, heads: Sequence[Sequence[int]]) -> list[NetworkState]:
        """Return copies of the R networks' momenta, heads by their N."""
        return unstack(self.momentum, heads)

    @torch.no_grad()
    def update_(self, parameters: Stack, gradients: Mapping[str, Tensor]) -> None:
        """Take one step, in place, on the parameters that have a gradient."""
        for name, gradient in gradients.items():
            momentum = self.momentum[name]
            momentum.mul_(self.config.momentum).add_(gradient)
            step = torch.add(gradient, momentum, alpha=self.config.momentum)
            parameters[name].add_(step, alpha=-self.config.learning_rate)
