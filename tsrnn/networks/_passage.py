"""The interface of implementations of the recurrence: their input, and the result of the forward and backward pass."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from tsrnn.config import Library, Nonlinearity


@dataclass(frozen=True)
class Form:
    """The settings that all networks of a population share.

    Attributes:
        nonlinearity: phi.
        self_interaction: "inside" (equation 1) or "outside" (equation 5).
        products: the dtype of the products.
        library: the implementation of the products.
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
    """The sequences that R networks are run on.

    Attributes:
        inputs: [T, R, B] aligned at their end.
        initial: [R, B, H] states before each sequence's first step.
        lengths: [R] steps; T is the longest.
        every: whether every state is returned (then all lengths are T), or only the last.
    """

    inputs: Tensor
    initial: Tensor
    lengths: tuple[int, ...]
    every: bool


class Passage(ABC):
    """A forward pass of R networks over their sequences, and a backward pass if a gradient is needed."""

    @abstractmethod
    def forward(self) -> Tensor:
        """Compute the forward pass, once, and return every state [T, R, B, H], or the last [R, B, H]."""

    @abstractmethod
    def gradients(self, grad: Tensor) -> Parameters:
        """Compute the backward pass, once: from the gradient of what `forward` returned to those of the parameters."""
