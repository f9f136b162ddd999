"""Configurations: frozen, validated settings that define the numbers of a network, and are hashed into its id.

A `RunConfig` is one network: its task, architecture, curriculum, training, end rules and seed. It does not contain
anything that does not change the network's numbers (device, threads, storage, the networks that it is stacked with).
Every union of classes is tagged by `kind`, so that the JSON form names the class.
"""

from tsrnn.config.ends import EndRules, EndState
from tsrnn.config.history import differences
from tsrnn.config.network import (
    GRU,
    LSTM,
    NETWORKS,
    FixedTau,
    Leaky,
    LeakyReLU,
    Network,
    Nonlinearity,
    ReLU,
    Tanh,
    Tau,
    TrainedTau,
    register_network,
)
from tsrnn.config.optimizer import SGD, SOAP, Adam, AdamW, Muon, Optimizer
from tsrnn.config.run import RunConfig, explain, stacking_key
from tsrnn.config.time import Time
from tsrnn.config.training import Confirmation, GradientClip, Library, Precision, RateDecay, Training
from tsrnn.curricula import AllHeads, Curriculum, MultiHead, NoCurriculum, SingleHead, SlidingWindow
from tsrnn.tasks import DMS, BitTask, Lengths, Parity, Sines, Task

__all__ = [
    "DMS",
    "GRU",
    "LSTM",
    "NETWORKS",
    "SGD",
    "SOAP",
    "Adam",
    "AdamW",
    "AllHeads",
    "BitTask",
    "Confirmation",
    "Curriculum",
    "EndRules",
    "EndState",
    "FixedTau",
    "GradientClip",
    "Leaky",
    "LeakyReLU",
    "Lengths",
    "Library",
    "MultiHead",
    "Muon",
    "Network",
    "NoCurriculum",
    "Nonlinearity",
    "Optimizer",
    "Parity",
    "Precision",
    "RateDecay",
    "ReLU",
    "RunConfig",
    "Sines",
    "SingleHead",
    "SlidingWindow",
    "Tanh",
    "Task",
    "Tau",
    "Time",
    "TrainedTau",
    "Training",
    "differences",
    "explain",
    "register_network",
    "stacking_key",
]
