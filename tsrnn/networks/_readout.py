"""The products of the heads in compiled code, one network after the other: see `_kernels`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsrnn.networks import _gemm


class Readout:
    """All heads of R networks in one state of each sequence."""

    def __init__(self, states: Tensor, weight: Tensor, bias: Tensor, outputs: Sequence[int]) -> None:
        """Hold what is read.

        Args:
            states: [R, B, H] the neurons' activities.
            weight: [R, K, C, H].
            bias: [R, K, C].
            outputs: [R] how many of the K C outputs a network has; they are the first.
        """
        self._states, self._weight, self._bias = (one.detach().contiguous() for one in (states, weight, bias))
        self._used = np.array(outputs)

    def answers(self) -> Tensor:
        """Return what the heads say, [R, B, K, C]; zero for places without a head."""
        from tsrnn.networks import _kernels

        states = self._states
        result = states.new_empty(*states.shape[:2], *self._bias.shape[1:])
        _kernels.read(
            _gemm.address(states.dtype), states.numpy(), _rows(self._weight), self._bias.flatten(1).numpy(),
            self._used, result.flatten(2).numpy(),
        )  # fmt: skip
        return result

    def gradients(self, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of states, weight and bias, from that of the answers."""
        from tsrnn.networks import _kernels

        found = torch.empty_like(self._states), torch.empty_like(self._weight), torch.empty_like(self._bias)
        _kernels.read_back(
            _gemm.address(grad.dtype), grad.contiguous().flatten(2).numpy(), self._states.numpy(), _rows(self._weight),
            self._used, found[0].numpy(), _rows(found[1]), found[2].flatten(1).numpy(),
        )  # fmt: skip
        return found


class _Reading(torch.autograd.Function):
    """Read all heads; see `read`."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, outputs: Sequence[int]) -> Tensor:
        # What is saved must not be changed before the gradient is taken: reading it then raises.
        ctx.save_for_backward(states, weight)
        ctx.readout = Readout(states, weight, bias, outputs)
        answers: Tensor = ctx.readout.answers()
        return answers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        return *ctx.readout.gradients(grad), None


def _rows(weight: Tensor) -> np.ndarray:
    rows: np.ndarray = weight.flatten(1, 2).numpy()
    return rows


def read(states: Tensor, weight: Tensor, bias: Tensor, outputs: Sequence[int]) -> Tensor:
    """Read every head, differentiably, once; see `Readout`."""
    result: Tensor = _Reading.apply(states, weight, bias, outputs)  # type: ignore[no-untyped-call]
    return result
