"""Runs a function over many jobs at the same time: in processes of this machine, or as tasks of a Ray cluster.

A job that takes its process down with it costs no other. That is why the processes are not those of
`concurrent.futures`, whose pool breaks as a whole where one of them dies, and does not say which job it had; tasks of a
private Ray would do, after seconds of starting it.
"""

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from analysis.data.frames import ResultsError

S = TypeVar("S")
J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Died:
    """A job's process ended without an answer."""

    reason: str


def in_processes(
    function: Callable[[S, J], R], jobs: Sequence[tuple[S, J]], workers: int
) -> Iterator[tuple[tuple[S, J], R | Died]]:
    """Run jobs in fresh processes of this machine; yield each as it ends.

    Args:
        function: Of a module, so that other processes find it. It raises nothing.
        jobs: Its arguments.
        workers: Processes at a time.
    """
    context = multiprocessing.get_context("spawn")
    waiting = deque(jobs)
    idle: list[tuple[Connection, BaseProcess]] = []
    busy: dict[Connection, tuple[BaseProcess, tuple[S, J]]] = {}
    processes: list[BaseProcess] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                if not idle:
                    ours, theirs = context.Pipe()
                    started = context.Process(target=_serve, args=(theirs, function), daemon=True)
                    started.start()
                    theirs.close()
                    processes.append(started)
                    idle.append((ours, started))
                connection, process = idle.pop()
                job = waiting.popleft()
                busy[connection] = process, job
                with suppress(OSError):  # it is dead, as its answer will say
                    connection.send(job)
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                process, job = busy.pop(ready)
                answer: R | Died
                try:
                    answer = ready.recv()
                except (EOFError, OSError):
                    process.join()
                    answer = Died(f"its process died (exit status {process.exitcode}); out of memory?")
                else:
                    idle.append((ready, process))
                yield job, answer
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


def _serve(connection: Connection, function: Callable[[Any, Any], object]) -> None:
    """Run the jobs that come through a connection until its other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal: the caller stops us
    while True:
        try:
            connection.send(function(*connection.recv()))
        except (EOFError, OSError):
            return


def on_ray(
    function: Callable[[S, J], R], jobs: Sequence[tuple[S, J]], address: str
) -> Iterator[tuple[tuple[S, J], R | Died]]:
    """Run jobs as tasks of a Ray cluster, which must see the results folder under the same path; see `in_processes`.

    What many jobs have as their first argument is sent once.

    Raises:
        ResultsError: the cluster cannot be joined.
    """
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ResultsError(
            f"address = {address}: not a Ray cluster this program can join ({reason}); try --address local"
        ) from None
    try:
        task = ray.remote(num_cpus=1, max_retries=1)(function)
        shared = {key: ray.put(first) for key, first in {id(first): first for first, _ in jobs}.items()}
        running = {task.remote(shared[id(first)], job): (first, job) for first, job in jobs}
        while running:
            (reference, *_), _ = ray.wait(list(running))
            ended = running.pop(reference)
            answer: R | Died
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                answer = Died(" ".join(str(error).split()) or type(error).__name__)
            yield ended, answer
    finally:
        ray.shutdown()
