"""The progress display of a sweep: a table that stays in place on a terminal, and occasional lines elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ray import tune
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeps.engine.grid import title
from tsrnn.command_line import clock, counted
from tsrnn.config import RunConfig
from tsrnn.distributed.ray_internals import forgive_failures

_ROWS = 12
_LINE_EVERY = 15.0


@dataclass
class _Trial:
    """The state of one running trial."""

    title: str
    max_epochs: dict[str, int]
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    epochs: int = 0

    def take(self, latest: dict[str, dict[str, Any]]) -> None:
        """Update from a report; `epochs` counts, over its networks, those trained and those saved by ending early."""
        self.latest, self.epochs = latest, 0
        for network_id, max_epochs in self.max_epochs.items():
            if seen := latest.get(network_id):
                self.epochs += max_epochs if seen["ended"] else seen["epoch"]

    def summary(self) -> tuple[str, str, str]:
        """Return epoch, N and accuracy over the networks still in training, each as a range."""
        live = [seen for seen in self.latest.values() if not seen["ended"]] or list(self.latest.values())
        if not live:
            return "starting", "", ""
        epochs, ns = [seen["epoch"] for seen in live], [seen["n"] for seen in live]
        accuracy = sum(seen["accuracy"] for seen in live) / len(live)
        return f"{max(epochs)}/{max(self.max_epochs.values())}", _span(ns), f"{100 * accuracy:.1f} %"


def _span(values: Sequence[int]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)}-{max(values)}"


class Progress(tune.Callback):
    """Shows the finished and the running networks, the epoch, N and accuracy of each trial, and the time left.

    Use it as a context around the run. `groups` are the networks of trials, by the index of the trial. The cost of a
    report does not depend on the number of trials: sums are kept, and the table is built only when the terminal shows
    it, twice a second.
    """

    def __init__(self, groups: Sequence[Sequence[RunConfig]], console: Console, *, verbose: bool = False) -> None:
        """Show the trials of these groups on a console; with `verbose`, also the library of the matrix products."""
        self._verbose = verbose
        self._groups = [list(group) for group in groups]
        self._console = console
        self._networks = sum(len(group) for group in self._groups)
        self._total = sum(network.end.max_epochs for group in groups for network in group)
        self._running: dict[str, _Trial] = {}
        self._warned: set[str] = set()
        # Networks that have reported, and their epochs from earlier runs.
        self._reported: set[str] = set()
        self._before = 0
        # Epochs of trials that are done or running, networks that are done, and networks that are running.
        self._epochs = 0
        self._done_networks = 0
        self._running_networks = 0
        self._began = time.monotonic()
        self._last_line = 0.0
        self._live = Live(self, console=console, refresh_per_second=2, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        """Start showing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop showing."""
        if self._live:
            self._live.stop()

    def __getstate__(self) -> dict[str, object]:
        """Return an empty state for Tune, whose restore is not used here."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the start of a trial."""
        networks = self._groups[trial.config["trial"]["index"]]
        self._drop(trial)
        max_epochs = {network.network_id: network.end.max_epochs for network in networks}
        self._running[trial.trial_id] = _Trial(title(networks[0]), max_epochs)
        self._running_networks += len(networks)
        self._print()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch, and reset the failure count of the trial, since it has made progress."""
        forgive_failures(trial)
        running = self._running[trial.trial_id]
        if self._verbose and not running.latest and result["products"]:
            line = f"{running.title}: products: {result['products']}"
            self._console.print(line, soft_wrap=True)
        self._epochs -= running.epochs
        running.take(result["networks"])
        self._epochs += running.epochs
        for network_id, seen in result["networks"].items():
            if network_id not in self._reported:
                self._reported.add(network_id)
                self._before += seen["epoch"] - 1
        for warning in result["warnings"]:
            if warning not in self._warned:
                self._warned.add(warning)
                self._console.print(f"warning: {warning}", soft_wrap=True)
        self._print()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count a trial as done."""
        self._close(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count a failed trial as done."""
        self._close(trial)

    def _close(self, trial: Any) -> None:
        ended = self._drop(trial)
        if ended:
            self._epochs += sum(ended.max_epochs.values())
            self._done_networks += len(ended.max_epochs)
        self._print()

    def _drop(self, trial: Any) -> _Trial | None:
        """Remove a trial from those that are running."""
        found = self._running.pop(trial.trial_id, None)
        if found:
            self._epochs -= found.epochs
            self._running_networks -= len(found.max_epochs)
        return found

    def _headline(self) -> str:
        # Epochs of an earlier run took no time in this one.
        trained, total = self._epochs - self._before, self._total - self._before
        elapsed, share = time.monotonic() - self._began, trained / total
        left = f", about {clock(elapsed * (1 - share) / share)} left" if share > 0.02 else ""
        done, running = (
            f"{self._done_networks} of {counted(self._networks, 'network')} done",
            f"{self._running_networks} running",
        )
        return f"{done}, {running}, {clock(elapsed)} passed{left}"

    def __rich__(self) -> Group:
        """Return the display for a terminal."""
        return Group(Text(self._headline()), self._table())

    def _print(self) -> None:
        """Print a line if there is no terminal and the last line was printed some time ago."""
        if self._live or time.monotonic() - self._last_line < _LINE_EVERY:
            return
        self._last_line = time.monotonic()
        runs = (
            f"{trial.title}: epoch {e}, N {n}, {a}"
            for trial in self._running.values()
            for e, n, a in [trial.summary()]
            if n
        )
        self._console.print("; ".join([self._headline(), *islice(runs, _ROWS)]), soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("run", "networks", "epoch", "N", "accuracy"):
            table.add_column(name, justify="left" if name == "run" else "right")
        trials = list(self._running.values())
        for trial in trials[:_ROWS]:
            table.add_row(trial.title, str(len(trial.max_epochs)), *trial.summary())
        if len(trials) > _ROWS:
            table.add_row(f"and {len(trials) - _ROWS} more")
        return table
