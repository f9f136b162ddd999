"""The mathematics as one writes it first: one network, a loop over time, autograd.

Nothing here is stacked, aligned or fast. A network is its tensors by name ("recurrent.weight", "heads.5.bias"),
as in `tsrnn.networks.NetworkState`; nothing else of tsrnn but its configuration is used.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tsrnn.config import DMS, SGD, Adam, Leaky, LeakyReLU, Parity, ReLU, RunConfig, Tanh


def phi(nonlinearity: LeakyReLU | ReLU | Tanh, z: Tensor) -> Tensor:
    match nonlinearity:
        case LeakyReLU(slope=slope):
            return torch.where(z > 0, z, slope * z)
        case ReLU():
            return torch.where(z > 0, z, 0.0)
        case Tanh():
            return torch.tanh(z)


def states(network: Leaky, tensors: Mapping[str, Tensor], inputs: Tensor, initial: Tensor) -> list[Tensor]:
    """Return the states [B, H] after each step, from inputs [M, B] and an initial state [B, H]."""
    tau = tensors["tau"]
    if network.tau.kind == "trained" and network.tau.constraint == "clamp_forward":
        tau = torch.clamp(tau, min=1.0)
    alpha = 1 / tau
    h, result = initial, []
    for x in inputs:
        drive = (
            h @ tensors["recurrent.weight"].T
            + tensors["recurrent.bias"]
            + x[:, None] * tensors["input.weight"]
            + tensors["input.bias"]
        )
        if network.self_interaction == "inside":
            h = phi(network.nonlinearity, (1 - alpha) * h + alpha * drive)
        else:
            h = (1 - alpha) * h + alpha * phi(network.nonlinearity, drive)
        result.append(h)
    return result


def logits(tensors: Mapping[str, Tensor], n: int, state: Tensor) -> Tensor:
    """Return the head for N's logits [B, 2]."""
    return state @ tensors[f"heads.{n}.weight"].T + tensors[f"heads.{n}.bias"]


def label(task: Parity | DMS, bits: Sequence[int], n: int) -> bool:
    """Return what the head for N should say after these bits, oldest first."""
    match task:
        case Parity():
            return sum(bits[-n:]) % 2 == 1
        case DMS():
            return bits[-1] == bits[-n]


def optimizer_of(config: SGD | Adam, parameters: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    """Return torch's optimiser; weights decay, biases and tau do not."""
    groups = []
    for name, parameter in parameters.items():
        decay = config.weight_decay if name.endswith(".weight") else 0.0
        groups.append({"params": [parameter] if parameter.requires_grad else [], "weight_decay": decay})
    match config:
        case SGD(learning_rate=rate, momentum=momentum):
            return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0)
        case Adam(learning_rate=rate, beta1=beta1, beta2=beta2, epsilon=epsilon):
            return torch.optim.Adam(groups, lr=rate, betas=(beta1, beta2), eps=epsilon)


def train(
    config: RunConfig, tensors: Mapping[str, Tensor], batches: Iterable[tuple[Tensor, Tensor, Mapping[int, Tensor]]]
) -> tuple[dict[str, Tensor], list[float], list[float]]:
    """Train one network on given batches: inputs [M, B], initial states [B, H] and labels [B] by N.

    Returns:
        the parameters, and each step's loss and gradient norm before clipping.
    """
    parameters = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    if config.network.tau.kind == "fixed":
        parameters["tau"].requires_grad_(False)
    trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
    optimizer = optimizer_of(config.training.optimizer, parameters)
    clip, weight = config.training.clip, parameters["recurrent.weight"]
    losses, norms = [], []
    for inputs, initial, labels in batches:
        optimizer.zero_grad()
        last = states(config.network, parameters, inputs, initial)[-1]
        loss = sum(F.cross_entropy(logits(parameters, n, last), answer.long()) for n, answer in labels.items())
        loss.backward()
        if clip is None or clip.counts == "parameters":
            weight.grad.fill_diagonal_(0.0)
        norm = torch.nn.utils.clip_grad_norm_(trained, float("inf") if clip is None else clip.max_norm)
        optimizer.step()
        with torch.no_grad():
            weight.fill_diagonal_(0.0)
            if config.network.tau.kind == "trained" and config.network.tau.constraint == "project":
                parameters["tau"].clamp_(min=1.0)
        losses.append(loss.item())
        norms.append(norm.item())
    return {name: parameter.detach() for name, parameter in parameters.items()}, losses, norms
