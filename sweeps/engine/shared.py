"""Whether every machine of a cluster sees the folder that a sweep writes to."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.engine.errors import SweepError
from tsrnn.io.files import AnyLocation, location, write_atomically

# Seconds for a process to start on every node, and to look.
_PATIENCE: Final = 300.0


@contextmanager
def marked(folder: AnyLocation) -> Iterator[str]:
    """Leave a file in the folder while a sweep runs, by which the machines know it; its name is yielded.

    A folder of the same name on a machine's own disk does not have it, even if it was copied from here.

    Raises:
        SweepError: the folder cannot be written.
    """
    mark = location(folder) / f"_driver-{secrets.token_hex(8)}"
    try:
        write_atomically(mark, b"")
    except OSError as error:
        raise SweepError(f"storage = {folder}: cannot be written ({error}); choose another --storage") from None
    try:
        yield mark.name
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def require_shared(folder: AnyLocation, mark: str) -> None:
    """Refuse a folder that a machine of this cluster does not see.

    Raises:
        SweepError: names the machine, and says what to do.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    look = ray.remote(unseen)
    tasks = {
        look.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote(str(folder), mark): address
        for node_id, address in nodes.items()
    }
    answers, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=_PATIENCE)
    if late:
        raise SweepError(f"node {tasks[late[0]]}: started no process within {_PATIENCE:g} s; see `ray status`")
    for answer in answers:
        try:
            reason = ray.get(answer)
        except ray.exceptions.RayError as error:
            cause = str(error).strip().splitlines()[-1]
            raise SweepError(f"node {tasks[answer]}: cannot run this project ({cause}); install it there") from None
        if reason:
            raise SweepError(f"{reason} (node {tasks[answer]})")


def unseen(folder: str, mark: str) -> str:
    """Return why this machine cannot write to the sweep's folder; empty where it sees it."""
    try:
        if (location(folder) / mark).exists():
            return ""
        reason = "this machine does not see that folder"
    except OSError as error:
        reason = f"this machine cannot reach it: {' '.join(str(error).split())}"
    return (
        f"storage = {folder}: {reason}; give --storage a folder that all machines of the cluster share, or "
        f"s3://BUCKET/PATH"
    )
