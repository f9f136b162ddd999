"""tsrnn: how recurrent networks grow long timescales, trained a population at a time."""

from importlib.metadata import version

from tsrnn.config import (
    GRU,
    LSTM,
    SGD,
    Adam,
    AdamW,
    AllHeads,
    EndRules,
    FixedTau,
    GradientClip,
    Leaky,
    LeakyReLU,
    MultiHead,
    Muon,
    NoCurriculum,
    RateDecay,
    ReLU,
    RunConfig,
    SingleHead,
    SlidingWindow,
    Tanh,
    Time,
    TrainedTau,
    Training,
)
from tsrnn.presets import with_preset
from tsrnn.tasks import DMS, BitTask, Lengths, Parity, Sines, Task, register_task
from tsrnn.training import EpochReport, Trainer, train

__version__ = version("tsrnn")

__all__ = [
    "DMS",
    "GRU",
    "LSTM",
    "SGD",
    "Adam",
    "AdamW",
    "AllHeads",
    "BitTask",
    "EndRules",
    "EpochReport",
    "FixedTau",
    "GradientClip",
    "Leaky",
    "LeakyReLU",
    "Lengths",
    "MultiHead",
    "Muon",
    "NoCurriculum",
    "Parity",
    "RateDecay",
    "ReLU",
    "RunConfig",
    "Sines",
    "SingleHead",
    "SlidingWindow",
    "Tanh",
    "Task",
    "Time",
    "TrainedTau",
    "Trainer",
    "Training",
    "__version__",
    "register_task",
    "train",
    "with_preset",
]
