"""The matrix products of the recurrence: which library multiplies, in which dtype."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from tsrnn.networks.workspace import Workspace

# Multiplications of one product from which oneDNN is faster than MKL.
_ONEDNN = 1 << 20


class Products(ABC):
    """The matrix products of one chunk's run, and the gradient of their matrix.

    `forward` [r, H, H] multiplies states; its transpose, or that of `backward`, multiplies what comes back. `leak`
    [r, 1, H], if any, stands on the diagonal of `forward` beside what is there. Steps t are counted from the start
    of the segment in work; every tensor [r, B, H] holds the networks that take part.
    """

    @abstractmethod
    def among(self, r: int) -> None:
        """Let the first r networks take part from now on."""

    @abstractmethod
    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        """Add forward . before + leak * before to `out`."""

    @abstractmethod
    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        """Count delta, a gradient at the product, and the state before it."""

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

    @abstractmethod
    def release(self) -> None:
        """Give the large buffers back."""


class OwnProducts(Products):
    """Products in the parameters' own dtype: the leak is part of the matrix, and costs nothing."""

    def __init__(self, forward: Tensor, backward: Tensor, leak: Tensor | None) -> None:
        if leak is not None:
            forward.diagonal(dim1=1, dim2=2).add_(leak[:, 0])
        self._all = (forward.transpose(1, 2), backward, torch.zeros_like(backward))

    def among(self, r: int) -> None:
        self._forward, self._backward, self._gradient = (tensor[:r] for tensor in self._all)

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
        return self._all[2], self._all[2].diagonal(dim1=1, dim2=2)

    def release(self) -> None:
        pass


class OneDNNProducts(OwnProducts):
    """Products of one float32 network on a CPU by oneDNN.

    PyTorch's `mm` calls MKL, which took twice as long on an AMD EPYC. What is multiplied at every step is put in
    oneDNN's own order once. Small products are over before oneDNN has begun: `pay` tells.
    """

    def __init__(self, forward: Tensor, backward: Tensor, leak: Tensor | None) -> None:
        """Take matrices; `forward` gets the leak."""
        super().__init__(forward, backward, leak)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(forward[0].contiguous())

    @staticmethod
    def pay(weight: Tensor, batch: int) -> bool:
        """Tell whether they can be taken, and are faster."""
        r, _, hidden = weight.shape
        return (
            r == 1
            and batch * hidden**2 >= _ONEDNN
            and weight.dtype == torch.float32
            and weight.device.type == "cpu"
            and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        )

    @staticmethod
    def _times(rows: Tensor, matrix: Tensor) -> Tensor:
        """Return rows . matrix^T."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, matrix, None, "none", [], "")
        return product

    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        out.add_(self._times(before, self._packed))

    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        self._gradient[0].add_(self._times(delta[0].T, before[0].T))

    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        out.copy_(self._times(delta, self._backward[0].T))

    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        out.add_(self._times(delta, self._backward[0].T))


class BFloat16Products(Products):
    """Products of bfloat16 copies. All sums, and the leak, stay in the parameters' dtype.

    1 - 1 / tau of a long tau would be lost in bfloat16. A CPU's product of bfloat16 matrices is rounded to bfloat16:
    the gradient is therefore one long product a segment, which is rounded once.
    """

    def __init__(
        self, forward: Tensor, backward: Tensor, leak: Tensor | None, steps: int, batch: int, workspace: Workspace
    ) -> None:
        size, matrix = (len(forward), batch, forward.shape[2]), forward.bfloat16()
        self._workspace = workspace
        # [r, S, B, H]: a network's steps lie side by side, as its gradient's long product wants them.
        shape = (size[0], steps, *size[1:])
        self._copies = [workspace.take(*shape, like=matrix), workspace.take(*shape, like=matrix)]
        self._weight_sum = torch.zeros_like(forward)
        self._all = (
            matrix.transpose(1, 2),
            matrix if backward is forward else backward.bfloat16(),
            forward.new_zeros(len(forward), 1, forward.shape[2]) if leak is None else leak,
            matrix.new_empty(size),
            forward.new_empty(size),
            forward.new_zeros(size),
        )

    def among(self, r: int) -> None:
        self._forward, self._backward, self._leak, self._product, self._sum, self._leak_sum = (
            tensor[:r] for tensor in self._all
        )
        self._states, self._deltas = (copies[:r].unbind(1) for copies in self._copies)

    def add_forward(self, t: int, before: Tensor, out: Tensor) -> None:
        # Without a gradient there is one place for all steps.
        copy = self._states[t % len(self._states)].copy_(before)
        self._sum.copy_(torch.bmm(copy, self._forward, out=self._product))
        out.add_(self._sum.addcmul_(before, self._leak))

    def add_gradient(self, t: int, delta: Tensor, before: Tensor) -> None:
        self._deltas[t].copy_(delta)
        self._leak_sum.addcmul_(delta, before)

    def write_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        self._sum.copy_(torch.bmm(self._deltas[t], self._backward, out=self._product))
        torch.addcmul(self._sum, delta, self._leak, out=out)

    def add_backward(self, t: int, delta: Tensor, out: Tensor) -> None:
        out.add_(self._sum.copy_(torch.bmm(self._deltas[t], self._backward, out=self._product)))

    def end_segment(self, first: Sequence[int], steps: int) -> None:
        states, deltas = self._copies
        for r, begin in enumerate(first):
            if begin < steps:
                part = deltas[r, begin:steps].flatten(0, 1).T @ states[r, begin:steps].flatten(0, 1)
                self._weight_sum[r] += part

    def gradients(self) -> tuple[Tensor, Tensor]:
        return self._weight_sum, self._all[-1].sum(1)

    def release(self) -> None:
        self._workspace.give(*self._copies)
