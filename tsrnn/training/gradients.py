"""The loss of a population on a batch, and its gradient, for training steps and for analyses."""

from collections.abc import Collection

import torch
from torch import Tensor

from tsrnn.networks import Population
from tsrnn.networks.base import Stack
from tsrnn.tasks import Task
from tsrnn.training.sampling import TaskBatch, over_steps


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
        networks: R networks; they are left as they are, but for tensors of their own that share what is stored.
        task: what is asked.
        batch: sequences and targets.
        initial: [R, B, S] states before the first time step.
        weights: [R, K] of the heads in the sum; 1 by default.
        names: the parameters whose gradients are wanted, of those that are trained; all by default.

    Returns:
        losses [R, K], 0 at places without a head; gradients [R, ...] by name.
    """
    leaves = {
        name: networks.parameters[name].detach().requires_grad_()
        for name in networks.trained
        if names is None or name in names
    }
    networks.parameters.update(leaves)
    answers = networks.with_steps(batch.dt).answers(batch.inputs, batch.lengths, initial, batch.readout_steps)
    per_head = over_steps(task.loss(answers, batch.targets), batch.readout_steps) * (networks.head_table > 0)
    weighted = per_head if weights is None else per_head * weights
    gradients = dict(zip(leaves, torch.autograd.grad(weighted.sum(), list(leaves.values())), strict=True))
    networks.parameters.update({name: leaf.detach() for name, leaf in leaves.items()})
    return per_head.detach(), gradients
