"""The recurrence as a compiled loop over time, one network after the other: see `_kernels`.

The weights of a network and its states at one or two steps stay in the core's cache, and no Python code runs between
two steps. The numbers do not depend on the networks that a network is stacked with.
"""

from collections.abc import Hashable
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from tsrnn.config import LeakyReLU, Library, Nonlinearity, Tanh
from tsrnn.networks import _gemm, _memory
from tsrnn.networks._passage import Form, Parameters, Passage, Sequences
from tsrnn.networks.workspace import Workspace

# Rows of buffers begin at a multiple of so many bytes: a cache line, and the longest vector.
_LINE = 64

SCIPYS: Final = "compiled-scipy"
LIBRARIES: Final[tuple[Library, ...]] = ("compiled", SCIPYS)


@cache
def available(library: Library, dtype: torch.dtype) -> bool:
    """Return whether there are a compiler and a BLAS routine that it can call."""
    if find_spec("numba") is None or _gemm.address(dtype, scipys=library == SCIPYS) is None:
        return False
    try:
        import tsrnn.networks._kernels  # noqa: F401
    # numba refuses to be imported beside a numpy that it does not know.
    except (ImportError, SystemError):
        return False
    return True


def _phi(nonlinearity: Nonlinearity) -> tuple[int, float]:
    """Return which function it is, and its slope; a ReLU is leaky with a slope of 0."""
    from tsrnn.networks import _kernels

    match nonlinearity:
        case Tanh():
            return _kernels.TANH, 0.0
        case LeakyReLU(slope=slope):
            return _kernels.LEAKY, slope
        case _:
            return _kernels.LEAKY, 0.0


class _Buffers:
    """What a passage needs room for.

    Attributes:
        kind: form and shape: what they can be used for again.
        room: steps of a segment that they have room for.
    """

    def __init__(self, kind: Hashable, form: Form, room: int, like: Tensor) -> None:
        """Make them for states like a tensor [R, B, H]; S = room, and P is H padded to whole lines."""
        self.kind, self.room = kind, room
        r, batch, hidden = like.shape
        inside, gradient = form.self_interaction == "inside", form.gradient
        lanes = _LINE // like.element_size()
        padded = -(-hidden // lanes) * lanes

        def zeros(*shape: int) -> np.ndarray:
            made: np.ndarray = like.new_zeros(shape).numpy()
            return made

        self.states = zeros(r, room + 1 if gradient else 2, batch, padded)
        # phi(t) is kept for the gradient: its sign gives phi', its value the gradient of alpha.
        self.targets = zeros(0 if inside else r, room if gradient else 1, batch, padded)
        self.matrix = zeros(r, hidden, padded)
        self.turned = form.library == SCIPYS
        self.back = self.matrix if inside and not self.turned else zeros(r, hidden, padded)
        self.vectors = zeros(r, 4, padded)
        if gradient:
            self.carry = zeros(r, 2, batch, padded)
            self.weight_sum, self.sums = zeros(r, hidden, padded), zeros(r, 3, padded)


class CompiledPassage(Passage):
    """A forward and backward pass in compiled code, one network after the other.

    Time is divided into segments, and the buffers hold one of them. If a gradient is needed, the states at the start of
    each segment are kept, and the backward pass recomputes the segments.
    """

    def __init__(self, form: Form, sequences: Sequences, parameters: Parameters, workspace: Workspace[Any]) -> None:
        """Take the buffers."""
        self._form, self._sequences, self._workspace = form, sequences, workspace
        self._parameters = [tensor.contiguous().numpy() for tensor in parameters]
        initial = sequences.initial
        buffers = 1 if form.self_interaction == "inside" else 2
        # As many networks share the memory as would be stepped together.
        sharing = min(len(initial), _memory.fitting(initial.shape[2], initial.element_size()))
        most = max(1, _memory.KEPT // (buffers * sharing * initial[0].numel() * initial.element_size()))
        steps, room = _memory.rounded(len(sequences.inputs), most) if form.gradient else (1, 1)
        kind = (form, tuple(initial.shape), initial.dtype)
        self._buffers: _Buffers = workspace.take(kind, steps, lambda: _Buffers(kind, form, room, initial))
        self._inputs = sequences.inputs.transpose(0, 1).contiguous().numpy()
        self._initial = initial.numpy()
        self._lengths = np.array(sequences.lengths)
        phi, slope = _phi(form.nonlinearity)
        # What all kernels begin with.
        self._common = (
            _gemm.address(initial.dtype, scipys=form.library == SCIPYS),
            form.self_interaction == "inside",
            phi,
            self._initial.dtype.type(slope),
        )

    def forward(self) -> Tensor:
        """Compute the forward pass; see `Passage`."""
        from tsrnn.networks import _kernels

        buffers, initial = self._buffers, self._sequences.initial
        hidden = initial.shape[2]
        _kernels.prepare(
            self._common[1], buffers.turned, *self._parameters, buffers.matrix, buffers.back, buffers.vectors
        )
        buffers.states[:, 0, :, :hidden] = self._initial
        result = initial.new_empty(len(self._sequences.inputs) if self._sequences.every else 1, *initial.shape)
        self._out = result.numpy()
        self._kept: list[np.ndarray] = []
        for start in self._starts():
            if start:
                going_on = self._lengths > start
                buffers.states[going_on, 0] = buffers.states[going_on, -1]
                self._kept.append(buffers.states[:, 0].copy())
            self._advance(start, start)
        if not self._form.gradient:
            self._workspace.give(buffers)
        return result if self._sequences.every else result[0]

    def gradients(self, grad: Tensor) -> Parameters:
        """Compute the backward pass; see `Passage`."""
        from tsrnn.networks import _kernels

        buffers, hidden = self._buffers, self._initial.shape[2]
        grads = (grad if self._sequences.every else grad[None]).contiguous().numpy()
        starts = self._starts()
        for number, start in reversed(list(enumerate(starts))):
            # The buffers hold each network's last segment; of those that went on, this one is computed again.
            going_on = self._lengths > start + buffers.room
            if going_on.any():
                if number:
                    buffers.states[going_on, 0] = self._kept[number - 1][going_on]
                else:
                    buffers.states[going_on, 0, :, :hidden] = self._initial[going_on]
                self._advance(start, start + buffers.room)
            _kernels.backward(
                *self._common, start, buffers.matrix, buffers.back, buffers.vectors, self._inputs, self._lengths,
                buffers.states, buffers.targets, grads, buffers.carry, buffers.weight_sum, buffers.sums,
            )  # fmt: skip
        found = Parameters(*(torch.empty(own.shape, dtype=grad.dtype) for own in self._parameters))
        written = [tensor.numpy() for tensor in found]
        _kernels.finish(self._common[1], *self._parameters, buffers.weight_sum, buffers.sums, *written)
        self._workspace.give(buffers)
        return found

    @property
    def _span(self) -> int:
        """Steps of a segment: without a gradient there is one."""
        return self._buffers.room if self._form.gradient else len(self._sequences.inputs)

    def _starts(self) -> range:
        """Return the networks' own steps at which segments begin."""
        return range(0, max(self._sequences.lengths), self._span)

    def _advance(self, start: int, least: int) -> None:
        """Fill the buffers for a segment of the networks that have more than `least` steps."""
        from tsrnn.networks import _kernels

        buffers = self._buffers
        _kernels.forward(
            *self._common, start, self._span, least, buffers.turned, buffers.matrix, buffers.vectors, self._inputs,
            self._lengths, buffers.states, buffers.targets, self._out,
        )  # fmt: skip
