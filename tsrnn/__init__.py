"""tsrnn: how recurrent networks grow long timescales, trained a population at a time.

What trains is imported when it is first asked for, and torch with it: settings and `--help` do not wait for it.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

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
from tsrnn.config.presets import with_preset
from tsrnn.tasks import DMS, BitTask, Lengths, Parity, Sines, Task, register_task

if TYPE_CHECKING:
    from tsrnn.training.loop import Trainer, train
    from tsrnn.training.reports import EpochReport
else:

    def __getattr__(name: str) -> object:
        """Import what trains (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tsrnn.training import loop as training

        return getattr(training, name)


def __dir__() -> list[str]:
    """Return all names, those not yet imported among them."""
    return sorted({*globals(), *__all__})


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
