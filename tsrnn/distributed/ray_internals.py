"""All uses of private parts of Ray, each with a fallback for versions of Ray that lack it.

Nothing else in the project uses private parts of Ray. `tests/distributed/test_ray_internals.py` fails if the installed
Ray no longer has one of them, and checks that the fallbacks do what is stated here.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

_GONE: Final = (ImportError, AttributeError, TypeError)
"""What a changed part raises."""


def started_address() -> str | None:
    """Return the address of the cluster that this machine joined by `ray start`; None if there is none.

    Ray's own "auto" would also join the private Ray of any other program on this machine, and would end with it.
    Without this part of Ray, no cluster is found, and its address must be given.
    """
    try:
        from ray._private.utils import read_ray_address

        found: str | None = read_ray_address()
    except _GONE:
        return None
    return found


def answers_as_ray(host: str, port: int, patience: float) -> bool:
    """Return whether the program that listens at a port speaks Ray's protocol.

    Without this part of Ray, any program that listens is assumed to be Ray; `ray.init` then waits for it, for minutes.

    Args:
        host: Its name or address.
        port: The port on which it listens.
        patience: How long to wait for its answer, in seconds.
    """
    try:
        import grpc
        from ray._private.grpc_utils import init_grpc_channel

        channel = init_grpc_channel(f"{host}:{port}")
        ready = grpc.channel_ready_future(channel)
    except _GONE:
        return True
    try:
        ready.result(timeout=patience)
    except grpc.FutureTimeoutError:
        return False
    finally:
        channel.close()
    return True


def asks_for_token() -> bool:
    """Return whether this process's Ray requires a token; without this part of Ray, as the environment says."""
    try:
        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        return bool(is_token_auth_enabled())
    except _GONE:
        return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def listen_on_loopback_only() -> None:
    """Make the Ray that is started next listen on the loopback interface only.

    Ray has this switch for desktop systems; without it, its servers listen on every interface. A Ray that no longer has
    the switch listens on its default interfaces, and still requires a token.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for the processes that Ray starts
    try:
        from ray._private import ray_constants

        ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when ray was imported
    except _GONE:
        pass


def kuberay_config() -> Mapping[str, Any] | None:
    """Return what the autoscaler of a KubeRay cluster may start, in the format of `ray up`'s files; otherwise None.

    Kubernetes is queried with the permissions of the head's pod, which has them if the autoscaler is on. Without this
    part of Ray, or without these permissions, it is not known.
    """
    name, namespace = (os.environ.get(f"RAY_CLUSTER_{part}") for part in ("NAME", "NAMESPACE"))
    if not name:
        return None
    try:
        from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
        from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

        namespace = namespace or Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text().strip()
        cluster = KubernetesHttpApiClient(namespace).get(f"rayclusters/{name}")
        config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(cluster)
    except (*_GONE, OSError, ValueError, KeyError):
        return None
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        config["max_workers"] = 0
    return config


def dead_processes() -> set[str]:
    """Return which essential processes of Ray have died, for a Ray that this process started.

    Without this part of Ray, dead processes are not detected, and Tune waits for ever.
    """
    try:
        from ray._private import ray_constants, worker

        needed = {ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER}
        node: Any = worker._global_node
        return needed & {kind for kind, _ in node.dead_processes()}
    except _GONE:
        return set()


def name_process(name: str) -> None:
    """Name this worker process, for Ray's dashboard, `ps` and `top`, until its current call returns.

    Without this part of Ray, the process keeps the name of its class and method.

    Args:
        name: What the process does; "ray::" is put before it, by which Ray knows its own processes.
    """
    try:
        from ray import _raylet

        raylet: Any = _raylet
        raylet.setproctitle(f"ray::{name}")
    except _GONE:
        return


def forgive_failures(trial: Any) -> None:
    """Reset the failure count of a Tune trial, because it has made progress since its last failure.

    Without this part of Ray, failures are counted over the whole life of a trial.
    """
    metadata: Any = getattr(trial, "run_metadata", None)
    if hasattr(metadata, "num_failures"):
        metadata.num_failures = 0


class _EarlierTrial:
    """What a scheduler looks at of a trial that an earlier run trained: its name."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def replay(scheduler: Any, trial_id: str, results: Iterable[Mapping[str, float]]) -> None:
    """Report the results of a trial from an earlier run to a scheduler, so that it compares new trials with them.

    If a scheduler needs more of a trial than its name, it is left with the results that it accepted before.

    Args:
        scheduler: An `ASHAScheduler`.
        trial_id: A name that no trial of this run has.
        results: In order; at least one.
    """
    trial: Any = _EarlierTrial(trial_id)
    last: dict[str, float] = {}
    try:
        scheduler.on_trial_add(None, trial)
        for result in results:
            last = dict(result)
            scheduler.on_trial_result(None, trial, last)
        scheduler.on_trial_complete(None, trial, last)
    except _GONE:
        return
