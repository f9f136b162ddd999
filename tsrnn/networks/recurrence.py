"""The fast path: back-propagation through time for a stack of leaky networks.

Everything a training step spends its time on is here. One time step costs one matrix product a network
forward and two backward, and a few pointwise operations. tests/oracles/plain.py is the same mathematics as one
would write it first.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsrnn.config import LeakyReLU, Nonlinearity, ReLU, Tanh

# Weights of the networks stepped together stay in a core's own cache (bytes): bmm over more of them runs slower.
_CACHE = 1 << 19
# States kept for the gradient of one run (bytes). A longer run keeps the state at the start of each segment of
# that size, and computes the segment again when its gradient is due.
_KEPT = 1 << 29
# States held at once where no gradient is wanted (bytes).
_PASSING = 1 << 24


class Dynamics(TypedDict):
    """What defines the dynamics of R networks.

    Attributes:
        weight: [R, H, H] recurrent weights, row i into neuron i.
        alpha: [R, H] dt / tau.
        input_weight: [R, H].
        bias: [R, H] the sum of all biases.
        nonlinearity: phi.
        self_interaction: "inside" (equation 1) or "outside" (equation 5).
        products: the dtype whose products are taken: the weight's own, or torch.bfloat16. Sums, states, the leak
            and its gradient stay in the weight's.
    """

    weight: Tensor
    alpha: Tensor
    input_weight: Tensor
    bias: Tensor
    nonlinearity: Nonlinearity
    self_interaction: Literal["inside", "outside"]
    products: torch.dtype


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

    @property
    def at(self) -> Any:
        """Index the networks in the population: a slice, which copies nothing, where they stand in order."""
        first = self.networks[0]
        if self.networks == tuple(range(first, first + len(self.networks))):
            return slice(first, first + len(self.networks))
        return list(self.networks)


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


class _Products(ABC):
    """The matrix products of one chunk's run, and the gradient of their matrix.

    `forward` [r, H, H] multiplies states; its transpose, or that of `backward`, multiplies what comes back. `leak`
    [r, 1, H], if any, stands on the diagonal of `forward` beside what is there. Steps t are counted from the start
    of the segment in work; every tensor [r, B, H] holds the networks that have started.
    """

    gradient: Tensor
    leak_gradient: Tensor

    @abstractmethod
    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        """Add forward . before + leak * before to `out`."""

    @abstractmethod
    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        """Write backward^T . delta + leak * delta to `out`, after `add_gradient`."""

    @abstractmethod
    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        """Add backward^T . delta to `out`, after `add_gradient`."""

    @abstractmethod
    def start_gradient(self) -> None:
        """Begin a gradient at zero."""

    @abstractmethod
    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        """Count delta, a gradient at the product, and the state before it."""

    @abstractmethod
    def end_segment(self, first: Sequence[int], steps: int) -> None:
        """Sum up a segment of `steps`, in which network r took part from step first[r] on.

        Then `gradient` [r, H, H] is the sum of delta . before^T so far, and `leak_gradient` [r, H] of delta * before.
        """


class _OwnProducts(_Products):
    """Products in the parameters' own dtype: the leak is part of the matrix, and costs nothing."""

    def __init__(self, forward: Tensor, backward: Tensor, leak: Tensor | None) -> None:
        if leak is not None:
            forward.diagonal(dim1=1, dim2=2).add_(leak[:, 0])
        self._forward, self._backward = forward.transpose(1, 2), backward

    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        torch.baddbmm(out, before, self._forward[: len(out)], out=out)

    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        torch.bmm(delta, self._backward[: len(out)], out=out)

    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        torch.baddbmm(out, delta, self._backward[: len(out)], out=out)

    def start_gradient(self) -> None:
        self.gradient = torch.zeros_like(self._backward)
        self.leak_gradient = self.gradient.diagonal(dim1=1, dim2=2)

    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        self.gradient[: len(delta)].baddbmm_(delta.transpose(1, 2), before)

    def end_segment(self, first: Sequence[int], steps: int) -> None:
        pass


class _BFloat16Products(_Products):
    """Products of bfloat16 copies. All sums, and the leak, stay in the parameters' dtype.

    1 - 1 / tau of a long tau would be lost in bfloat16. A CPU's product of bfloat16 matrices is rounded to bfloat16:
    the gradient is therefore one long product a segment, which is rounded once.
    """

    def __init__(self, forward: Tensor, backward: Tensor, leak: Tensor | None, steps: int, batch: int) -> None:
        self._forward, self._leak = forward.bfloat16(), leak
        self._backward = self._forward if backward is forward else backward.bfloat16()
        replicates, hidden = forward.shape[:2]
        # [r, S, B, H]: a network's steps lie side by side, as its gradient's long product wants them.
        self._states = self._forward.new_empty(replicates, steps, batch, hidden)
        self._steps = steps
        self._product = self._forward.new_empty(replicates, batch, hidden)
        self._sum = forward.new_empty(replicates, batch, hidden)

    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        r = len(out)
        copy = self._states[:r, t % self._steps].copy_(before)
        total = self._sum[:r].copy_(torch.bmm(copy, self._forward[:r].transpose(1, 2), out=self._product[:r]))
        if self._leak is not None:
            total.addcmul_(before, self._leak[:r])
        out.add_(total)

    def _multiply_back(self, t: int, r: int) -> Tensor:
        return self._sum[:r].copy_(torch.bmm(self._deltas[:r, t], self._backward[:r], out=self._product[:r]))

    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        product = self._multiply_back(t, len(out))
        torch.addcmul(product, delta, self._leak[: len(out)], out=out) if self._leak is not None else out.copy_(product)

    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        out.add_(self._multiply_back(t, len(out)))

    def start_gradient(self) -> None:
        self._deltas = torch.empty_like(self._states)
        self.gradient = torch.zeros_like(self._forward, dtype=self._sum.dtype)
        self.leak_gradient = torch.zeros_like(self._sum[:, 0])
        self._leak_sum = torch.zeros_like(self._sum)

    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        self._deltas[: len(delta), t].copy_(delta)
        if self._leak is not None:
            self._leak_sum[: len(delta)].addcmul_(delta, before)

    def end_segment(self, first: Sequence[int], steps: int) -> None:
        for r, begin in enumerate(first):
            if begin < steps:
                deltas, states = self._deltas[r, begin:steps].flatten(0, 1), self._states[r, begin:steps].flatten(0, 1)
                self.gradient[r] += deltas.T @ states
        self.leak_gradient = self._leak_sum.sum(1)


@dataclass(frozen=True)
class _Form:
    """What is the same for all networks of a population."""

    nonlinearity: Nonlinearity
    self_interaction: Literal["inside", "outside"]
    products: torch.dtype
    gradient: bool


class _Run(ABC):
    """One chunk's way through its sequences and back: what both locations of the self-interaction share.

    Time is cut into segments of `span` steps. The buffers hold one segment; where a gradient is wanted, the states
    at the starts of all segments are kept, and going back computes a segment again.
    """

    buffers: int
    """How many buffers [T, r, B, H] a segment needs."""
    products: _Products

    def __init__(
        self,
        chunk: _Chunk,
        form: _Form,
        weight: Tensor,
        alpha: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        inputs: Tensor,
        initial: Tensor,
        states: Tensor | None,
    ) -> None:
        self.form, self.nonlinearity = form, form.nonlinearity
        self.weight, self.alpha, self.input_weight, self.bias = weight, alpha, input_weight, bias
        self.inputs, self.initial = inputs, initial
        self.started, self.steps = chunk.started, chunk.steps
        self.begins = [chunk.steps - length for length in chunk.lengths]
        size = initial.numel() * initial.element_size() * self.buffers
        self.span = min(chunk.steps, max(1, (_KEPT if form.gradient else _PASSING) // size))
        if states is not None:
            self.span = chunk.steps
        self.states = initial.new_empty(self.span + 1, *initial.shape) if states is None else states
        self.kept: list[Tensor] = []

    def _products(self, forward: Tensor, backward: Tensor, leak: Tensor | None) -> _Products:
        if self.form.products == self.weight.dtype:
            return _OwnProducts(forward, backward, leak)
        steps = self.span if self.form.gradient else 1
        return _BFloat16Products(forward, backward, leak, steps, self.initial.shape[1])

    def _segments(self) -> list[range]:
        return [range(t, min(t + self.span, self.steps)) for t in range(0, self.steps, self.span)]

    def forward(self) -> Tensor:
        """Return the states [r, B, H] after the last step."""
        for segment in self._segments():
            if segment.start:
                self.states[0].copy_(self.states[self.span])
                if self.form.gradient:
                    self.kept.append(self.states[0].clone())
            self._advance(segment)
        return self.states[len(segment)]

    def backward(self, grad_last: Tensor | None, grads: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of weight, alpha, input weight and bias.

        Args:
            grad_last: [r, B, H] gradient at the last states, or
            grads: [T, r, B, H] at all states.
        """
        self.products.start_gradient()
        self.drive_grad = self.alpha.new_zeros(len(self.alpha), 2, self.initial.shape[2])
        self.carry = torch.zeros_like(self.initial) if grad_last is None else grad_last.clone()
        self.spare = torch.empty_like(self.carry)
        # [T, r, 2, B]: the input and a constant 1, whose product with a gradient sums it.
        self.drives = torch.stack((self.inputs, torch.ones_like(self.inputs)), dim=2)
        segments = self._segments()
        for number, segment in reversed(list(enumerate(segments))):
            if segment is not segments[-1]:
                if number:
                    self.states[0].copy_(self.kept[number - 1])
                self._advance(segment)
            self._retreat(segment, grads)
            self.products.end_segment([max(0, begin - segment.start) for begin in self.begins], len(segment))
        return self._gradients()

    def _start(self, segment: range) -> None:
        """Write the initial states of the networks whose sequences start in the segment."""
        for r, begin in enumerate(self.begins):
            if begin in segment:
                self.states[begin - segment.start, r] = self.initial[r]

    @abstractmethod
    def _advance(self, segment: range) -> None:
        """Fill the buffers for a segment, from the states before it."""

    @abstractmethod
    def _retreat(self, segment: range, grads: Tensor | None) -> None:
        """Bring the gradient `carry` from after the segment to before it, and add up the parameters' gradients."""

    @abstractmethod
    def _gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Turn the sums over time into the gradients of weight, alpha, input weight and bias."""


class _Inside(_Run):
    """h(t) = phi(A h(t-1) + v(t)), A = diag(1 - alpha) + diag(alpha) W (equation 1)."""

    buffers = 1

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        scaled = self.alpha[:, :, None] * self.weight
        self.products = self._products(scaled, scaled, leak=1 - self.alpha[:, None])

    def _advance(self, segment: range) -> None:
        self._start(segment)
        states, inputs = self.states[: len(segment) + 1].unbind(), self.inputs[..., None].unbind()
        bias, input_weight = (self.alpha * self.bias)[:, None], (self.alpha * self.input_weight)[:, None]
        for t, (before, now) in enumerate(pairwise(states)):
            step = segment.start + t
            r = self.started[step]
            # Where a shorter sequence starts at the next step, its initial state must stay: it is beyond [:r] here.
            before, now = before[:r], now[:r]
            torch.addcmul(bias[:r], inputs[step][:r], input_weight[:r], out=now)
            self.products.add_forward(t, before, now)
            _activate_(self.nonlinearity, now)

    def _retreat(self, segment: range, grads: Tensor | None) -> None:
        states, drives = self.states.unbind(), self.drives.unbind()
        for t in reversed(range(len(segment))):
            step = segment.start + t
            r = self.started[step]
            delta, before = self.carry[:r], states[t][:r]
            if grads is not None:
                delta.add_(grads[step, :r])
            _slope_into(self.nonlinearity, delta, states[t + 1][:r], out=delta)
            self.products.add_gradient(t, delta, before)
            self.drive_grad[:r].baddbmm_(drives[step][:r], delta)
            if step:
                self.products.write_backward(t, delta, self.spare[:r])
                self.carry, self.spare = self.spare, self.carry

    def _gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        product_grad, alpha = self.products.gradient, self.alpha
        input_sum, delta_sum = self.drive_grad.unbind(1)
        alpha_grad = (
            torch.linalg.vecdot(product_grad, self.weight)
            - self.products.leak_gradient
            + self.bias * delta_sum
            + self.input_weight * input_sum
        )
        return product_grad.mul_(alpha[:, :, None]), alpha_grad, alpha * input_sum, alpha * delta_sum


class _Outside(_Run):
    """h(t) = (1 - alpha) h(t-1) + alpha p(t), p(t) = phi(W h(t-1) + b + u x(t)) (equation 5)."""

    buffers = 2

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # p(t) is kept for the gradient: its sign gives phi', its value the gradient of alpha.
        self.targets = self.initial.new_empty(self.span, *self.initial.shape)
        self.alpha_grad = torch.zeros_like(self.initial)
        self.products = self._products(self.weight, self.alpha[:, :, None] * self.weight, leak=None)

    def _advance(self, segment: range) -> None:
        self._start(segment)
        states, inputs = self.states[: len(segment) + 1].unbind(), self.inputs[..., None].unbind()
        alpha, bias, input_weight = self.alpha[:, None], self.bias[:, None], self.input_weight[:, None]
        for t, (target, (before, now)) in enumerate(zip(self.targets, pairwise(states), strict=False)):
            step = segment.start + t
            r = self.started[step]
            target, before = target[:r], before[:r]
            torch.addcmul(bias[:r], inputs[step][:r], input_weight[:r], out=target)
            self.products.add_forward(t, before, target)
            _activate_(self.nonlinearity, target)
            torch.lerp(before, target, alpha[:r], out=now[:r])

    def _retreat(self, segment: range, grads: Tensor | None) -> None:
        leak = 1 - self.alpha[:, None]
        pull = self.spare  # gradient at phi's argument, without the factor alpha
        states, targets, drives = self.states.unbind(), self.targets.unbind(), self.drives.unbind()
        for t in reversed(range(len(segment))):
            step = segment.start + t
            r = self.started[step]
            delta, carry, before, target = pull[:r], self.carry[:r], states[t][:r], targets[t][:r]
            if grads is not None:
                carry.add_(grads[step, :r])
            torch.sub(target, before, out=delta)
            self.alpha_grad[:r].addcmul_(carry, delta)
            _slope_into(self.nonlinearity, carry, target, out=delta)
            self.products.add_gradient(t, delta, before)
            self.drive_grad[:r].baddbmm_(drives[step][:r], delta)
            if step:
                carry.mul_(leak[:r])
                self.products.add_backward(t, delta, carry)

    def _gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha = self.alpha
        input_sum, delta_sum = self.drive_grad.unbind(1)
        return (
            self.products.gradient.mul_(alpha[:, :, None]),
            self.alpha_grad.sum(1),
            alpha * input_sum,
            alpha * delta_sum,
        )


class _BackPropagation(torch.autograd.Function):
    """A forward pass that a gradient follows; see `last_states` and `all_states`."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        alpha: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        sequences: "_Sequences",
        form: _Form,
    ) -> Tensor:
        result, ctx.runs = sequences.run(form, (weight, alpha, input_weight, bias))
        ctx.every = sequences.every
        # Of the result only all states are needed again.
        ctx.save_for_backward(weight, alpha, input_weight, bias, *([result] if ctx.every else []))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Reading the saved tensors raises if one of them was changed between forward and backward.
        parameters = ctx.saved_tensors[:4]
        grads = [torch.empty_like(tensor) for tensor in parameters]
        for at, run in ctx.runs:
            found = run.backward(None, grad[:, at]) if ctx.every else run.backward(grad[at], None)
            for whole, part in zip(grads, found, strict=True):
                whole[at] = part
        ctx.runs = []
        return *grads, None, None


@dataclass(frozen=True)
class _Sequences:
    """What R networks are run over, and whether every state is wanted or the last alone."""

    inputs: Tensor
    initial: Tensor
    lengths: tuple[int, ...]
    every: bool

    def run(self, form: _Form, parameters: Sequence[Tensor]) -> tuple[Tensor, list[tuple[Any, _Run]]]:
        """Return the states, and each chunk's place in the population with its run where a gradient will follow."""
        steps = self.inputs.shape[0]
        kind = _Inside if form.self_interaction == "inside" else _Outside
        last = torch.empty_like(self.initial)
        runs: list[tuple[Any, _Run]] = []
        states = self.initial.new_empty(steps + 1, *self.initial.shape) if self.every else None
        for chunk in _chunks(self.lengths, parameters[0]):
            at = chunk.at
            run = kind(
                chunk,
                form,
                *(tensor[at] for tensor in parameters),
                self.inputs[steps - chunk.steps :, at],
                self.initial[at],
                # All sequences are of one length here, so that the chunk is a slice.
                None if states is None else states[:, at],
            )
            last[at] = run.forward()
            if form.gradient:
                runs.append((at, run))
        return last if states is None else states[1:], runs


def _states(sequences: _Sequences, dynamics: Dynamics) -> Tensor:
    parameters = (dynamics["weight"], dynamics["alpha"], dynamics["input_weight"], dynamics["bias"])
    gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in parameters)
    form = _Form(dynamics["nonlinearity"], dynamics["self_interaction"], dynamics["products"], gradient)
    if not gradient:
        return sequences.run(form, [tensor.detach() for tensor in parameters])[0]
    result: Tensor = _BackPropagation.apply(*parameters, sequences, form)  # type: ignore[no-untyped-call]
    return result


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
    return _states(_Sequences(inputs, initial, tuple(lengths), every=False), dynamics)


def all_states(*, inputs: Tensor, initial: Tensor, **dynamics: Unpack[Dynamics]) -> Tensor:
    """Run R leaky networks over sequences of one length and return every state, as differentiable as the last.

    Args:
        inputs: [T, R, B].
        initial: [R, B, H] state before the first step.
        dynamics: see `Dynamics`.

    Returns:
        [T, R, B, H] the states after each step.

    Source: section 2, equations 1 and 5.
    """
    steps, replicates = inputs.shape[:2]
    return _states(_Sequences(inputs, initial, (steps,) * replicates, every=True), dynamics)
