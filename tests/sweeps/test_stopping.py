"""A run that a signal or its Ray's death ends says so in a line, and is continued."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import descendants, is_running
from tests.sweeps.commands import GRID, ROOT, STARTED, assert_same_tables, command, sweep, wait_for

STOPPED = "stopped by SIGTERM; the same command continues where it stopped"
INTERRUPTED = "error: interrupted; the same command continues where it stopped"
DIED = "error: Ray on this machine died (raylet); the same command continues where it stopped"

# A run whose Ray dies after some seconds, or lives, in place of one with trials.
RUN = """
import signal, sys, time
from rich.console import Console
from sweeps.engine import stopping
began, dies, ignored = time.monotonic(), float(sys.argv[1]), sys.argv[2] == "ignored"
stopping._PATIENCE = 2.0
stopping.ray_internals.dead_processes = lambda: {"raylet"} if time.monotonic() > began + dies else set()
stopping.stop_on_sigterm()
if ignored:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
else:
    signal.signal(signal.SIGINT, lambda *_: print("told to stop", flush=True))
print("running", flush=True)
with stopping.ending_with_ray(Console(stderr=True)):
    while True:
        time.sleep(0.1)
"""


def run(dies: float, signalled_after: float | None, sigint: str = "handled") -> tuple[int, str, str]:
    """Run a run, with a signal after so many seconds; return exit status, output and errors."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(dies), sigint],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    STARTED.append(process)
    assert process.stdout.readline() == "running\n"
    if signalled_after is not None:
        time.sleep(signalled_after)
        process.terminate()
    output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors


def test_a_ray_that_dies_is_an_error():
    assert run(dies=0.5, signalled_after=None) == (1, "", f"{DIED}\n")


@pytest.mark.parametrize("signalled_after", [0.0, 3.0])
def test_a_ray_that_dies_with_a_signal_to_all_is_none(signalled_after):
    """This program may learn of the signal only after Ray has ended."""
    assert run(dies=0.5, signalled_after=signalled_after) == (1, "told to stop\n", f"{STOPPED}\n")


def test_a_ray_that_neither_dies_nor_lets_trials_end_is_not_waited_for():
    """As where the driver of a cluster is told to stop together with the cluster."""
    began = time.monotonic()
    assert run(dies=1000, signalled_after=0) == (1, "told to stop\n", f"{STOPPED}\n")
    assert time.monotonic() - began > 2


def test_a_signal_is_taken_where_ctrl_c_is_ignored():
    assert run(dies=1000, signalled_after=0, sigint="ignored") == (-signal.SIGINT, "", f"{INTERRUPTED}\n")


def to_the_group(storage: Path) -> tuple[subprocess.Popen[str], Callable[[], None]]:
    process = subprocess.Popen(
        command((*GRID, "--storage", storage)),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    return process, lambda: os.killpg(process.pid, signal.SIGTERM)


def by_timeout(storage: Path) -> tuple[subprocess.Popen[str], Callable[[], None]]:
    """coreutils' timeout, which passes on a signal that it gets as the one that it sends."""
    process = subprocess.Popen(
        ["timeout", "1000", *command((*GRID, "--storage", storage))],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    return process, process.terminate


def to_all(storage: Path) -> tuple[subprocess.Popen[str], Callable[[], None]]:
    """What systemd does with a service, and Slurm with a job."""
    process, _ = to_the_group(storage)

    def terminate() -> None:
        for pid in (*descendants(process.pid), process.pid):
            os.kill(pid, signal.SIGTERM)

    return process, terminate


@pytest.mark.slow
@pytest.mark.parametrize("started", [to_the_group, by_timeout, to_all])
def test_a_signal_to_all_processes_is_a_calm_stop(tmp_path, undisturbed, started):
    process, terminate = started(tmp_path)
    STARTED.append(process)
    wait_for(tmp_path / "fixed_tau", 10)
    processes = [process.pid, *descendants(process.pid)]
    terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == STOPPED
    assert "error" not in errors
    assert "Traceback" not in errors
    end = time.monotonic() + 20
    while left := [pid for pid in processes if is_running(pid)]:
        assert time.monotonic() < end, left
        time.sleep(0.5)
    result = sweep("--resume", "--storage", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "failed" not in result.stderr
    assert_same_tables(tmp_path / "fixed_tau", undisturbed / "fixed_tau")
