"""Building blocks of grids: one choice applied to a configuration, the rest kept."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tsrnn import curriculum
from tsrnn.config import DMS, FixedTau, Parity, RunConfig, TrainedTau


def axes(networks: Sequence[RunConfig]) -> dict[str, list[str]]:
    """Return the values that the grid's options have in these networks, by the options' names."""
    found: dict[str, list[str]] = {"tasks": [], "curricula": [], "taus": [], "self_interactions": []}
    for network in networks:
        tau = network.network.tau
        found["tasks"].append(network.task.kind)
        found["curricula"].append(curriculum.name(network.curriculum))
        found["taus"].append(str(tau.tau) if isinstance(tau, FixedTau) else tau.kind)
        found["self_interactions"].append(network.network.self_interaction)
    return {name: list(dict.fromkeys(values)) for name, values in found.items()}


def title(config: RunConfig) -> str:
    """Return a combination in words, such as "parity multi tau 2"."""
    tau = config.network.tau
    words = [
        config.task.kind,
        curriculum.name(config.curriculum),
        f"tau {tau.tau:g}" if isinstance(tau, FixedTau) else "tau trained",
    ]
    return " ".join([*words, *(["outside"] if config.network.self_interaction == "outside" else [])])


def with_task(config: RunConfig, name: str) -> RunConfig:
    """Set the task by its name; the rule for sequence lengths stays."""
    task = {"parity": Parity, "dms": DMS}[name](lengths=config.task.lengths)
    return dataclasses.replace(config, task=task)


def with_curriculum(config: RunConfig, name: str) -> RunConfig:
    """Set the curriculum by its name.

    Raises:
        ValueError: see `tsrnn.curriculum.named`.
    """
    return dataclasses.replace(config, curriculum=curriculum.named(name))


def with_network(config: RunConfig, **changes: Any) -> RunConfig:
    """Change fields of the network."""
    return dataclasses.replace(config, network=dataclasses.replace(config.network, **changes))


def with_tau(config: RunConfig, text: str) -> RunConfig:
    """Set the tau constraint: "trained", or a fixed value in time steps.

    Raises:
        ValueError: if the text is neither.
        pydantic.ValidationError: (a ValueError) if the value is below 1.
    """
    if text == "trained":
        tau = config.network.tau
        return with_network(config, tau=tau if isinstance(tau, TrainedTau) else TrainedTau())
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"taus = {text!r}: allowed are numbers from 1 on (time steps) and trained") from None
    return with_network(config, tau=FixedTau(tau=value))
