"""Presets: named sets of settings. The `RunConfig` shows everything that a preset changes."""

import dataclasses
import math
from typing import Literal, assert_never, get_args

from tsrnn.config import (
    SGD,
    SOAP,
    Adam,
    Confirmation,
    Leaky,
    LeakyReLU,
    Muon,
    Optimizer,
    RateDecay,
    RunConfig,
    TrainedTau,
)
from tsrnn.tasks import BitTask, Lengths

PresetName = Literal["paper", "authors", "momentum", "tuned", "soap"]


def with_preset(config: RunConfig, name: PresetName) -> RunConfig:
    """Return a configuration with the settings of a preset; sizes, budgets, curriculum and seed remain the same.

    "paper" is the same as the defaults. "authors" sets what differs in the authors' code: lengths up to 4 N + 1 and,
    for leaky networks, slope 0.01, tau clamped in the forward pass only, and a clip norm that includes the gradient of
    the diagonal of W (which is always zero). See docs/fidelity.md.

    "momentum" is "paper" with SGD at a learning rate of 0.02 and a momentum of 0.9, whatever the architecture, instead
    of SGD's usual 0.05 and 0.1.

    "tuned" trains faster, and judges in the same way whether an N is solved. It uses Muon (Adam for gated networks)
    with learning rates that fall with N, batches of 32, and a test every 20 steps. Most of these tests are short, and
    solved N are confirmed. For tasks about bits, training uses its own sequences: short ones with p = 0.5, whose heads
    are read out at all steps that have N bits. The budget is the same number of steps as before. Multi-head networks
    train even faster with `MultiHead(ahead=5)`, which no preset sets. See docs/hyperparameters.md.

    "soap" is "tuned" with SOAP instead of Muon, at rates that fall from N = 16 on, more slowly, with batches of 64, and
    with a test every 40 steps. Its tests have at most 256 sequences, and most of them 64, because solved N are
    confirmed on others. It is meant for multi-head networks whose training is truncated, with
    `Training(truncation=16)`, which no preset sets either.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in (known := get_args(PresetName)):
        raise ValueError(f"name = {name!r}: allowed are {', '.join(known)}")
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
        case "momentum":
            optimizer = SGD(learning_rate=0.02, momentum=0.9, weight_decay=config.training.optimizer.weight_decay)
            return dataclasses.replace(config, training=dataclasses.replace(config.training, optimizer=optimizer))
        case "tuned" | "soap":
            return _tuned(config, name)
        case _:
            assert_never(name)


def _tuned(config: RunConfig, name: Literal["tuned", "soap"]) -> RunConfig:
    """Return a configuration with the settings of one of the two presets that train faster."""
    training, other = config.training, config.training_task
    if isinstance(config.task, BitTask):
        other = dataclasses.replace(
            config.task,
            input_probability=0.5,
            lengths=Lengths(shortest_beyond=16, longest_factor=2, longest_beyond=14),
            readout_steps="all" if config.time.k == (1,) else 1,
        )
    decay, tested = training.optimizer.weight_decay, training.sequences_tested * training.test_batches
    optimizer: Optimizer
    if name == "tuned":
        optimizer = Muon(learning_rate=4e-3, recurrent_rate=0.04, weight_decay=decay)
        rate_decay = RateDecay(n=20, power=2.0)
        batch_size, steps, test_batch, tested = 32, 20, 256, min(tested, 2560)
    else:
        optimizer = SOAP(learning_rate=4e-3, recurrent_rate=4e-3, weight_decay=decay)
        rate_decay = RateDecay(n=16, power=1.25)
        batch_size, steps, test_batch, tested = 64, 40, 64, min(tested, 256)
    if not isinstance(config.network, Leaky):
        optimizer = Adam(learning_rate=5e-4, weight_decay=decay)
    return dataclasses.replace(
        config,
        training_task=other,
        training=dataclasses.replace(
            training,
            batch_size=batch_size,
            steps_per_epoch=steps,
            test_batch_size=min(tested, test_batch),
            test_batches=math.ceil(tested / test_batch),
            screening_batches=1,
            confirm=training.confirm or Confirmation(),
            optimizer=optimizer,
            rate_decay=rate_decay,
        ),
        end=dataclasses.replace(
            config.end, max_epochs=math.ceil(config.end.max_epochs * training.steps_per_epoch / steps)
        ),
    )
