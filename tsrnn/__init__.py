"""tsrnn: how recurrent networks grow long timescales, trained a population at a time."""

from importlib.metadata import version

from tsrnn.config import (
    DMS,
    SGD,
    Adam,
    AllHeads,
    EndRules,
    FixedTau,
    GradientClip,
    Leaky,
    LeakyReLU,
    Lengths,
    MultiHead,
    NoCurriculum,
    Parity,
    ReLU,
    RunConfig,
    SingleHead,
    Tanh,
    TrainedTau,
    Training,
)
from tsrnn.presets import with_preset
from tsrnn.training import EpochReport, Trainer, train

__version__ = version("tsrnn")

__all__ = [
    "DMS",
    "SGD",
    "Adam",
    "AllHeads",
    "EndRules",
    "EpochReport",
    "FixedTau",
    "GradientClip",
    "Leaky",
    "LeakyReLU",
    "Lengths",
    "MultiHead",
    "NoCurriculum",
    "Parity",
    "ReLU",
    "RunConfig",
    "SingleHead",
    "Tanh",
    "TrainedTau",
    "Trainer",
    "Training",
    "__version__",
    "train",
    "with_preset",
]
