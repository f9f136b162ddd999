"""Functions of torch that are not in its documentation, each replaced by a slower public one if it is missing.

`tests/networks/test_torch.py` checks that the installed torch has them.
"""

from functools import cache

import torch
from torch import Tensor

from tsrnn.config import LeakyReLU, Nonlinearity, ReLU, Tanh


@cache
def has_slopes() -> bool:
    """Return whether torch's own gradients of phi write to a given tensor, and are right."""
    grad, activity = torch.tensor([2.0, 3.0]), torch.tensor([-0.5, 0.5])
    for nonlinearity in (LeakyReLU(slope=0.3), ReLU(), Tanh()):
        found, expected = torch.empty(2), torch.empty(2)
        _public_slope_into(nonlinearity, grad, activity, expected)
        # Operators that are absent raise AttributeError, those with other arguments RuntimeError or TypeError.
        try:
            _slope_into(nonlinearity, grad, activity, found)
        except (AttributeError, RuntimeError, TypeError):
            return False
        if not torch.allclose(found, expected):
            return False
    return True


def slope_into(nonlinearity: Nonlinearity, grad: Tensor, activity: Tensor, out: Tensor) -> None:
    """Write grad * phi'(z) to `out`, from activity = phi(z): its sign (or value) is enough."""
    (_slope_into if has_slopes() else _public_slope_into)(nonlinearity, grad, activity, out)


def _slope_into(nonlinearity: Nonlinearity, grad: Tensor, activity: Tensor, out: Tensor) -> None:
    match nonlinearity:
        case LeakyReLU(slope=slope):
            torch.ops.aten.leaky_relu_backward.grad_input(grad, activity, slope, True, grad_input=out)
        case ReLU():
            torch.ops.aten.threshold_backward.grad_input(grad, activity, 0.0, grad_input=out)
        case Tanh():
            torch.ops.aten.tanh_backward.grad_input(grad, activity, grad_input=out)


def _public_slope_into(nonlinearity: Nonlinearity, grad: Tensor, activity: Tensor, out: Tensor) -> None:
    match nonlinearity:
        case LeakyReLU(slope=slope):
            out.copy_(torch.where(activity > 0, grad, grad * slope))
        case ReLU():
            torch.mul(grad, activity > 0, out=out)
        case Tanh():
            torch.mul(grad, 1 - activity * activity, out=out)
