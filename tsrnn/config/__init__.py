"""What defines a network's numbers: frozen, checked on construction, hashed into the network's id.

A `RunConfig` is one network: its task, architecture, curriculum, training, end rules and seed. What does
not change its numbers (device, threads, storage, the networks it is stacked with) is not in it.
Every union is tagged by `kind`, so that the JSON form says which class it was.
"""

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeVar, cast, dataclass_transform

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Count, Kinds, MemoryN, NonNegative, Positive
from tsrnn.tasks import DMS as DMS
from tsrnn.tasks import TASKS, BitTask, Task
from tsrnn.tasks import Lengths as Lengths
from tsrnn.tasks import Parity as Parity

Precision = Literal["float32", "bfloat16", "float64"]
Library = Literal["blas", "onednn"]
"""What multiplies: "blas", torch's public operations (MKL on x86); "onednn", of float32 matrices on a CPU. It changes
the last bits of a network's numbers, and is not part of its `RunConfig`."""


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
class Time:
    """How long a bit lasts: it is held for `k` time steps of `dt`, so it lasts T = k dt.

    `dt` "1": T = k (figure S6). `dt` "1/k": T = 1, and time is discretised k times finer (figure S5); tau stays in
    units of time. Of several k one is drawn for each batch and network. N counts bits, whatever k is.
    """

    k: Annotated[tuple[Count, ...], Field(min_length=1)] = (1,)
    dt: Literal["1", "1/k"] = "1"

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.k) != sorted(set(self.k)):
            raise ValueError(f"k = {self.k}: allowed are different numbers in ascending order")
        return self

    def step(self, k: int) -> float:
        """Return dt where a bit is held for k steps."""
        return 1.0 / k if self.dt == "1/k" else 1.0

    @property
    def longest_step(self) -> float:
        """The longest dt there is: no tau may be shorter."""
        return self.step(self.k[0])

    @property
    def mean_k(self) -> float:
        """Time steps a bit, on average."""
        return sum(self.k) / len(self.k)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainedTau:
    """Every neuron's tau is trained, starting at U(low, high), in units of time: time steps where dt = 1.

    `constraint` keeps tau >= `least`: "project" sets the stored value to it after each step; "clamp_forward" is the
    authors' way: the forward pass uses max(tau, least), and a stored tau below it gets no gradient. `least` may be
    below 1 where time steps are (`Time`).
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
    """Every neuron has this tau, in time steps, for the whole run."""

    kind: Literal["fixed"] = "fixed"
    tau: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0


Tau = Annotated[TrainedTau | FixedTau, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Network(ABC):
    """What every architecture has: H = `hidden` neurons, and sequences that start in states U(0, initial_state)."""

    hidden: Count = 500
    initial_state: NonNegative = 0.1

    @property
    @abstractmethod
    def kind(self) -> str:
        """The architecture's name: a field `kind: Literal["name"] = "name"`."""

    def stacking(self) -> Self:
        """Return what networks must share to be stacked in one population: here, everything."""
        return self


NETWORKS: Final[Kinds[Network]] = Kinds("network")
N = TypeVar("N", bound=Network)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def register_network(cls: type[N]) -> type[N]:
    """Make a class a frozen, checked dataclass, known by its `kind` wherever a network is named.

    `tsrnn.networks.implements` names the population that implements it.

    Raises:
        TypeError: if it lacks its kind.
        ValueError: if its kind is another network's.
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
        """Return all but a fixed tau's value."""
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SingleHead:
    """Train one N at a time with one head, from N = `start`; all weights carry over (section 3.2)."""

    kind: Literal["single"] = "single"
    start: MemoryN = 2

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step."""
        return (self.start,)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MultiHead:
    """Train N = `start`, then add a head for each next N and keep the older ones (section 3.2).

    `ahead` heads beyond those that are solved are trained at a time. Tests ask no head beyond the smallest N that is
    unsolved, so that N is judged as with one head at a time: on its own sequences, with the mean over N and smaller.
    Once N is solved the same test goes on with the next head, so that one epoch may solve as many N as are ahead.
    """

    kind: Literal["multi"] = "multi"
    start: MemoryN = 2
    ahead: Count = 1

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step."""
        return tuple(range(self.start, self.start + self.ahead))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SlidingWindow:
    """Train the N of a window together and move the window on when its newest N is solved (appendix F).

    `begins` "grown": from N = `start` alone the window grows by one fresh head a step to `width` heads, and
    shifts from then on. "full": with all `width` heads from N = `start` on, as in the authors' code.
    A shift drops the `shift` smallest N and adds as many; in ascending order, each new N continues the head
    of one that was dropped. So width 1 is single-head, and a window that never fills is multi-head.
    """

    kind: Literal["sliding"] = "sliding"
    width: Count
    shift: Count = 1
    begins: Literal["grown", "full"] = "grown"
    start: MemoryN = 2

    @model_validator(mode="after")
    def _skips_no_n(self) -> Self:
        if self.shift > self.width:
            raise ValueError(f"shift = {self.shift} would skip N: allowed is 1 to width = {self.width}")
        return self

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step."""
        return tuple(range(self.start, self.start + (self.width if self.begins == "full" else 1)))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoCurriculum:
    """Train one head on N = `n` from the start, and nothing else (figures 3a, S13)."""

    kind: Literal["none"] = "none"
    n: MemoryN

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step, the only one."""
        return (self.n,)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AllHeads:
    """Train a head for every N = 2..`n` from the start (appendix I, figure S18)."""

    kind: Literal["all"] = "all"
    n: MemoryN

    @property
    def first_heads(self) -> tuple[int, ...]:
        """The N trained in the first step, the only one."""
        return tuple(range(2, self.n + 1))


Curriculum = Annotated[SingleHead | MultiHead | SlidingWindow | NoCurriculum | AllHeads, Field(discriminator="kind")]


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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RateDecay:
    """Multiply the learning rate by (n / N) ** power while the smallest unsolved N is larger than `n`.

    Late N want smaller steps (docs/hyperparameters.md); the paper's rate is constant.
    """

    n: MemoryN = 20
    power: Positive = 2.0

    def factor(self, n: int) -> float:
        """Return the factor on the learning rate at the smallest unsolved N `n`."""
        return float(min(1.0, self.n / n) ** self.power)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradientClip:
    """Scale a network's gradient down to `max_norm` over the parameters in use.

    `counts` "parameters" takes the norm of what is trained; "parameters_and_diagonal" adds the gradient of
    the (always zero) diagonal of W, as the authors' code does.
    """

    max_norm: Positive = 2.0
    counts: Literal["parameters", "parameters_and_diagonal"] = "parameters"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Training:
    """How one epoch is trained and tested.

    An epoch is `steps_per_epoch` optimiser steps, then a test on `test_batches` batches, of `batch_size` sequences
    or, where small batches would make slow tests, of `test_batch_size`. An N is solved the
    first time its head's accuracy exceeds `solved_accuracy`; the newest N, if the mean over heads does too.
    `solved_weight` is the weight, in the sum over heads that is the loss, of heads whose N is solved; the others' is 1.
    With `screening_batches`, so many other batches come first, and a network that solves nothing on them is not
    tested further: frequent tests then cost little, and what is solved is judged on `test_batches` all the same.
    `precision` is the dtype of parameters, states and products; "bfloat16" is float32 with the products of the
    recurrence, and of its gradient, taken of bfloat16 numbers: faster where the processor has them.
    """

    batch_size: Count = 256
    steps_per_epoch: Count = 600
    test_batches: Count = 50
    test_batch_size: Count | None = None
    screening_batches: Count | None = None
    optimizer: Optimizer = SGD()
    rate_decay: RateDecay | None = None
    clip: GradientClip | None = GradientClip()
    solved_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    solved_accuracy: Annotated[float, Field(gt=0, lt=1)] = 0.98
    precision: Precision = "float32"

    @property
    def sequences_tested(self) -> int:
        """Sequences of a batch of a test."""
        return self.batch_size if self.test_batch_size is None else self.test_batch_size


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EndRules:
    """A run ends when N = `max_n` is solved, after `max_epochs`, or after `max_seconds` of its own computing.

    Under a curriculum of one step (`NoCurriculum`, `AllHeads`) it ends when all of its N are solved.
    """

    max_n: MemoryN = 101
    max_epochs: Count = 1000
    max_seconds: Positive = 259200.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """One network's run. The defaults are the paper's (see docs/fidelity.md for the exceptions).

    `source` names the checkpoint the run starts from, as "NETWORK_ID/N"; empty, it starts from initial weights.
    `shown` is the task as training draws its sequences, where they are others than those of `task`: shorter, with
    other input probabilities, or asked at more steps. Tests, and so what counts as solved, are always those of `task`.

    Raises:
        pydantic.ValidationError: (a ValueError) names the field, the value and what is allowed.
    """

    task: Annotated[Task, TASKS] = Parity()
    network: Annotated[Network, NETWORKS] = Leaky()
    curriculum: Curriculum = MultiHead()
    training: Training = Training()
    end: EndRules = EndRules()
    time: Time = Time()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    source: str = ""
    shown: Annotated[Task, TASKS] | None = None

    @property
    def training_task(self) -> Task:
        """The task as training draws its sequences: `shown`, or else `task`."""
        return self.task if self.shown is None else self.shown

    @model_validator(mode="after")
    def _shows_its_own_task(self) -> Self:
        shown = self.shown
        if shown is not None and shown.kind != self.task.kind:
            raise ValueError(f"shown ({shown.kind}): allowed is the run's task, {self.task.kind}, with other sequences")
        return self

    @model_validator(mode="after")
    def _starts_below_the_end(self) -> Self:
        first, last = self.curriculum.first_heads[-1], self.end.max_n
        if first > last:
            fields = [field.name for field in dataclasses.fields(self.curriculum) if field.name != "kind"]
            settings = ", ".join(f"{name} = {getattr(self.curriculum, name)}" for name in fields)
            raise ValueError(
                f"curriculum ({settings}): its first step trains N = {first}; allowed is up to end.max_n = {last}"
            )
        return self

    @model_validator(mode="after")
    def _keeps_its_time(self) -> Self:
        time, network = self.time, self.network
        if time.k != (1,) and (self.task.asked, self.training_task.asked) != (1, 1):
            why = "is asked at several steps" if isinstance(self.task, BitTask) else "has no bits to hold"
            raise ValueError(f"time.k = {time.k}: {self.task.kind} {why}; allowed is (1,)")
        if time.dt == "1/k" and time.k != (1,):
            if not isinstance(network, Leaky):
                raise ValueError(f"time.dt = {time.dt!r}: a {network.kind} has no tau; allowed is '1'")
            if network.self_interaction == "inside":
                raise ValueError(
                    f"time.dt = {time.dt!r}: with self-interaction inside the nonlinearity the network has no limit in "
                    "continuous time; allowed is '1', or network.self_interaction = 'outside'"
                )
        if isinstance(network, Leaky) and isinstance(network.tau, TrainedTau) and network.tau.least < time.longest_step:
            raise ValueError(
                f"network.tau.least = {network.tau.least:g}: allowed is from dt = {time.longest_step:g} on"
            )
        return self

    @model_validator(mode="after")
    def _trains_its_architecture(self) -> Self:
        kind, training = self.network.kind, self.training
        if isinstance(self.network, Leaky):
            return self
        if training.clip is not None and training.clip.counts == "parameters_and_diagonal":
            raise ValueError(
                f"training.clip.counts = {training.clip.counts!r}: a {kind} has no weights that are kept zero; "
                "allowed is 'parameters'"
            )
        if training.precision == "bfloat16":
            raise ValueError(
                f"training.precision = {training.precision!r}: for {kind} allowed are 'float32' and 'float64'"
            )
        return self

    @property
    def network_id(self) -> str:
        """The key of this network's rows and checkpoints: "n" and 16 hexadecimal digits.

        A hash of the canonical JSON without defaults, so that a new setting with a default leaves the ids of
        existing results as they were.
        """
        text = json.dumps(non_defaults(self), sort_keys=True, separators=(",", ":"))
        return "n" + hashlib.sha256(text.encode()).hexdigest()[:16]

    def replicates(self, count: int) -> list["RunConfig"]:
        """Return `count` copies of this run with seeds `seed`, `seed` + 1, ..."""
        return [dataclasses.replace(self, seed=self.seed + i) for i in range(count)]

    def with_hidden(self, hidden: int) -> "RunConfig":
        """Return this run with networks of `hidden` neurons."""
        return dataclasses.replace(self, network=dataclasses.replace(self.network, hidden=hidden))

    def to_json(self) -> str:
        """Return the whole configuration, defaults included, as JSON."""
        return _RUN_CONFIG.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "RunConfig":
        """Read what `to_json` wrote; what is left out takes its default, an unknown name is an error.

        Raises:
            pydantic.ValidationError: (a ValueError) names the field, the value and what is allowed.
        """
        return _RUN_CONFIG.validate_json(text)


_RUN_CONFIG: Final[TypeAdapter[RunConfig]] = TypeAdapter(RunConfig)


def non_defaults(config: Any) -> dict[str, Any]:
    """Return a config as nested dictionaries that hold tags and what differs from the defaults.

    Numbers are spelled one way (2.0 as 2), so that equal configurations give equal text.
    """
    result: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name != "kind" and value == field.default:
            continue
        if dataclasses.is_dataclass(value):
            result[field.name] = non_defaults(value)
        elif isinstance(value, float) and value.is_integer():
            result[field.name] = int(value)
        else:
            result[field.name] = value
    return result


def explain(error: ValidationError) -> str:
    """Return a validation error as one line: each field, its value and what is allowed.

    Example: "network.tau.tau = 0.5: Input should be greater than or equal to 1".
    """
    lines = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        value = "" if isinstance(item["input"], Mapping) or not field else f" = {item['input']!r}"
        lines.append(f"{field or error.title}{value}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


def stacking_key(config: RunConfig) -> RunConfig:
    """Return what networks must share to be stacked in one population: all but seed, source and a fixed tau's value."""
    return dataclasses.replace(config, network=config.network.stacking(), seed=0, source="")
