"""Architectures: number of neurons, nonlinearity, self-interaction and taus."""

import dataclasses
from abc import ABC, abstractmethod
from typing import Annotated, Final, Literal, Self, TypeVar, cast, dataclass_transform

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Count, Kinds, NonNegative


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LeakyReLU:
    """phi(z) = z for z > 0, slope * z below (0.1 in the paper, 0.01 in the authors' code)."""

    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: Annotated[float, Field(gt=0, lt=1)] = 0.1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ReLU:
    """phi(z) = max(z, 0) (appendix A)."""

    kind: Literal["relu"] = "relu"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tanh:
    """phi(z) = tanh(z) (appendix A)."""

    kind: Literal["tanh"] = "tanh"


Nonlinearity = Annotated[LeakyReLU | ReLU | Tanh, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainedTau:
    """Trained taus: every neuron's tau starts at U(low, high), in units of time (time steps if dt = 1).

    `constraint` keeps tau >= `least`. "project" sets smaller stored values to `least` after each step. "clamp_forward"
    is the method of the authors' code: the forward pass uses max(tau, least), and stored values below `least` get no
    gradient. `least` may be below 1 if time steps are shorter than 1 (`Time`).
    """

    kind: Literal["trained"] = "trained"
    low: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    high: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    least: Annotated[float, Field(gt=0, le=1)] = 1.0
    constraint: Literal["project", "clamp_forward"] = "project"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low = {self.low} exceeds high = {self.high}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FixedTau:
    """Fixed taus: every neuron has this tau, in time steps, for the whole run."""

    kind: Literal["fixed"] = "fixed"
    tau: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0


Tau = Annotated[TrainedTau | FixedTau, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Network(ABC):
    """Base class of architectures: H = `hidden` neurons; the initial states of sequences are U(0, initial_state)."""

    hidden: Count = 500
    initial_state: NonNegative = 0.1

    @property
    @abstractmethod
    def kind(self) -> str:
        """The architecture's name: a field `kind: Literal["name"] = "name"`."""

    def stacking(self) -> Self:
        """Return what networks must have in common to be stacked in one population: here, everything."""
        return self


NETWORKS: Final[Kinds[Network]] = Kinds("network")
N = TypeVar("N", bound=Network)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def register_network(cls: type[N]) -> type[N]:
    """Register an architecture: make the class a frozen, validated dataclass that is identified by its `kind`.

    `tsrnn.networks.implements` names the population class that implements it.

    Raises:
        TypeError: if the class has no kind.
        ValueError: if another architecture has the same kind.
    """
    checked = cast(type[N], dataclass(frozen=True, kw_only=True, config=STRICT)(cls))
    NETWORKS.add(checked)
    return checked


@register_network
class Leaky(Network):
    """Leaky RNN (section 2).

    `self_interaction` "inside" the nonlinearity is equation 1, "outside" equation 5 (appendix A).
    """

    kind: Literal["leaky"] = "leaky"
    nonlinearity: Nonlinearity = LeakyReLU()
    self_interaction: Literal["inside", "outside"] = "inside"
    tau: Tau = TrainedTau()

    def stacking(self) -> Self:
        """Return everything except the value of a fixed tau."""
        return dataclasses.replace(self, tau=FixedTau()) if isinstance(self.tau, FixedTau) else self


@register_network
class GRU(Network):
    """Gated recurrent unit (appendix G): `hidden` units, bits given as -1 and 1.

    The initial state of every sequence is U(0, initial_state), per unit.
    """

    kind: Literal["gru"] = "gru"


@register_network
class LSTM(Network):
    """Long short-term memory (appendix G): `hidden` units, bits given as -1 and 1.

    The initial hidden state of every sequence is U(0, initial_state), per unit; its initial cell state is 0.
    """

    kind: Literal["lstm"] = "lstm"
