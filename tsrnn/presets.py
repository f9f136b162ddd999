"""Named sets of choices, as explicit configuration: what a preset changes is visible in the RunConfig."""

import dataclasses
import math
from typing import Final, Literal, assert_never

from tsrnn.config import Adam, Leaky, LeakyReLU, RunConfig, TrainedTau
from tsrnn.tasks import BitTask, Lengths

# Of the tuned preset: sequences a batch, steps an epoch, sequences a whole test at most.
_BATCH: Final = 32
_STEPS: Final = 50
_TESTED: Final = 2560

PresetName = Literal["paper", "authors", "tuned"]


def with_preset(config: RunConfig, name: PresetName) -> RunConfig:
    """Return a configuration with a preset's choices; sizes, budgets, curriculum and seed stay.

    "paper" is what the defaults already are. "authors" is the authors' code where it differs: lengths to
    4 N + 1 and, in leaky networks, slope 0.01, tau clamped in the forward pass only, and the gradient of the
    (always zero) diagonal of W counted in the clip norm. See docs/fidelity.md.

    "tuned" trains faster and is judged alike: Adam, batches of 32, a test every 50 steps of which most are short,
    and, where the task is about bits, training sequences of its own: short ones of fair bits, whose heads are asked
    at their last 16 steps. The epochs' budget becomes one of as many steps as before. See docs/hyperparameters.md.
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
        case "tuned":
            training, shown = config.training, config.shown
            if isinstance(config.task, BitTask):
                asked = 1 if config.time.k != (1,) else 16
                lengths = Lengths(shortest_beyond=15, longest_factor=2, longest_beyond=13)
                shown = dataclasses.replace(config.task, input_probability=0.5, lengths=lengths, asked=asked)
            tested = min(training.batch_size * training.test_batches, _TESTED)
            return dataclasses.replace(
                config,
                shown=shown,
                training=dataclasses.replace(
                    training,
                    batch_size=_BATCH,
                    steps_per_epoch=_STEPS,
                    test_batches=math.ceil(tested / _BATCH),
                    screening_batches=8,
                    optimizer=Adam(learning_rate=5e-4, weight_decay=training.optimizer.weight_decay),
                ),
                end=dataclasses.replace(
                    config.end, max_epochs=math.ceil(config.end.max_epochs * training.steps_per_epoch / _STEPS)
                ),
            )
        case _:
            assert_never(name)
