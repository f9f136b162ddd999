"""Populations of networks: one class for each architecture."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import torch
from torch import Tensor

from tsrnn.config import GRU, LSTM, Leaky, Network, RunConfig, Training
from tsrnn.networks.base import NetworkState, Population, SteppedPopulation, head_shapes, initial_head, uniform
from tsrnn.networks.gated import GRUPopulation, LSTMPopulation
from tsrnn.networks.leaky import LeakyPopulation

__all__ = [
    "NetworkState",
    "Population",
    "SteppedPopulation",
    "implements",
    "initial_head",
    "initial_network",
    "operations",
    "parameter_dtype",
    "population",
    "population_class",
    "product_dtype",
    "shapes",
    "uniform",
]

_POPULATIONS: Final[dict[type[Network], type[Population]]] = {
    Leaky: LeakyPopulation,
    GRU: GRUPopulation,
    LSTM: LSTMPopulation,
}
P = TypeVar("P", bound=Population)


def implements(architecture: type[Network]) -> Callable[[type[P]], type[P]]:
    """Register a population class as the implementation of a configuration class."""

    def decorate(cls: type[P]) -> type[P]:
        _POPULATIONS[architecture] = cls
        return cls

    return decorate


def population_class(network: Network) -> type[Population]:
    """Return the class that implements an architecture.

    Raises:
        TypeError: if none does.
    """
    if type(network) not in _POPULATIONS:
        raise TypeError(f"network kind {network.kind!r}: nothing implements it; decorate a Population with @implements")
    return _POPULATIONS[type(network)]


def operations(network: Network, trained: float, tested: float) -> float:
    """Count the useful floating-point operations of a network's matrix products.

    An element of the matrices takes 2 operations for each time step of a sequence, and 4 more if the gradient is
    computed. A leaky network has H^2 elements, a GRU 3 H^2 and an LSTM 4 H^2; heads and inputs do not count.

    Args:
        network: the architecture.
        trained: time steps that are trained on, summed over sequences.
        tested: time steps that are only run, summed over sequences.
    """
    shapes_of = population_class(network).shapes(network).values()
    return (6.0 * trained + 2.0 * tested) * sum(math.prod(shape) for shape in shapes_of if len(shape) > 1)


def shapes(network: Network, heads: Sequence[int], width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of one network with these heads, of `width` outputs each."""
    result = dict(population_class(network).shapes(network))
    for n in heads:
        result |= head_shapes(network.hidden, n, width)
    return result


def initial_network(config: RunConfig, heads: Sequence[int]) -> NetworkState:
    """Return a new network with fresh heads for every N in `heads`, on the CPU, in the config's dtype."""
    state = population_class(config.network).initial_state_of(config.network, config.seed)
    for n in heads:
        state |= initial_head(config.network.hidden, n, config.seed, config.task.head_width)
    return {name: tensor.to(parameter_dtype(config.training)) for name, tensor in state.items()}


def parameter_dtype(training: Training) -> torch.dtype:
    """Return the dtype of parameters and states."""
    return torch.float64 if training.precision == "float64" else torch.float32


def product_dtype(training: Training) -> torch.dtype:
    """Return the dtype in which the products of the recurrence are computed."""
    dtype: torch.dtype = getattr(torch, training.precision)
    return dtype


def population(
    network: Network,
    states: Sequence[Mapping[str, Tensor]],
    heads: Sequence[Sequence[int]],
    products: torch.dtype | None = None,
) -> Population:
    """Stack R networks of one architecture; `heads` gives each one's N, `products` is as in `Population`."""
    return population_class(network).from_states(network, states, heads, products)
