"""Runs groups of networks as Tune trials on a Ray cluster, or on this machine where there is none."""

import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Tune reads these when it is imported: its own reporters and loggers stay quiet, progress is ours.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune
from ray._private import ray_constants
from ray._private.utils import read_ray_address
from rich.console import Console

from sweeps._errors import SweepError, UsageError
from sweeps._grid import title
from sweeps._progress import Progress
from sweeps._trainable import PopulationTrainable
from tsrnn.config import RunConfig
from tsrnn.files import Location, write_atomically
from tsrnn.lock import FolderLock, LockedError
from tsrnn.plugins import files_of
from tsrnn.store import Store

RETRIES: Final = 2
"""How often a trial is begun again that fails without training an epoch in between."""
# A trial that fails for good is reported at the end, with its traceback in a file.
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
_GPU_SHARE: Final = 0.25
_SCRATCH: Final = "tsrnn-"


@dataclass(frozen=True)
class Resources:
    """CPUs and GPUs of one trial."""

    cpus: float
    gpus: float


def connect(address: str, cpus: float, gpus: float | None, console: Console) -> Resources:
    """Join the Ray cluster at an address, or start Ray on this machine; return what a trial will have.

    Args:
        address: auto, local or HOST:PORT.
        cpus: CPUs a trial.
        gpus: GPUs a trial; None is a share of one where the cluster has any.
        console: told what was found.

    Raises:
        UsageError: if the address is not one.
        SweepError: if nothing answers there, or a trial needs more than there is.
    """
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "auto":
        address = _cluster_here()
    if address == "local":
        _start_here(settings)
    else:
        if address != "auto":
            _require_answer(address)
        try:
            ray.init(address=address, **settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise SweepError(
                f"address = {address}: not a Ray cluster this program can join ({reason}); "
                f"if it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
            ) from None
    # A batch system ends a job with SIGTERM: stop as for Ctrl-C. Ray's own handler aborts the process.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    have = ray.cluster_resources()
    where = "local Ray" if address == "local" else f"Ray cluster of {len(nodes)} nodes"
    console.print(f"{where}: {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs", highlight=False)
    if gpus is None:
        gpus = _GPU_SHARE if have.get("GPU", 0) else 0.0
    for name, needed in (("CPU", cpus), ("GPU", gpus)):
        largest = max((node.get(name, 0) for node in nodes), default=0)
        if needed > largest:
            raise SweepError(
                f"{name.lower()}s-per-trial = {needed:g}: this cluster has no node of more than {largest:g} {name}s"
            )
    return Resources(cpus, gpus)


def _start_here(settings: dict[str, Any]) -> None:
    """Start Ray on this machine, for this program alone: it listens on the loopback only, and asks for a token.

    Without the switch, which Ray has for desktop systems, its servers listen on every interface of the machine.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when ray was imported
    token = Path.home() / ".ray" / "auth_token"
    own = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token" and not own:
        with suppress(OSError):  # Ray says what is wrong, if it needs the file
            _make_token(token)
    ray.init(address="local", **settings)


def _make_token(path: Path) -> None:
    """Make the token that Ray would make itself, and let nobody else read it, as Ray does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        with suppress(FileExistsError):  # another program was faster: its token holds
            os.link(fresh, path)
        fresh.unlink()
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)


@contextmanager
def _scratch() -> Iterator[str]:
    """Make a temporary folder, and remove those that killed programs left: nobody holds their locks."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*/_lock"):
        with suppress(LockedError, OSError), FolderLock(left.parent) as lock:
            # One that was made just now may be about to be locked.
            if left.stat().st_mtime < time.time() - 60 and lock.acquire():
                shutil.rmtree(left.parent, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=_SCRATCH, ignore_cleanup_errors=True) as folder,
        FolderLock(Path(folder)) as lock,
    ):
        lock.acquire()
        yield folder


def _cluster_here() -> str:
    """Return RAY_ADDRESS, else auto if `ray start` made this machine part of a cluster that answers, else local.

    Without a started cluster Ray's "auto" would join the private Ray of any other program here, and end with it.
    With one it must be "auto": Ray finds the cluster's token by itself then, and not for an address.
    """
    named = os.environ.get("RAY_ADDRESS", "auto")
    if named not in ("", "auto"):
        return named
    started: str | None = read_ray_address()
    if started is None:
        return "local"
    try:
        _require_answer(started)
    except SweepError:
        return "local"  # it was killed, and left its address behind
    return "auto"


def _require_answer(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"address = {address!r}: allowed are auto, local and HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise SweepError(f"address = {address}: no Ray cluster answers there ({error}); try --address local") from None


def run(
    groups: Sequence[Sequence[RunConfig]], folder: Location, resources: Resources, console: Console
) -> dict[str, str]:
    """Train each group as one trial; return the reason of each network that failed, by network_id.

    Args:
        groups: the networks of each trial.
        folder: the sweep's folder.
        resources: of each trial.
        console: shows progress.

    Raises:
        SweepError: if a trial failed, and its traceback cannot be written down.
        PluginError: if a task or a network is defined in no file.
    """
    trials = [
        {
            "index": i,
            "networks": [network.to_json() for network in group],
            "plugins": files_of(group),
            "folder": str(folder),
            "device": "cuda" if resources.gpus else "cpu",
            "threads": max(1, int(resources.cpus)),
        }
        for i, group in enumerate(groups)
    ]
    # Tune's own state is of no use to us: what a run needs to continue is under its networks' keys.
    with _scratch() as scratch, Progress(groups, console) as progress:
        results = tune.Tuner(
            tune.with_resources(PopulationTrainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
            param_space={"trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                trial_name_creator=lambda trial: title(groups[trial.config["trial"]["index"]][0]).replace(" ", "_"),
                trial_dirname_creator=lambda trial: str(trial.config["trial"]["index"]),
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name=folder.name,
                verbose=0,
                callbacks=[progress],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        ).fit()
    failed = {}
    finished = Store(folder).finished()
    for result in results:
        if result.error is not None:
            # Its folder says which trial it is: of one that never reported, `result.config` is empty, or, where
            # a process was reused, that of the process's last trial.
            for network in groups[int(Path(result.path).name)]:
                if finished.get(network.network_id, "failed") != "failed":
                    continue
                log = folder / "errors" / f"{network.network_id}.txt"
                try:
                    write_atomically(log, str(result.error).encode())
                except OSError as error:
                    raise SweepError(
                        f"{log}: cannot be written ({error}), and would say: {_reason(result.error)}"
                    ) from None
                failed[network.network_id] = f"{_reason(result.error)} (all of it: {log})"
    return failed


def _reason(error: Exception) -> str:
    """Return the last line of what a trial raised: the error itself, below its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
