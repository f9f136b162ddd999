"""Back-propagation through time for a stack of leaky networks.

A training step spends nearly all of its time here. Each time step takes one matrix product per network in the forward
pass and two in the backward pass, and a few pointwise operations. tests/oracles/plain.py has the same mathematics in
its simplest form. `_stepped` computes it with torch's operations, `_compiled` by a compiled loop over time.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsrnn.config import Nonlinearity
from tsrnn.networks._passage import Form, Parameters, Sequences
from tsrnn.networks.choice import Plan
from tsrnn.networks.planning import passage, plan_for
from tsrnn.networks.workspace import Workspace


class Dynamics(TypedDict):
    """The parameters and settings that define the dynamics of R networks.

    Attributes:
        weight: [R, H, H] recurrent weights, row i into neuron i.
        alpha: [R, H] dt / tau.
        input_weight: [R, H].
        bias: [R, H] the sum of all biases.
        nonlinearity: phi.
        self_interaction: "inside" (equation 1) or "outside" (equation 5).
        products: the dtype of the products: that of the weight, or torch.bfloat16. Sums, states, the leak
            and its gradient keep the dtype of the weight.
        plan: how the products are computed; None to measure the fastest way.
        workspace: buffers of earlier passes, for reuse.
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


class _BackPropagation(torch.autograd.Function):
    """A forward pass that a gradient follows; see `last_states` and `all_states`."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        alpha: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        sequences: Sequences,
        form: Form,
        together: int,
        workspace: Workspace[Any],
    ) -> Tensor:
        parameters = Parameters(weight, alpha, input_weight, bias)
        ctx.passage = passage(form, together, sequences, parameters, workspace)
        result: Tensor = ctx.passage.forward()
        # Of the result only all states are needed again.
        ctx.save_for_backward(*parameters, *([result] if sequences.every else []))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Reading the saved tensors raises if one of them was changed between forward and backward.
        _ = ctx.saved_tensors
        if ctx.passage is None:
            raise RuntimeError("the gradient of a recurrence can be taken once: its buffers are used again")
        gradients = ctx.passage.gradients(grad)
        ctx.passage = None
        return *gradients, None, None, None, None


def parameters(dynamics: Dynamics) -> Parameters:
    """Return the parameters among what defines the dynamics."""
    return Parameters(dynamics["weight"], dynamics["alpha"], dynamics["input_weight"], dynamics["bias"])


def form(dynamics: Dynamics, plan: Plan, *, gradient: bool) -> Form:
    """Return the settings that networks share; `gradient` says whether one follows the forward pass."""
    settings = (dynamics["nonlinearity"], dynamics["self_interaction"], dynamics["products"])
    return Form(*settings, plan.library, gradient)


def _states(sequences: Sequences, dynamics: Dynamics) -> Tensor:
    own = parameters(dynamics)
    gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in own)
    plan = dynamics["plan"] or plan_for(
        *sequences.initial.shape,
        dtype=sequences.initial.dtype,
        device=sequences.initial.device,
        products=dynamics["products"],
        self_interaction=dynamics["self_interaction"],
        gradient=gradient,
        nonlinearity=dynamics["nonlinearity"],
    )
    same, workspace = form(dynamics, plan, gradient=gradient), dynamics["workspace"]
    if not gradient:
        detached = Parameters(*(tensor.detach() for tensor in own))
        return passage(same, plan.together, sequences, detached, workspace).forward()
    result: Tensor = _BackPropagation.apply(  # type: ignore[no-untyped-call]
        *own, sequences, same, plan.together, workspace
    )
    return result


def last_states(*, inputs: Tensor, initial: Tensor, lengths: Sequence[int], **dynamics: Unpack[Dynamics]) -> Tensor:
    """Run R leaky networks over their sequences and return their last states, differentiably.

    Gradients reach `weight` (including its diagonal), `alpha`, `input_weight` and `bias`, but not the inputs and the
    initial state. The result is not twice differentiable.

    Args:
        inputs: [T, R, B] aligned at their end.
        initial: [R, B, H] state before each sequence's first step.
        lengths: [R] steps; T is the longest.
        dynamics: see `Dynamics`.

    Returns:
        [R, B, H] states after the last step.

    Source: section 2, equations 1 and 5; the gradient by hand from them.
    """
    return _states(Sequences(inputs, initial, tuple(lengths), every=False), dynamics)


def all_states(*, inputs: Tensor, initial: Tensor, **dynamics: Unpack[Dynamics]) -> Tensor:
    """Run R leaky networks over sequences of one length and return every state, differentiably as in `last_states`.

    Args:
        inputs: [T, R, B].
        initial: [R, B, H] state before the first step.
        dynamics: see `Dynamics`.

    Returns:
        [T, R, B, H] the states after each step.

    Source: section 2, equations 1 and 5.
    """
    steps, replicates = inputs.shape[:2]
    return _states(Sequences(inputs, initial, (steps,) * replicates, every=True), dynamics)
