"""An id never changes its meaning: old configurations keep theirs, and read back as what they were."""

import json
from pathlib import Path

import pytest

from tsrnn.config import RunConfig, SlidingWindow
from tsrnn.config.history import FORMER_DEFAULTS, FORMER_NAMES

RECORDED = json.loads((Path(__file__).resolve().parents[1] / "data" / "network_ids.json").read_text())
"""By the id that version 0.1.0 gave it, the configuration that it recorded: of every sweep, and of every kind."""


@pytest.mark.parametrize("network_id", RECORDED)
def test_recorded_configurations_keep_their_ids(network_id: str):
    config = RunConfig.from_json(json.dumps(RECORDED[network_id]))
    assert config.network_id == network_id
    assert RunConfig.from_json(config.to_json()) == config


def test_every_former_name_and_default_was_recorded():
    text = json.dumps(RECORDED)
    assert all(f'"{name}"' in text for name in FORMER_NAMES.values())
    recorded = [RunConfig.from_json(json.dumps(config)) for config in RECORDED.values()]
    windows = [config.curriculum for config in recorded if isinstance(config.curriculum, SlidingWindow)]
    values = {("RunConfig", "generator"): recorded, ("sliding", "begins"): windows}
    assert values.keys() == FORMER_DEFAULTS.keys()
    for (of, name), former in FORMER_DEFAULTS.items():
        assert former in {getattr(config, name) for config in values[of, name]}


def test_what_was_recorded_before_a_setting_existed_is_read_with_its_former_value():
    recorded = '{"generator": "mt19937", "curriculum": {"kind": "sliding", "width": 5}}'
    expected = RunConfig(generator="mt19937", curriculum=SlidingWindow(width=5, begins="grown"))
    assert RunConfig.from_json(recorded) == expected


def test_what_is_new_by_default_has_an_id_of_its_own():
    new, old = RunConfig(), RunConfig(generator="mt19937")
    assert new.network_id != old.network_id
    assert old.network_id in {
        key for key, recorded in RECORDED.items() if RunConfig.from_json(json.dumps(recorded)) == old
    } | {RunConfig.from_json("{}").network_id}
    full, grown = (RunConfig(curriculum=SlidingWindow(width=5, begins=begins)) for begins in ("full", "grown"))
    assert full.network_id != grown.network_id
    assert (full.curriculum.name, grown.curriculum.name) == ("sliding-5-full", "sliding-5")


def test_an_unknown_setting_is_an_error():
    with pytest.raises(ValueError, match="shwon"):
        RunConfig.from_json('{"shwon": null}')


def test_a_setting_twice_is_an_error():
    with pytest.raises(ValueError, match="shown"):
        RunConfig.from_json('{"shown": null, "training_task": null}')
