"""Early ends of a run: by a signal, or because the Ray on which it runs has died."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from rich.console import Console

from tsrnn.command_line import fail
from tsrnn.distributed import ray_internals

_LATE: Final = 5.0
"""Seconds until a signal that has ended Ray must have reached this program; it is delayed while Ray's code runs."""
_PATIENCE: Final = 20.0
"""Seconds that Tune has to end its trials. Slurm and Kubernetes kill what has not ended 30 s after their SIGTERM."""
_asked = threading.Event()


def stop_on_sigterm() -> None:
    """Handle SIGTERM, with which a batch system ends a job, like Ctrl-C; Ray's own handler aborts the process.

    Call it after `ray.init`, which sets that handler.
    """
    signal.signal(signal.SIGTERM, _stop)


def _stop(_: int, frame: FrameType | None) -> None:
    """Do the same as Ctrl-C would do now (in Tune, what Tune does), even if SIGINT is ignored, as under nohup."""
    _asked.set()
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


@contextmanager
def ending_with_ray(console: Console) -> Iterator[None]:
    """A context that ends this program if its Ray ends, since Tune would wait for ever for another machine.

    A SIGTERM to all processes, as sent by `timeout`, systemd and Slurm, ends Ray together with this program. This is
    not an error: unfinished networks are reported in one line, with status 1.

    Args:
        console: the console, whose cursor may be hidden.
    """
    ended = threading.Event()

    def watch() -> None:
        last = None
        while not ended.wait(1):
            dead = ray_internals.dead_processes()
            if _asked.is_set() and last is None:
                last = time.monotonic() + _PATIENCE
            if not dead and (last is None or time.monotonic() < last):
                continue
            stopped = _asked.wait(_LATE)
            if ended.is_set():
                return
            console.show_cursor()
            if stopped:
                console.print("stopped by SIGTERM; the same command continues where it stopped", soft_wrap=True)
            else:
                fail(f"Ray on this machine died ({', '.join(dead)}); the same command continues where it stopped", 1)
            os._exit(1)  # without Ray, nothing in this program ends by itself

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
