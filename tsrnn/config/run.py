"""`RunConfig`: the settings that define the numbers of one network, and its id."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self, cast

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from tsrnn.config.ends import EndRules
from tsrnn.config.history import identity, upgraded
from tsrnn.config.network import NETWORKS, Leaky, Network, TrainedTau
from tsrnn.config.time import Time
from tsrnn.config.training import Training
from tsrnn.curricula import CURRICULA, Curriculum, MultiHead
from tsrnn.kinds import STRICT, Generator
from tsrnn.tasks import TASKS, BitTask, Parity, Task
from tsrnn.untrusted import parse_json


def require_readout_at_the_end(task: Task, time: Time) -> None:
    """Require that a task is read out once, at the end of a sequence, if bits are held for several time steps.

    Raises:
        ValueError: names k and the reason.
    """
    if time.k != (1,) and task.readout_steps != 1:
        why = "is read out at several steps" if isinstance(task, BitTask) else "has no bits to hold"
        raise ValueError(f"time.k = {time.k}: {task.kind} {why}; allowed is (1,)")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """The configuration of one network. The defaults are the paper's (docs/fidelity.md lists the exceptions).

    `source` names the checkpoint that the run starts from, as "NETWORK_ID/N"; if it is empty, the run starts from
    initial weights. `training_task` is the task from which training sequences are drawn, if they differ from those of
    `task`: shorter sequences, other input probabilities, or readouts at more steps. Tests always use `task`, and so
    does the decision whether an N is solved. `generator` draws random numbers on a CPU: "pcg64" is numpy's generator,
    with 2^64 distinct streams; "mt19937" is torch's, which uses only 32 bits of a stream's seed, and which made the
    results of tsrnn before this setting existed. On a GPU, torch's Philox generator is used, with 64 bits.

    Raises:
        pydantic.ValidationError: (a ValueError) names the field, the value and what is allowed.
    """

    task: Annotated[Task, TASKS] = Parity()
    network: Annotated[Network, NETWORKS] = Leaky()
    curriculum: Annotated[Curriculum, CURRICULA] = MultiHead()
    training: Training = Training()
    end: EndRules = EndRules()
    time: Time = Time()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    source: str = ""
    training_task: Annotated[Task, TASKS] | None = None
    generator: Generator = "pcg64"

    @property
    def task_in_training(self) -> Task:
        """The task from which training sequences are drawn: `training_task`, or `task` if that is not set."""
        return self.task if self.training_task is None else self.training_task

    @model_validator(mode="after")
    def _trains_its_own_task(self) -> Self:
        other = self.training_task
        if other is not None and other.kind != self.task.kind:
            raise ValueError(
                f"training_task ({other.kind}): allowed is the run's task, {self.task.kind}, with other sequences"
            )
        return self

    @model_validator(mode="after")
    def _starts_below_the_end(self) -> Self:
        first, last = self.curriculum.first_heads[-1], self.end.max_n
        if first > last:
            fields = [field.name for field in dataclasses.fields(cast(Any, self.curriculum)) if field.name != "kind"]
            settings = ", ".join(f"{name} = {getattr(self.curriculum, name)}" for name in fields)
            raise ValueError(
                f"curriculum ({settings}): its first step trains N = {first}; allowed is up to end.max_n = {last}"
            )
        return self

    @model_validator(mode="after")
    def _keeps_its_time(self) -> Self:
        time, network = self.time, self.network
        for task in (self.task, self.task_in_training):
            require_readout_at_the_end(task, time)
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
                f"network.tau.least = {network.tau.least:g}: allowed is at least dt = {time.longest_step:g}"
            )
        return self

    @model_validator(mode="after")
    def _reads_out_every_step_if_truncated(self) -> Self:
        truncation, readout_steps = self.training.truncation, self.task_in_training.readout_steps
        if truncation is not None and readout_steps != "all":
            raise ValueError(
                f"training.truncation = {truncation}: the heads of the task in training are read out at "
                f"{readout_steps} of a sequence's last steps; allowed is None, or readout_steps = 'all'"
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
        """The id of this network, which is the key of its rows and checkpoints: "n" and 16 hexadecimal digits.

        It is a hash of the canonical JSON without the defaults that made the first results (see
        `tsrnn.config.history`). Therefore neither a new setting nor a new default changes the meaning of an id.
        """
        text = json.dumps(identity(self), sort_keys=True, separators=(",", ":"))
        return "n" + hashlib.sha256(text.encode()).hexdigest()[:16]

    def replicates(self, count: int) -> list["RunConfig"]:
        """Return `count` copies of this run with seeds `seed`, `seed` + 1, ...

        Raises:
            ValueError: if `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"count = {count}: allowed are numbers of at least 1")
        return [dataclasses.replace(self, seed=self.seed + i) for i in range(count)]

    def with_hidden(self, hidden: int) -> "RunConfig":
        """Return this run with networks of `hidden` neurons."""
        return dataclasses.replace(self, network=dataclasses.replace(self.network, hidden=hidden))

    def to_json(self) -> str:
        """Return the whole configuration, defaults included, as JSON."""
        return _RUN_CONFIG.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "RunConfig":
        """Read the output of `to_json`, from this version or an earlier one; an unknown name is an error.

        A missing setting takes the value that results were made with before the setting existed: see
        `tsrnn.config.history`.

        Raises:
            pydantic.ValidationError: (a ValueError) names the field, the value and what is allowed.
        """
        try:
            recorded = parse_json(text)
        except ValueError:
            recorded = None
        if not isinstance(recorded, Mapping):
            return _RUN_CONFIG.validate_json(text)  # says what is wrong
        return _RUN_CONFIG.validate_json(json.dumps(upgraded(recorded)))


_RUN_CONFIG: Final[TypeAdapter[RunConfig]] = TypeAdapter(RunConfig)


def explain(error: ValidationError) -> str:
    """Return a validation error as one line: each field, its value and the allowed values.

    Example: "network.tau.tau = 0.5: Input should be greater than or equal to 1".
    """
    lines = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        value = "" if isinstance(item["input"], Mapping) or not field else f" = {item['input']!r}"
        lines.append(f"{field or error.title}{value}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


def stacking_key(config: RunConfig) -> RunConfig:
    """Return what networks must have in common to be stacked: all but seed, source and the value of a fixed tau."""
    return dataclasses.replace(config, network=config.network.stacking(), seed=0, source="")
