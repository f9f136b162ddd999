"""The fast path: back-propagation through time for a stack of leaky networks.

Everything a training step spends its time on is here. One time step costs one matrix product a network
forward and two backward, and at most a few pointwise operations; nothing is allocated per step.
tests/oracles/plain.py is the same mathematics as one would write it first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsrnn.config import LeakyReLU, Nonlinearity, ReLU, Tanh

# Weights of the networks stepped together stay in a core's own cache (bytes): bmm over more of them runs slower.
_CACHE = 1 << 19


class Dynamics(TypedDict):
    """What defines the dynamics of R networks.

    Attributes:
        weight: [R, H, H] recurrent weights, row i into neuron i.
        alpha: [R, H] dt / tau.
        input_weight: [R, H].
        bias: [R, H] the sum of all biases.
        nonlinearity: phi.
        self_interaction: "inside" (equation 1) or "outside" (equation 5).
    """

    weight: Tensor
    alpha: Tensor
    input_weight: Tensor
    bias: Tensor
    nonlinearity: Nonlinearity
    self_interaction: Literal["inside", "outside"]


@dataclass(frozen=True)
class _Chunk:
    """Networks stepped together, longest sequences first.

    Attributes:
        networks: their places in the population.
        lengths: their sequence lengths, descending.
    """

    networks: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def steps(self) -> int:
        return self.lengths[0]

    @property
    def started(self) -> list[int]:
        """[steps] how many of the networks have started at each step: always the first ones."""
        counts = [0] * self.steps
        for length in self.lengths:
            counts[self.steps - length] += 1
        total = 0
        for t, count in enumerate(counts):
            total += count
            counts[t] = total
        return counts


def _chunks(lengths: Sequence[int], weight: Tensor) -> list[_Chunk]:
    order = sorted(range(len(lengths)), key=lambda r: -lengths[r])
    size = len(order)
    if weight.device.type == "cpu":
        size = max(1, _CACHE // (weight[0].numel() * weight.element_size()))
    return [
        _Chunk(tuple(part), tuple(lengths[r] for r in part))
        for part in (order[i : i + size] for i in range(0, len(order), size))
    ]


def _activate_(nonlinearity: Nonlinearity, z: Tensor) -> None:
    match nonlinearity:
        case LeakyReLU(slope=slope):
            F.leaky_relu_(z, slope)
        case ReLU():
            torch.relu_(z)
        case Tanh():
            torch.tanh_(z)


def _slope_into(nonlinearity: Nonlinearity, grad: Tensor, activity: Tensor, out: Tensor) -> None:
    """Write grad * phi'(z) to `out`, from activity = phi(z): its sign (or value) is enough."""
    match nonlinearity:
        case LeakyReLU(slope=slope):
            torch.ops.aten.leaky_relu_backward.grad_input(grad, activity, slope, True, grad_input=out)
        case ReLU():
            torch.ops.aten.threshold_backward.grad_input(grad, activity, 0.0, grad_input=out)
        case Tanh():
            torch.ops.aten.tanh_backward.grad_input(grad, activity, grad_input=out)


class _Leaky(torch.autograd.Function):
    """States of R leaky networks at their last step; see `last_states`."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        alpha: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        inputs: Tensor,
        initial: Tensor,
        lengths: tuple[int, ...],
        nonlinearity: Nonlinearity,
        self_interaction: Literal["inside", "outside"],
    ) -> Tensor:
        kernel = _kernel(self_interaction)
        last = torch.empty_like(initial)
        ctx.kernels = []
        for chunk in _chunks(lengths, weight):
            at = _places(chunk)
            run = kernel(
                chunk, nonlinearity, weight[at], alpha[at], input_weight[at], bias[at],
                inputs[inputs.shape[0] - chunk.steps :, at], initial[at],
            )  # fmt: skip
            last[at] = run.forward()
            if any(ctx.needs_input_grad):
                ctx.kernels.append((at, run))
        ctx.save_for_backward(weight, alpha, input_weight, bias)
        return last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        # Reading the saved tensors raises if a parameter was changed between forward and backward.
        grads = [torch.empty_like(tensor) for tensor in ctx.saved_tensors]
        for at, run in ctx.kernels:
            for grad, part in zip(grads, run.backward(grad_last[at]), strict=True):
                grad[at] = part
        ctx.kernels = []
        return *grads, None, None, None, None, None


def _places(chunk: _Chunk) -> Any:
    """Index the chunk's networks: a slice, which copies nothing, where they stand in order."""
    first = chunk.networks[0]
    if chunk.networks == tuple(range(first, first + len(chunk.networks))):
        return slice(first, first + len(chunk.networks))
    return list(chunk.networks)


def _kernel(self_interaction: Literal["inside", "outside"]) -> "type[_Inside] | type[_Outside]":
    return _Inside if self_interaction == "inside" else _Outside


class _Kernel:
    """What both locations of the self-interaction share: the buffers of one chunk's run."""

    def __init__(
        self,
        chunk: _Chunk,
        nonlinearity: Nonlinearity,
        weight: Tensor,
        alpha: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        inputs: Tensor,
        initial: Tensor,
    ) -> None:
        self.chunk, self.nonlinearity = chunk, nonlinearity
        self.weight, self.alpha, self.input_weight, self.bias = weight, alpha, input_weight, bias
        self.inputs, self.initial = inputs, initial
        self.states = weight.new_empty(chunk.steps + 1, *initial.shape)

    def _start(self) -> None:
        """Write every network's initial state where its sequence starts."""
        for r, length in enumerate(self.chunk.lengths):
            self.states[self.chunk.steps - length, r] = self.initial[r]

    def _drives(self) -> Tensor:
        """Return [T, r, 2, B]: the input and a constant 1, whose product with a gradient sums it."""
        return torch.stack((self.inputs, torch.ones_like(self.inputs)), dim=2)


class _Inside(_Kernel):
    """h(t) = phi(A h(t-1) + v(t)), A = diag(1 - alpha) + diag(alpha) W (equation 1)."""

    def forward(self) -> Tensor:
        alpha = self.alpha
        self.transition = alpha[:, :, None] * self.weight
        self.transition.diagonal(dim1=1, dim2=2).add_(1 - alpha)
        torch.addcmul(
            (alpha * self.bias)[:, None], self.inputs[..., None], (alpha * self.input_weight)[:, None],
            out=self.states[1:],
        )  # fmt: skip
        self._start()
        states, transition = self.states.unbind(), self.transition.transpose(1, 2)
        for t, r in enumerate(self.chunk.started):
            now = states[t + 1][:r]
            torch.baddbmm(now, states[t][:r], transition[:r], out=now)
            _activate_(self.nonlinearity, now)
        return states[-1]

    def backward(self, grad_last: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        delta, spare = grad_last.clone(), torch.empty_like(grad_last)
        transition_grad, drive_grad = (
            torch.zeros_like(self.weight),
            self.alpha.new_zeros(len(delta), 2, delta.shape[2]),
        )
        states, drives = self.states.unbind(), self._drives().unbind()
        started = self.chunk.started
        for t in reversed(range(self.chunk.steps)):
            r = started[t]
            now = delta[:r]
            _slope_into(self.nonlinearity, now, states[t + 1][:r], out=now)
            transition_grad[:r].baddbmm_(now.transpose(1, 2), states[t][:r])
            drive_grad[:r].baddbmm_(drives[t][:r], now)
            if t:
                torch.bmm(now, self.transition[:r], out=spare[:r])
                delta, spare = spare, delta
        input_sum, delta_sum = drive_grad.unbind(1)
        alpha_grad = (
            torch.linalg.vecdot(transition_grad, self.weight)
            - transition_grad.diagonal(dim1=1, dim2=2)
            + self.bias * delta_sum
            + self.input_weight * input_sum
        )
        alpha = self.alpha
        return transition_grad.mul_(alpha[:, :, None]), alpha_grad, alpha * input_sum, alpha * delta_sum


class _Outside(_Kernel):
    """h(t) = (1 - alpha) h(t-1) + alpha p(t), p(t) = phi(W h(t-1) + b + u x(t)) (equation 5)."""

    def forward(self) -> Tensor:
        # p(t) is kept for the gradient: its sign gives phi', its value the gradient of alpha.
        self.targets = torch.addcmul(
            self.bias[:, None], self.inputs[..., None], self.input_weight[:, None]
        )  # [T, r, B, H]
        self._start()
        states, targets = self.states.unbind(), self.targets.unbind()
        weight, alpha = self.weight.transpose(1, 2), self.alpha[:, None]
        for t, r in enumerate(self.chunk.started):
            target, before = targets[t][:r], states[t][:r]
            torch.baddbmm(target, before, weight[:r], out=target)
            _activate_(self.nonlinearity, target)
            # Where a shorter sequence starts at t + 1, its initial state must stay: it is beyond [:r] here.
            torch.lerp(before, target, alpha[:r], out=states[t + 1][:r])
        return states[-1]

    def backward(self, grad_last: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        keep = 1 - self.alpha[:, None]
        carry, change = grad_last.clone(), torch.empty_like(grad_last)
        pull = torch.empty_like(grad_last)  # gradient at phi's argument, without the factor alpha
        alpha_grad = torch.zeros_like(grad_last)
        weight_grad, drive_grad = (
            torch.zeros_like(self.weight),
            self.alpha.new_zeros(len(carry), 2, carry.shape[2]),
        )
        scaled = self.alpha[:, :, None] * self.weight
        states, targets, drives = self.states.unbind(), self.targets.unbind(), self._drives().unbind()
        started = self.chunk.started
        for t in reversed(range(self.chunk.steps)):
            r = started[t]
            now, before = pull[:r], states[t][:r]
            torch.sub(targets[t][:r], before, out=change[:r])
            alpha_grad[:r].addcmul_(carry[:r], change[:r])
            _slope_into(self.nonlinearity, carry[:r], targets[t][:r], out=now)
            weight_grad[:r].baddbmm_(now.transpose(1, 2), before)
            drive_grad[:r].baddbmm_(drives[t][:r], now)
            if t:
                carry[:r].mul_(keep[:r]).baddbmm_(now, scaled[:r])
        input_sum, pull_sum = drive_grad.unbind(1)
        alpha_flat = self.alpha
        return (
            weight_grad.mul_(alpha_flat[:, :, None]),
            alpha_grad.sum(1),
            alpha_flat * input_sum,
            alpha_flat * pull_sum,
        )


def last_states(*, inputs: Tensor, initial: Tensor, lengths: Sequence[int], **dynamics: Unpack[Dynamics]) -> Tensor:
    """Run R leaky networks over their sequences and return where they end, differentiably.

    Gradients reach `weight` (its diagonal included), `alpha`, `input_weight` and `bias`; not the inputs and
    not the initial state. Not twice differentiable.

    Args:
        inputs: [T, R, B] aligned at their end.
        initial: [R, B, H] state before each sequence's first step.
        lengths: [R] steps; T is the longest.
        dynamics: see `Dynamics`.

    Returns:
        [R, B, H] states after the last step.

    Source: section 2, equations 1 and 5; the gradient by hand from them.
    """
    result: Tensor = _Leaky.apply(  # type: ignore[no-untyped-call]
        dynamics["weight"],
        dynamics["alpha"],
        dynamics["input_weight"],
        dynamics["bias"],
        inputs,
        initial,
        tuple(lengths),
        dynamics["nonlinearity"],
        dynamics["self_interaction"],
    )
    return result


@torch.no_grad()
def all_states(*, inputs: Tensor, initial: Tensor, **dynamics: Unpack[Dynamics]) -> Tensor:
    """Run R leaky networks over sequences of one length and return every state, without a gradient.

    Args:
        inputs: [T, R, B].
        initial: [R, B, H] state before the first step.
        dynamics: see `Dynamics`.

    Returns:
        [T, R, B, H] the states after each step.

    Source: section 2, equations 1 and 5.
    """
    parts = []
    for chunk in _chunks([inputs.shape[0]] * len(initial), dynamics["weight"]):
        at = _places(chunk)
        run = _kernel(dynamics["self_interaction"])(
            chunk,
            dynamics["nonlinearity"],
            dynamics["weight"][at],
            dynamics["alpha"][at],
            dynamics["input_weight"][at],
            dynamics["bias"][at],
            inputs[:, at],
            initial[at],
        )
        run.forward()
        parts.append(run.states[1:])
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
