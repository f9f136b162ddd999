"""The scales: how large the networks of a sweep are and how long they may train.

A scale sets the same budget for every cell of a grid, and no seed is selected.
"""

from dataclasses import dataclass
from typing import Literal

from tsrnn.config import Confirmation, EndRules, Leaky, RunConfig, Training
from tsrnn.config.presets import PresetName, with_preset

ScaleName = Literal["quick", "overnight", "laptop", "paper"]


@dataclass(frozen=True)
class Scale:
    """One scale.

    Attributes:
        network: the size of the networks.
        training: the batch size, steps and tests of an epoch.
        end: the budget.
        replicates: networks per combination.
        typical_n: the N at which such a run spends most of its time, for estimates only (from actual runs).
    """

    network: Leaky
    training: Training
    end: EndRules
    replicates: int
    typical_n: int


SCALES: dict[ScaleName, Scale] = {
    "quick": Scale(
        network=Leaky(hidden=64),
        training=Training(batch_size=64, steps_per_epoch=100, test_batches=10, confirm=Confirmation()),
        end=EndRules(max_epochs=40),
        replicates=4,
        typical_n=6,
    ),
    "overnight": Scale(
        network=Leaky(hidden=128),
        training=Training(batch_size=64, steps_per_epoch=200, test_batches=20, confirm=Confirmation()),
        end=EndRules(max_n=31, max_epochs=225),
        replicates=8,
        typical_n=11,
    ),
    "laptop": Scale(
        network=Leaky(hidden=128),
        training=Training(batch_size=128, steps_per_epoch=300, test_batches=25, confirm=Confirmation()),
        end=EndRules(max_epochs=150),
        replicates=8,
        typical_n=15,
    ),
    "paper": Scale(network=Leaky(), training=Training(), end=EndRules(), replicates=4, typical_n=50),
}


def base_config(scale: ScaleName, preset: PresetName, hidden: int | None = None) -> RunConfig:
    """Return the settings that all networks of a sweep share at this scale, before a grid varies them.

    Args:
        scale: the size and the budget.
        preset: how networks are trained.
        hidden: H, if it differs from that of the scale.

    Raises:
        pydantic.ValidationError: (a ValueError) if `hidden` is not allowed.
    """
    size = SCALES[scale]
    config = with_preset(RunConfig(network=size.network, training=size.training, end=size.end), preset)
    return config if hidden is None else config.with_hidden(hidden)
