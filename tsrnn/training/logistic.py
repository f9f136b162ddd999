"""Optimal readouts of fixed states: logistic regressions of many heads, fitted together.

If everything except the readout is frozen (appendix H, figure S17), retraining a head is a convex problem with a unique
solution. The heads of a network read the same states, so they share each pass over the data.

    heads = fit(states, labels)
    right = heads.answers(new_states) == new_labels
"""

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE: Final = 1e-6
"""Of the gradient of the mean loss, its largest entry, at which a head is solved."""

# Steps of a head at most. Ten are usual.
_STEPS: Final = 100
# A step is halved this often at most; then its head is left as it is.
_HALVINGS: Final = 30
# log(1 + exp(x)) is x from here on, up to rounding.
_LINEAR: Final = 40.0
# The share of the decrease promised by the slope that a step must bring (Armijo), and what rounding may hide of it,
# relative to the loss.
_ENOUGH, _ROUNDING = 1e-4, 1e-12
# Second derivatives serve again where the last step left less than this share of the gradient.
_SERVES: Final = 0.1
# Far from the optimum, above this gradient of the mean loss and in a head's first steps, second derivatives are those
# of every eighth sample, or of so many that there are twenty a neuron.
_FAR, _FIRST, _EVERY, _SAMPLES = 1e-3, 10, 8, 20
# Samples gone through at once, and numbers (heads x samples x neurons) in one product: both stay in a core's cache.
_BLOCK, _NUMBERS = 2048, 1 << 18
# Heads fitted at once: their second derivatives at H = 500 take 64 MB.
_TOGETHER: Final = 32


@dataclass(frozen=True)
class Heads:
    """K fitted heads that read H neurons.

    Attributes:
        weight: [K, H] float64, for states as they are.
        bias: [K] float64.
        iterations: [K] int64 Newton steps over all samples.
        gradient: [K] float64 the largest entry of the gradient of the mean loss where the fit ended.
    """

    weight: Tensor
    bias: Tensor
    iterations: Tensor
    gradient: Tensor

    @property
    def solved(self) -> Tensor:
        """Which heads are at their optimum, [K] bool."""
        return self.gradient <= TOLERANCE

    def answers(self, states: Tensor) -> Tensor:
        """Answer yes or no to each state.

        Args:
            states: [S, H].

        Returns:
            [K, S] bool.
        """
        return torch.addmm(self.bias[:, None], self.weight, states.double().T) > 0


def fit(states: Tensor, labels: Tensor) -> Heads:
    """Fit K logistic regressions of the same states.

    Each minimises sum_s log(1 + exp(-y_s (w x_s + b))) + |w|^2 / 2, with labels y = -1 or 1 and states x scaled to mean
    0 and variance 1. The penalty weighs as much as one sample, and keeps w finite if a plane separates the answers. A
    constant neuron has weight 0.

    Newton's method is applied to all heads at once; heads that have converged are dropped. Losses, gradients and steps
    are float64. Second derivatives are products of float32 numbers: they determine the direction of a step, whereas the
    gradient determines whether a head has converged.

    Args:
        states: [S, H], finite.
        labels: [K, S] bool.

    Returns:
        The heads, including those that have not converged: see `Heads.solved`.

    Raises:
        ValueError: if shapes do not agree, there is no sample, or a state is infinite or NaN.

    Source: appendix H, figure S17. The first step takes a bound of the second derivatives, X' X / 4, which is the same
        for all heads: D. Böhning and B. G. Lindsay, Ann. Inst. Statist. Math. 40, 641 (1988).
    """
    if labels.ndim != 2 or states.ndim != 2 or labels.shape[1] != len(states) or not len(states):
        raise ValueError(f"states {tuple(states.shape)}, labels {tuple(labels.shape)}: allowed are [S, H] and [K, S]")
    neurons = states.T.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    mean = neurons.mean(1)
    if not mean.isfinite().all():
        raise ValueError("states: some are infinite or no number; allowed are finite ones")
    scaled = neurons.sub_(mean[:, None])
    scale = _scales(torch.linalg.vecdot(scaled, scaled) / len(states), mean, len(states))
    scaled.div_(scale[:, None])
    parts = [_fit_scaled(scaled, part) for part in torch.split(labels, _TOGETHER)]
    readouts, iterations, gradient = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    weight = readouts[:, :-1] / scale
    return Heads(weight, readouts[:, -1] - weight @ mean, iterations, gradient)


def _scales(variance: Tensor, mean: Tensor, samples: int) -> Tensor:
    """Return each neuron's standard deviation [H]; 1 where it is constant up to rounding."""
    rounding = samples * torch.finfo(variance.dtype).eps
    constant = variance <= rounding * variance + (rounding * mean) ** 2
    return variance.sqrt().masked_fill(constant, 1.0)


def _fit_scaled(states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit heads [K, S] to scaled states [H, S].

    Returns:
        readouts [K, H + 1], iterations [K], and the largest entries of gradients of the mean loss [K].
    """
    fitted = _Newton(_Problem(states, labels), states.new_zeros(len(labels), len(states) + 1))
    fitted.run()
    return fitted.readouts, fitted.iterations, fitted.size


class _Problem:
    """The penalised losses of K heads on the same S samples; a readout is [w, b], of H + 1 numbers."""

    def __init__(self, states: Tensor, labels: Tensor) -> None:
        """Take scaled states [H, S] float64 and labels [K, S] bool."""
        self._states = states
        self.hidden, self.samples = states.shape
        self._single = states.float()
        self._every = max(1, min(_EVERY, self.samples // (_SAMPLES * self.hidden)))
        self._some = self._single[:, :: self._every].contiguous()
        self._signs = labels.to(states.dtype).mul_(-2).add_(1)

    def at(self, heads: Tensor, readouts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate some heads.

        Args:
            heads: [k] their places among the K.
            readouts: [k, H + 1].

        Returns:
            losses [k]; gradients [k, H + 1]; second derivatives of each sample's loss by its logit, [k, S] float32.
        """
        weight, bias = readouts[:, :-1], readouts[:, -1:]
        losses = weight.square().sum(1) / 2
        gradients = torch.cat([weight, torch.zeros_like(bias)], 1)
        curvatures = self._single.new_empty(len(heads), self.samples)
        for start in range(0, self.samples, _BLOCK):
            block = self._states[:, start : start + _BLOCK]
            signs = self._signs[heads, start : start + _BLOCK]
            wrong = torch.addmm(bias, weight, block).mul_(signs)
            losses += F.softplus(wrong, threshold=_LINEAR).sum(1)
            share = wrong.sigmoid_()
            curvatures[:, start : start + _BLOCK] = torch.addcmul(share, share, share, value=-1)
            residuals = signs.mul_(share)
            gradients[:, :-1].addmm_(residuals, block.T)
            gradients[:, -1] += residuals.sum(1)
        return losses, gradients, curvatures

    def bound(self) -> Tensor:
        """Return what no matrix of second derivatives exceeds, [H + 1, H + 1] float64."""
        return self.second_derivatives(self._single.new_full((1, self.samples), 0.25))[0]

    def roughly(self, curvatures: Tensor) -> Tensor:
        """Estimate `second_derivatives` from a part of the samples."""
        return self._products(curvatures[:, :: self._every] * self._every, self._some)

    def second_derivatives(self, curvatures: Tensor) -> Tensor:
        """Return the matrices of second derivatives of k heads' losses, [k, H + 1, H + 1] float64.

        Args:
            curvatures: [k, S] float32.
        """
        return self._products(curvatures, self._single)

    def _products(self, curvatures: Tensor, states: Tensor) -> Tensor:
        """Return the penalty's second derivatives and the sums over samples of curvature x [x, 1] [x, 1]'."""
        size = self.hidden + 1
        result = self._states.new_zeros(len(curvatures), size, size)
        few = max(1, _NUMBERS // (_BLOCK * self.hidden))
        for start in range(0, states.shape[1], _BLOCK):
            block = states[:, start : start + _BLOCK]
            of_block = curvatures[:, start : start + _BLOCK]
            for weights, out in zip(torch.split(of_block, few), torch.split(result, few), strict=True):
                weighted = (block * weights[:, None]).flatten(0, 1)
                out[:, :-1, :-1] += (weighted @ block.T).view(-1, self.hidden, self.hidden)
        result[:, -1, :-1] = result[:, :-1, -1] = curvatures @ states.T
        result[:, -1, -1] = curvatures.sum(1, dtype=result.dtype)
        result[:, :-1, :-1].diagonal(dim1=1, dim2=2).add_(1.0)
        return result


class _Newton:
    """K heads on their way to the optimum.

    Attributes:
        readouts: [K, H + 1].
        iterations: [K] steps.
        size: [K] the largest entry of the gradient of the mean loss.
    """

    def __init__(self, problem: _Problem, readouts: Tensor) -> None:
        """Start from readouts that are 0, where the bound is the matrix of second derivatives itself."""
        self._problem, self.readouts = problem, readouts
        every = torch.arange(len(readouts), device=readouts.device)
        self.iterations = torch.zeros_like(every)
        self._stale = torch.zeros_like(every, dtype=torch.bool)
        self._stuck = torch.zeros_like(self._stale)
        self._bound = torch.linalg.cholesky(problem.bound())
        self._factors = self._bound.repeat(len(readouts), 1, 1)
        self._losses, self._gradients, self._curvatures = problem.at(every, readouts)
        self.size = self._gradients.abs().amax(1) / problem.samples

    def run(self) -> None:
        """Step until every head is solved, or cannot be moved, or has used up its steps."""
        for _ in range(_STEPS):
            heads = ((self.size > TOLERANCE) & ~self._stuck).nonzero()[:, 0]
            if not len(heads):
                return
            self._renew(heads[self._stale[heads]])
            self._step(heads)

    def _renew(self, heads: Tensor) -> None:
        if len(heads):
            far = (self.size[heads] > _FAR) & (self.iterations[heads] < _FIRST)
            matrices = self._bound.new_empty(len(heads), *self._bound.shape)
            matrices[far] = self._problem.roughly(self._curvatures[heads[far]])
            matrices[~far] = self._problem.second_derivatives(self._curvatures[heads[~far]])
            factors, failed = torch.linalg.cholesky_ex(matrices)
            # The bound never fails, and a step by it never leads up.
            self._factors[heads] = torch.where((failed > 0)[:, None, None], self._bound, factors)
            self._stale[heads] = False

    def _step(self, heads: Tensor) -> None:
        """Move heads by a Newton step, or a part of it that leads down far enough."""
        self.iterations[heads] += 1
        before = self.size[heads]
        gradients = self._gradients[heads]
        step = torch.cholesky_solve(gradients[..., None], self._factors[heads])[..., 0].neg_()
        slope = torch.linalg.vecdot(gradients, step)
        moving, part = torch.arange(len(heads), device=heads.device), 1.0
        for _ in range(_HALVINGS):
            at = heads[moving]
            readouts = self.readouts[at] + part * step[moving]
            losses, gradients, curvatures = self._problem.at(at, readouts)
            least = self._losses[at] + _ENOUGH * part * slope[moving] + _ROUNDING * self._losses[at]
            down = losses <= least
            self._take(at[down], readouts[down], losses[down], gradients[down], curvatures[down])
            moving, part = moving[~down], part / 2
            if not len(moving):
                break
        self._stuck[heads[moving]] = True
        self._stale[heads] = self.size[heads] > _SERVES * before

    def _take(self, heads: Tensor, readouts: Tensor, losses: Tensor, gradients: Tensor, curvatures: Tensor) -> None:
        self.readouts[heads], self._losses[heads], self._gradients[heads] = readouts, losses, gradients
        self._curvatures[heads] = curvatures
        self.size[heads] = gradients.abs().amax(1) / self._problem.samples
