"""tsrnn: recurrent networks with long timescales, trained as populations of networks.

Training, saving and loading are imported when they are first used, together with torch. Code that only handles
settings, and `--help`, therefore start quickly.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from tsrnn.config import (
    GRU,
    LSTM,
    SGD,
    SOAP,
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
from tsrnn.config.presets import with_preset
from tsrnn.tasks import DMS, BitTask, Lengths, Parity, Sines, Task, register_task

if TYPE_CHECKING:
    from tsrnn.io.checkpoint import Checkpoint, load, save
    from tsrnn.training.loop import Trainer, train
    from tsrnn.training.reports import EpochReport
else:
    _LATER = {
        "Checkpoint": "tsrnn.io.checkpoint",
        "EpochReport": "tsrnn.training.reports",
        "Trainer": "tsrnn.training.loop",
        "load": "tsrnn.io.checkpoint",
        "save": "tsrnn.io.checkpoint",
        "train": "tsrnn.training.loop",
    }

    def __getattr__(name: str) -> object:
        """Import what needs torch (PEP 562)."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    """Return all names, those not yet imported among them."""
    return sorted({*globals(), *__all__})


__version__ = version("tsrnn")

__all__ = [
    "DMS",
    "GRU",
    "LSTM",
    "SGD",
    "SOAP",
    "Adam",
    "AdamW",
    "AllHeads",
    "BitTask",
    "Checkpoint",
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
    "load",
    "register_task",
    "save",
    "train",
    "with_preset",
]
