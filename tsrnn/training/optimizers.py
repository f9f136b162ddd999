"""Optimisers for the stacked tensors of a population: R independent optimisers in one update.

torch.optim has one step count and one set of moments for a whole tensor. Here, a head that is created later, or a
network that leaves, must not affect the others. The update rules are torch's, and tests compare them with torch; SOAP,
which torch lacks, is compared with the algorithm of its paper.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, assert_never

import torch
from torch import Tensor

from tsrnn.config import SGD, SOAP, Adam, AdamW, GradientClip, Muon, Optimizer
from tsrnn.networks.base import NetworkState, Stack, stack, unstack

MATRIX: Final = "recurrent.weight"
"""What Muon and SOAP update as a matrix: [R, H, H], or the gates' matrices on top of each other."""

_OF_MATRIX: Final = ("left", "right", "left_basis", "right_basis")
"""What SOAP keeps of this parameter alone; see `initial_state`."""

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
        mean alone. SOAP: mean and square of the recurrent weights are those of the rotated gradient; of the recurrent
        weights alone, "left" and "right" are the running means L and R, and "left_basis" and "right_basis" their
        eigenvectors, [gates, H, H] each, where a network without gates has one.
    """
    zeros = {name: torch.zeros_like(tensor) for name, tensor in network.items()}
    match config:
        case SGD():
            return {"momentum": zeros}
        case Adam() | AdamW() | Muon() | SOAP():
            adaptive = {n: t for n, t in zeros.items() if not (isinstance(config, Muon) and n == MATRIX)}
            steps = {name: torch.zeros((), dtype=torch.int64, device=t.device) for name, t in adaptive.items()}
            state = {"mean": zeros, "square": {name: t.clone() for name, t in adaptive.items()}, "steps": steps}
            if isinstance(config, SOAP):
                matrix = {MATRIX: zeros[MATRIX]} if MATRIX in zeros else {}
                for part in _OF_MATRIX:
                    side = part.removesuffix("_basis")
                    state[part] = {n: t.new_zeros(_sides(t.shape)[side]) for n, t in matrix.items()}
            return state
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
        by_part = {part: unstack(tensors, _heads_in(part, heads)) for part, tensors in self.moments.items()}
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

    def __init__(self, config: Adam | AdamW | Muon | SOAP, moments: Mapping[str, Stack]) -> None:
        """Take means, squares and step counts without a copy."""
        super().__init__(moments)
        self.config: Adam | AdamW | Muon | SOAP = config

    @torch.no_grad()
    def update_(self, parameters: Stack, gradients: Mapping[str, Tensor], scale: Tensor) -> None:
        """Take one step; see `StackedOptimizer.update_`."""
        config, weight_decay = self.config, self.config.weight_decay
        for name, gradient in gradients.items():
            parameter = parameters[name]
            gradient, own = gradient * _each(scale, gradient), self._factors(gradient)
            if weight_decay and decays(name):
                if isinstance(config, Adam):
                    gradient.add_(parameter, alpha=weight_decay)
                else:
                    parameter.mul_(1.0 - config.learning_rate * weight_decay * own)
            parameter.addcmul_(*self._step(name, gradient, config.learning_rate * own, config.beta2))

    def _step(self, name: str, gradient: Tensor, rate: Tensor | float, beta2: float) -> tuple[Tensor, Tensor]:
        """Update the mean and square of a gradient; return two factors of Adam's step, the second one per network."""
        config = self.config
        mean, square, steps = (self.moments[part][name] for part in ("mean", "square", "steps"))
        mean.lerp_(gradient, 1.0 - config.beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        steps.add_(1)
        # [R], or [R, K] for the heads: in float64, where the powers are exact enough at every count.
        count = steps.double().view(*steps.shape, *[1] * (gradient.ndim - steps.ndim))
        step_size = (-rate / (1.0 - config.beta1**count)).to(gradient.dtype)
        root = (1.0 - beta2**count).sqrt().to(gradient.dtype)
        return mean / square.sqrt().div_(root).add_(config.epsilon), step_size


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
        super().update_(parameters, {n: g for n, g in gradients.items() if n != MATRIX}, scale)
        if MATRIX not in gradients:
            return
        config, parameter, mean = self.config, parameters[MATRIX], self.moments["mean"][MATRIX]
        gradient, own = gradients[MATRIX] * _each(scale, parameter), self._factors(parameter)
        mean.lerp_(gradient, 1.0 - config.beta1)
        direction = orthogonalized(gradient.lerp(mean, config.beta1), self.products)
        if config.weight_decay:
            parameter.mul_(1.0 - config.recurrent_rate * config.weight_decay * own)
        tall = max(1.0, parameter.shape[1] / parameter.shape[2]) ** 0.5
        parameter.sub_(direction * (config.recurrent_rate * tall * own))


class StackedSOAP(StackedAdam):
    """SOAP for the recurrent weights; AdamW for the other parameters.

    As in the authors' code, the first gradient of a network only sets its bases. In them it is diagonal but for
    rounding errors, and a step of Adam would be as large for these.

    All products, and the QR decompositions, have the dtype of the parameters. Lower precision is not sound: the step is
    of equal size in all rotated directions, so that rounding errors of the strongest would fill the weakest. The first
    eigenvectors are computed in float64.
    """

    config: SOAP

    @torch.no_grad()
    def update_(self, parameters: Stack, gradients: Mapping[str, Tensor], scale: Tensor) -> None:
        """Take one step; see `StackedOptimizer.update_`."""
        super().update_(parameters, {n: g for n, g in gradients.items() if n != MATRIX}, scale)
        if MATRIX not in gradients:
            return
        config, parameter = self.config, parameters[MATRIX]
        left, right, left_basis, right_basis = (self.moments[part][MATRIX] for part in _OF_MATRIX)
        gates, own = left.shape[1], self._factors(parameter)
        new = ~left_basis.flatten(1).any(1)
        # [R, gates, n, m], as all products below.
        gradient = _by_gate(gradients[MATRIX] * _each(scale, parameter), gates)
        # While a network has no bases, all of this is 0, and its step is not counted.
        rotated = (left_basis.mT @ gradient @ right_basis).flatten(1, 2)
        direction, step_size = self._step(MATRIX, rotated, config.recurrent_rate * own, config.recurrent_beta2)
        self.moments["steps"][MATRIX].sub_(new.long())
        if config.weight_decay:
            parameter.mul_(1.0 - config.recurrent_rate * config.weight_decay * own)
        step = left_basis @ _by_gate(direction.mul_(step_size), gates) @ right_basis.mT
        parameter.add_(step.flatten(1, 2))
        left.lerp_(gradient @ gradient.mT, 1.0 - config.shampoo_beta)
        right.lerp_(gradient.mT @ gradient, 1.0 - config.shampoo_beta)
        for r in new.nonzero().flatten():
            left_basis[r], right_basis[r] = _eigenvectors(left[r]), _eigenvectors(right[r])
        self._turn_bases()

    def _turn_bases(self) -> None:
        """Update the bases of the networks whose own count of steps is a multiple of the frequency.

        The mean is turned into the new bases. The squares stay with their eigenvectors, as in the authors' code.
        """
        steps = self.moments["steps"][MATRIX]
        due = ((steps > 0) & (steps % self.config.frequency == 0)).nonzero().flatten()
        if not len(due):
            return
        gates = self.moments["left"][MATRIX].shape[1]
        mean, square = (_by_gate(self.moments[part][MATRIX], gates) for part in ("mean", "square"))
        turned, sorted_square = mean[due], square[due]
        for side in ("left", "right"):
            moment, basis = self.moments[side][MATRIX][due], self.moments[f"{side}_basis"][MATRIX]
            new, order = _power_iteration(moment, basis[due])
            turn = new.mT @ basis[due]
            if side == "left":
                turned = turn @ turned
                sorted_square = sorted_square.gather(-2, order[..., :, None].expand_as(sorted_square))
            else:
                turned = turned @ turn.mT
                sorted_square = sorted_square.gather(-1, order[..., None, :].expand_as(sorted_square))
            basis[due] = new
        mean[due], square[due] = turned, sorted_square


def _eigenvectors(gram: Tensor) -> Tensor:
    """Return the eigenvectors of symmetric matrices [..., n, n] in columns, those of the largest eigenvalues first.

    The sum of each column is not negative, so that signs do not depend on rounding. Where an entry is not finite, the
    eigenvectors are those of the zero matrix: a network that diverges must not stop the others.
    """
    finite = gram.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    vectors: Tensor = torch.linalg.eigh(gram.double().where(finite, 0.0))[1].flip(-1)
    return (vectors * _signs(vectors.sum(-2))[..., None, :]).to(gram.dtype)


def _signs(values: Tensor) -> Tensor:
    """Return -1 for negative numbers, else 1."""
    return torch.where(values < 0, -1.0, 1.0).to(values.dtype)


def _power_iteration(moment: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Take one step of the power iteration towards the eigenvectors of symmetric matrices.

    Args:
        moment: [..., n, n].
        basis: [..., n, n] orthonormal columns.

    Returns:
        The orthonormal basis of `moment` times the basis, whose columns are taken in descending order of their
        Rayleigh quotients, and this order [..., n]. Of the two signs of each column, it has the one that keeps the
        column in its place.
    """
    image = moment @ basis
    order = (basis * image).sum(-2).argsort(dim=-1, descending=True, stable=True)
    new, triangle = torch.linalg.qr(image.gather(-1, order[..., None, :].expand_as(image)))
    return new * _signs(triangle.diagonal(dim1=-2, dim2=-1))[..., None, :], order


def _by_gate(matrices: Tensor, gates: int) -> Tensor:
    """Return the gates' matrices, [R, gates, n, m], of those on top of each other: a view."""
    return matrices.view(len(matrices), gates, -1, matrices.shape[2])


def _heads_in(part: str, heads: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """Return the heads of which an optimiser keeps a part of its state: all, or none."""
    return [()] * len(heads) if part in _OF_MATRIX else heads


def _sides(shape: Sequence[int]) -> dict[str, tuple[int, int, int]]:
    """Return the shapes of SOAP's L ("left") and R ("right") of the matrix of one network, [n, m].

    A matrix whose rows are a multiple of its columns has the square matrices of gates on top of each other, and each of
    them has an L and R of its own.
    """
    n, m = shape
    gates = n // m if n % m == 0 else 1
    return {"left": (gates, n // gates, n // gates), "right": (gates, m, m)}


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
    """Return the floating-point operations of the matrix products of one network's step, from its tensors' shapes.

    Muon: each iteration has three products, 2 (2 n^2 m + n^3) for a matrix of n times m, n the smaller.

    SOAP, for each gate's matrix of n times m: G is turned into the bases, the step is turned back, and G G^T and G^T G
    are taken, 2 (n^2 m + n m^2) each. Every `frequency` steps, there are for the left side the product L Q (2 n^3), its
    QR decomposition (4/3 n^3 for R and as many for Q), the product of the new with the old basis (2 n^3), and that with
    the mean (2 n^2 m); and as many for the right side, with n and m exchanged. For a square matrix this is
    (12 + 52 / (3 `frequency`)) n^3. The first eigenvectors, once for each network, are not counted.
    """
    match config:
        case SGD() | Adam() | AdamW():
            return 0.0
        case Muon():
            small, large = sorted(shapes[MATRIX])
            return _ITERATIONS * 2.0 * (2 * small**2 * large + small**3)
        case SOAP():
            sides = _sides(shapes[MATRIX])
            (gates, n, _), (_, m, _) = sides["left"], sides["right"]
            turning = 20 / 3 * (n**3 + m**3) + 2 * n * m * (n + m)
            return gates * (6.0 * n * m * (n + m) + turning / config.frequency)
        case _:
            assert_never(config)


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
        products: the dtype that Muon's matrix products are taken in; the tensors' if left out.

    Raises:
        KeyError: if a state lacks a tensor of its network.
    """
    whole = [state or initial_state(config, network) for state, network in zip(states, networks, strict=True)]
    moments = {part: stack([state[part] for state in whole], _heads_in(part, heads)) for part in whole[0]}
    match config:
        case SGD():
            return StackedSGD(config, moments)
        case Adam() | AdamW():
            return StackedAdam(config, moments)
        case Muon():
            return StackedMuon(config, moments, products)
        case SOAP():
            return StackedSOAP(config, moments)
        case _:
            assert_never(config)
