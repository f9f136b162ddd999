"""The recurrence with torch's operations, for networks that are stepped together: on any device, in any dtype."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Hashable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tsrnn.config import LeakyReLU, Nonlinearity, ReLU, Tanh
from tsrnn.networks import _memory
from tsrnn.networks._chunks import Chunk, chunks
from tsrnn.networks._passage import Form, Parameters, Passage, Sequences
from tsrnn.networks._products import BFloat16Products, BLASProducts, OneDNNProducts, Products
from tsrnn.networks._torch import slope_into
from tsrnn.networks.workspace import Workspace


def activate_(nonlinearity: Nonlinearity, z: Tensor) -> None:
    """Apply phi to `z`, in place."""
    match nonlinearity:
        case LeakyReLU(slope=slope):
            F.leaky_relu_(z, slope)
        case ReLU():
            torch.relu_(z)
        case Tanh():
            torch.tanh_(z)


class _Sums(NamedTuple):
    """The sums over time and sequences from which gradients are computed. delta is the gradient at phi's argument.

    Attributes:
        weight: [r, H, H] delta . before^T.
        input: [r, H] delta * input.
        delta: [r, H].
        alpha: [r, H] the part of alpha's gradient that does not come from its products with the parameters.
    """

    weight: Tensor
    input: Tensor
    delta: Tensor
    alpha: Tensor

    def gradients(self, form: Form, parameters: Parameters) -> Parameters:
        """Return the gradients of the parameters; the sums are overwritten."""
        weight, alpha, input_weight, bias = parameters
        alpha_grad = self.alpha
        if form.self_interaction == "inside":
            # alpha multiplies all of W h + b + u x.
            alpha_grad = alpha_grad + torch.linalg.vecdot(self.weight, weight)
            alpha_grad.addcmul_(bias, self.delta).addcmul_(input_weight, self.input)
        return Parameters(self.weight.mul_(alpha[:, :, None]), alpha_grad, alpha * self.input, alpha * self.delta)


class _Steps:
    """Views of a buffer [T, r, ...] for each step and the networks that take part; they are created once."""

    def __init__(self, buffer: Tensor) -> None:
        self.buffer = buffer
        self._of: dict[int, tuple[Tensor, ...]] = {}

    def among(self, r: int) -> tuple[Tensor, ...]:
        """Return, for every step, the part [r, ...] of the first r networks."""
        if r not in self._of:
            self._of[r] = self.buffer[:, :r].unbind()
        return self._of[r]


class _Run(ABC):
    """The forward and backward pass of one chunk and its buffers, as far as both kinds of self-interaction share them.

    Time is cut into segments of `span` steps. The buffers hold one segment. If a gradient is needed, the states at the
    starts of all segments are kept, and the backward pass computes each segment again. `begin` starts another chunk.

    Attributes:
        kind: form and shape; only chunks with the same can use the buffers.
        room: the number of steps that the buffers hold.
    """

    buffers: int
    """How many buffers [T, r, B, H] a segment needs."""

    def __init__(self, kind: Hashable, form: Form, span: int, initial: Tensor, *, whole: bool) -> None:
        """Make the buffers.

        Args:
            kind: see the class.
            form: of the population.
            span: steps of a segment.
            initial: [r, B, H] initial states, for their shape, dtype and device.
            whole: whether the states' own buffer will be the caller's.
        """
        r, batch, hidden = initial.shape
        self.kind, self.room, self.form, self.span = kind, span, form, span
        self.states = _Steps(initial.new_empty(0 if whole else span + 1, r, batch, hidden))
        # [T, r, 2, B]: the input and a constant 1, whose product with a gradient sums it.
        drives = initial.new_ones(span, r, 2, batch)
        self.drives, self.inputs = _Steps(drives), _Steps(drives[:, :, 0, :, None])
        self.products = self._make_products(initial)
        self._vectors = initial.new_empty(2, r, 1, hidden)
        self._of: dict[int, tuple[Tensor, ...]] = {}

    def _make_products(self, initial: Tensor) -> Products:
        (r, batch, _), leaks = initial.shape, self.form.self_interaction == "inside"
        if self.form.products != initial.dtype:
            steps = self.span if self.form.gradient else 1
            return BFloat16Products(r, initial, leaks=leaks, steps=steps, batch=batch)
        return {"blas": BLASProducts, "onednn": OneDNNProducts}[self.form.library](r, initial, leaks=leaks)

    def begin(
        self,
        chunk: Chunk,
        weight: Tensor,
        alpha: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        inputs: Tensor,
        initial: Tensor,
        states: Tensor | None,
    ) -> None:
        """Start a chunk.

        Args:
            chunk: its networks.
            weight: [r, H, H].
            alpha: [r, H].
            input_weight: [r, H].
            bias: [r, H].
            inputs: [T, r, B].
            initial: [r, B, H].
            states: [T + 1, r, B, H] the caller's buffer for all states, or None.
        """
        self.chunk, self.alpha, self.sequence, self.initial = chunk, alpha, inputs, initial
        self.kept: list[Tensor] = []
        if states is not None:
            self.states = _Steps(states)
        self._load(weight, input_weight, bias)

    def forward(self) -> Tensor:
        """Return the states [r, B, H] after the last step."""
        for segment in self._segments():
            if segment.start:
                self.states.buffer[0].copy_(self.states.buffer[self.span])
                if self.form.gradient:
                    self.kept.append(self.states.buffer[0].clone())
            self._enter(segment)
            self._advance(segment)
        return self.states.buffer[len(segment)]

    def backward(self, grad_last: Tensor | None, grads: Tensor | None) -> "_Sums":
        """Return the sums from which the gradients of the parameters are computed.

        Args:
            grad_last: [r, B, H] gradient at the last states; it is overwritten; or
            grads: [T, r, B, H] at all states.
        """
        carry = torch.zeros_like(self.initial) if grad_last is None else grad_last
        self.drive_sums = self.alpha.new_zeros(len(self.alpha), 2, self.initial.shape[2])
        self.products.begin_gradient()
        segments = self._segments()
        for number, segment in reversed(list(enumerate(segments))):
            if number < len(segments) - 1:
                if number:
                    self.states.buffer[0].copy_(self.kept[number - 1])
                self._enter(segment)
                self._advance(segment)
            self._retreat(segment, carry, grads)
            self.products.end_segment([max(0, begin - segment.start) for begin in self.chunk.begins], len(segment))
        weight_sum, leak_sum = self.products.gradients()
        input_sum, delta_sum = self.drive_sums.unbind(1)
        return _Sums(weight_sum, input_sum, delta_sum, self._alpha_sum(leak_sum))

    def _segments(self) -> list[range]:
        steps = self.chunk.steps
        return [range(t, min(t + self.span, steps)) for t in range(0, steps, self.span)]

    def _enter(self, segment: range) -> None:
        """Write the inputs of a segment, and the initial states of the sequences that start in it."""
        self.drives.buffer[: len(segment), :, 0].copy_(self.sequence[segment.start : segment.stop])
        first, end = (bisect_left(self.chunk.begins, t) for t in (segment.start, segment.stop))
        if first < end:
            places = torch.tensor(
                [[begin - segment.start, first + i] for i, begin in enumerate(self.chunk.begins[first:end])],
                device=self.initial.device,
            )
            self.states.buffer.index_put_(tuple(places.T), self.initial[first:end])

    @abstractmethod
    def _load(self, weight: Tensor, input_weight: Tensor, bias: Tensor) -> None:
        """Prepare the matrices of the products, and the biases and input weights, for the networks of the chunk."""

    @abstractmethod
    def _advance(self, segment: range) -> None:
        """Fill the buffers for a segment, from the states before it."""

    @abstractmethod
    def _retreat(self, segment: range, carry: Tensor, grads: Tensor | None) -> None:
        """Propagate the gradient `carry` back through the segment, in place, and add to the sums."""

    @abstractmethod
    def _alpha_sum(self, leak_sum: Tensor) -> Tensor:
        """Return `_Sums.alpha`, from the sum of delta * before [r, H]."""


class _Inside(_Run):
    """h(t) = phi(A h(t-1) + v(t)), A = diag(1 - alpha) + diag(alpha) W (equation 1)."""

    buffers = 1

    def __init__(self, kind: Hashable, form: Form, span: int, initial: Tensor, *, whole: bool) -> None:
        super().__init__(kind, form, span, initial, whole=whole)
        self._delta = torch.empty_like(initial)

    def _load(self, weight: Tensor, input_weight: Tensor, bias: Tensor) -> None:
        torch.mul(weight, self.alpha[:, :, None], out=self.products.forward)
        self.products.load(1 - self.alpha)
        for vector, own in zip(self._vectors, (bias, input_weight), strict=True):
            torch.mul(own, self.alpha, out=vector[:, 0])

    def _advance(self, segment: range) -> None:
        add_forward, nonlinearity = self.products.add_forward, self.form.nonlinearity
        for steps, r in self.chunk.stages(segment):
            self.products.among(r)
            states, inputs = self.states.among(r), self.inputs.among(r)
            bias, input_weight = self._vectors[0, :r], self._vectors[1, :r]
            for i in range(steps.start - segment.start, steps.stop - segment.start):
                now = states[i + 1]
                torch.addcmul(bias, inputs[i], input_weight, out=now)
                add_forward(i, states[i], now)
                activate_(nonlinearity, now)

    def _retreat(self, segment: range, carry: Tensor, grads: Tensor | None) -> None:
        add_gradient, write_backward = self.products.add_gradient, self.products.write_backward
        nonlinearity, delta_whole = self.form.nonlinearity, self._delta
        for steps, r in reversed(self.chunk.stages(segment)):
            self.products.among(r)
            states, drives, drive_sums = self.states.among(r), self.drives.among(r), self.drive_sums[:r]
            own, delta = carry[:r], delta_whole[:r]
            for i in reversed(range(steps.start - segment.start, steps.stop - segment.start)):
                if grads is not None:
                    own.add_(grads[i + segment.start, :r])
                slope_into(nonlinearity, own, states[i + 1], out=delta)
                add_gradient(i, delta, states[i])
                drive_sums.baddbmm_(drives[i], delta)
                if i or segment.start:
                    write_backward(i, delta, own)

    def _alpha_sum(self, leak_sum: Tensor) -> Tensor:
        return -leak_sum


class _Outside(_Run):
    """h(t) = (1 - alpha) h(t-1) + alpha p(t), p(t) = phi(W h(t-1) + b + u x(t)) (equation 5)."""

    buffers = 2

    def __init__(self, kind: Hashable, form: Form, span: int, initial: Tensor, *, whole: bool) -> None:
        super().__init__(kind, form, span, initial, whole=whole)
        # p(t) is kept for the gradient: its sign gives phi', its value the gradient of alpha.
        self.targets = _Steps(initial.new_empty(span, *initial.shape))
        self._delta = torch.empty_like(initial)

    def _load(self, weight: Tensor, input_weight: Tensor, bias: Tensor) -> None:
        self.products.forward.copy_(weight)
        torch.mul(weight, self.alpha[:, :, None], out=self.products.backward)
        self.products.load(None)
        for vector, own in zip(self._vectors, (bias, input_weight), strict=True):
            vector[:, 0].copy_(own)

    def _advance(self, segment: range) -> None:
        add_forward, nonlinearity = self.products.add_forward, self.form.nonlinearity
        for steps, r in self.chunk.stages(segment):
            self.products.among(r)
            states, targets, inputs = self.states.among(r), self.targets.among(r), self.inputs.among(r)
            bias, input_weight, alpha = self._vectors[0, :r], self._vectors[1, :r], self.alpha[:r, None]
            for i in range(steps.start - segment.start, steps.stop - segment.start):
                target = targets[i]
                torch.addcmul(bias, inputs[i], input_weight, out=target)
                add_forward(i, states[i], target)
                activate_(nonlinearity, target)
                torch.lerp(states[i], target, alpha, out=states[i + 1])

    def backward(self, grad_last: Tensor | None, grads: Tensor | None) -> "_Sums":
        """Return the sums from which the gradients of the parameters are computed; see `_Run.backward`."""
        self.alpha_sum = torch.zeros_like(self.initial)
        return super().backward(grad_last, grads)

    def _retreat(self, segment: range, carry: Tensor, grads: Tensor | None) -> None:
        add_gradient, add_backward = self.products.add_gradient, self.products.add_backward
        nonlinearity, leak_whole = self.form.nonlinearity, 1 - self.alpha[:, None]
        for steps, r in reversed(self.chunk.stages(segment)):
            self.products.among(r)
            states, targets, drives = self.states.among(r), self.targets.among(r), self.drives.among(r)
            # delta is the gradient at phi's argument, without the factor alpha.
            own, delta, alpha_sum, drive_sums, leak = (
                tensor[:r] for tensor in (carry, self._delta, self.alpha_sum, self.drive_sums, leak_whole)
            )
            for i in reversed(range(steps.start - segment.start, steps.stop - segment.start)):
                if grads is not None:
                    own.add_(grads[i + segment.start, :r])
                torch.sub(targets[i], states[i], out=delta)
                alpha_sum.addcmul_(own, delta)
                slope_into(nonlinearity, own, targets[i], out=delta)
                add_gradient(i, delta, states[i])
                drive_sums.baddbmm_(drives[i], delta)
                if i or segment.start:
                    own.mul_(leak)
                    add_backward(i, delta, own)

    def _alpha_sum(self, leak_sum: Tensor) -> Tensor:
        return self.alpha_sum.sum(1)


def _run(workspace: Workspace[Any], form: Form, steps: int, initial: Tensor, *, whole: bool) -> _Run:
    """Return a run whose buffers are reused if possible."""
    cls = _Inside if form.self_interaction == "inside" else _Outside
    room = steps
    if not whole:
        size = initial.numel() * initial.element_size() * cls.buffers
        most = max(1, (_memory.KEPT if form.gradient else _memory.PASSING) // size)
        steps, room = _memory.rounded(steps, most)
    kind = (form, tuple(initial.shape), initial.dtype, initial.device, whole)
    run: _Run = workspace.take(kind, steps, lambda: cls(kind, form, room, initial, whole=whole))
    return run


class SteppedPassage(Passage):
    """A forward and backward pass with torch's operations, one chunk after the other."""

    def __init__(
        self, form: Form, together: int, sequences: Sequences, parameters: Parameters, workspace: Workspace[Any]
    ) -> None:
        """Prepare to step `together` networks at a time."""
        self._form, self._sequences, self._parameters, self._workspace = form, sequences, parameters, workspace
        self._chunks = chunks(sequences.lengths, together)
        self._runs: list[_Run] = []

    def forward(self) -> Tensor:
        """Compute the forward pass; see `Passage`."""
        every, initial, steps = self._sequences.every, self._sequences.initial, len(self._sequences.inputs)
        last = torch.empty_like(initial)
        states = initial.new_empty(steps + 1, *initial.shape) if every else None
        for chunk in self._chunks:
            own, parameters = chunk.taken(initial), Parameters(*(chunk.taken(tensor) for tensor in self._parameters))
            run = _run(self._workspace, self._form, chunk.steps, own, whole=every)
            run.begin(
                chunk,
                *parameters,
                chunk.taken(self._sequences.inputs[steps - chunk.steps :], 1),
                own,
                # All sequences are of one length here, so that the chunk is a view.
                None if states is None else chunk.taken(states, 1),
            )
            chunk.put(last, run.forward())
            if self._form.gradient:
                self._runs.append(run)
            else:
                self._workspace.give(run)
        return last if states is None else states[1:]

    def gradients(self, grad: Tensor) -> Parameters:
        """Compute the backward pass; see `Passage`."""
        weight, alpha = self._parameters[:2]
        sums = _Sums(torch.empty_like(weight), *(torch.empty_like(alpha) for _ in range(3)))
        for run in self._runs:
            every = self._sequences.every
            own = run.chunk.taken(grad, 1) if every else run.chunk.copied(grad)
            found = run.backward(None, own) if every else run.backward(own, None)
            for whole, part in zip(sums, found, strict=True):
                run.chunk.put(whole, part)
            self._workspace.give(run)
        return sums.gradients(self._form, self._parameters)
