"""The recurrence as a compiled loop over time, one network after the other: see `_kernels`.

The weights of a network and its states at one or two steps stay in the core's cache, and no Python code runs between
two steps. The numbers do not depend on the networks that a network is stacked with.
"""

from collections.abc import Hashable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from tsrnn.config import LeakyReLU, Library, Nonlinearity, Tanh
from tsrnn.networks import _gemm, _memory
from tsrnn.networks._passage import Form, Parameters, Passage, Sequences
from tsrnn.networks.workspace import Workspace

if TYPE_CHECKING:
    from tsrnn.networks._compiling import Parameters as Arrays
    from tsrnn.networks._compiling import Settings

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


def settings(form: Form, dtype: torch.dtype) -> "Settings":
    """Return what all networks share, as kernels take it."""
    from tsrnn.networks._compiling import Settings

    phi, slope = _phi(form.nonlinearity)
    address = _gemm.address(dtype, scipys=form.library == SCIPYS)
    if address is None:
        raise ValueError(f"products = {form.library!r}: not for {dtype}")
    real = np.float32 if dtype == torch.float32 else np.float64
    return Settings(address, form.self_interaction == "inside", phi, real(slope))


def arrays(parameters: Parameters) -> "Arrays":
    """Return parameters as kernels take them."""
    from tsrnn.networks._compiling import Parameters as Arrays

    return Arrays(*(tensor.detach().contiguous().numpy() for tensor in parameters))


def by_network(inputs: Tensor) -> np.ndarray:
    """Return inputs [T, R, B] as kernels take them, [R, T, B]."""
    array: np.ndarray = inputs.transpose(0, 1).contiguous().numpy()
    return array


class Storage:
    """The buffers of a forward pass, and of a backward pass that follows it.

    Attributes:
        kind: form and shape: what they can be used for again.
        room: steps of a segment that they have room for.
        settings: of the kernels that use them.
        buffers: the arrays.
    """

    def __init__(self, form: Form, room: int, like: Tensor) -> None:
        """Make them for states like a tensor [R, B, H]; S = room, and P is H padded to whole lines."""
        from tsrnn.networks._compiling import Buffers

        self.kind, self.room, self.settings = _kind(form, like), room, settings(form, like.dtype)
        r, batch, hidden = like.shape
        inside, gradient = self.settings.inside, form.gradient
        lanes = _LINE // like.element_size()
        padded = -(-hidden // lanes) * lanes
        back = r if gradient else 0

        def zeros(*shape: int) -> np.ndarray:
            made: np.ndarray = like.new_zeros(shape).numpy()
            return made

        self.buffers = Buffers(
            matrix=zeros(r, hidden, padded),
            back=zeros(r, hidden, padded),
            vectors=zeros(r, 4, padded),
            states=zeros(r, room + 1 if gradient else 2, batch, padded),
            # phi(t) is kept for the gradient: its sign gives phi', its value the gradient of alpha.
            targets=zeros(0 if inside else r, room if gradient else 1, batch, padded),
            carry=zeros(back, 2 * _memory.gathered(batch, hidden, like.element_size()), batch, padded),
            weight_sum=zeros(back, hidden, padded),
            sums=zeros(back, 3, padded),
        )

    @classmethod
    def taken(cls, form: Form, steps: int, like: Tensor, workspace: Workspace[Any]) -> Self:
        """Return buffers for states like a tensor [R, B, H] from a workspace; of all `steps` if they may be so large.

        As many networks share the memory as would be stepped together.
        """
        sharing = min(len(like), _memory.fitting(like.shape[2], like.element_size()))
        needed, room = _memory.rounded(steps, max(1, fitting(form, like) // sharing)) if form.gradient else (1, 1)
        storage: Self = workspace.take(_kind(form, like), needed, lambda: cls(form, room, like))
        return storage


def _kind(form: Form, like: Tensor) -> Hashable:
    return form, tuple(like.shape), like.dtype


def fitting(form: Form, like: Tensor) -> int:
    """Return the steps for which one network's states fit the memory, each like one of a tensor [R, B, H]."""
    buffers = 1 if form.self_interaction == "inside" else 2
    return _memory.KEPT // (buffers * like[0].numel() * like.element_size())


class CompiledPassage(Passage):
    """A forward and backward pass in compiled code, one network after the other.

    Time is divided into segments, and the buffers hold one of them. If a gradient is needed, the states at the start of
    each segment are kept, and the backward pass recomputes the segments.
    """

    def __init__(self, form: Form, sequences: Sequences, parameters: Parameters, workspace: Workspace[Any]) -> None:
        """Take the buffers."""
        self._form, self._sequences, self._workspace = form, sequences, workspace
        self._parameters = arrays(parameters)
        initial = sequences.initial
        self._storage = Storage.taken(form, len(sequences.inputs), initial, workspace)
        self._buffers = self._storage.buffers
        self._inputs = by_network(sequences.inputs)
        self._initial = initial.numpy()
        self._lengths = np.array(sequences.lengths)
        self._settings = self._storage.settings

    def forward(self) -> Tensor:
        """Compute the forward pass; see `Passage`."""
        from tsrnn.networks import _kernels

        buffers, initial = self._buffers, self._sequences.initial
        hidden = initial.shape[2]
        _kernels.prepare(self._settings, self._parameters, buffers)
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
            self._workspace.give(self._storage)
        return result if self._sequences.every else result[0]

    def gradients(self, grad: Tensor) -> Parameters:
        """Compute the backward pass; see `Passage`."""
        from tsrnn.networks import _kernels

        buffers, hidden = self._buffers, self._initial.shape[2]
        grads = (grad if self._sequences.every else grad[None]).contiguous().numpy()
        starts = self._starts()
        for number, start in reversed(list(enumerate(starts))):
            # The buffers hold each network's last segment; of those that went on, this one is computed again.
            going_on = self._lengths > start + self._storage.room
            if going_on.any():
                if number:
                    buffers.states[going_on, 0] = self._kept[number - 1][going_on]
                else:
                    buffers.states[going_on, 0, :, :hidden] = self._initial[going_on]
                self._advance(start, start + self._storage.room)
            _kernels.backward(self._settings, start, self._inputs, self._lengths, buffers, grads)
        found = Parameters(*(torch.empty(own.shape, dtype=grad.dtype) for own in self._parameters))
        _kernels.finish(self._settings, self._parameters, buffers, arrays(found))
        self._workspace.give(self._storage)
        return found

    @property
    def _span(self) -> int:
        """Steps of a segment: without a gradient there is one."""
        return self._storage.room if self._form.gradient else len(self._sequences.inputs)

    def _starts(self) -> range:
        """Return the networks' own steps at which segments begin."""
        return range(0, max(self._sequences.lengths), self._span)

    def _advance(self, start: int, least: int) -> None:
        """Fill the buffers for a segment of the networks that have more than `least` steps."""
        from tsrnn.networks import _kernels

        _kernels.forward(
            self._settings, start, self._span, least, self._inputs, self._lengths, self._buffers, self._out
        )
