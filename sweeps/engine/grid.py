"""Building blocks of grids: functions that change one setting of a configuration and keep the others."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tsrnn.config import FixedTau, Leaky, LeakyReLU, Network, RunConfig, Time, TrainedTau, explain
from tsrnn.curricula import named
from tsrnn.tasks import TASKS, BitTask


def axes_of(networks: Sequence[RunConfig]) -> dict[str, list[str]]:
    """Return the values of the grid's options in these networks, by the names of the options.

    An option that none of them has (such as tau, if all are GRUs) is left out.
    """
    found: dict[str, list[str]] = {"tasks": [], "curricula": [], "taus": [], "self_interactions": []}
    for config in networks:
        found["tasks"].append(config.task.kind)
        found["curricula"].append(config.curriculum.name)
        if isinstance(config.network, Leaky):
            tau = config.network.tau
            found["taus"].append(str(tau.tau) if isinstance(tau, FixedTau) else tau.kind)
            found["self_interactions"].append(config.network.self_interaction)
    return {name: list(dict.fromkeys(values)) for name, values in found.items() if values}


def title(config: RunConfig) -> str:
    """Return a combination in words, such as "parity multi tau 2" or "parity multi gru"."""
    network, decay = config.network, config.training.optimizer.weight_decay
    words = [config.task.kind, config.curriculum.name]
    if isinstance(network, Leaky):
        words.append(f"tau {network.tau.tau:g}" if isinstance(network.tau, FixedTau) else "tau trained")
        words += ["outside"] if network.self_interaction == "outside" else []
        phi = network.nonlinearity
        if not isinstance(phi, LeakyReLU):
            words.append(phi.kind)
        elif phi != LeakyReLU():
            words.append(f"slope {phi.slope:g}")
    else:
        words.append(network.kind)
    words += [f"weight decay {decay:g}"] if decay else []
    if config.time != Time():
        words.append(f"k {' '.join(map(str, config.time.k))} dt {config.time.dt}")
    return " ".join(words)


def with_task(config: RunConfig, name: str) -> RunConfig:
    """Set the task by its kind; if both are about bits, rules for lengths and all settings of training sequences stay.

    Raises:
        ValueError: if no task of this kind is registered.
    """
    if name not in TASKS:
        raise ValueError(f"tasks = {name!r}: allowed are {', '.join(TASKS)}")
    kind = TASKS[name]
    if issubclass(kind, BitTask) and isinstance(config.task, BitTask):
        other = config.training_task
        if isinstance(other, BitTask):
            other = kind(
                lengths=other.lengths, readout_steps=other.readout_steps, input_probability=other.input_probability
            )
        return dataclasses.replace(config, task=kind(lengths=config.task.lengths), training_task=other)
    return dataclasses.replace(config, task=kind(), training_task=None)


def with_curriculum(config: RunConfig, name: str) -> RunConfig:
    """Set the curriculum by its name.

    Raises:
        ValueError: there is none of that name, or a number in it is not allowed.
    """
    try:
        return dataclasses.replace(config, curriculum=named(name))
    except ValidationError as error:
        raise ValueError(f"curricula = {name!r}: {explain(error)}") from None


def with_input_probability(config: RunConfig, probability: float) -> RunConfig:
    """Set P(bit = 1), in training and in tests; a task that is not about bits is not changed."""
    task, other = config.task, config.training_task
    if isinstance(task, BitTask):
        task = dataclasses.replace(task, input_probability=probability)
    if isinstance(other, BitTask):
        other = dataclasses.replace(other, input_probability=probability)
    return dataclasses.replace(config, task=task, training_task=other)


def with_network(config: RunConfig, **changes: Any) -> RunConfig:
    """Change fields of the network.

    Raises:
        pydantic.ValidationError: (a ValueError) names a field that the architecture does not have, or a bad value.
    """
    return dataclasses.replace(config, network=dataclasses.replace(config.network, **changes))


def with_training(config: RunConfig, **changes: Any) -> RunConfig:
    """Change settings of the training."""
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))


def with_optimizer(config: RunConfig, **changes: Any) -> RunConfig:
    """Change settings of the optimiser.

    Raises:
        pydantic.ValidationError: (a ValueError) names a setting that the optimiser does not have, or a bad value.
    """
    return with_training(config, optimizer=dataclasses.replace(config.training.optimizer, **changes))


def with_architecture(config: RunConfig, kind: type[Network]) -> RunConfig:
    """Set the architecture, with the same size."""
    return dataclasses.replace(config, network=kind(hidden=config.network.hidden))


def with_end(config: RunConfig, **changes: Any) -> RunConfig:
    """Change the end rules."""
    return dataclasses.replace(config, end=dataclasses.replace(config.end, **changes))


def shortened(config: RunConfig) -> RunConfig:
    """Reduce the epochs to a third, for networks whose steps take several times as many operations as others."""
    return with_end(config, max_epochs=max(1, config.end.max_epochs // 3))


def with_time(config: RunConfig, time: Time) -> RunConfig:
    """Set the duration of bits; trained taus may decrease to the longest time step."""
    network = config.network
    if isinstance(network, Leaky) and isinstance(network.tau, TrainedTau):
        tau = dataclasses.replace(network.tau, least=min(1.0, time.longest_step))
        network = dataclasses.replace(network, tau=tau)
    other = config.training_task
    if time.k != (1,) and isinstance(other, BitTask):
        other = dataclasses.replace(other, readout_steps=1)  # with held bits, there is one readout per sequence
    return dataclasses.replace(config, time=time, network=network, training_task=other)


def with_tau(config: RunConfig, text: str) -> RunConfig:
    """Set the tau constraint: "trained", or a fixed value in time steps.

    Raises:
        ValueError: if the text is neither, or if the architecture has no tau.
        pydantic.ValidationError: (a ValueError) if the value is below 1.
    """
    if not isinstance(config.network, Leaky):
        raise ValueError(f"taus = {text!r}: a {config.network.kind} has no tau; allowed is no tau, or network leaky")
    if text == "trained":
        tau = config.network.tau
        return with_network(config, tau=tau if isinstance(tau, TrainedTau) else TrainedTau())
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"taus = {text!r}: allowed are numbers of at least 1 (time steps) and trained") from None
    return with_network(config, tau=FixedTau(tau=value))
