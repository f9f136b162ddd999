"""The whole study: every sweep, one after the other.

The order is such that results appear early. The options are passed on to every sweep; an option that a sweep does not
take, such as --taus, ends the command there. Networks that have ended are not trained again, so that the same command
continues after any stop. A network that several sweeps have in common is trained by the first of them. A dry run ends
with the cost of all sweeps. If they take an hour or more, the command asks once whether to begin, if it runs in a
terminal; --yes does not ask. With --measure, the networks are then measured as the paper's claims need it (timescales,
interventions, other time steps, retraining), and the report is written. Ctrl-C and SIGTERM stop what is running, and
nothing else begins. Exit status: 0 if all is done; 1 if something failed or is unfinished (the rest runs nevertheless);
2 if an option is not allowed; 128 plus the signal's number after a signal.
"""

import importlib
import io
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType

from sweeps.engine.before import with_scale
from sweeps.engine.dry_run import Cost
from sweeps.engine.measurements import MEASUREMENTS, commands
from sweeps.engine.options import Flag, Options
from sweeps.engine.plan import storage_of
from sweeps.engine.runner import run
from tsrnn import command_line
from tsrnn.command_line import ask, counted, duration, run_resumable
from tsrnn.help_text import program
from tsrnn.io.files import location

SWEEPS = (
    "fixed_tau",
    "curricula",
    "no_curriculum",
    "all_heads",
    "sliding_window",
    "nonlinearities",
    "weight_decay",
    "temporal_patterns",
    "architectures",
    "input_duration",
    "time_discretisation",
)
FURTHER = {"fixed_tau": ("--tasks", "parity", "--self-interactions", "outside")}
"""Options of a second invocation of a sweep, right after the first: here for figure S11, which is only about parity."""

_MEASURED = f"{len(MEASUREMENTS)} measurements, each of which states its time when it begins, and the report"

app = program("sweeps/all.py", __doc__)


class _Runner:
    """Runs commands one after the other, each in its own process group, and passes on the signals that stop it.

    In its own group, a command does not get Ctrl-C from the terminal as well, which would interrupt its cleanup.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.stopped = 0
        self._process: subprocess.Popen[bytes] | None = None
        for number in self.SIGNALS:
            signal.signal(number, self._pass_on)

    def run(self, command: Sequence[str]) -> int:
        """Run a command and return its exit status; after a signal, do not begin it, and return 0."""
        # Signals are blocked until the new process is known, so that they reach it.
        signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            if self.stopped:
                return 0
            self._process = subprocess.Popen(command, process_group=0, preexec_fn=self._unblock)
        finally:
            self._unblock()
        return self._process.wait()

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.stopped = number
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)


@app.default
def main(options: Options = Options(), *, measure: Flag = False) -> int:  # noqa: B008
    """Run every sweep with these options and return the exit status.

    Args:
        options: See `Options`.
        measure: Then measure the networks as the paper's claims need it, and write the report to the folder report.
            What has been measured already is not measured again.
    """
    arguments = options.words()
    if options.dry_run:
        return _dry_run(arguments, as_json=options.json, measure=measure)
    if not options.yes and sys.stdin.isatty():
        # One question for all sweeps: a sweep runs in its own process group, which cannot ask on the terminal.
        _ask(arguments, measure=measure)
    runner = _Runner()
    yes = [] if options.yes else ["--yes"]

    def run_one(name: str, further: Sequence[str]) -> int:
        script = str(Path(__file__).with_name(f"{name}.py"))
        status = runner.run([sys.executable, script, *arguments, *further, *yes])
        return 128 + runner.stopped if runner.stopped else status

    status = _each(run_one)
    return max(status, _measure(runner, options)) if measure and status in (0, 1) else status


def _measure(runner: _Runner, options: Options) -> int:
    """Measure the networks and write the report; return the exit status."""
    results = location(storage_of(with_scale(options)[0], SWEEPS[0]))
    plugins = [] if options.plugin is None else ["--plugin", *map(str, options.plugin)]
    shared = ["--address", options.address, "--yes", *plugins, *(["--json"] if options.json else [])]
    worst = 0
    report = ["-m", "analysis", "report", str(results), *plugins]
    for words in (*([*words, *shared] for words in commands(results)), report):
        print("== python", shlex.join(words), file=sys.stderr, flush=True)
        status = runner.run([sys.executable, *words])
        if runner.stopped:
            return 128 + runner.stopped
        # A measurement that these networks do not allow ends with an error, and the others continue.
        worst = max(worst, min(status, 1))
    return worst


def _each(run: Callable[[str, Sequence[str]], int]) -> int:
    """Run the sweeps one after the other; return 1 if one of them did. A status other than 0 or 1 ends the command."""
    worst = 0
    invocations = [(name, further) for name in SWEEPS for further in ((), FURTHER.get(name)) if further is not None]
    for name, further in invocations:
        print("==", name, *further, file=sys.stderr, flush=True)
        status = run(name, further)
        if status not in (0, 1):
            return status
        worst = max(worst, status)
    return worst


def _ask(arguments: list[str], *, measure: bool) -> None:
    """Print what all sweeps cost, if none has begun, and ask whether to begin if they take an hour or more."""
    costs: list[Cost] = []
    words = [*arguments, "--dry-run", "--json"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        status = _count(words, costs)
    if status:  # the first sweep reports the error
        return
    seconds = sum(cost.seconds for cost in costs)
    then = f"; then {_MEASURED}" if measure else ""
    said = f"All {len(SWEEPS)} sweeps: at most about {duration(seconds)} on this machine, if nothing is done yet{then}"
    ask(said, seconds, yes=False, console=command_line.console(stderr=True))


def _count(arguments: list[str], costs: list[Cost]) -> int:
    """Run every sweep as a dry run in this process, add their costs, and return the exit status."""
    return _each(
        lambda name, further: run(importlib.import_module(f"sweeps.{name}").SWEEP, [*arguments, *further], costs)
    )


def _dry_run(arguments: list[str], *, as_json: bool, measure: bool) -> int:
    """Print what every sweep would run, and what all of them cost."""
    costs: list[Cost] = []
    status = _count(arguments, costs)
    if status not in (0, 1):
        return status
    networks, operations, seconds = (
        sum(getattr(cost, part) for cost in costs) for part in ("networks", "operations", "seconds")
    )
    if as_json:
        print(json.dumps({"sweep": "all", "networks": networks, "operations": operations, "seconds": seconds}))
    else:
        print(
            f"All {len(SWEEPS)} sweeps, one after the other: {counted(networks, 'network')}, "
            f"about {operations:.1e} operations; about {duration(seconds)} on this machine."
        )
        if measure:
            print(f"Then {_MEASURED}.")
    return status


if __name__ == "__main__":
    sys.exit(run_resumable(app, sys.argv[1:]))
