"""A check that every machine of a cluster can access the sweep's folder and has the same code."""

import json
import time
from collections.abc import Sequence
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from sweeps.engine.errors import SweepError
from tsrnn.io.claims import ClaimLostError, rejoin
from tsrnn.io.files import AnyLocation
from tsrnn.provenance import Code, code

# Seconds for a process to start on every node and to check the folder.
_PATIENCE: Final = 300.0
# Seconds until a node whose process was lost is checked again, since its death is known only some time later.
_PAUSE: Final = 2.0


def require_shared(folder: AnyLocation, claim: str, plugins: Sequence[str], console: Console) -> None:
    """Check that all machines of the cluster see the folder and have the same code.

    A machine that dies during the check is ignored. A machine that does not answer is reported, and training goes on,
    because every trial checks again when it begins.

    Args:
        folder: The folder of the sweep.
        claim: The name of the driver's claim on it, by which machines recognise the folder: a folder with the same name
            on a machine's own disk does not have it, even if it was copied from here.
        plugins: The files of plugins that the machines must have.
        console: Where machines that do not answer are reported.

    Raises:
        SweepError: names the machine, and says what to do.
    """
    expected, end = code(plugins), time.monotonic() + _PATIENCE
    silent, pause = _alive(), _PAUSE
    while silent:
        lost = _ask(silent, str(folder), claim, list(plugins), expected, max(0.0, end - time.monotonic()))
        if lost and time.monotonic() + pause < end:
            time.sleep(pause)
            pause, alive = 2 * pause, _alive()
            silent = {node_id: address for node_id, address in lost.items() if node_id in alive}
            continue
        alive = _alive()
        if late := [address for node_id, address in lost.items() if node_id in alive]:
            console.print(
                f"warning: {len(late)} of {len(alive)} machines did not say within {_PATIENCE:g} s whether they see "
                f"{folder} (node {late[0]}); trials there look again; see `ray status`",
                soft_wrap=True,
            )
        return


def _alive() -> dict[str, str]:
    """Return the addresses of the running machines, by their ids."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def _ask(
    nodes: dict[str, str], folder: str, claim: str, plugins: list[str], expected: Code, patience: float
) -> dict[str, str]:
    """Check every node once; return those that did not answer.

    Raises:
        SweepError: a node answers that it cannot train in this folder.
    """
    task = ray.remote(look)
    asked = {
        task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote(folder, claim, plugins): node_id
        for node_id in nodes
    }
    answers, late = ray.wait(list(asked), num_returns=len(asked), timeout=patience)
    silent = {asked[reference]: nodes[asked[reference]] for reference in late}
    for reference in late:
        ray.cancel(reference, force=True)
    for reference in answers:
        node_id = asked[reference]
        try:
            reason, found = ray.get(reference)
        except (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError) as error:
            cause = str(error).strip().splitlines()[-1]
            raise SweepError(f"node {nodes[node_id]}: cannot run this project ({cause}); install it there") from None
        except ray.exceptions.RayError:  # its process was lost, perhaps together with the node
            silent[node_id] = nodes[node_id]
            continue
        if reason := reason or other_code(found, expected):
            raise SweepError(f"{reason} (node {nodes[node_id]})")
    return silent


def look(folder: str, claim: str, plugins: list[str]) -> tuple[str, Code]:
    """Return why this machine cannot write to the sweep's folder ("" if it can), and its code."""
    return unseen(folder, claim), code(plugins)


def unseen(folder: str, claim: str) -> str:
    """Return why this machine cannot write to the folder for the sweep's driver; "" if it can."""
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


def other_code(found: Code, expected: Code) -> str:
    """Return how the code of a machine differs from the driver's, and what to do; "" if it does not differ."""
    if found.code != expected.code:
        return (
            f"this machine has other code of tsrnn ({found.code}) than the program that runs the sweep had when it "
            f"began ({expected.code}); bring the project there to the same state, and change no file while it runs"
        )
    here, there = _hashes(expected), _hashes(found)
    for name in here:
        if here[name] != there.get(name):
            state = "is absent from" if not there.get(name) else "differs on"
            return f"plugin {name}: {state} this machine; copy it there, to the same path as here"
    return ""


def _hashes(of: Code) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(of.plugins or "{}")
    return found
