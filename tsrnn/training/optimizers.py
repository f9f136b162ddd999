"""Optimisers for the stacked tensors of a population: R independent optimisers in one update.

torch.optim has one step count and one set of moments for a whole tensor. Here, a head that is created later, or a
network that leaves, must not affect the others. The update rules are torch's, and tests compare them with torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, assert_never

import torch
from torch import Tensor

from tsrnn.config import SGD, Adam, AdamW, GradientClip, Muon, Optimizer
from tsrnn.networks.base import NetworkState, Stack, stack, unstack

ORTHOGONALIZED: Final = "recurrent.weight"
"""The parameter whose steps Muon orthogonalises: [R, H, H], or the gates' matrices on top of each other."""

_NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5


def gradient_norms(gradients: Mapping[str, Tensor]) -> Tensor:
    """Return each network's gradient norm over all its tensors, [R].

    The squares are added one tensor after the other, because the order of torch's sum over all of them depends on R.
    """
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()])
    first, *rest = norms.square().unbind()
    total = first
    for square in rest:
        total = total + square
    return total.sqrt()


def clip_scale(norms: Tensor, clip: GradientClip | None) -> Tensor:
    """Return the factor [R] that brings each network's gradient norm [R] to at most `clip.max_norm`.

    The small constant is that of torch.nn.utils.clip_grad_norm_.
    """
    return torch.ones_like(norms) if clip is None else (clip.max_norm / (norms + 1e-6)).clamp(max=1.0)


OptimizerState = dict[str, NetworkState]
"""What an optimiser keeps of one network, by what it is ("momentum"), then by the network's names."""


def initial_state(config: Optimizer, network: Mapping[str, Tensor]) -> OptimizerState:
    """Return the initial state of an optimiser for some tensors: zeros.

    Returns:
        SGD: "momentum", shaped as each tensor. Adam and AdamW: "mean" and "square" of the gradient, shaped as each
        tensor, and "steps", how often it was updated: int64 without dimensions. Muon: of the recurrent weights the
        mean alone.
    """
    zeros = {name: torch.zeros_like(tensor) for name, tensor in network.items()}
    match config:
        case SGD():
            return {"momentum": zeros}
        case Adam() | AdamW() | Muon():
            adaptive = {n: t for n, t in zeros.items() if not (isinstance(config, Muon) and n == ORTHOGONALIZED)}
            steps = {name: torch.zeros((), dtype=torch.int64, device=t.device) for name, t in adaptive.items()}
            return {"mean": zeros, "square": {name: t.clone() for name, t in adaptive.items()}, "steps": steps}
        case _:
            assert_never(config)


class StackedOptimizer(ABC):
    """R independent optimisers of one kind.

    Attributes:
        moments: what `initial_state` says is kept, each stacked by parameter name: [R, ...].
        rates: [R] factors on the learning rate, where networks have some.
    """

    rates: Tensor | None = None

    def __init__(self, moments: Mapping[str, Stack]) -> None:
        """Hold the tensors as they are, without a copy."""
        self.moments = dict(moments)

    def _factors(self, like: Tensor) -> Tensor | float:
        """Return the networks' factors on the learning rate, shaped to multiply a stacked tensor."""
        return 1.0 if self.rates is None else _each(self.rates, like)

    def states(self, heads: Sequence[Sequence[int]]) -> list[OptimizerState]:
        """Return copies of the optimiser states of the R networks, with heads by their N."""
        by_part = {part: unstack(tensors, heads) for part, tensors in self.moments.items()}
        return [{part: states[r] for part, states in by_part.items()} for r in range(len(heads))]

    @abstractmethod
    def update_(self, parameters: Stack, gradients: Mapping[str, Tensor], scale: Tensor) -> None:
        """Take one step, in place, on the parameters that have a gradient.

        The gradients are only read: autograd may hand out one tensor as the gradient of two parameters.

        Args:
            parameters: [R, ...] by name.
            gradients: by the same names.
            scale: [R] factor on each network's gradient.
        """


class StackedSGD(StackedOptimizer):
    """Stochastic gradient descent with Nesterov momentum, as torch.optim.SGD."""

    def __init__(self, config: SGD, moments: Mapping[str, Stack]) -> None:
        """Take the momentum buffers without a copy."""
        super().__init__(moments)
        self.config = config

    @torch.no_grad()
    def update_(self, parameters: Stack, gradients: Mapping[str, Tensor], scale: Tensor) -> None:
        """Take one step; see `StackedOptimizer.update_`."""
        rate, decay, weight_decay = self.config.learning_rate, self.config.momentum, self.config.weight_decay
        momenta = self.moments["momentum"]
        for name, gradient in gradients.items():
            momentum, parameter = momenta[name], parameters[name]
            factor, own = _each(scale, gradient), self._factors(gradient)
            momentum.mul_(decay).addcmul_(gradient, factor)
            if weight_decay and decays(name):
                momentum.add_(parameter, alpha=weight_decay)
                parameter.mul_(1.0 - rate * weight_decay * own)
            if isinstance(own, float):
                parameter.add_(momentum, alpha=-rate * decay).addcmul_(gradient, factor, value=-rate)
            else:
                parameter.addcmul_(momentum, own, value=-rate * decay).addcmul_(gradient, factor * own, value=-rate)


class StackedAdam(StackedOptimizer):
    """Adam and AdamW, as in torch; every head has its own step count, so that its bias correction is right."""

    def __init__(self, config: Adam | AdamW | Muon, moments: Mapping[str, Stack]) -> None:
        """Take means, squares and step counts without a copy."""
        super().__init__(moments)
        self.config: Adam | AdamW | Muon = config

    @torch.no_grad()
    def update_(self, parameters: Stack, gradients: Mapping[str, Tensor], scale: Tensor) -> None:
        """Take one step; see `StackedOptimizer.update_`."""
        config, weight_decay = self.config, self.config.weight_decay
        for name, gradient in gradients.items():
            parameter = parameters[name]
            mean, square, steps = (self.moments[part][name] for part in ("mean", "square", "steps"))
            gradient, own = gradient * _each(scale, gradient), self._factors(gradient)
            if weight_decay and decays(name):
                if isinstance(config, Adam):
                    gradient.add_(parameter, alpha=weight_decay)
                else:
                    parameter.mul_(1.0 - config.learning_rate * weight_decay * own)
            mean.lerp_(gradient, 1.0 - config.beta1)
            square.mul_(config.beta2).addcmul_(gradient, gradient, value=1.0 - config.beta2)
            steps.add_(1)
            # [R], or [R, K] for the heads: in float64, where the powers are exact enough at every count.
            count = steps.double().view(*steps.shape, *[1] * (parameter.ndim - steps.ndim))
            step_size = (-config.learning_rate * own / (1.0 - config.beta1**count)).to(parameter.dtype)
            root = (1.0 - config.beta2**count).sqrt().to(parameter.dtype)
            parameter.addcmul_(mean / square.sqrt().div_(root).add_(config.epsilon), step_size)


class StackedMuon(StackedAdam):
    """Muon, as in torch, for the recurrent weights; AdamW for the other parameters."""

    config: Muon

    def __init__(self, config: Muon, moments: Mapping[str, Stack], products: torch.dtype | None) -> None:
        """Take means, squares and step counts without a copy; see `orthogonalized` for `products`."""
        super().__init__(config, moments)
        self.products = products

    @torch.no_grad()
    def update_(self, parameters: Stack, gradients: Mapping[str, Tensor], scale: Tensor) -> None:
        """Take one step; see `StackedOptimizer.update_`."""
        super().update_(parameters, {n: g for n, g in gradients.items() if n != ORTHOGONALIZED}, scale)
        if ORTHOGONALIZED not in gradients:
            return
        config, parameter, mean = self.config, parameters[ORTHOGONALIZED], self.moments["mean"][ORTHOGONALIZED]
        gradient, own = gradients[ORTHOGONALIZED] * _each(scale, parameter), self._factors(parameter)
        mean.lerp_(gradient, 1.0 - config.beta1)
        direction = orthogonalized(gradient.lerp(mean, config.beta1), self.products)
        if config.weight_decay:
            parameter.mul_(1.0 - config.recurrent_rate * config.weight_decay * own)
        tall = max(1.0, parameter.shape[1] / parameter.shape[2]) ** 0.5
        parameter.sub_(direction * (config.recurrent_rate * tall * own))


def _each(factors: Tensor, like: Tensor) -> Tensor:
    """Shape one factor a network, [R], to multiply a stacked tensor [R, ...]."""
    return factors.view(-1, *[1] * (like.ndim - 1))


def orthogonalized(matrices: Tensor, products: torch.dtype | None = None) -> Tensor:
    """Bring the singular values of matrices close to 1 (from about 0.7 to 1.2), keeping their singular vectors.

    This takes five steps of a Newton-Schulz iteration with the coefficients of torch.optim.Muon.

    Args:
        matrices: [R, n, m].
        products: the dtype that products are taken in; that of `matrices` if left out.

    Returns:
        [R, n, m] in the dtype of `matrices`; zeros for zeros.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = (x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)).to(products or matrices.dtype)
    linear, cubic, quintic = _NEWTON_SCHULZ
    for _ in range(_ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)


def step_operations(config: Optimizer, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Return the floating-point operations of the matrix products of one network's step, from its tensors' shapes."""
    if not isinstance(config, Muon):
        return 0.0
    small, large = sorted(shapes[ORTHOGONALIZED])
    return _ITERATIONS * 2.0 * (2 * small**2 * large + small**3)


def decays(name: str) -> bool:
    """Return whether weight decay applies to a parameter: to weights, not to biases or tau."""
    return name.endswith(".weight")


def stacked_optimizer(
    config: Optimizer,
    states: Sequence[OptimizerState],
    networks: Sequence[Mapping[str, Tensor]],
    heads: Sequence[Sequence[int]],
    products: torch.dtype | None = None,
) -> StackedOptimizer:
    """Stack the optimiser states of R networks; an empty state is that of a network that has not yet taken a step.

    Args:
        config: the optimiser of all of them.
        states: R networks' optimiser states, or empty ones.
        networks: their tensors.
        heads: their N.
        products: the dtype that an optimiser's matrix products are taken in; the tensors' if left out.

    Raises:
        KeyError: if a state lacks a tensor of its network.
    """
    whole = [state or initial_state(config, network) for state, network in zip(states, networks, strict=True)]
    moments = {part: stack([state[part] for state in whole], heads) for part in whole[0]}
    match config:
        case SGD():
            return StackedSGD(config, moments)
        case Adam() | AdamW():
            return StackedAdam(config, moments)
        case Muon():
            return StackedMuon(config, moments, products)
        case _:
            assert_never(config)
