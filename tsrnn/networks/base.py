"""The interface of a population: R networks of one architecture, stacked along the first axis.

A single network is a `NetworkState`: tensors by name, with heads named by their N ("heads.5.weight"). `stack` stacks R
of them into a population, and `unstack` returns them. Everything that changes the set of networks or heads (a step of
the curriculum, a network that ends, a checkpoint) uses these two functions. Heads are therefore addressed by N
everywhere, and positions in a stack have no meaning outside it.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tsrnn.config import Library, Network
from tsrnn.networks.choice import Plan
from tsrnn.randomness import key

NetworkState = dict[str, Tensor]
Stack = dict[str, Tensor]

READOUT_WEIGHT = "readout.weight"
READOUT_BIAS = "readout.bias"


def stack(states: Sequence[Mapping[str, Tensor]], heads: Sequence[Sequence[int]]) -> Stack:
    """Stack the tensors of R networks.

    Args:
        states: R networks' tensors by name, heads as "heads.N.weight" [C, H] and "heads.N.bias" [C].
        heads: R networks' N.

    Returns:
        Tensors [R, ...]; all heads in "readout.weight" [R, K, C, H] and "readout.bias" [R, K, C], in the order
        of `heads`, zero where a network has fewer than K. C is the task's `head_width`. Neither of the two if K = 0.

    Raises:
        KeyError: if a network lacks a tensor or a head.
    """
    shared = [name for name in states[0] if not name.startswith("heads.")]
    result = {name: torch.stack([state[name] for state in states]) for name in shared}
    most = max(len(ns) for ns in heads)
    if most == 0:
        return result
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


def head_shapes(hidden: int, n: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the head for N: an affine map from H neurons to `width` outputs."""
    return {f"heads.{n}.weight": (width, hidden), f"heads.{n}.bias": (width,)}


def initial_head(hidden: int, n: int, seed: int, width: int = 2) -> NetworkState:
    """Return a fresh head for N: U(-k, k), k = 1/sqrt(H), from the stream (seed, "head", N)."""
    shapes = head_shapes(hidden, n, width)
    return {
        name: uniform(hidden**-0.5, shape, seed, "head", n, name.rpartition(".")[2]) for name, shape in shapes.items()
    }


class Population(ABC):
    """R networks of one architecture that are computed together.

    A state contains everything that a network needs to continue from one step to the next: S numbers for each sequence.
    The first H of them are the activities of the neurons, which heads read and which are recorded (`activity`). S = H
    unless the architecture has additional state: the state of an LSTM is its hidden state, followed by its cell state.

    Attributes:
        network: the architecture.
        parameters: tensors [R, ...] by name.
        heads: [R] each network's N, in the order of "readout.weight".
        products: dtype in which the products of the recurrence are computed; by default that of the parameters.
        plan: how the products of the recurrence are computed, if the architecture has a choice (`plan_for`); None
            to measure the fastest way at each new shape.
    """

    plan: Plan | None = None

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

    def with_steps(self, dt: Sequence[float]) -> Self:
        """Return the same networks, sharing their tensors, with time steps of dt [R] instead of 1.

        Raises:
            ValueError: if the architecture only supports steps of 1.
        """
        if any(step != 1 for step in dt):
            raise ValueError(f"dt = {tuple(dt)}: a {self.network.kind} has no continuous time; allowed is 1")
        return self

    def states(self) -> list[NetworkState]:
        """Return copies of the R networks' tensors; see `unstack`."""
        return unstack(self.parameters, self.heads)

    @property
    def replicates(self) -> int:
        """R."""
        return len(self.heads)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.parameters[READOUT_WEIGHT].device

    @cached_property
    def head_mask(self) -> Tensor:
        """[R, K] 1 where there is a head, else 0."""
        return (self.head_table > 0).to(self.dtype)

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
            [R, B, K, C]; zero for places without a head.
        """
        activity = self.activity(state)
        weight, bias = self.parameters[READOUT_WEIGHT], self.parameters[READOUT_BIAS]
        flat = torch.baddbmm(bias.flatten(1)[:, None], activity, weight.flatten(1, 2).transpose(1, 2))
        return flat.view(*flat.shape[:2], *weight.shape[1:3])

    def logits_of(self, states: Tensor) -> Tensor:
        """Read every head in each of some states.

        Args:
            states: [S, R, B, H].

        Returns:
            [S, R, B, K, C].
        """
        steps, _, batch, _ = states.shape
        flat = self.logits(states.transpose(0, 1).flatten(1, 2))
        return flat.view(len(flat), steps, batch, *flat.shape[2:]).transpose(0, 1)

    def answers(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor, readout_steps: Sequence[int]) -> Tensor:
        """Run the networks over their sequences and read out every head at the last steps, differentiably.

        Args:
            inputs: [T, R, B], aligned at their end.
            lengths: [R] steps; T is the longest.
            initial: [R, B, H] states before the first step.
            readout_steps: [R] the number of last steps at which each network is read out; S is the largest.

        Returns:
            [S, R, B, K, C]; values before a network's own steps are arbitrary.
        """
        most = max(readout_steps)
        if most == 1:
            return self.logits(self.last_states(inputs, lengths, initial))[None]
        if len(set(lengths)) == 1:
            return self.logits_of(self.all_states(inputs, initial)[len(inputs) - most :])
        # Sequences of different lengths are run one network after the other: a CPU takes large networks so anyway.
        ends = [
            F.pad(
                self.only(r).all_states(inputs[len(inputs) - length :, r : r + 1], initial[r : r + 1])[length - own :],
                (0, 0, 0, 0, 0, 0, most - own, 0),
            )
            for r, (length, own) in enumerate(zip(lengths, readout_steps, strict=True))
        ]
        return self.logits_of(torch.cat(ends, dim=1))

    def cross_entropy_with_gradient(
        self,
        inputs: Tensor,
        lengths: Sequence[int],
        initial: Tensor,
        readout_steps: Sequence[int],
        targets: Tensor,
        share: Tensor,
        names: Collection[str],
    ) -> tuple[Tensor, Stack] | None:
        """Return losses and gradients at once, if the architecture has a faster way than a graph.

        Args:
            inputs: see `answers`.
            lengths: see `answers`.
            initial: see `answers`.
            readout_steps: see `answers`.
            targets: [S, R, K, B] whether the answer is "yes", the second of a head's two outputs.
            share: [R, K] the weight of each head's loss in the sum whose gradient is wanted.
            names: the parameters whose gradients are wanted.

        Returns:
            Each head's mean cross-entropy over sequences and readout steps, [R, K], 0 at places without a head; and the
            gradients [R, ...] by name. None if there is no such way.
        """
        return None

    def only(self, r: int) -> Self:
        """Return one network, by its position, as a population of one that shares its tensors, differentiably."""
        one = copy.copy(self)
        one.parameters = {name: tensor[r : r + 1] for name, tensor in self.parameters.items()}
        one.heads, one.head_table = self.heads[r : r + 1], self.head_table[r : r + 1]
        one.__dict__.pop("head_mask", None)
        return one

    @staticmethod
    @abstractmethod
    def initial_state_of(network: Any, seed: int) -> NetworkState:
        """Return a new network's tensors without heads, float32 on the CPU, from the streams of `seed`."""

    @staticmethod
    @abstractmethod
    def shapes(network: Any) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of one network but the heads'."""

    @property
    def state_size(self) -> int:
        """S, the size of a network's state for each sequence: H, unless a subclass has additional state."""
        return self.network.hidden

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that training changes: all, unless a subclass says otherwise."""
        return tuple(self.parameters)

    @abstractmethod
    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the networks over their sequences and return their last states, differentiably.

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

        Continuing from the last state gives the same as a single run over the whole sequence.

        Args:
            inputs: [T, R, B] bits.
            initial: [R, B, S] states before the first step.

        Returns:
            [T, R, B, S] the states after each step.
        """

    def plan_for(self, batch: int, library: Library | None = None) -> Plan | None:
        """Measure the fastest way to compute the products of training on batches of `batch` sequences.

        Args:
            batch: B.
            library: use this one; None for the fastest.

        Returns:
            The plan, or None if the architecture has no choice.

        Raises:
            ValueError: if the library is not available for these networks.
        """
        if library not in (None, "blas"):
            raise ValueError(f"products = {library!r}: a {self.network.kind} leaves the choice to torch; allowed: blas")
        return None

    def remove_untrained_gradients_(self, gradients: Stack) -> None:  # noqa: B027
        """Set to zero, in place, the gradients of entries that training must not change."""

    def project_(self) -> None:  # noqa: B027
        """Apply the constraints of the parameters in place, after a step."""

    def tau(self) -> np.ndarray | None:
        """Return the neurons' tau [R, H] in time steps, as float64, or None if the architecture has none."""
        return None


class SteppedPopulation(Population):
    """A population that is defined by one time step; autograd differentiates a plain loop over time.

    This is the shortest way to a new architecture. It is several times slower than a `Population` with its own
    gradient.
    """

    def __init__(
        self,
        network: Network,
        parameters: Stack,
        heads: Sequence[Sequence[int]],
        products: torch.dtype | None = None,
    ) -> None:
        """Hold the tensors as they are, without a copy.

        Raises:
            ValueError: if products of another dtype are asked for: a step takes them in the parameters'.
        """
        super().__init__(network, parameters, heads, products)
        if self.products != self.dtype:
            raise ValueError(f"precision: a {network.kind} has no {self.products} products; allowed is {self.dtype}")

    @classmethod
    def initial_state_of(cls, network: Any, seed: int) -> NetworkState:
        """Return a new network without heads: U(-k, k), k = 1/sqrt(H), for every tensor of `shapes`."""
        return {
            name: uniform(network.hidden**-0.5, shape, seed, "init", name)
            for name, shape in cls.shapes(network).items()
        }

    @abstractmethod
    def step(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Return the states after one time step, differentiably, changing nothing in place.

        Args:
            inputs: [R, B].
            state: [R, B, H] before it.

        Returns:
            [R, B, H].
        """

    def last_states(self, inputs: Tensor, lengths: Sequence[int], initial: Tensor) -> Tensor:
        """Run the networks over their sequences; see `Population.last_states`."""
        starts = len(inputs) - torch.tensor(lengths, device=inputs.device)[:, None]
        state = initial
        for t, now in enumerate(inputs.to(self.dtype)):
            started = t >= starts
            after = self.step(now.where(started, 0.0), state)
            state = after.where(started[..., None], state)
        return state

    def all_states(self, inputs: Tensor, initial: Tensor) -> Tensor:
        """Run the networks and return every state; see `Population.all_states`."""
        states = [initial]
        for now in inputs.to(self.dtype):
            states.append(self.step(now, states[-1]))
        return torch.stack(states[1:])
