"""Optimisers and their settings."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Count, Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SGD:
    """Stochastic gradient descent with Nesterov momentum (section 3.2; the defaults are those of the authors' code).

    `weight_decay` times the weights is added to their clipped gradient, as in torch.optim.SGD. Biases and tau do not
    decay.
    """

    kind: Literal["sgd"] = "sgd"
    learning_rate: Positive = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Adam:
    """Adam as in torch.optim.Adam (appendix G: for GRU and LSTM); `weight_decay` is as in `SGD`.

    `beta1` and `beta2` are the decay rates of the running mean of the gradient and of its square. `epsilon` is added to
    the square root of the latter.
    """

    kind: Literal["adam"] = "adam"
    learning_rate: Positive = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AdamW:
    """Adam with decoupled weight decay, as in torch.optim.AdamW.

    Each step first multiplies the weights by 1 - `learning_rate` times `weight_decay`. The decay is not part of the
    gradient and its running means, in contrast to `Adam`. Biases and tau do not decay.
    """

    kind: Literal["adamw"] = "adamw"
    learning_rate: Positive = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Muon:
    """Muon as in torch.optim.Muon: orthogonal steps for the recurrent weights, and AdamW for everything else.

    The step of the recurrent weights is `recurrent_rate` times the orthogonal matrix that is nearest to the running
    mean of their gradient (`beta1`, with Nesterov momentum). Steps are therefore equally large in all directions,
    whatever the size of the gradient in each. All other parameters are updated as in `AdamW` with `learning_rate`.
    Weights decay as there; the recurrent weights decay by `recurrent_rate` times `weight_decay`.
    """

    kind: Literal["muon"] = "muon"
    learning_rate: Positive = 1e-3
    recurrent_rate: Positive = 0.02
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SOAP:
    """SOAP (Vyas et al. 2024, arXiv:2409.11321) for the recurrent weights, and AdamW for everything else.

    SOAP is Adam in the basis of Shampoo's eigenvectors. L and R are running means of G G^T and G^T G, where G is the
    gradient of the recurrent weights, and their decay rate is `shampoo_beta`. QL and QR are their eigenvectors. Adam
    with `recurrent_rate`, `beta1` and `recurrent_beta2` gets the gradient QL^T G QR, and its step is turned back. Every
    `frequency` steps, the eigenvectors are updated by one step of the power iteration. The first gradient only sets L,
    R and their eigenvectors. The recurrent weights of a gated network are one matrix for each gate.

    All other parameters are updated as in `AdamW` with `learning_rate`, `beta1` and `beta2`. Weights decay as there;
    the recurrent weights decay by `recurrent_rate` times `weight_decay`.
    """

    kind: Literal["soap"] = "soap"
    learning_rate: Positive = 4e-3
    recurrent_rate: Positive = 2e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    recurrent_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    shampoo_beta: Annotated[float, Field(ge=0, lt=1)] = 0.95
    frequency: Count = 10
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


Optimizer = Annotated[SGD | Adam | AdamW | Muon | SOAP, Field(discriminator="kind")]
