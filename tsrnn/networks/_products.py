"""The matrix products of the recurrence, by several libraries and in several dtypes.

`tsrnn.networks.choice` measures which of them is fastest on this processor.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tsrnn.networks import onednn


class Products(ABC):
    """The matrix products of r networks that are stepped together, and the gradient of their matrix.

    An object is used for many passes over sequences. Before each pass, fill `forward` and `backward`, and call `load`.
    Steps t are counted from the start of the current segment. Every tensor [r, B, H] holds the networks that take part.

    Attributes:
        forward: [r, H, H] multiplies states.
        backward: [r, H, H] its transpose multiplies gradients in the backward pass; the same tensor as `forward` if
            `leaks`.
    """

    def __init__(self, r: int, like: Tensor, *, leaks: bool) -> None:
        """Create the buffers of r matrices.

        Args:
            r: the networks.
            like: a tensor [..., H] of the parameters' dtype and device.
            leaks: whether the diagonal of the matrix contains a leak; one matrix then serves both directions.
        """
        hidden = like.shape[-1]
        self.leaks = leaks
        self.forward = like.new_empty(r, hidden, hidden)
        self.backward = self.forward if leaks else torch.empty_like(self.forward)

    @abstractmethod
    def load(self, leak: Tensor | None) -> None:
        """Begin a run.

        Args:
            leak: [r, H] what is added to the diagonal of `forward`, in place or in effect.
        """

    @abstractmethod
    def begin_gradient(self) -> None:
        """Begin the sums that `gradients` returns."""

    @abstractmethod
    def among(self, r: int) -> None:
        """Let the first r networks take part from now on."""

    @abstractmethod
    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        """Add forward . before + leak * before to `out`."""

    @abstractmethod
    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        """Add delta, a gradient at the product, times the state before it to the sums of `gradients`."""

    @abstractmethod
    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        """Write backward^T . delta + leak * delta to `out`, after `add_gradient`."""

    @abstractmethod
    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        """Add backward^T . delta to `out`, after `add_gradient`."""

    @abstractmethod
    def end_segment(self, first: Sequence[int], steps: int) -> None:
        """Sum up a segment of `steps`, in which network r took part from step first[r] on."""

    @abstractmethod
    def gradients(self) -> tuple[Tensor, Tensor]:
        """Return the sums of delta . before^T [r, H, H] and, with a leak, of delta * before [r, H]."""


class BLASProducts(Products):
    """Products by torch's public operations, in the dtype of the parameters.

    On x86 they are MKL's, on arm64 those of the BLAS that torch was built with, on a GPU cuBLAS's. The leak is part of
    the matrix, and costs nothing.
    """

    def __init__(self, r: int, like: Tensor, *, leaks: bool) -> None:
        super().__init__(r, like, leaks=leaks)
        self._sum = torch.empty_like(self.forward)
        self._whole = (self.forward.transpose(1, 2), self.backward, self._sum)
        self._of: dict[int, tuple[Tensor, ...]] = {}

    def load(self, leak: Tensor | None) -> None:
        if leak is not None:
            self.forward.diagonal(dim1=1, dim2=2).add_(leak)

    def begin_gradient(self) -> None:
        self._sum.zero_()

    def among(self, r: int) -> None:
        if r not in self._of:
            self._of[r] = tuple(tensor[:r] for tensor in self._whole)
        self._forward, self._backward, self._gradient = self._of[r]

    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        torch.baddbmm(out, before, self._forward, out=out)

    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        self._gradient.baddbmm_(delta.transpose(1, 2), before)

    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        torch.bmm(delta, self._backward, out=out)

    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        torch.baddbmm(out, delta, self._backward, out=out)

    def end_segment(self, first: Sequence[int], steps: int) -> None:
        pass

    def gradients(self) -> tuple[Tensor, Tensor]:
        return self._sum, self._sum.diagonal(dim1=1, dim2=2)


class OneDNNProducts(BLASProducts):
    """Products of float32 matrices on a CPU by oneDNN, one network after the other.

    Matrices that are multiplied at every step are converted to oneDNN's own layout once for each pass.
    """

    def load(self, leak: Tensor | None) -> None:
        super().load(leak)
        self._packed = [onednn.pack(matrix) for matrix in self.forward]

    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        for own, matrix, result in zip(before, self._packed, out, strict=False):
            result.add_(onednn.times(own, matrix))

    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        for own, states, total in zip(delta, before, self._gradient, strict=True):
            total.add_(onednn.times(own.T, states.T))

    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        for own, matrix, result in zip(delta, self._backward, out, strict=True):
            result.copy_(onednn.times(own, matrix.T))

    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        for own, matrix, result in zip(delta, self._backward, out, strict=True):
            result.add_(onednn.times(own, matrix.T))


class BFloat16Products(Products):
    """Products of bfloat16 copies. All sums, and the leak, remain in the dtype of the parameters.

    For a long tau, 1 - 1 / tau would be lost in bfloat16. A CPU's product of bfloat16 matrices is rounded to bfloat16.
    The gradient is therefore computed as one long product for each segment, which is rounded once.
    """

    def __init__(self, r: int, like: Tensor, *, leaks: bool, steps: int, batch: int) -> None:
        """Create the buffers of r matrices, and of the states of `steps` steps of `batch` sequences."""
        super().__init__(r, like, leaks=leaks)
        hidden = like.shape[-1]
        forward = torch.empty_like(self.forward, dtype=torch.bfloat16)
        backward = forward if leaks else torch.empty_like(forward)
        # [r, S, B, H]: the steps of a network are contiguous, as the long product of the gradient requires.
        self._states, self._deltas = (forward.new_empty(r, steps, batch, hidden) for _ in range(2))
        self._sum = torch.empty_like(self.forward)
        self._matrices = (forward, backward)
        self._whole = (
            forward.transpose(1, 2),
            backward,
            like.new_zeros(r, 1, hidden),
            forward.new_empty(r, batch, hidden),
            like.new_empty(r, batch, hidden),
            like.new_empty(r, batch, hidden),
        )
        self._leak_sums = self._whole[-1]
        self._of: dict[int, tuple[Any, ...]] = {}

    def load(self, leak: Tensor | None) -> None:
        for copy, matrix in zip(self._matrices, (self.forward, self.backward), strict=True):
            copy.copy_(matrix)
        if leak is not None:
            self._whole[2].copy_(leak[:, None])

    def begin_gradient(self) -> None:
        self._sum.zero_()
        self._leak_sums.zero_()

    def among(self, r: int) -> None:
        if r not in self._of:
            steps = (copies[:r].unbind(1) for copies in (self._states, self._deltas))
            self._of[r] = (*(tensor[:r] for tensor in self._whole), *steps)
        (
            self._forward, self._backward, self._leak, self._product, self._total, self._leak_sum,
            self._states_of, self._deltas_of,
        ) = self._of[r]  # fmt: skip

    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        # Without a gradient, all steps use one copy.
        copy = self._states_of[t % len(self._states_of)].copy_(before)
        self._total.copy_(torch.bmm(copy, self._forward, out=self._product))
        out.add_(self._total.addcmul_(before, self._leak))

    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        self._deltas_of[t].copy_(delta)
        self._leak_sum.addcmul_(delta, before)

    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        self._total.copy_(torch.bmm(self._deltas_of[t], self._backward, out=self._product))
        torch.addcmul(self._total, delta, self._leak, out=out)

    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        out.add_(self._total.copy_(torch.bmm(self._deltas_of[t], self._backward, out=self._product)))

    def end_segment(self, first: Sequence[int], steps: int) -> None:
        for r, begin in enumerate(first):
            if begin < steps:
                part = self._deltas[r, begin:steps].flatten(0, 1).T @ self._states[r, begin:steps].flatten(0, 1)
                self._sum[r] += part

    def gradients(self) -> tuple[Tensor, Tensor]:
        return self._sum, self._leak_sums.sum(1)
