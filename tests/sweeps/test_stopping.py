"""A run that a signal or its Ray's death ends says so in a line, and is continued."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.processes import descendants, is_running
from tests.sweeps.commands import GRID, ROOT, STARTED, assert_same_tables, command, sweep, wait_for

STOPPED = "stopped by SIGTERM; the same command continues where it stopped"
INTERRUPTED = "error: interrupted; the same command continues where it stopped"
DIED = "error: Ray on this machine died (raylet); the same command continues where it stopped"

# A run whose Ray dies after some seconds, or lives, in place of one with trials.
RUN = """
import signal, sys, time
from sweeps.engine import stopping
from tsrnn import command_line
began, dies, ignored = time.monotonic(), float(sys.argv[1]), sys.argv[2] == "ignored"
stopping._PATIENCE = 2.0
stopping.ray_internals.dead_processes = lambda: {"raylet"} if time.monotonic() > began + dies else set()
stopping.stop_on_sigterm()
if ignored:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
else:
    signal.signal(signal.SIGINT, lambda *_: print("told to stop", flush=True))
print("running", flush=True)
with stopping.ending_with_ray(command_line.console(stderr=True)):
    while True:
        time.sleep(0.1)
"""


class Settings(NamedTuple):
    """After how many seconds a run's Ray dies, and a signal comes, if one does; and what Ctrl-C does in it."""

    dies: float
    signalled_after: float | None
    sigint: str = "handled"


class Ended(NamedTuple):
    """How a run ended."""

    status: int
    output: str
    errors: str
    seconds: float


def run(settings: Settings) -> Ended:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(settings.dies), settings.sigint],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "running\n"
        if settings.signalled_after is not None:
            time.sleep(settings.signalled_after)
            process.terminate()
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    return Ended(process.returncode, output, errors, time.monotonic() - began)


DIES = Settings(dies=0.5, signalled_after=None)
DIES_AFTER_A_SIGNAL = Settings(dies=0.5, signalled_after=0.0)
DIES_BEFORE_A_SIGNAL = Settings(dies=0.5, signalled_after=3.0)
LIVES = Settings(dies=1000, signalled_after=0.0)
IGNORES_CTRL_C = Settings(dies=1000, signalled_after=0.0, sigint="ignored")
RUNS = (DIES, DIES_AFTER_A_SIGNAL, DIES_BEFORE_A_SIGNAL, LIVES, IGNORES_CTRL_C)


@pytest.fixture(scope="module")
def ended() -> Iterator[Callable[[Settings], Ended]]:
    """How runs end, which are begun at once: nearly all that they do is wait."""
    with ThreadPoolExecutor(len(RUNS)) as pool:
        runs = {settings: pool.submit(run, settings) for settings in RUNS}
        yield lambda settings: runs[settings].result()


def test_a_ray_that_dies_is_an_error(ended):
    assert ended(DIES)[:3] == (1, "", f"{DIED}\n")


@pytest.mark.parametrize("settings", [DIES_AFTER_A_SIGNAL, DIES_BEFORE_A_SIGNAL])
def test_a_ray_that_dies_with_a_signal_to_all_is_none(ended, settings):
    """This program may learn of the signal only after Ray has ended; it then ends, whatever Ctrl-C would still do."""
    assert (ended(settings).status, ended(settings).errors) == (1, f"{STOPPED}\n")


def test_a_ray_that_neither_dies_nor_lets_trials_end_is_not_waited_for(ended):
    """As where the driver of a cluster is told to stop together with the cluster."""
    assert ended(LIVES)[:3] == (1, "told to stop\n", f"{STOPPED}\n")
    assert ended(LIVES).seconds > 2


def test_a_signal_is_taken_where_ctrl_c_is_ignored(ended):
    assert ended(IGNORES_CTRL_C)[:3] == (-signal.SIGINT, "", f"{INTERRUPTED}\n")


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
