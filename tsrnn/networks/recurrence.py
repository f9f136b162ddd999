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
from tsrnn.networks._products import BFloat16Products, OneDNNProducts, OwnProducts, Products
from tsrnn.networks.workspace import Workspace

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
        workspace: where large buffers come from.
    """

    weight: Tensor
    alpha: Tensor
    input_weight: Tensor
    bias: Tensor
    nonlinearity: Nonlinearity
    self_interaction: Literal["inside", "outside"]
    products: torch.dtype
    workspace: Workspace


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
    def begins(self) -> list[int]:
        """[r] the step at which each sequence starts."""
        return [self.steps - length for length in self.lengths]

    def stages(self, segment: range) -> list[tuple[range, int]]:
        """Cut a segment of time where sequences start: (steps, how many networks take part: always the first)."""
        cuts = sorted({segment.start, *(begin for begin in self.begins if begin in segment), segment.stop})
        return [(range(*cut), sum(begin <= cut[0] for begin in self.begins)) for cut in pairwise(cuts)]

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


def activate_(nonlinearity: Nonlinearity, z: Tensor) -> None:
    """Apply phi to `z`, in place."""
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


@dataclass(frozen=True)
class _Form:
    """What is the same for all networks of a population."""

    nonlinearity: Nonlinearity
    self_interaction: Literal["inside", "outside"]
    products: torch.dtype
    gradient: bool
    workspace: Workspace


class _Run(ABC):
    """One chunk's way through its sequences and back: what both locations of the self-interaction share.

    Time is cut into segments of `span` steps. The buffers hold one segment; where a gradient is wanted, the states
    at the starts of all segments are kept, and going back computes a segment again.
    """

    buffers: int
    """How many buffers [T, r, B, H] a segment needs."""
    products: Products

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
        self.chunk, self.form, self.nonlinearity = chunk, form, form.nonlinearity
        self.weight, self.alpha, self.input_weight, self.bias = weight, alpha, input_weight, bias
        self.inputs, self.initial = inputs, initial
        self.kept: list[Tensor] = []
        if states is None:
            size = initial.numel() * initial.element_size() * self.buffers
            self.span = min(chunk.steps, max(1, (_KEPT if form.gradient else _PASSING) // size))
            self.taken = [form.workspace.take(self.span + 1, *initial.shape, like=initial)]
            self.states = self.taken[0]
        else:
            self.span, self.taken, self.states = chunk.steps, [], states

    def _products(self, forward: Tensor, backward: Tensor, leak: Tensor | None) -> Products:
        batch = self.initial.shape[1]
        if self.form.products != self.weight.dtype:
            steps = self.span if self.form.gradient else 1
            return BFloat16Products(forward, backward, leak, steps, batch, self.form.workspace)
        pays = OneDNNProducts.pay(forward, batch)
        return (OneDNNProducts if pays else OwnProducts)(forward, backward, leak)

    def _segments(self) -> list[range]:
        steps = self.chunk.steps
        return [range(t, min(t + self.span, steps)) for t in range(0, steps, self.span)]

    def forward(self) -> Tensor:
        """Return the states [r, B, H] after the last step."""
        for segment in self._segments():
            if segment.start:
                self.states[0].copy_(self.states[self.span])
                if self.form.gradient:
                    self.kept.append(self.states[0].clone())
            self._start(segment)
            self._advance(segment)
        return self.states[len(segment)]

    def backward(self, grad_last: Tensor | None, grads: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of weight, alpha, input weight and bias.

        Args:
            grad_last: [r, B, H] gradient at the last states, or
            grads: [T, r, B, H] at all states.
        """
        self.carry = torch.zeros_like(self.initial) if grad_last is None else grad_last.clone()
        self.spare = torch.empty_like(self.carry)
        # [T, r, 2, B]: the input and a constant 1, whose product with a gradient sums it.
        self.drives = torch.stack((self.inputs, torch.ones_like(self.inputs)), dim=2)
        self.drive_grad = self.alpha.new_zeros(len(self.alpha), 2, self.initial.shape[2])
        segments = self._segments()
        for number, segment in reversed(list(enumerate(segments))):
            if number < len(segments) - 1:
                if number:
                    self.states[0].copy_(self.kept[number - 1])
                self._start(segment)
                self._advance(segment)
            self._retreat(segment, grads)
            self.products.end_segment([max(0, begin - segment.start) for begin in self.chunk.begins], len(segment))
        return self._gradients()

    def release(self) -> None:
        """Give the large buffers back."""
        self.form.workspace.give(*self.taken)
        self.products.release()

    def _start(self, segment: range) -> None:
        """Write the initial states of the sequences that start in the segment."""
        for r, begin in enumerate(self.chunk.begins):
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
        for steps, r in self.chunk.stages(segment):
            self.products.among(r)
            first = steps.start - segment.start
            states = self.states[first : first + len(steps) + 1, :r].unbind()
            inputs = self.inputs[steps.start : steps.stop, :r, :, None].unbind()
            alpha, bias, input_weight = (x[:r, None] for x in (self.alpha, self.bias, self.input_weight))
            bias, input_weight = alpha * bias, alpha * input_weight
            for i, (before, now) in enumerate(pairwise(states)):
                torch.addcmul(bias, inputs[i], input_weight, out=now)
                self.products.add_forward(first + i, before, now)
                activate_(self.nonlinearity, now)

    def _retreat(self, segment: range, grads: Tensor | None) -> None:
        for steps, r in reversed(self.chunk.stages(segment)):
            self.products.among(r)
            first = steps.start - segment.start
            states = self.states[first : first + len(steps) + 1, :r].unbind()
            drives, drive_grad = self.drives[steps.start : steps.stop, :r].unbind(), self.drive_grad[:r]
            delta, spare = self.carry[:r], self.spare[:r]
            for i in reversed(range(len(steps))):
                if grads is not None:
                    delta.add_(grads[steps[i], :r])
                _slope_into(self.nonlinearity, delta, states[i + 1], out=delta)
                self.products.add_gradient(first + i, delta, states[i])
                drive_grad.baddbmm_(drives[i], delta)
                if steps[i]:
                    self.products.write_backward(first + i, delta, spare)
                    delta, spare = spare, delta
                    self.carry, self.spare = self.spare, self.carry

    def _gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, (weight_sum, leak_sum), (input_sum, delta_sum) = (
            self.alpha, self.products.gradients(), self.drive_grad.unbind(1),
        )  # fmt: skip
        alpha_grad = (
            torch.linalg.vecdot(weight_sum, self.weight)
            - leak_sum
            + self.bias * delta_sum
            + self.input_weight * input_sum
        )
        return weight_sum.mul_(alpha[:, :, None]), alpha_grad, alpha * input_sum, alpha * delta_sum


class _Outside(_Run):
    """h(t) = (1 - alpha) h(t-1) + alpha p(t), p(t) = phi(W h(t-1) + b + u x(t)) (equation 5)."""

    buffers = 2

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # p(t) is kept for the gradient: its sign gives phi', its value the gradient of alpha.
        self.targets = self.form.workspace.take(self.span, *self.initial.shape, like=self.initial)
        self.taken.append(self.targets)
        self.alpha_grad = torch.zeros_like(self.initial)
        self.products = self._products(self.weight, self.alpha[:, :, None] * self.weight, leak=None)

    def _advance(self, segment: range) -> None:
        for steps, r in self.chunk.stages(segment):
            self.products.among(r)
            first = steps.start - segment.start
            states = self.states[first : first + len(steps) + 1, :r].unbind()
            targets = self.targets[first : first + len(steps), :r].unbind()
            inputs = self.inputs[steps.start : steps.stop, :r, :, None].unbind()
            alpha, bias, input_weight = (x[:r, None] for x in (self.alpha, self.bias, self.input_weight))
            for i, (before, now) in enumerate(pairwise(states)):
                torch.addcmul(bias, inputs[i], input_weight, out=targets[i])
                self.products.add_forward(first + i, before, targets[i])
                activate_(self.nonlinearity, targets[i])
                torch.lerp(before, targets[i], alpha, out=now)

    def _retreat(self, segment: range, grads: Tensor | None) -> None:
        for steps, r in reversed(self.chunk.stages(segment)):
            self.products.among(r)
            first = steps.start - segment.start
            states = self.states[first : first + len(steps), :r].unbind()
            targets = self.targets[first : first + len(steps), :r].unbind()
            drives, drive_grad = self.drives[steps.start : steps.stop, :r].unbind(), self.drive_grad[:r]
            # delta is the gradient at phi's argument, without the factor alpha.
            carry, delta, alpha_grad, leak = (
                self.carry[:r],
                self.spare[:r],
                self.alpha_grad[:r],
                1 - self.alpha[:r, None],
            )
            for i in reversed(range(len(steps))):
                if grads is not None:
                    carry.add_(grads[steps[i], :r])
                torch.sub(targets[i], states[i], out=delta)
                alpha_grad.addcmul_(carry, delta)
                _slope_into(self.nonlinearity, carry, targets[i], out=delta)
                self.products.add_gradient(first + i, delta, states[i])
                drive_grad.baddbmm_(drives[i], delta)
                if steps[i]:
                    carry.mul_(leak)
                    self.products.add_backward(first + i, delta, carry)

    def _gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, (weight_sum, _), (input_sum, delta_sum) = (
            self.alpha, self.products.gradients(), self.drive_grad.unbind(1),
        )  # fmt: skip
        return weight_sum.mul_(alpha[:, :, None]), self.alpha_grad.sum(1), alpha * input_sum, alpha * delta_sum


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
        if not ctx.runs:
            raise RuntimeError("the gradient of a recurrence can be taken once: its buffers are used again")
        grads = [torch.empty_like(tensor) for tensor in parameters]
        for at, run in ctx.runs:
            found = run.backward(None, grad[:, at]) if ctx.every else run.backward(grad[at], None)
            for whole, part in zip(grads, found, strict=True):
                whole[at] = part
            run.release()
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
            else:
                run.release()
        return last if states is None else states[1:], runs


def _states(sequences: _Sequences, dynamics: Dynamics) -> Tensor:
    parameters = (dynamics["weight"], dynamics["alpha"], dynamics["input_weight"], dynamics["bias"])
    gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in parameters)
    form = _Form(
        dynamics["nonlinearity"],
        dynamics["self_interaction"],
        dynamics["products"],
        gradient,
        dynamics["workspace"],
    )
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
