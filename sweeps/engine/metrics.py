"""Prometheus metrics of every network of a running sweep, through Ray: `ray_tsrnn_...` on each machine's endpoint."""

from typing import Final

from ray.util.metrics import Gauge

from sweeps.engine.grid import title
from tsrnn.training.reports import EpochReport

GAUGES: Final = {
    "tsrnn_n": "The newest N in training.",
    "tsrnn_accuracy": "Test accuracy of the newest head.",
    "tsrnn_steps_per_second": "Optimiser steps per second of the network's population in its last epoch.",
    "tsrnn_epochs": "Epochs trained.",
}
LABELS: Final = ("sweep", "run", "seed", "network_id")


class Metrics:
    """The gauges of one process: the networks of its trial."""

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep
        self._gauges = {name: Gauge(name, text, LABELS) for name, text in GAUGES.items()}

    def show(self, report: EpochReport, steps_per_second: float) -> None:
        """Set the gauges of a network to the values of its last epoch."""
        config = report.config
        labels = {
            "sweep": self._sweep,
            "run": title(config),
            "seed": str(config.seed),
            "network_id": config.network_id,
        }
        values = (report.n, report.accuracy, steps_per_second, report.epoch)
        for gauge, value in zip(self._gauges.values(), values, strict=True):
            gauge.set(value, labels)
