"""The loss of a population on a batch, and its gradient, for training steps and for analyses."""

import copy
from collections.abc import Collection

import torch
from torch import Tensor

from tsrnn.networks import Population
from tsrnn.networks.base import Stack
from tsrnn.tasks import Task
from tsrnn.training.sampling import TaskBatch, over_steps, to_steps


def losses_and_gradients(
    networks: Population,
    task: Task,
    batch: TaskBatch,
    initial: Tensor,
    *,
    weights: Tensor | None = None,
    names: Collection[str] | None = None,
) -> tuple[Tensor, Stack]:
    """Return each head's loss on a batch, and the gradients of each network's sum over heads.

    The gradient of entries that no step may change is among them; see `Population.remove_untrained_gradients_`.

    Args:
        networks: R networks; they are left as they are.
        task: what is asked.
        batch: sequences and targets.
        initial: [R, B, S] states before the first time step.
        weights: [R, K] of the heads in the sum; 1 by default.
        names: the parameters whose gradients are wanted, of those that are trained; all by default.

    Returns:
        losses [R, K], 0 at places without a head; gradients [R, ...] by name.
    """
    wanted = [name for name in networks.trained if names is None or name in names]
    counted = networks.head_mask if weights is None else networks.head_mask * weights
    same = networks.with_steps(batch.dt)
    sequences = (batch.inputs, batch.lengths, initial, batch.readout_steps)
    if task.is_cross_entropy:
        found = same.cross_entropy_with_gradient(*sequences, batch.targets, counted, wanted)
        if found is not None:
            return found
    leaves = {name: networks.parameters[name].detach().requires_grad_() for name in wanted}
    same = copy.copy(same)
    same.parameters = same.parameters | leaves
    with torch.enable_grad():
        answers = same.answers(*sequences)
    losses, loss_back = task.loss_with_gradient(answers.detach(), batch.targets)
    # Gradients of a sum: if autograd is handed the gradient at the answers, torch imports sympy, which takes long.
    gradient = loss_back(to_steps(counted, batch.readout_steps))
    with torch.enable_grad():
        weighted = (answers * gradient).sum()
    gradients = torch.autograd.grad(weighted, list(leaves.values()))
    return over_steps(losses, batch.readout_steps) * networks.head_mask, dict(zip(leaves, gradients, strict=True))
