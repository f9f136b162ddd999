"""What the ways to compute a recurrence have in common: what goes in, and what comes out forward and backward."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from tsrnn.config import Library, Nonlinearity


@dataclass(frozen=True)
class Form:
    """What is the same for all networks of a population.

    Attributes:
        nonlinearity: phi.
        self_interaction: "inside" (equation 1) or "outside" (equation 5).
        products: the dtype of the products.
        library: what multiplies.
        gradient: whether a gradient follows the forward pass.
    """

    nonlinearity: Nonlinearity
    self_interaction: Literal["inside", "outside"]
    products: torch.dtype
    library: Library
    gradient: bool


class Parameters(NamedTuple):
    """The parameters of R networks, or their gradients.

    Attributes:
        weight: [R, H, H] recurrent weights, row i into neuron i.
        alpha: [R, H] dt / tau.
        input_weight: [R, H].
        bias: [R, H] the sum of all biases.
    """

    weight: Tensor
    alpha: Tensor
    input_weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Sequences:
    """What R networks are run over.

    Attributes:
        inputs: [T, R, B] aligned at their end.
        initial: [R, B, H] states before each sequence's first step.
        lengths: [R] steps; T is the longest.
        every: whether every state is wanted (then all lengths are T), or the last alone.
    """

    inputs: Tensor
    initial: Tensor
    lengths: tuple[int, ...]
    every: bool


class Passage(ABC):
    """The way of R networks through their sequences, and back where a gradient follows."""

    @abstractmethod
    def forward(self) -> Tensor:
        """Go forward, once, and return every state [T, R, B, H], or the last [R, B, H]."""

    @abstractmethod
    def gradients(self, grad: Tensor) -> Parameters:
        """Go back, once, and return the gradients of the parameters, from the gradient of what `forward` returned."""
