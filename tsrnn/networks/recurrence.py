"""The fast path: back-propagation through time for a stack of leaky networks.

Everything a training step spends its time on is here. One time step costs one matrix product a network
forward and two backward, and a few pointwise operations. tests/oracles/plain.py is the same mathematics as one
would write it first.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsrnn.config import LeakyReLU, Library, Nonlinearity, ReLU, Tanh
from tsrnn.networks import choice
from tsrnn.networks._products import BFloat16Products, BLASProducts, OneDNNProducts, Products
from tsrnn.networks.choice import Plan
from tsrnn.networks.workspace import Workspace

# A core's own cache (bytes). Networks whose weights fit are stepped together; of larger stacks it is measured how many,
# unless one network's weights alone are larger.
_CACHE = 1 << 19
# Multiplications of a product that is over before another library could gain anything.
_SMALL = 1 << 18
# States kept for the gradient of one run (bytes). A longer run keeps the state at the start of each segment of
# that size, and computes the segment again when its gradient is due.
_KEPT = 1 << 29
# States held at once where no gradient is wanted (bytes).
_PASSING = 1 << 24
# Buffers are made for a multiple of so many steps.
_ROOM = 16
# Time steps of a measurement.
_TRIED = 3


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
        plan: how they are computed; None to have it measured.
        workspace: the buffers of runs that have ended.
    """

    weight: Tensor
    alpha: Tensor
    input_weight: Tensor
    bias: Tensor
    nonlinearity: Nonlinearity
    self_interaction: Literal["inside", "outside"]
    products: torch.dtype
    plan: Plan | None
    workspace: Workspace[Any]


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

    @cached_property
    def begins(self) -> list[int]:
        """[r] the step at which each sequence starts, ascending."""
        return [self.steps - length for length in self.lengths]

    def stages(self, segment: range) -> list[tuple[range, int]]:
        """Cut a segment of time where sequences start: (steps, how many networks take part: always the first)."""
        cuts = sorted({segment.start, *(begin for begin in self.begins if begin in segment), segment.stop})
        return [(range(*cut), bisect_right(self.begins, cut[0])) for cut in pairwise(cuts)]

    def taken(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Return the networks' part of a population's tensor, [R, ...] or [T, R, ...]; a view if they are in order."""
        if self._in_order:
            return tensor.narrow(dim, self.networks[0], len(self.networks))
        return tensor.index_select(dim, self._places.to(tensor.device))

    def copied(self, tensor: Tensor) -> Tensor:
        """Return a copy of the networks' part of a population's tensor [R, ...]."""
        return self.taken(tensor).clone() if self._in_order else self.taken(tensor)

    def put(self, whole: Tensor, part: Tensor) -> None:
        """Write the networks' part into a population's tensor [R, ...]."""
        if self._in_order:
            whole.narrow(0, self.networks[0], len(self.networks)).copy_(part)
        else:
            whole.index_copy_(0, self._places.to(whole.device), part)

    @cached_property
    def _in_order(self) -> bool:
        first = self.networks[0]
        return self.networks == tuple(range(first, first + len(self.networks)))

    @cached_property
    def _places(self) -> Tensor:
        return torch.tensor(self.networks)


def _chunks(lengths: Sequence[int], together: int) -> list[_Chunk]:
    order = sorted(range(len(lengths)), key=lambda r: -lengths[r])
    return [
        _Chunk(tuple(part), tuple(lengths[r] for r in part))
        for part in (order[i : i + together] for i in range(0, len(order), together))
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
    library: Library
    gradient: bool


class _Sums(NamedTuple):
    """What the gradients are made of, summed over time and sequences. delta is the gradient at phi's argument.

    Attributes:
        weight: [r, H, H] delta . before^T.
        input: [r, H] delta * input.
        delta: [r, H].
        alpha: [r, H] what alpha's gradient has beside that of its products with the parameters.
    """

    weight: Tensor
    input: Tensor
    delta: Tensor
    alpha: Tensor

    def gradients(
        self, form: _Form, weight: Tensor, alpha: Tensor, input_weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of weight, alpha, input weight and bias; the sums are overwritten."""
        alpha_grad = self.alpha
        if form.self_interaction == "inside":
            # alpha multiplies all of W h + b + u x.
            alpha_grad = alpha_grad + torch.linalg.vecdot(self.weight, weight)
            alpha_grad.addcmul_(bias, self.delta).addcmul_(input_weight, self.input)
        return self.weight.mul_(alpha[:, :, None]), alpha_grad, alpha * self.input, alpha * self.delta


class _Steps:
    """A buffer [T, r, ...] step by step, cut to the networks that take part: its views are made once."""

    def __init__(self, buffer: Tensor) -> None:
        self.buffer = buffer
        self._of: dict[int, tuple[Tensor, ...]] = {}

    def among(self, r: int) -> tuple[Tensor, ...]:
        """Return the buffer of every step, [r, ...] each, of the first r networks."""
        if r not in self._of:
            self._of[r] = self.buffer[:, :r].unbind()
        return self._of[r]


class _Run(ABC):
    """The buffers of one chunk's way through its sequences and back: what both locations of the self-interaction share.

    Time is cut into segments of `span` steps. The buffers hold one segment; where a gradient is wanted, the states
    at the starts of all segments are kept, and going back computes a segment again. `begin` starts another chunk's way.

    Attributes:
        kind: form and shape: what it can be used for again.
        room: steps that it has buffers for.
    """

    buffers: int
    """How many buffers [T, r, B, H] a segment needs."""

    def __init__(self, kind: Hashable, form: _Form, span: int, initial: Tensor, *, whole: bool) -> None:
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
        chunk: _Chunk,
        weight: Tensor,
        alpha: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        inputs: Tensor,
        initial: Tensor,
        states: Tensor | None,
    ) -> None:
        """Take up a chunk.

        Args:
            chunk: its networks.
            weight: [r, H, H].
            alpha: [r, H].
            input_weight: [r, H].
            bias: [r, H].
            inputs: [T, r, B].
            initial: [r, B, H].
            states: [T + 1, r, B, H] the caller's buffer for all states, if it wants them.
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
        """Return what the gradients of the parameters are made of.

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
        """Prepare the products' matrices and what a step adds, for the networks of the chunk."""

    @abstractmethod
    def _advance(self, segment: range) -> None:
        """Fill the buffers for a segment, from the states before it."""

    @abstractmethod
    def _retreat(self, segment: range, carry: Tensor, grads: Tensor | None) -> None:
        """Bring the gradient `carry` from after the segment to before it, in place, and add up the sums."""

    @abstractmethod
    def _alpha_sum(self, leak_sum: Tensor) -> Tensor:
        """Return `_Sums.alpha`, from the sum of delta * before [r, H]."""


class _Inside(_Run):
    """h(t) = phi(A h(t-1) + v(t)), A = diag(1 - alpha) + diag(alpha) W (equation 1)."""

    buffers = 1

    def __init__(self, kind: Hashable, form: _Form, span: int, initial: Tensor, *, whole: bool) -> None:
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
                _slope_into(nonlinearity, own, states[i + 1], out=delta)
                add_gradient(i, delta, states[i])
                drive_sums.baddbmm_(drives[i], delta)
                if i or segment.start:
                    write_backward(i, delta, own)

    def _alpha_sum(self, leak_sum: Tensor) -> Tensor:
        return -leak_sum


class _Outside(_Run):
    """h(t) = (1 - alpha) h(t-1) + alpha p(t), p(t) = phi(W h(t-1) + b + u x(t)) (equation 5)."""

    buffers = 2

    def __init__(self, kind: Hashable, form: _Form, span: int, initial: Tensor, *, whole: bool) -> None:
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
        """Return what the gradients of the parameters are made of; see `_Run.backward`."""
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
                _slope_into(nonlinearity, own, targets[i], out=delta)
                add_gradient(i, delta, states[i])
                drive_sums.baddbmm_(drives[i], delta)
                if i or segment.start:
                    own.mul_(leak)
                    add_backward(i, delta, own)

    def _alpha_sum(self, leak_sum: Tensor) -> Tensor:
        return self.alpha_sum.sum(1)


def _run(workspace: Workspace[_Run], form: _Form, steps: int, initial: Tensor, *, whole: bool) -> _Run:
    """Return a run's buffers, used before or new."""
    cls = _Inside if form.self_interaction == "inside" else _Outside
    if not whole:
        size = initial.numel() * initial.element_size() * cls.buffers
        most = max(1, (_KEPT if form.gradient else _PASSING) // size)
        # Rounded up, so that the next sequences, a little longer, find room.
        room, steps = min(most, -(-steps // _ROOM) * _ROOM), min(steps, most)
    else:
        room = steps
    kind = (form, tuple(initial.shape), initial.dtype, initial.device, whole)
    return workspace.take(kind, steps, lambda: cls(kind, form, room, initial, whole=whole))


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
        together: int,
        workspace: Workspace[_Run],
    ) -> Tensor:
        result, ctx.runs = sequences.run(form, together, workspace, (weight, alpha, input_weight, bias))
        ctx.every, ctx.form, ctx.workspace = sequences.every, form, workspace
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
        weight, alpha = parameters[:2]
        sums = _Sums(torch.empty_like(weight), *(torch.empty_like(alpha) for _ in range(3)))
        for run in ctx.runs:
            own = run.chunk.taken(grad, 1) if ctx.every else run.chunk.copied(grad)
            found = run.backward(None, own) if ctx.every else run.backward(own, None)
            for whole, part in zip(sums, found, strict=True):
                run.chunk.put(whole, part)
            ctx.workspace.give(run)
        ctx.runs = []
        return *sums.gradients(ctx.form, *parameters), None, None, None, None


@dataclass(frozen=True)
class _Sequences:
    """What R networks are run over, and whether every state is wanted or the last alone."""

    inputs: Tensor
    initial: Tensor
    lengths: tuple[int, ...]
    every: bool

    def run(
        self, form: _Form, together: int, workspace: Workspace[_Run], parameters: Sequence[Tensor]
    ) -> tuple[Tensor, list[_Run]]:
        """Return the states, and each chunk's run where a gradient will follow."""
        steps = self.inputs.shape[0]
        last = torch.empty_like(self.initial)
        runs: list[_Run] = []
        states = self.initial.new_empty(steps + 1, *self.initial.shape) if self.every else None
        for chunk in _chunks(self.lengths, together):
            initial = chunk.taken(self.initial)
            weight, alpha, input_weight, bias = (chunk.taken(tensor) for tensor in parameters)
            run = _run(workspace, form, chunk.steps, initial, whole=self.every)
            run.begin(
                chunk,
                weight,
                alpha,
                input_weight,
                bias,
                chunk.taken(self.inputs[steps - chunk.steps :], 1),
                initial,
                # All sequences are of one length here, so that the chunk is a view.
                None if states is None else chunk.taken(states, 1),
            )
            chunk.put(last, run.forward())
            if form.gradient:
                runs.append(run)
            else:
                workspace.give(run)
        return last if states is None else states[1:], runs


def plan_for(
    replicates: int, batch: int, hidden: int, *, dtype: torch.dtype, device: torch.device, products: torch.dtype,
    self_interaction: Literal["inside", "outside"], gradient: bool, library: Library | None = None,
) -> Plan:  # fmt: skip
    """Measure, once a process, how a population of this shape is best computed.

    Args:
        replicates: R.
        batch: B.
        hidden: H.
        dtype: of the parameters.
        device: where they are.
        products: the dtype of the products.
        self_interaction: "inside" or "outside".
        gradient: whether a gradient follows the forward pass.
        library: take this one, and measure the rest.

    Returns:
        The fastest plan.

    Raises:
        ValueError: if the library cannot multiply in this dtype on this device.
    """
    allowed = choice.libraries(products, device)
    if library is not None and library not in allowed:
        raise ValueError(f"products = {library!r}: not for {products} on {device.type}; allowed here: {allowed[0]}")
    names = allowed if library is None else (library,)
    size = hidden**2 * dtype.itemsize
    fitting = min(replicates, max(1, _CACHE // size))
    if device.type != "cpu":
        return Plan(names[0], replicates)
    if replicates * batch * hidden**2 < _SMALL:
        return Plan(names[0], fitting)
    stacks = [fitting] if size > _CACHE else [fitting, min(replicates, 4 * fitting), replicates]
    shape = (replicates, batch, hidden, dtype, products, self_interaction, gradient, names)

    def make(plan: Plan) -> Callable[[], object]:
        form = _Form(LeakyReLU(), self_interaction, products, plan.library, gradient)
        vectors = torch.full((3, replicates, hidden), 0.5, dtype=dtype)
        parameters = [torch.full((replicates, hidden, hidden), 1 / hidden, dtype=dtype), *vectors]
        inputs, initial = torch.ones(_TRIED, replicates, batch, dtype=dtype), torch.ones(replicates, batch, hidden)
        sequences = _Sequences(inputs, initial.to(dtype), (_TRIED,) * replicates, every=False)
        workspace: Workspace[_Run] = Workspace()

        def work() -> None:
            last, runs = sequences.run(form, plan.together, workspace, parameters)
            for run in runs:
                run.backward(run.chunk.copied(last), None)
                workspace.give(run)

        return work

    return choice.fastest(shape, [Plan(name, count) for count in stacks for name in names], make)


def _states(sequences: _Sequences, dynamics: Dynamics) -> Tensor:
    parameters = (dynamics["weight"], dynamics["alpha"], dynamics["input_weight"], dynamics["bias"])
    gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in parameters)
    plan = dynamics["plan"] or plan_for(
        *sequences.initial.shape,
        dtype=sequences.initial.dtype,
        device=sequences.initial.device,
        products=dynamics["products"],
        self_interaction=dynamics["self_interaction"],
        gradient=gradient,
    )
    form = _Form(dynamics["nonlinearity"], dynamics["self_interaction"], dynamics["products"], plan.library, gradient)
    workspace = dynamics["workspace"]
    if not gradient:
        return sequences.run(form, plan.together, workspace, [tensor.detach() for tensor in parameters])[0]
    result: Tensor = _BackPropagation.apply(  # type: ignore[no-untyped-call]
        *parameters, sequences, form, plan.together, workspace
    )
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
