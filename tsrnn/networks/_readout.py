"""The products of the heads in compiled code, one network after the other: see `_kernels`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsrnn.networks import _gemm


class _Reading(torch.autograd.Function):
    """Read all heads; see `read`."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, used: np.ndarray) -> Tensor:
        from tsrnn.networks import _kernels

        ctx.save_for_backward(states, weight)
        ctx.used = used
        result = states.new_empty(*states.shape[:2], *bias.shape[1:])
        _kernels.read(
            _gemm.address(states.dtype), states.detach().numpy(), _rows(weight), bias.detach().flatten(1).numpy(), used,
            result.view(*states.shape[:2], -1).numpy(),
        )  # fmt: skip
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from tsrnn.networks import _kernels

        states, weight = ctx.saved_tensors
        found = torch.empty_like(states), torch.empty_like(weight), weight.new_empty(weight.shape[:3])
        _kernels.read_back(
            _gemm.address(states.dtype), grad.contiguous().flatten(2).numpy(), states.detach().numpy(), _rows(weight),
            ctx.used, found[0].numpy(), _rows(found[1]), found[2].flatten(1).numpy(),
        )  # fmt: skip
        return *found, None


def _rows(weight: Tensor) -> np.ndarray:
    rows: np.ndarray = weight.detach().flatten(1, 2).numpy()
    return rows


def read(states: Tensor, weight: Tensor, bias: Tensor, outputs: Sequence[int]) -> Tensor:
    """Read every head, differentiably, once.

    Args:
        states: [R, B, H] the neurons' activities.
        weight: [R, K, C, H].
        bias: [R, K, C].
        outputs: [R] the number of outputs that a network has, which are the first of the K C.

    Returns:
        [R, B, K, C]; zero for places without a head.
    """
    result: Tensor = _Reading.apply(  # type: ignore[no-untyped-call]
        states.contiguous(), weight.contiguous(), bias.contiguous(), np.array(outputs)
    )
    return result
