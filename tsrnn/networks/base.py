"""The contract of a population: R networks of one architecture, stacked along the first axis.

A network by itself is a `NetworkState`: tensors by name, its heads by their N ("heads.5.weight"). A
population stacks R of them; `unstack` gives them back. Whatever changes which networks or heads there are
(a curriculum step, a network that ends, a checkpoint) goes through that pair, so heads are addressed by N
everywhere and places in a stack mean nothing outside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tsrnn.config import Network
from tsrnn.randomness import key

NetworkState = dict[str, Tensor]
Stack = dict[str, Tensor]

READOUT_WEIGHT = "readout.weight"
READOUT_BIAS = "readout.bias"


def stack(states: Sequence[Mapping[str, Tensor]], heads: Sequence[Sequence[int]]) -> Stack:
    """Stack the tensors of R networks.

    Args:
        states: R networks' tensors by name, heads as "heads.N.weight" [2, H] and "heads.N.bias" [2].
        heads: R networks' N.

    Returns:
        Tensors [R, ...]; all heads in "readout.weight" [R, K, 2, H] and "readout.bias" [R, K, 2], in the order
        of `heads`, zero where a network has fewer than K.

    Raises:
        KeyError: if a network lacks a tensor or a head.
    """
    shared = [name for name in states[0] if not name.startswith("heads.")]
    result = {name: torch.stack([state[name] for state in states]) for name in shared}
    most = max(len(ns) for ns in heads)
    for name, part in ((READOUT_WEIGHT, "weight"), (READOUT_BIAS, "bias")):
        one = states[0][f"heads.{heads[0][0]}.{part}"]
        result[name] = one.new_zeros(len(states), most, *one.shape)
        for r, (state, ns) in enumerate(zip(states, heads, strict=True)):
            for k, n in enumerate(ns):
                result[name][r, k] = state[f"heads.{n}.{part}"]
    return result


def unstack(tensors: Mapping[str, Tensor], heads: Sequence[Sequence[int]]) -> list[NetworkState]:
    """Undo `stack`: return copies of R networks' tensors, heads by their N."""
    states: list[NetworkState] = []
    for r, ns in enumerate(heads):
        state = {name: t[r].clone() for name, t in tensors.items() if not name.startswith("readout.")}
        for k, n in enumerate(ns):
            state[f"heads.{n}.weight"] = tensors[READOUT_WEIGHT][r, k].clone()
            state[f"heads.{n}.bias"] = tensors[READOUT_BIAS][r, k].clone()
        states.append(state)
    return states


def uniform(bound: float, shape: tuple[int, ...], seed: int, *name: str | int) -> Tensor:
    """Draw U(-bound, bound) float32 on the CPU from the stream (seed, *name)."""
    generator = torch.Generator()
    generator.manual_seed(key(seed, *name))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def initial_head(hidden: int, n: int, seed: int) -> NetworkState:
    """Return a fresh head for N: U(-k, k), k = 1/sqrt(H), from the stream (seed, "head", N)."""
    bound = hidden**-0.5
    return {
        f"heads.{n}.weight": uniform(bound, (2, hidden), seed, "head", n, "weight"),
        f"heads.{n}.bias": uniform(bound, (2,), seed, "head", n, "bias"),
    }


class Population(ABC):
    """R networks of one architecture.

    A state is what a network needs to go on from one step to the next: S numbers a sequence, of which the first
    H are the neurons' activities, the part that heads read and that is recorded (`activity`). S is H except
    where an architecture remembers more: an LSTM's state is its hidden state, then its cell state.

    Attributes:
        network: the architecture.
        parameters: tensors [R, ...] by name.
        heads: [R] each network's N, in the order of "readout.weight".
        products: dtype whose products the recurrence takes, the parameters' unless said otherwise.
    """

    def __init__(
        self,
        network: Network,
        parameters: Stack,
        heads: Sequence[Sequence[int]],
        products: torch.dtype | None = None,
    ) -> None:
        """Hold the tensors as they are, without a copy."""
        self.network = network
        self.parameters = parameters
        self.heads = tuple(tuple(ns) for ns in heads)
        self.head_table = torch.zeros(len(heads), max(map(len, heads)), dtype=torch.int64)
        for r, ns in enumerate(self.heads):
            self.head_table[r, : len(ns)] = torch.tensor(ns)
        self.head_table = self.head_table.to(self.device)
        self.products = products or self.dtype

    @classmethod
    def from_states(
        cls,
        network: Network,
        states: Sequence[Mapping[str, Tensor]],
        heads: Sequence[Sequence[int]],
        products: torch.dtype | None = None,
    ) -> Self:
        """Stack R networks; see `stack`."""
        return cls(network, stack(states, heads), heads, products)

    def states(self) -> list[NetworkState]:
        """Return copies of the R networks' tensors; see `unstack`."""
        return unstack(self.parameters, self.heads)

    @property
    def replicates(self) -> int:
        """R."""
        return len(self.heads)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.parameters[READOUT_WEIGHT].device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' and states' dtype."""
        return self.parameters[READOUT_WEIGHT].dtype

    def activity(self, states: Tensor) -> Tensor:
        """Return the neurons' activities, a view of the first H of states [..., S]."""
        return states[..., : self.network.hidden]

    def logits(self, state: Tensor) -> Tensor:
        """Read every head.

        Args:
            state: [R, B, S].

        Returns:
            [R, B, K, 2]; zero for places without a head.
        """
        activity = self.activity(state)
        weight, bias = self.parameters[READOUT_WEIGHT], self.parameters[READOUT_BIAS]
        flat = torch.baddbmm(bias.flatten(1)[:, None], activity, weight.flatten(1, 2).transpose(1, 2))
        return flat.view(*flat.shape[:2], *weight.shape[1:3])

    @staticmethod
    @abstractmethod
    def initial_state_of(network: Network, seed: int) -> NetworkState:
        """Return a new network's tensors without heads, float32 on the CPU, from the streams of `seed`."""

    @staticmethod
    @abstractmethod
    def shapes(network: Network) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of one network but the heads'."""

    @property
    @abstractmethod
    def state_size(self) -> int:
        """S, the numbers a network remembers of a sequence from one step to the next."""

    @property
    @abstractmethod
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that training changes."""

    @abstractmethod
    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the networks over their sequences and return where they end, differentiably.

        Args:
            inputs: [T, R, B] bits, aligned at their end.
            lengths: [R] steps; T is the longest.
            initial: [R, B, S] states before the first step.

        Returns:
            [R, B, S].
        """

    @abstractmethod
    def all_states(self, inputs: Tensor, initial: Tensor) -> Tensor:
        """Run the networks over sequences of one length and return every state, differentiably.

        Going on from the last state gives what one run over all of the sequence would.

        Args:
            inputs: [T, R, B] bits.
            initial: [R, B, S] states before the first step.

        Returns:
            [T, R, B, S] the states after each step.
        """

    @abstractmethod
    def remove_untrained_gradients_(self, gradients: Stack) -> None:
        """Zero, in place, the gradients of entries that no step may change."""

    @abstractmethod
    def project_(self) -> None:
        """Bring the parameters back to where they are allowed, in place, after a step."""

    @abstractmethod
    def tau(self) -> np.ndarray | None:
        """Return the neurons' tau [R, H] in time steps, as float64, or None if the architecture has none."""
