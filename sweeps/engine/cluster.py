"""Runs groups of networks as Tune trials on a Ray cluster, or on this machine if there is none."""

import logging
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

# Tune reads these when it is imported: they turn off its own reporters and loggers, which our progress replaces.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune
from rich.console import Console

from sweeps.engine import tracking
from sweeps.engine.errors import SweepError
from sweeps.engine.grid import title
from sweeps.engine.machines import machines, share_out
from sweeps.engine.options import Execution, Tracker
from sweeps.engine.progress import Progress
from sweeps.engine.scratch import scratch
from sweeps.engine.shared import require_shared
from sweeps.engine.stopping import ending_with_ray, stop_on_sigterm
from sweeps.engine.trainable import PopulationTrainable
from tsrnn.config import EndState, Library, RunConfig
from tsrnn.distributed import ray_internals
from tsrnn.distributed.discovery import find
from tsrnn.distributed.environment import runtime_environment
from tsrnn.io.claims import Claim, ClaimLostError
from tsrnn.io.files import write_atomically
from tsrnn.io.store import Store
from tsrnn.plugins import files_of
from tsrnn.provenance import code

RETRIES: Final = 2
"""How often a trial is started again if it fails without having trained an epoch in between."""
# A trial that fails finally is reported at the end, with its traceback in a file.
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
_CHECKED_EVERY_S: Final = 5.0
_NICENESS: Final = "RAY_worker_niceness"


@dataclass(frozen=True)
class Resources:
    """The CPUs and GPUs of one trial.

    Attributes:
        cpus: number of CPUs of a trial.
        gpus: number of GPUs of a trial.
        here: whether all trials run on this machine.
        room: how many trials can run at a time; 0 if this is unknown.
    """

    cpus: float
    gpus: float
    here: bool = False
    room: int = 0


def connect(execution: Execution, console: Console) -> Resources:
    """Join the Ray cluster at an address, or start Ray on this machine; return the resources of a trial.

    Args:
        execution: where to run, and the resources of a trial. If Ray is started here, its niceness is added to that of
            this program for the processes of trials; None means 0, or the value of RAY_worker_niceness.
        console: where to print what was found.

    Raises:
        UsageError: if the address is invalid.
        Failure: if no cluster answers at the address.
        SweepError: if Ray does not start here, or a trial needs more than there is.
    """
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    found = find(execution.address)
    if found is None:
        _choose_niceness(execution.niceness)
        context = _start_here(settings)
    else:
        if execution.niceness is not None:
            console.print(
                f"niceness = {execution.niceness}: not used; a cluster that is joined has the niceness that it was "
                f"started with ({_NICENESS})",
                soft_wrap=True,
            )
        try:
            context = ray.init(address=found, runtime_env=runtime_environment(), **settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise SweepError(
                f"address = {found}: not a Ray cluster that this program can join ({reason}); "
                f"if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
            ) from None
    stop_on_sigterm()
    here = machines(private=found is None)
    count = len(here.now)
    where = "local Ray" if found is None else f"Ray cluster of {count} machine{'s' if count > 1 else ''}"
    console.print(f"{where}: {here}", soft_wrap=True)
    if context.dashboard_url:
        console.print(f"dashboard: http://{context.dashboard_url}{_token_hint()}", soft_wrap=True)
    cpus = execution.cpus_per_trial
    gpus = share_out(cpus, execution.gpus_per_trial, here, console)
    return Resources(cpus, gpus, here=found is None, room=here.room(cpus, gpus))


def _token_hint() -> str:
    """Return where the token of the dashboard is stored; the token itself is not shown on the terminal."""
    if not ray_internals.asks_for_token():
        return ""
    own = os.environ.get("RAY_AUTH_TOKEN_PATH")
    where = "in RAY_AUTH_TOKEN" if "RAY_AUTH_TOKEN" in os.environ else f"in {own or '~/.ray/auth_token'}"
    return f" (it asks for the token {where}; `ray get-auth-token` prints it)"


def _choose_niceness(niceness: int | None) -> None:
    """Set the niceness of the workers of the Ray that is started next.

    Ray's default is 15, with which a trial gets a thirtieth of a core beside another program that computes.
    """
    if niceness is not None:
        os.environ[_NICENESS] = str(niceness)
    else:
        os.environ.setdefault(_NICENESS, "0")


def _start_here(settings: dict[str, Any]) -> Any:
    """Start Ray on this machine for this program only: it listens on the loopback interface, and requires a token.

    Raises:
        SweepError: Ray does not start, for example because the machine is too busy.
    """
    ray_internals.listen_on_loopback_only()
    token = Path.home() / ".ray" / "auth_token"
    own = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token" and not own:
        with suppress(OSError):  # if Ray needs the file, it reports the error
            _make_token(token)
    try:
        return ray.init(address="local", **settings)
    except Exception as error:  # Ray raises a plain Exception if its processes take too long to start
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SweepError(
            f"Ray could not be started on this machine ({reason.rstrip('.')}); if other programs keep it busy, run the "
            f"same command again later"
        ) from None


def _make_token(path: Path) -> None:
    """Create the token that Ray would create, readable only by this user, as Ray does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        with suppress(FileExistsError):  # another program was faster; its token is valid
            os.link(fresh, path)
        fresh.unlink()
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)


def run(
    groups: Sequence[Sequence[RunConfig]],
    claim: Claim,
    resources: Resources,
    console: Console,
    *,
    products: Library | None = None,
    trackers: Sequence[Tracker] = (),
    verbose: bool = False,
) -> dict[str, str]:
    """Train each group as one trial; return the reason of each network that failed, by network_id.

    Args:
        groups: the networks of each trial.
        claim: the driver's claim on the sweep's folder.
        resources: the resources of each trial.
        console: where to show progress.
        products: the library for matrix products; None to let every trial measure which is fastest.
        trackers: trackers that show the trials in addition to the tables.
        verbose: print which library each trial chose.

    Raises:
        SweepError: if a machine of the cluster does not see the folder, or has other code, or a trial failed, and its
            traceback cannot be written down.
        ClaimLostError: another driver has taken the folder over.
        PluginError: if a task or a network is defined in no file.
        UsageError: if a tracker cannot be used.
    """
    tracked = tracking.callbacks(trackers, claim.folder, console)
    with ending_with_ray(console):
        require_shared(claim.folder, claim.name, files_of(network for group in groups for network in group), console)
    trials = [
        {
            "index": i,
            "networks": [network.to_json() for network in group],
            "plugins": (files := files_of(group)),
            "code": asdict(code(files)),
            "folder": str(claim.folder),
            "claim": claim.name,
            "gpus": resources.gpus,
            "device": "cuda" if resources.gpus else "cpu",
            "threads": max(1, int(resources.cpus)),
            "products": products,
        }
        for i, group in enumerate(groups)
    ]
    return _fit(trials, groups, claim, resources, Progress(groups, console, verbose=verbose), tracked, console)


class WhileClaimed(tune.Stopper):
    """Stops all trials when the driver's claim on the sweep's folder is lost, because another driver has taken over."""

    def __init__(self, claim: Claim) -> None:
        self._claim, self._lost, self._next = claim, False, 0.0

    def __getstate__(self) -> dict[str, object]:
        """Return an empty state for Tune, whose restore is not used here."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False, since single trials are not stopped."""
        return False

    def stop_all(self) -> bool:
        """Return whether the claim is lost; if the storage cannot be reached, return False."""
        if time.monotonic() >= self._next:
            try:
                self._claim.check()
            except ClaimLostError:
                self._lost = True
            except OSError:
                pass
            self._next = time.monotonic() + _CHECKED_EVERY_S
        return self._lost


def _fit(
    trials: Sequence[dict[str, Any]],
    groups: Sequence[Sequence[RunConfig]],
    claim: Claim,
    resources: Resources,
    progress: Progress,
    tracked: Sequence[tune.Callback],
    console: Console,
) -> dict[str, str]:
    """Train the groups; return the reasons of failures by network_id."""
    folder = claim.folder
    trainable = tune.with_resources(PopulationTrainable, {"cpu": resources.cpus, "gpu": resources.gpus})
    trainable.__name__ = trainable.__qualname__ = folder.name  # the name of the trials' processes in the dashboard
    # Tune's own state is not used: everything that a run needs to continue is stored under the keys of its networks.
    with scratch() as folder_of_tune, ending_with_ray(console), progress:
        results = tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                trial_name_creator=lambda trial: title(groups[trial.config["trial"]["index"]][0]).replace(" ", "_"),
                trial_dirname_creator=lambda trial: str(trial.config["trial"]["index"]),
            ),
            run_config=tune.RunConfig(
                storage_path=folder_of_tune,
                name=folder.name,
                verbose=0,
                stop=WhileClaimed(claim),
                callbacks=[progress, *tracked],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        ).fit()
    claim.check()
    failed = {}
    finished: dict[str, str] | None = None
    for result in (results[i] for i in range(len(results))):
        if result.error is not None:
            if finished is None:
                finished = Store(folder).finished()
            # Its folder says which trial it is: of one that never reported, `result.config` is empty, or, where
            # a process was reused, that of the process's last trial.
            for network in groups[int(Path(result.path).name)]:
                if EndState(finished.get(network.network_id, EndState.FAILED)).is_final:
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
    """Return the last line of a trial's traceback, which is the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
