"""Optimisers and their settings."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SGD:
    """Stochastic gradient descent with Nesterov momentum (section 3.2; the numbers are the code's).

    `weight_decay` adds that multiple of the weights to their clipped gradient, as torch.optim.SGD does; biases
    and tau do not decay.
    """

    kind: Literal["sgd"] = "sgd"
    learning_rate: Positive = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Adam:
    """Adam as in torch.optim.Adam (appendix G: for GRU and LSTM); `weight_decay` as in `SGD`.

    `beta1` and `beta2` are the decay rates of the gradient's running mean and mean square, `epsilon` is added
    to the root of the latter.
    """

    kind: Literal["adam"] = "adam"
    learning_rate: Positive = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AdamW:
    """Adam whose weights decay by themselves, as in torch.optim.AdamW.

    Each step first shrinks weights by `learning_rate` times `weight_decay`; the gradient and its running means do
    not hold the decay, as they do in `Adam`. Biases and tau do not decay.
    """

    kind: Literal["adamw"] = "adamw"
    learning_rate: Positive = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Muon:
    """AdamW, but the recurrent weights take steps along an orthogonal matrix, as in torch.optim.Muon.

    It is the one nearest to the running mean (`beta1`, with Nesterov's look ahead) of their gradient, times
    `recurrent_rate`: all directions move alike, however unlike the gradient's size in them. Everything else moves as
    in `AdamW` at `learning_rate`; weights decay as there, the recurrent ones by `recurrent_rate` times `weight_decay`.
    """

    kind: Literal["muon"] = "muon"
    learning_rate: Positive = 1e-3
    recurrent_rate: Positive = 0.02
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


Optimizer = Annotated[SGD | Adam | AdamW | Muon, Field(discriminator="kind")]
