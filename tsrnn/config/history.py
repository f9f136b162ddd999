"""What earlier versions called settings, and what their defaults were, so that an id never changes its meaning.

`RunConfig.network_id` hashes what differs from the defaults, under the names that settings had first. A setting that
is renamed is added to `FORMER_NAMES`; a default that changes, or a setting that is added together with another way of
computing, to `FORMER_DEFAULTS`: it is hashed wherever it differs from what made the old results, and a recorded
configuration that does not have it is read as one that was made in the old way.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

FORMER_NAMES: Final[Mapping[str, str]] = {"training_task": "shown", "readout_steps": "asked"}
"""By a setting's name, the one it had first."""

FORMER_DEFAULTS: Final[Mapping[tuple[str, str], Any]] = {
    ("RunConfig", "generator"): "mt19937",
    ("SlidingWindow", "begins"): "grown",
}
"""By the name of a class and of its setting, the value with which results were made before it became the default."""


def differences(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dictionaries that hold kinds and what differs from the defaults.

    Numbers are spelled one way (2.0 as 2), so that equal configurations give equal text.
    """
    return _tree(config, {}, {})


def identity(config: Any) -> dict[str, Any]:
    """Return `differences` from the defaults that made the first results, under the names of then."""
    return _tree(config, FORMER_NAMES, FORMER_DEFAULTS)


def _tree(config: Any, names: Mapping[str, str], defaults: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        name, place = names.get(field.name, field.name), (type(config).__name__, field.name)
        value, default = getattr(config, field.name), field.default
        if field.name == "kind":
            found[name] = value
        elif dataclasses.is_dataclass(value):
            own = _tree(value, names, defaults)
            if type(value) is not type(default) or own != _tree(default, names, {}):
                found[name] = own
        elif value != defaults.get(place, default):
            found[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    return found


def upgraded(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded configuration under the names of today, with the settings that did not exist then.

    Args:
        recorded: what `RunConfig.to_json` wrote, of this version or an earlier one.
    """
    tree = _renamed(recorded)
    for name in ("task", "training_task"):
        if isinstance(task := tree.get(name), Mapping):
            tree[name] = _renamed(task)
    added = {name: value for (of, name), value in FORMER_DEFAULTS.items() if of == "RunConfig"}
    return added | tree


def _renamed(recorded: Mapping[str, Any]) -> dict[str, Any]:
    today = {former: name for name, former in FORMER_NAMES.items() if name not in recorded}
    return {today.get(name, name): value for name, value in recorded.items()}
