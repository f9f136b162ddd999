"""Runs a function on many jobs at the same time: in processes on this machine, or as tasks of a Ray cluster.

If a job kills its process, the other jobs are not affected. This is why `concurrent.futures` is not used: its pool
fails as a whole if one process dies, and does not report which job the process had. Tasks of a private Ray would work,
but starting it takes seconds.
"""

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from analysis.data.frames import ResultsError
from tsrnn.distributed.environment import runtime_environment

_FOR_EACH_CPU: Final = 4
_LEAST: Final = 64
_LOOK_EVERY_S: Final = 10.0

S = TypeVar("S")
J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Died:
    """The process of a job ended without a result."""

    reason: str


def in_processes(
    function: Callable[[S, J], R], jobs: Sequence[tuple[S, J]], workers: int
) -> Iterator[tuple[tuple[S, J], R | Died]]:
    """Run jobs in processes on this machine; yield each one as it ends.

    On Linux, they are forks of one process that has only imported the packages, so torch and pandas are imported once
    for any number of processes. On other systems, forking is not safe once system frameworks are loaded, and each
    process is started anew.

    Args:
        function: A function of a module, so that other processes can import it. It must not raise errors.
        jobs: The arguments.
        workers: The number of processes at a time.
    """
    context = _context()
    waiting = deque(jobs)
    idle: list[tuple[Connection, BaseProcess]] = []
    busy: dict[Connection, tuple[BaseProcess, tuple[S, J]]] = {}
    processes: list[BaseProcess] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                if not idle:
                    ours, theirs = context.Pipe()
                    started = context.Process(target=_serve, args=(theirs, function, dict(os.environ)), daemon=True)
                    started.start()
                    theirs.close()
                    processes.append(started)
                    idle.append((ours, started))
                connection, process = idle.pop()
                job = waiting.popleft()
                busy[connection] = process, job
                with suppress(OSError):  # the process is dead, which its answer reports
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


def _context() -> ForkServerContext | SpawnContext:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["analysis.measure.jobs"])
    return context


def _serve(connection: Connection, function: Callable[[Any, Any], object], environment: Mapping[str, str]) -> None:
    """Run the jobs that arrive through a connection until its other end closes."""
    os.environ |= environment  # a fork has the environment of the first process
    # Ctrl-C reaches all processes of a terminal; the caller stops this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            connection.send(function(*connection.recv()))
        except (EOFError, OSError):
            return


def on_ray(
    function: Callable[[S, J], R], jobs: Sequence[tuple[S, J]], address: str
) -> Iterator[tuple[tuple[S, J], R | Died]]:
    """Run jobs as tasks of a Ray cluster, which must see the results folder under the same path; see `in_processes`.

    A first argument that many jobs share is sent once.

    Raises:
        ResultsError: the cluster cannot be joined.
    """
    import ray

    try:
        ray.init(address=address, runtime_env=runtime_environment(), log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ResultsError(
            f"address = {address}: not a Ray cluster that this program can join ({reason}); try --address local"
        ) from None
    try:
        task = ray.remote(num_cpus=1, max_retries=1)(function)
        shared = {key: ray.put(first) for key, first in {id(first): first for first, _ in jobs}.items()}
        waiting = deque(jobs)
        # The future of a task signals its end; `ray.wait` would check all tasks each time.
        ended: SimpleQueue[Future[R]] = SimpleQueue()
        running: dict[Future[R], tuple[S, J]] = {}
        most, looked = 0, -_LOOK_EVERY_S
        while waiting or running:
            if time.monotonic() - looked >= _LOOK_EVERY_S:  # the cluster may have grown
                most, looked = _most(ray.cluster_resources().get("CPU", 0)), time.monotonic()
            while waiting and len(running) < most:
                first, job = waiting.popleft()
                future = task.remote(shared[id(first)], job).future()
                running[future] = first, job
                future.add_done_callback(ended.put)
            future = ended.get()
            answer: R | Died
            try:
                answer = future.result()
            except ray.exceptions.RayError as error:
                answer = Died(" ".join(str(error).split()) or type(error).__name__)
            yield running.pop(future), answer
    finally:
        ray.shutdown()


def _most(cpus: float) -> int:
    """Return how many tasks to give to a cluster at a time, for its number of CPUs.

    There are a few for each CPU, so that none waits for this process, but not more, since Ray keeps all its tasks in
    memory. There are at least some tens, so that a cluster without machines starts some.
    """
    return max(_LEAST, int(_FOR_EACH_CPU * cpus))
