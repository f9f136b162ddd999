"""Gradients and curvature of the loss: gradients at past states, cosines between heads' gradients, and sharpness.

    batch, initial = ...
    norms_by_delay(population, task, batch, initial, delays=20)  # [R, 21]
    mean_gradients(population, task, [(batch, initial)])
    sharpness(population, task, [(batch, initial)])  # [R]

Source: Bengio, Simard and Frasconi (1994), "Learning long-term dependencies with gradient descent is difficult", for
gradients by delay; Yu et al. (2020), "Gradient surgery for multi-task learning", for cosines; Cohen et al. (2021),
"Gradient descent on neural networks typically occurs at the edge of stability", for the largest eigenvalue.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import scipy.sparse.linalg
import torch
from torch import Tensor

from tsrnn.networks import Population, population
from tsrnn.networks.base import NetworkState, Stack
from tsrnn.networks.leaky import LeakyPopulation
from tsrnn.tasks import Task
from tsrnn.training.gradients import losses_and_gradients
from tsrnn.training.sampling import TaskBatch

Vector = np.ndarray[Any, np.dtype[np.float64]]

STEP: Final = 1e-8
"""The step for second derivatives from differences of gradients, in Euclidean norm.

If the nonlinearity has a kink, the gradient jumps when a neuron crosses 0. With this step, this happens almost never,
and the difference still has seven digits in float64. In float32, there is no such step.
"""

_TOLERANCE: Final = 1e-3


def double(networks: Population) -> Population:
    """Return the same networks with all tensors in float64."""
    states: list[NetworkState] = [
        {name: tensor.double() for name, tensor in state.items()} for state in networks.states()
    ]
    return population(networks.network, states, networks.heads)


def posed(batch: TaskBatch, initial: Tensor, networks: Population, task: Task) -> tuple[TaskBatch, Tensor]:
    """Return a batch of one network for R networks: the same sequences, with the targets of each network's heads.

    Args:
        batch: of one network; its heads do not matter, only its sequences.
        initial: [1, B, S].
        networks: R networks.
        task: says what is right at the last step.

    Returns:
        the batch, and [R, B, S] initial states, for `networks`, in their dtype.
    """
    steps, _, sequences = batch.inputs.shape
    inputs = batch.inputs.expand(steps, networks.replicates, sequences).contiguous()
    asked = replace(
        batch,
        inputs=inputs,
        lengths=batch.lengths * networks.replicates,
        targets=task.targets(inputs, networks.head_table, range(steps - 1, steps)),
        readout_steps=(1,) * networks.replicates,
        dt=batch.dt * networks.replicates,
    )
    return asked, initial.to(networks.dtype).expand(networks.replicates, -1, -1).contiguous()


def state_gradients(networks: LeakyPopulation, task: Task, batch: TaskBatch, initial: Tensor) -> Iterator[Tensor]:
    """Yield the gradients of each sequence's own loss at its states, from the last state back to the initial one.

    The loss is that of a network's outputs after the last step, summed over its heads. Gradients have the dtype of the
    networks.

    Args:
        networks: R leaky networks.
        task: what is asked.
        batch: sequences of one length T.
        initial: [R, B, H] states before the first time step.

    Yields:
        [R, B, H] dL / dh(T - d), for d = 0 to T; h(0) is the initial state.

    Raises:
        ValueError: sequences are of different lengths.
    """
    if len(set(batch.lengths)) > 1:
        raise ValueError(f"lengths = {batch.lengths}: allowed is one for all networks")
    networks = networks.with_steps(batch.dt)
    with torch.no_grad():
        states = networks.all_states(batch.inputs, initial)
    last = states[-1].clone().requires_grad_()
    losses = task.loss(networks.logits(last)[None], batch.targets[-1:])[0] * (networks.head_table > 0)
    # The loss is a mean over sequences.
    (gradient,) = torch.autograd.grad(losses.sum() * last.shape[1], last)
    with torch.no_grad():
        yield gradient
        for t in range(len(states) - 1, -1, -1):
            before = states[t - 1] if t else initial
            gradient = networks.cotangent(networks.slopes(before, states[t]), gradient)
            yield gradient


def norms_by_delay(networks: LeakyPopulation, task: Task, batch: TaskBatch, initial: Tensor, delays: int) -> Tensor:
    """Return the norm of the loss's gradient at past states: |dL / dh(T - d)|, mean over sequences.

    Args:
        networks: R leaky networks.
        task: what is asked.
        batch: see `state_gradients`.
        initial: see `state_gradients`.
        delays: the longest delay, in time steps; at delay T is the initial state.

    Returns:
        [R, delays + 1], d = 0 first.

    Raises:
        ValueError: `delays` is negative or longer than the sequences; see also `state_gradients`.
    """
    if not 0 <= delays <= len(batch.inputs):
        raise ValueError(
            f"delays = {delays}: allowed are 0 to {len(batch.inputs)}, the time steps that the sequences have"
        )
    found: list[Tensor] = []
    for gradient in state_gradients(networks, task, batch, initial):
        found.append(torch.linalg.vector_norm(gradient, dim=2).mean(1))
        if len(found) > delays:
            break
    return torch.stack(found, 1)


def mean_gradients(
    networks: Population,
    task: Task,
    batches: Sequence[tuple[TaskBatch, Tensor]],
    names: Collection[str] | None = None,
) -> tuple[Tensor, Stack]:
    """Return each head's loss and the gradients of each network's sum over heads, mean over batches of one size.

    Args:
        networks: R networks.
        task: what is asked.
        batches: at least one, with its initial states.
        names: the parameters whose gradients are wanted; all that are trained by default.

    Returns:
        losses [R, K]; gradients [R, ...] by name, 0 where no step may change a parameter.
    """
    losses, total = torch.zeros(()), dict[str, Tensor]()
    for batch, initial in batches:
        own, gradients = losses_and_gradients(networks, task, batch, initial, names=names)
        networks.remove_untrained_gradients_(gradients)
        losses = losses + own
        total = {name: total[name] + g if name in total else g for name, g in gradients.items()}
    return losses / len(batches), {name: gradient / len(batches) for name, gradient in total.items()}


def cosines(vectors: Tensor) -> Tensor:
    """Return the cosines between vectors [K, P]: [K, K], NaN where one of two is 0."""
    return (vectors @ vectors.T) / torch.outer(*[torch.linalg.vector_norm(vectors, dim=1)] * 2)


def largest_eigenvalue(gradient: Callable[[Tensor], Tensor], at: Tensor, seed: int = 0) -> float:
    """Return the largest eigenvalue of the matrix of second derivatives, from differences of gradients.

    Lanczos' method (ARPACK) is used, which needs several tens of products of the matrix with a vector.

    Args:
        gradient: from points [2, P] to the gradients there, [2, P], in float64; 0 where a variable is held.
        at: [P] where the matrix is taken, float64.
        seed: of the vector that the method starts from.

    Returns:
        The eigenvalue, to about one part in 1000; NaN where gradients are not finite.

    Raises:
        ValueError: `at` is not of float64.
    """
    if at.dtype != torch.float64:
        raise ValueError(f"at: of {at.dtype}; allowed is torch.float64, see tsrnn.dynamics.gradients.STEP")

    def product(vector: Vector) -> Vector:
        size = float(np.linalg.norm(vector))
        moved = torch.from_numpy(vector / (size or 1.0)).to(at.device) * STEP
        ahead, behind = gradient(torch.stack([at + moved, at - moved]))
        product: Vector = ((ahead - behind) * (size / (2 * STEP))).cpu().numpy()
        return product

    start = np.random.default_rng(seed).normal(size=len(at))
    with np.errstate(over="ignore", invalid="ignore"):
        first = product(start)
        if not np.isfinite(np.linalg.norm(first)):
            return float("nan")
    if not first.any():
        return 0.0
    operator = scipy.sparse.linalg.LinearOperator((len(at), len(at)), matvec=product, dtype=np.float64)
    # Products have no component along fixed parameters, and hence neither do later vectors.
    (found,) = scipy.sparse.linalg.eigsh(operator, k=1, which="LA", v0=first, tol=_TOLERANCE, return_eigenvectors=False)
    return float(found)


def sharpness(networks: Population, task: Task, batches: Sequence[tuple[TaskBatch, Tensor]]) -> list[float]:
    """Return the largest eigenvalue of the Hessian of each network's loss, over all parameters that are trained.

    The loss is the sum over a network's heads, mean over batches. Gradient descent at a learning rate above 2 over this
    number moves away from a minimum.

    Args:
        networks: R networks in float64.
        task: what is asked.
        batches: of one network each, applied to every network with its own heads; see `posed`.

    Returns:
        [R], NaN where gradients are not finite.

    Raises:
        ValueError: the networks are not in float64.
    """
    return [_sharpness(networks.only(r), task, batches) for r in range(networks.replicates)]


def _sharpness(network: Population, task: Task, batches: Sequence[tuple[TaskBatch, Tensor]]) -> float:
    (state,) = network.states()
    # A point on each side, side by side.
    pair = population(network.network, [state, state], network.heads * 2)
    asked = [posed(batch, initial, pair, task) for batch, initial in batches]
    shapes = {name: pair.parameters[name].shape[1:] for name in pair.trained}
    sizes = [shape.numel() for shape in shapes.values()]

    def gradient(points: Tensor) -> Tensor:
        parts = zip(shapes.items(), torch.split(points, sizes, dim=1), strict=True)
        pair.parameters.update({name: part.reshape(2, *shape) for (name, shape), part in parts})
        _, gradients = mean_gradients(pair, task, asked)
        return torch.cat([gradients[name].flatten(1) for name in shapes], 1)

    return largest_eigenvalue(gradient, torch.cat([pair.parameters[name][0].flatten() for name in shapes]))
