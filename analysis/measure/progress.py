"""Progress of a long command: its jobs, the time passed, and about how long the rest will take."""

import time
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from tsrnn.command_line import clock, counted
from tsrnn.untrusted import printable

_LINE_EVERY: Final = 15.0
# The share of the work before which the remaining time is not estimated.
_SHARE: Final = 0.02


class Estimate:
    """An estimate of how long the remaining jobs take, if there are several kinds with different costs.

    Each remaining job is assumed to cost as much as the jobs of its kind have cost on average, or, if none of them has
    ended, the average of all jobs. The rate of work is assumed to remain the same.

    Args:
        jobs: how many of each kind.
    """

    def __init__(self, jobs: Mapping[str, int]) -> None:
        self._left = dict(jobs)
        self._ended = dict.fromkeys(jobs, 0)
        self._cost = dict.fromkeys(jobs, 0.0)
        self._began: float | None = None
        self._last = 0.0

    def take(self, kind: str, cost: float, now: float) -> None:
        """Count a job as ended.

        Args:
            kind: its kind.
            cost: its own seconds, wherever it ran.
            now: the time at which it ended, on the clock of `left`.
        """
        if self._began is None:
            # The time for starting, before the first job, does not count.
            self._began = now - cost
        self._last = now
        self._left[kind] -= 1
        self._ended[kind] += 1
        self._cost[kind] += cost

    def left(self, now: float) -> float | None:
        """Return how many seconds are left; None before a fiftieth of the work is done."""
        done = sum(self._cost.values())
        if self._began is None or done <= 0:
            return None
        average = done / sum(self._ended.values())
        to_do = sum(
            count * (self._cost[kind] / self._ended[kind] if self._ended[kind] else average)
            for kind, count in self._left.items()
        )
        if done < _SHARE * (done + to_do):
            return None
        return max(0.0, (self._last - self._began) * to_do / done - (now - self._last))


def heading(name: str, jobs: Mapping[str, int], note: str = "") -> str:
    """Return the first line of a command with jobs: the number of jobs of each kind, and a note."""
    kinds = f" ({', '.join(f'{kind} {count}' for kind, count in jobs.items())})" if len(jobs) > 1 else ""
    return f"{name}: {counted(sum(jobs.values()), 'job')}{kinds}{note and ', '}{note}"


class JobProgress:
    """Shows the progress of a command's jobs: as a bar on a terminal, and as occasional lines elsewhere.

    Use it as a context around the jobs. Without a terminal, nothing is printed about jobs that end within seconds.

    Args:
        name: the name of the command.
        jobs: the number of jobs of each kind.
        console: where to print.
    """

    def __init__(self, name: str, jobs: Mapping[str, int], console: Console) -> None:
        self._name, self._total, self._console = name, sum(jobs.values()), console
        self._done = 0
        self._estimate = Estimate(jobs)
        self._began = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("jobs,"),
            _Times(self),
            console=console,
            transient=True,
            redirect_stdout=False,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=self._total)

    def __enter__(self) -> "JobProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def take(self, kind: str, cost: float) -> None:
        """Count a job as ended, with its own seconds."""
        now = time.monotonic()
        self._done += 1
        self._estimate.take(kind, cost, now)
        self._bar.advance(self._task)
        if not self._console.is_terminal and now - self._last_line >= _LINE_EVERY and self._done < self._total:
            self._last_line = now
            line = f"{self._name}: {self._done} of {counted(self._total, 'job')}, {self.times()}"
            self._console.print(line, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print a line of the command's own output to standard output, above the bar."""
        self._bar.stop()
        print(printable(line), flush=True)
        self._bar.start()

    def times(self) -> str:
        """Return the time passed, and about how much is left."""
        now = time.monotonic()
        left = self._estimate.left(now)
        return f"{clock(now - self._began)} passed" + ("" if left is None else f", about {clock(left)} left")


class _Times(ProgressColumn):
    """The elapsed and the remaining time, computed whenever the bar is drawn."""

    def __init__(self, shown: JobProgress) -> None:
        super().__init__()
        self._shown = shown

    def render(self, task: Task) -> Text:
        return Text(self._shown.times())
