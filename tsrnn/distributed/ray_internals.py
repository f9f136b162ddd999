"""Everything of Ray that is not its public interface: each part with what is done where a version of Ray lacks it.

Nothing else in the project uses such parts. `tests/distributed/test_ray_internals.py` says when the installed Ray no
longer has one of them, and holds the fallbacks to what is promised here.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

_GONE: Final = (ImportError, AttributeError, TypeError)
"""What a changed part raises."""


def started_address() -> str | None:
    """Return the address of the cluster that `ray start` made this machine part of; None where there is none.

    Ray's own "auto" would join the private Ray of any other program here, and end with it. Without this part of Ray no
    cluster is found, and its address must be given.
    """
    try:
        from ray._private.utils import read_ray_address

        found: str | None = read_ray_address()
    except _GONE:
        return None
    return found


def answers_as_ray(host: str, port: int, patience: float) -> bool:
    """Tell whether what listens at a port speaks Ray's protocol.

    Without this part of Ray whatever listens is taken for Ray: `ray.init` then waits for it, for minutes.

    Args:
        host: Its name or address.
        port: On which something listens.
        patience: Seconds that it has.
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
    """Tell whether the Ray that this process uses asks for a token; without this part, what the environment says."""
    try:
        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        return bool(is_token_auth_enabled())
    except _GONE:
        return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def listen_on_loopback_only() -> None:
    """Let the Ray that is started next listen on the loopback only.

    The switch is one that Ray has for desktop systems; without it its servers listen on every interface. A Ray that
    does not know it any more listens where it will, and asks for a token all the same.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for the processes that Ray starts
    try:
        from ray._private import ray_constants

        ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when ray was imported
    except _GONE:
        pass


def kuberay_config() -> Mapping[str, Any] | None:
    """Return what the autoscaler of a KubeRay cluster may start, in the form of `ray up`'s files; None elsewhere.

    Kubernetes is asked, with the rights that the head's pod has where the autoscaler is on. Without this part of Ray,
    or these rights, it is not known.
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
    """Return which processes that Ray cannot do without have died, of a Ray that this process started.

    Without this part of Ray none is found dead, and Tune waits for ever where one is.
    """
    try:
        from ray._private import ray_constants, worker

        needed = {ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER}
        node: Any = worker._global_node
        return needed & {kind for kind, _ in node.dead_processes()}
    except _GONE:
        return set()


def name_process(name: str) -> None:
    """Name the worker process that this runs in, for Ray's dashboard, `ps` and `top`, until its present call returns.

    Without this part of Ray the process keeps the name of its class and method.

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
    """Let a trial of Tune fail as often again as it may, since it has come further in between.

    Without this part of Ray its failures are counted over its whole life.
    """
    metadata: Any = getattr(trial, "run_metadata", None)
    if hasattr(metadata, "num_failures"):
        metadata.num_failures = 0


class _EarlierTrial:
    """What a scheduler looks at of a trial that an earlier run trained: its name."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def replay(scheduler: Any, trial_id: str, results: Iterable[Mapping[str, float]]) -> None:
    """Show a scheduler the results of a trial that an earlier run trained, so that it judges new ones by them too.

    A scheduler that asks more of a trial than its name is left with what it took before it did.

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
