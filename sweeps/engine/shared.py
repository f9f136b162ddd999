"""Whether every machine of a cluster sees the folder that a sweep writes to."""

from typing import Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.engine.errors import SweepError
from tsrnn.io.claims import ClaimLostError, rejoin
from tsrnn.io.files import AnyLocation

# Seconds for a process to start on every node, and to look.
_PATIENCE: Final = 300.0


def require_shared(folder: AnyLocation, claim: str) -> None:
    """Refuse a folder that a machine of this cluster does not see.

    Args:
        folder: The sweep's.
        claim: The name of the driver's claim on it, by which the machines know the folder: one of the same name on a
            machine's own disk does not have it, even if it was copied from here.

    Raises:
        SweepError: names the machine, and says what to do.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    look = ray.remote(unseen)
    tasks = {
        look.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote(str(folder), claim): address
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


def unseen(folder: str, claim: str) -> str:
    """Return why this machine cannot write to the sweep's folder for its driver; empty where it can."""
    try:
        rejoin(folder, claim)
    except ClaimLostError as error:
        return str(error)
    except FileNotFoundError:
        reason = "this machine does not see that folder"
    except OSError as error:
        reason = f"this machine cannot reach it: {' '.join(str(error).split())}"
    else:
        return ""
    return (
        f"storage = {folder}: {reason}; give --storage a folder that all machines of the cluster share, or "
        f"s3://BUCKET/PATH"
    )
