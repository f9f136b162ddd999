"""Names and defaults of settings in earlier versions, so that the meaning of a network's id never changes.

`RunConfig.network_id` hashes the settings that differ from the defaults, under the names that the settings had at
first. If a setting is renamed, add it to `FORMER_NAMES`. If a default changes, or if a setting is added together with
another way of computing, add it to `FORMER_DEFAULTS`. It is then hashed wherever it differs from the value that made
the old results, and a recorded configuration without it is read with that value.
"""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

FORMER_NAMES: Final[Mapping[str, str]] = {"training_task": "shown", "readout_steps": "asked"}
"""By a setting's name, the one it had first."""

FORMER_DEFAULTS: Final[Mapping[tuple[str, str], Any]] = {
    ("RunConfig", "generator"): "mt19937",
    ("sliding", "begins"): "grown",
}
"""By the kind that has a setting (a class without kinds: its name) and the setting's name, the value with which results
were made before it became the default."""


def differences(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dictionaries of kinds and of settings that differ from the defaults.

    Numbers are written in one way (2.0 as 2), so that equal configurations give equal text.
    """
    return _tree(config, {}, {})


def identity(config: Any) -> dict[str, Any]:
    """Return the `differences` from the defaults that made the first results, under the names of that time."""
    return _tree(config, FORMER_NAMES, FORMER_DEFAULTS)


def _tree(config: object, names: Mapping[str, str], defaults: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, default in _settings(type(config)) or ():  # type: ignore[arg-type]  # classes are hashable
        name = names.get(field, field)
        value: object = getattr(config, field)
        if field == "kind":
            found[name] = value
        elif _settings(type(value)) is not None:  # type: ignore[arg-type]
            own = _tree(value, names, defaults)
            if type(value) is not type(default) or own != _tree(default, names, {}):
                found[name] = own
        elif value != defaults.get((getattr(config, "kind", type(config).__name__), field), default):
            found[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    return found


@cache
def _settings(kind: type) -> tuple[tuple[str, Any], ...] | None:
    """Return the names of a class's settings with their defaults; None if it is not a class of settings."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple((field.name, field.default) for field in dataclasses.fields(kind))


def upgraded(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded configuration with today's names, and with settings that did not exist when it was recorded.

    Args:
        recorded: what `RunConfig.to_json` wrote, of this version or an earlier one.
    """
    parts = {
        name: _upgraded(part, part.get("kind", "")) if isinstance(part, Mapping) else part
        for name, part in recorded.items()
    }
    return _upgraded(parts, "RunConfig")


def _upgraded(recorded: Mapping[str, Any], kind: str) -> dict[str, Any]:
    added = {name: value for (of, name), value in FORMER_DEFAULTS.items() if of == kind}
    today = {former: name for name, former in FORMER_NAMES.items() if name not in recorded}
    return added | {today.get(name, name): value for name, value in recorded.items()}
