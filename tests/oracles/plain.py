"""The mathematics as one writes it first: one network, a loop over time, autograd.

Nothing here is stacked, aligned or fast. A network is its tensors by name ("recurrent.weight", "heads.5.bias"),
as in `tsrnn.networks.NetworkState`; nothing else of tsrnn but its configuration is used.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tsrnn.config import (
    GRU,
    LSTM,
    SGD,
    SOAP,
    Adam,
    AdamW,
    Leaky,
    LeakyReLU,
    Muon,
    Network,
    Optimizer,
    ReLU,
    RunConfig,
    Tanh,
)
from tsrnn.tasks import DMS, Parity, Sines, Task


def phi(nonlinearity: LeakyReLU | ReLU | Tanh, z: Tensor) -> Tensor:
    match nonlinearity:
        case LeakyReLU(slope=slope):
            return torch.where(z > 0, z, slope * z)
        case ReLU():
            return torch.where(z > 0, z, 0.0)
        case Tanh():
            return torch.tanh(z)


def states(network: Network, tensors: Mapping[str, Tensor], inputs: Tensor, initial: Tensor) -> list[Tensor]:
    """Return the states [B, S] after each step, from bits [M, B] and an initial state [B, S]."""
    match network:
        case Leaky():
            return leaky_states(network, tensors, inputs, initial)
        case GRU():
            return gru_states(tensors, inputs, initial)
        case LSTM():
            return lstm_states(tensors, inputs, initial)


def leaky_states(network: Leaky, tensors: Mapping[str, Tensor], inputs: Tensor, initial: Tensor) -> list[Tensor]:
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


def logistic(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def gates(tensors: Mapping[str, Tensor], bits: Tensor, h: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return, for each gate, what it gets from h and from the bits as -1 and 1, each [B, H]."""
    H = h.shape[1]
    signs = torch.where(bits > 0.5, 1.0, -1.0).to(h.dtype)
    result = []
    for first in range(0, len(tensors["recurrent.bias"]), H):
        rows = slice(first, first + H)
        from_state = h @ tensors["recurrent.weight"][rows].T + tensors["recurrent.bias"][rows]
        from_input = signs[:, None] * tensors["input.weight"][rows] + tensors["input.bias"][rows]
        result.append((from_state, from_input))
    return result


def gru_states(tensors: Mapping[str, Tensor], inputs: Tensor, initial: Tensor) -> list[Tensor]:
    h, result = initial, []
    for bits in inputs:
        reset, update, new = gates(tensors, bits, h)
        candidate = torch.tanh(logistic(sum(reset)) * new[0] + new[1])
        keep = logistic(sum(update))
        h = keep * h + (1 - keep) * candidate
        result.append(h)
    return result


def lstm_states(tensors: Mapping[str, Tensor], inputs: Tensor, initial: Tensor) -> list[Tensor]:
    """The states are the hidden state and the cell state, side by side."""
    H = initial.shape[1] // 2
    h, cell, result = initial[:, :H], initial[:, H:], []
    for bits in inputs:
        write, keep, value, read = (sum(parts) for parts in gates(tensors, bits, h))
        cell = logistic(keep) * cell + logistic(write) * torch.tanh(value)
        h = logistic(read) * torch.tanh(cell)
        result.append(torch.cat((h, cell), dim=1))
    return result


def logits(tensors: Mapping[str, Tensor], n: int, state: Tensor) -> Tensor:
    """Return the head for N's logits [B, 2], from a state [B, S] that starts with the activities."""
    weight = tensors[f"heads.{n}.weight"]
    return state[:, : weight.shape[1]] @ weight.T + tensors[f"heads.{n}.bias"]


def label(task: Parity | DMS, bits: Sequence[float], n: int) -> bool:
    """Return what the head for N should say after these bits, oldest first."""
    match task:
        case Parity():
            return sum(bits[-n:]) % 2 == 1
        case DMS():
            return bits[-1] == bits[-n]


def pattern(task: Sines, n: int, t: int) -> float:
    """Return what the head for N should say after t steps."""
    return sum(math.sin(2 * math.pi * t / (wave * task.period)) for wave in range(1, n + 1))


def target(task: Task, inputs: Sequence[float], n: int) -> float:
    """Return what the head for N should say after these inputs, oldest first."""
    return pattern(task, n, len(inputs)) if isinstance(task, Sines) else float(label(task, inputs, n))


def score(task: Task, n: int, outputs: Sequence[float], right: float) -> float:
    """Return how good one answer of the head for N is; its mean is the accuracy."""
    if isinstance(task, Sines):
        return 1 - (outputs[0] - right) ** 2 / (n / 2)
    return float((outputs[1] > outputs[0]) == bool(right))


def head_loss(task: Task, tensors: Mapping[str, Tensor], n: int, states: list[Tensor], targets: Tensor) -> Tensor:
    """Return the loss of the head for N, from all states [B, H] and targets [S, B] of the last S of them."""
    if isinstance(task, Sines):
        outputs = torch.stack([logits(tensors, n, state)[:, 0] for state in states[-len(targets) :]])
        return F.mse_loss(outputs, targets)
    asked = zip(states[-len(targets) :], targets, strict=True)
    return sum(F.cross_entropy(logits(tensors, n, state), right.long()) for state, right in asked) / len(targets)


def by_singular_values(matrix: Tensor) -> Tensor:
    """Apply the odd polynomial that torch.optim.Muon iterates five times to the singular values alone, in float64."""
    left, values, right = torch.linalg.svd(matrix / matrix.norm(), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ torch.diag(values) @ right


class ExactMuon(torch.optim.Optimizer):
    """torch.optim.Muon in float64: torch's own orthogonalises in bfloat16."""

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        (self.parameter,) = parameters
        self.mean = torch.zeros_like(self.parameter)

    @torch.no_grad()
    def step(self) -> None:
        (group,), gradient = self.param_groups, self.parameter.grad
        self.mean = group["momentum"] * self.mean + (1 - group["momentum"]) * gradient
        direction = (1 - group["momentum"]) * gradient + group["momentum"] * self.mean
        self.parameter *= 1 - group["lr"] * group["weight_decay"]
        self.parameter -= group["lr"] * by_singular_values(direction)


class ExactSOAP(torch.optim.Optimizer):
    """SOAP as in algorithms 3 and 4 of Vyas et al. (2024), for each square matrix of a parameter [k H, H].

    The mean is that of the gradient in its own coordinates. As in the authors' code, the first gradient only sets the
    eigenvectors; they are sorted by their Rayleigh quotients before the QR decomposition, and squares with them.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], config: SOAP) -> None:
        super().__init__(parameters, {})
        (self.parameter,) = parameters
        self.config, self.count = config, -1
        self.matrices = [{} for _ in range(len(self.parameter) // self.parameter.shape[1])]

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        self.parameter *= 1 - self.config.recurrent_rate * self.config.weight_decay
        size = self.parameter.shape[1]
        for i, kept in enumerate(self.matrices):
            rows = slice(i * size, (i + 1) * size)
            self.parameter[rows] -= self.config.recurrent_rate * self.direction(kept, self.parameter.grad[rows])

    def direction(self, kept: dict[str, Tensor], g: Tensor) -> Tensor:
        beta1, beta2, beta = self.config.beta1, self.config.recurrent_beta2, self.config.shampoo_beta
        if self.count == 0:
            kept |= {"m": torch.zeros_like(g), "v": torch.zeros_like(g)}
            kept |= {"l": (1 - beta) * g @ g.T, "r": (1 - beta) * g.T @ g}
            kept |= {"ql": torch.linalg.eigh(kept["l"])[1].flip(1), "qr": torch.linalg.eigh(kept["r"])[1].flip(1)}
            return torch.zeros_like(g)
        ql, qr = kept["ql"], kept["qr"]
        kept["m"] = beta1 * kept["m"] + (1 - beta1) * g
        kept["v"] = beta2 * kept["v"] + (1 - beta2) * (ql.T @ g @ qr) ** 2
        mean, square = kept["m"] / (1 - beta1**self.count), kept["v"] / (1 - beta2**self.count)
        step = ql @ ((ql.T @ mean @ qr) / (square.sqrt() + self.config.epsilon)) @ qr.T
        kept["l"] = beta * kept["l"] + (1 - beta) * g @ g.T
        kept["r"] = beta * kept["r"] + (1 - beta) * g.T @ g
        if self.count % self.config.frequency == 0:
            first = torch.argsort(torch.diag(ql.T @ kept["l"] @ ql), descending=True)
            second = torch.argsort(torch.diag(qr.T @ kept["r"] @ qr), descending=True)
            kept["v"] = kept["v"][first][:, second]
            kept["ql"] = torch.linalg.qr(kept["l"] @ ql[:, first])[0]
            kept["qr"] = torch.linalg.qr(kept["r"] @ qr[:, second])[0]
        return step


def optimizers_of(config: Optimizer, parameters: Mapping[str, Tensor]) -> list[torch.optim.Optimizer]:
    """Return torch's optimisers; weights decay, biases and tau do not."""
    if isinstance(config, Muon | SOAP):
        rest = {name: tensor for name, tensor in parameters.items() if name != "recurrent.weight"}
        weight, momentum, decay = parameters["recurrent.weight"], config.beta1, config.weight_decay
        fields = {name: getattr(config, name) for name in ("learning_rate", "beta1", "beta2", "epsilon")}
        adam = optimizers_of(AdamW(**fields, weight_decay=decay), rest)
        if isinstance(config, SOAP):
            return [ExactSOAP([weight], config), *adam]
        return [ExactMuon([weight], config.recurrent_rate, momentum, decay), *adam]
    groups = []
    for name, parameter in parameters.items():
        decay = config.weight_decay if name.endswith(".weight") else 0.0
        groups.append({"params": [parameter] if parameter.requires_grad else [], "weight_decay": decay})
    match config:
        case SGD(learning_rate=rate, momentum=momentum):
            return [torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0)]
        case Adam(learning_rate=rate, beta1=beta1, beta2=beta2, epsilon=epsilon):
            return [torch.optim.Adam(groups, lr=rate, betas=(beta1, beta2), eps=epsilon)]
        case AdamW(learning_rate=rate, beta1=beta1, beta2=beta2, epsilon=epsilon):
            return [torch.optim.AdamW(groups, lr=rate, betas=(beta1, beta2), eps=epsilon)]


def train(
    config: RunConfig, tensors: Mapping[str, Tensor], batches: Iterable[tuple[Tensor, Tensor, Mapping[int, Tensor]]]
) -> tuple[dict[str, Tensor], list[float], list[float]]:
    """Train one network on given batches: inputs [M, B], initial states [B, S] and, by N, targets [S, B] of the end.

    Returns:
        the parameters, and each step's loss and gradient norm before clipping.
    """
    parameters = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    leaky = config.network if isinstance(config.network, Leaky) else None
    if leaky and leaky.tau.kind == "fixed":
        parameters["tau"].requires_grad_(False)
    trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
    optimizers = optimizers_of(config.training.optimizer, parameters)
    clip, weight = config.training.clip, parameters["recurrent.weight"]
    losses, norms = [], []
    for inputs, initial, labels in batches:
        for optimizer in optimizers:
            optimizer.zero_grad()
        said = states(config.network, parameters, inputs, initial)
        loss = sum(head_loss(config.task, parameters, n, said, right) for n, right in labels.items())
        loss.backward()
        if leaky and (clip is None or clip.counts == "parameters"):
            weight.grad.fill_diagonal_(0.0)
        norm = torch.nn.utils.clip_grad_norm_(trained, float("inf") if clip is None else clip.max_norm)
        if leaky:
            weight.grad.fill_diagonal_(0.0)
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            if leaky:
                weight.fill_diagonal_(0.0)
            if leaky and leaky.tau.kind == "trained" and leaky.tau.constraint == "project":
                parameters["tau"].clamp_(min=1.0)
        losses.append(loss.item())
        norms.append(norm.item())
    return {name: parameter.detach() for name, parameter in parameters.items()}, losses, norms
