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


def clip_scale(norms: Tensor, clip: GradientClip | None) -> Tensor:
    """Return the factor [R] that brings each network's gradient norm [R] to at most `clip.max_norm`.

    The small constant is that of torch.nn.utils.clip_grad_norm_.
    """
    return torch.ones_like(norms) if clip is None else (clip.max_norm / (norms + 1e-6)).clamp(max=1.0)


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
    def update_(self, parameters: Stack, gradients: Mapping[str, Tensor], scale: Tensor) -> None:
        """Take one step, in place, on the parameters that have a gradient.

        The gradients are only read: autograd may hand out one tensor as the gradient of two parameters.

        Args:
            parameters: [R, ...] by name.
            gradients: by the same names.
            scale: [R] factor on each network's gradient.
        """
        rate, decay = self.config.learning_rate, self.config.momentum
        for name, gradient in gradients.items():
            momentum, parameter = self.momentum[name], parameters[name]
            factor = scale.view(-1, *[1] * (gradient.ndim - 1))
            momentum.mul_(decay).addcmul_(gradient, factor)
            parameter.add_(momentum, alpha=-rate * decay).addcmul_(gradient, factor, value=-rate)
