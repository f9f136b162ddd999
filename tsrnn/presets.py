"""Named sets of choices, as explicit configuration: what a preset changes is visible in the RunConfig."""

import dataclasses
from typing import Literal, assert_never

from tsrnn.config import Leaky, LeakyReLU, RunConfig, TrainedTau
from tsrnn.tasks import BitTask, Lengths

PresetName = Literal["paper", "authors"]


def with_preset(config: RunConfig, name: PresetName) -> RunConfig:
    """Return a configuration with a preset's choices; sizes, budgets, curriculum and seed stay.

    "paper" is what the defaults already are. "authors" is the authors' code where it differs: lengths to
    4 N + 1 and, in leaky networks, slope 0.01, tau clamped in the forward pass only, and the gradient of the
    (always zero) diagonal of W counted in the clip norm. See docs/fidelity.md.
    """
    match name:
        case "paper":
            return config
        case "authors":
            if isinstance(config.task, BitTask):
                task = dataclasses.replace(config.task, lengths=Lengths(longest_beyond=1))
                config = dataclasses.replace(config, task=task)
            if not isinstance(config.network, Leaky):
                return config
            tau, clip = config.network.tau, config.training.clip
            if isinstance(tau, TrainedTau):
                tau = dataclasses.replace(tau, constraint="clamp_forward")
            if clip is not None:
                clip = dataclasses.replace(clip, counts="parameters_and_diagonal")
            return dataclasses.replace(
                config,
                network=dataclasses.replace(config.network, nonlinearity=LeakyReLU(slope=0.01), tau=tau),
                training=dataclasses.replace(config.training, clip=clip),
            )
        case _:
            assert_never(name)
