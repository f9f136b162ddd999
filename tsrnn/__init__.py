"""tsrnn: how recurrent networks grow long timescales, trained a population at a time."""

from importlib.metadata import version

from tsrnn.config import (
    DMS,
    GRU,
    LSTM,
    SGD,
    EndRules,
    FixedTau,
    GradientClip,
    Leaky,
    LeakyReLU,
    Lengths,
    MultiHead,
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
    "GRU",
    "LSTM",
    "SGD",
    "EndRules",
    "EpochReport",
    "FixedTau",
    "GradientClip",
    "Leaky",
    "LeakyReLU",
    "Lengths",
    "MultiHead",
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
