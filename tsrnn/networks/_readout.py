"""The products of the heads in compiled code, one network after the other: see `_kernels`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsrnn.networks import _gemm

if TYPE_CHECKING:
    from tsrnn.networks._compiling import Heads


def arrays(weight: Tensor, bias: Tensor) -> "Heads":
    """Return heads [R, K, C, H] and [R, K, C] as kernels take them."""
    from tsrnn.networks._compiling import Heads

    return Heads(weight.detach().flatten(1, 2).contiguous().numpy(), bias.detach().flatten(1).contiguous().numpy())


class _Reading(torch.autograd.Function):
    """Read all heads; see `read`."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, outputs: Sequence[int]) -> Tensor:
        from tsrnn.networks import _kernels

        # What is saved must not be changed before the gradient is taken: reading it then raises.
        ctx.save_for_backward(states, weight, bias)
        ctx.outputs = np.array(outputs)
        result = states.new_empty(*states.shape[:2], *bias.shape[1:])
        _kernels.read(
            _gemm.address(states.dtype), states.contiguous().numpy(), arrays(weight, bias), ctx.outputs,
            result.flatten(2).numpy(),
        )  # fmt: skip
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from tsrnn.networks import _kernels

        states, weight, bias = ctx.saved_tensors
        state_grad = grad.new_empty(states.shape)
        weight_grad, bias_grad = (grad.new_zeros(own.shape) for own in (weight, bias))
        _kernels.read_back(
            _gemm.address(grad.dtype), grad.contiguous().flatten(2).numpy(), states.contiguous().numpy(),
            arrays(weight, bias), ctx.outputs, state_grad.numpy(), arrays(weight_grad, bias_grad),
        )  # fmt: skip
        return state_grad, weight_grad, bias_grad, None


def read(states: Tensor, weight: Tensor, bias: Tensor, outputs: Sequence[int]) -> Tensor:
    """Read every head, differentiably.

    Args:
        states: [R, B, H] the neurons' activities.
        weight: [R, K, C, H].
        bias: [R, K, C].
        outputs: [R] how many of the K C outputs a network has; they are the first.

    Returns:
        [R, B, K, C]; zero for places without a head.
    """
    result: Tensor = _Reading.apply(states, weight, bias, outputs)  # type: ignore[no-untyped-call]
    return result
