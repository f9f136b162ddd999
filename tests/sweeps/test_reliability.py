"""Nothing finished is lost or redone, whatever goes wrong: real processes, a real Ray, real kills."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main as verify
from benchmarks import many_runs
from sweeps.engine import cluster as _cluster
from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder
from sweeps.engine.trainable import PopulationTrainable
from tests.processes import descendants, is_running, kill, kill_everything, listening, trials
from tests.sweeps.commands import (
    GRID,
    QUICK,
    ROOT,
    TINY,
    assert_same_tables,
    contents,
    one_line,
    start,
    sweep,
    wait_for,
)
from tsrnn.config import EndRules, Leaky, RunConfig, Training
from tsrnn.io.checkpoint import Progress, load
from tsrnn.io.claims import DRIVER, ClaimLostError, take
from tsrnn.io.lock import FolderLock
from tsrnn.io.store import Store
from tsrnn.training.loop import Trainer

SMALL = RunConfig(
    network=Leaky(hidden=4),
    training=Training(batch_size=4, steps_per_epoch=2, test_batches=1),
    end=EndRules(max_epochs=4),
)


def trial(folder: Path, networks: list[RunConfig]) -> dict[str, object]:
    """The Tune config of a trial of these networks, whose tables are made."""
    Store(folder).create()
    settings = {"plugins": [], "folder": str(folder), "device": "cpu", "threads": 1, "gpus": 0}
    settings["claim"] = take(folder, DRIVER).name
    return {"trial": {"index": 0, "networks": [one.to_json() for one in networks], **settings}}


def trained(folder: Path, networks: list[RunConfig]) -> PopulationTrainable:
    """Train all of a trial's networks to their end."""
    trainable = PopulationTrainable(trial(folder, networks))
    while not trainable.step()["done"]:
        pass
    return trainable


class TestInterrupt:
    def test_during_the_imports_it_is_one_line(self, tmp_path):
        command = [sys.executable, "sweeps/fixed_tau.py", "--scale", "quick", "--storage", str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (130, -signal.SIGINT)
        assert errors == "error: interrupted; the same command continues where it stopped\n"


class TestLock:
    def test_a_folder_in_use_is_refused_before_ray_is_started(self, tmp_path):
        with FolderLock(tmp_path / "fixed_tau") as lock:
            lock.acquire()
            result = sweep(*GRID, "--storage", tmp_path)
        assert result.returncode == 1
        assert f"this sweep is running in it already (process {os.getpid()} on " in one_line(result.stderr)
        assert "Ray" not in result.stderr
        assert [path.name for path in (tmp_path / "fixed_tau").iterdir()] == ["_lock"]

    def test_another_sweep_of_the_same_storage_has_its_own(self, tmp_path):
        first, second = SweepFolder(str(tmp_path), "fixed_tau"), SweepFolder(str(tmp_path), "curricula")
        with first, second:
            first.acquire()
            second.acquire()

    def test_a_sweep_killed_while_it_made_its_folder_can_begin_again(self, tmp_path):
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        folder.store.create()
        (folder.path / "_sweep.json.17.0a1b2c3d").write_text('{"sweep": "fi')
        with folder:
            folder.acquire()
            assert folder.claim.number == 1
            assert folder.read() is None

    @pytest.mark.slow
    def test_the_same_sweep_twice_at_once(self, undisturbed, tmp_path):
        first = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 4)
        second = sweep(*GRID, "--storage", tmp_path)
        assert second.returncode == 1
        assert f"running in it already (process {first.pid} on " in one_line(second.stderr)
        _, errors = first.communicate(timeout=300)
        assert first.returncode == 0, errors
        assert_same_tables(tmp_path / "fixed_tau", undisturbed / "fixed_tau")

    @pytest.mark.slow
    def test_two_sweeps_begun_in_one_moment(self, tmp_path):
        """The folder does not exist yet: one of them makes it, the other is refused or finds all done."""
        both = [start(*TINY, "--taus", "1", "--replicates", "1", "--storage", tmp_path) for _ in range(2)]
        errors = [process.communicate(timeout=300)[1] for process in both]
        assert sorted(process.returncode for process in both) in ([0, 1], [0, 0]), errors
        assert [("running in it already" in text) for text in errors].count(True) == sum(p.returncode for p in both)
        assert len(pd.read_parquet(tmp_path / "fixed_tau" / "epochs")) == 40

    @pytest.mark.slow
    def test_two_sweeps_of_one_storage(self, undisturbed, tmp_path):
        options = ["--scale", "quick", "--hidden", "8", "--tasks", "parity", "--replicates", "1", "--address", "local"]
        command = [sys.executable, "sweeps/curricula.py", *options, "--storage"]
        alone = subprocess.run([*command, tmp_path / "alone"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert alone.returncode == 0, alone.stderr
        other = start(*GRID, "--storage", tmp_path / "both")
        beside = subprocess.run([*command, tmp_path / "both"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert beside.returncode == 0, beside.stderr
        _, errors = other.communicate(timeout=600)
        assert other.returncode == 0, errors
        assert_same_tables(tmp_path / "both" / "curricula", tmp_path / "alone" / "curricula")
        assert_same_tables(tmp_path / "both" / "fixed_tau", undisturbed / "fixed_tau")


class TestWriters:
    @pytest.mark.parametrize("of_one_driver", [True, False])
    def test_one_that_comes_back_changes_nothing(self, tmp_path, of_one_driver):
        expected, folder = tmp_path / "expected", tmp_path / "folder"
        trained(expected, [SMALL])
        settings = trial(folder, [SMALL])
        zombie = PopulationTrainable(settings)
        zombie.step()
        later = PopulationTrainable(settings if of_one_driver else trial(folder, [SMALL]))
        for _ in range(3):
            before = contents(folder)
            with pytest.raises(ClaimLostError, match="another process has taken over"):
                zombie.step()
            assert contents(folder) == before
            done = later.step()["done"]
        assert done
        assert_same_tables(folder, expected)

    def test_a_trial_of_a_driver_that_was_replaced_does_not_start(self, tmp_path):
        settings = trial(tmp_path, [SMALL])
        take(tmp_path, DRIVER)
        with pytest.raises(SweepError, match="another process has taken over this sweep; this one stops"):
            PopulationTrainable(settings)

    def test_one_network_with_unusable_files_does_not_keep_the_others(self, tmp_path):
        networks = SMALL.replicates(3)
        (tmp_path / "epochs").mkdir()
        (tmp_path / "epochs" / f"{networks[1].network_id}.parquet").write_bytes(b"PAR1 no longer")
        trainable = PopulationTrainable(trial(tmp_path, networks))
        for _ in range(3):
            trainable.step()
        with pytest.raises(Exception, match=r"verify .* --repair"):
            trainable.step()
        assert Store(tmp_path).finished() == {one.network_id: "epochs" for one in (networks[0], networks[2])}

    def test_a_kill_between_two_checkpoints_of_one_epoch_costs_no_bit(self, tmp_path):
        networks, expected, folder = SMALL.replicates(2), tmp_path / "expected", tmp_path / "folder"
        trained(expected, networks)
        killed = PopulationTrainable(trial(folder, networks))
        killed.step()
        killed.step()
        (folder / "checkpoints" / networks[1].network_id / "epoch-000002-1.1.safetensors").unlink()
        again = PopulationTrainable(trial(folder, networks))
        assert [progress.epoch for progress in again._trainer._progress] == [1, 1]
        while not again.step()["done"]:
            pass
        assert_same_tables(folder, expected)

    def test_a_kill_between_two_checkpoints_of_a_last_epoch_costs_no_bit(self, tmp_path):
        """The first network had written its last epoch, the second had not: neither has an outcome."""
        networks, expected, folder = SMALL.replicates(2), tmp_path / "expected", tmp_path / "folder"
        trained(expected, networks)
        killed = PopulationTrainable(trial(folder, networks))
        outcomes = [None if killed.step()["done"] else Store(folder).finished() for _ in range(3)]
        assert outcomes == [{}] * 3
        writes = []
        killed._write_outcome = lambda checkpoint, outcome: writes.append(checkpoint.config.seed)
        assert killed.step()["done"]
        assert writes == [0, 1]
        (folder / "checkpoints" / networks[1].network_id / "epoch-000004-1.1.safetensors").unlink()
        again = PopulationTrainable(trial(folder, networks))
        assert [progress.epoch for progress in again._trainer._progress] == [3, 3]
        assert again.step()["done"]
        assert_same_tables(folder, expected)

    def test_a_network_that_has_ended_is_not_trained_by_a_second_attempt(self, tmp_path):
        networks = SMALL.replicates(2)
        Store(tmp_path).create()
        trained(tmp_path, networks[:1])
        before = contents(tmp_path)
        second = PopulationTrainable(trial(tmp_path, networks))
        assert [one.seed for one in second._trainer.networks] == [1]
        assert contents(tmp_path) == before


def test_a_network_that_diverges_keeps_the_checkpoint_of_the_epoch_before(tmp_path, monkeypatch):
    train_steps = Trainer.train_steps

    def explode(trainer: Trainer, steps: int) -> tuple[list[float], list[float], list[int]]:
        losses, norms, seen = train_steps(trainer, steps)
        sick = [network.seed == 0 and progress.epoch == 2 for network, progress in zip(*starts(trainer), strict=True)]
        return [math.nan if ill else loss for ill, loss in zip(sick, losses, strict=True)], norms, seen

    def starts(trainer: Trainer) -> tuple[list[RunConfig], list[Progress]]:
        return trainer._configs, trainer._progress

    monkeypatch.setattr(Trainer, "train_steps", explode)
    networks = SMALL.replicates(2)
    folder = SweepFolder(str(tmp_path), "small")
    folder.write(Record("small", "quick", "paper", SMALL, tuple(networks)))
    trained(folder.path, networks)
    outcomes = pd.read_parquet(folder.path / "outcomes").set_index("network_id")
    assert outcomes.loc[[one.network_id for one in networks], "status"].tolist() == ["diverged", "epochs"]
    assert outcomes.loc[SMALL.network_id, "reason"] == "the loss became nan in epoch 3"
    kept = sorted((folder.path / "checkpoints" / SMALL.network_id).glob("epoch-*"))
    assert [path.name for path in kept] == ["epoch-000001-2.1.safetensors", "epoch-000002-2.1.safetensors"]
    assert all(tensor.isfinite().all() for tensor in load(kept[-1]).network.values())
    assert folder.unfinished(networks) == []
    assert verify(["verify", str(folder.path)]) == 0


class TestToken:
    def test_nobody_else_can_read_it(self, tmp_path):
        path = tmp_path / ".ray" / "auth_token"
        _cluster._make_token(path)
        token = path.read_text()
        assert len(token) == 64
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        _cluster._make_token(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text() == token
        assert [one.name for one in path.parent.iterdir()] == ["auth_token"]


@pytest.mark.slow
def test_a_sweep_listens_on_the_loopback_only_and_asks_for_a_token(tmp_path):
    process = start(*GRID, "--storage", tmp_path)
    wait_for(tmp_path / "fixed_tau", 1)
    pids = descendants(process.pid)
    found = listening([process.pid, *pids])
    assert len(found) > 5
    assert {address for address, _ in found} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"}
    (gcs,) = [pid for pid, command in pids.items() if "gcs_server" in command.split()[0]]
    assert "RAY_AUTH_MODE=token" in Path(f"/proc/{gcs}/environ").read_text().split("\0")
    kill_everything(process)


FAULTS = """
from dataclasses import replace
from pathlib import Path
from typing import Literal

import tsrnn
from sweeps.engine.grid import with_tau
from sweeps.engine.runner import Axes, Sweep, main
from tsrnn.config import SGD
from tsrnn.tasks import Parity


@tsrnn.register_task
class Unlucky(tsrnn.BitTask):
    kind: Literal["unlucky"] = "unlucky"

    def targets(self, inputs, heads, steps):
        with Path(LOG).open("a") as log:
            print("begun", file=log)
        raise RuntimeError("out of luck")


def grid(base, axes):
    base = replace(base, task=Parity(), end=replace(base.end, max_epochs=3))
    yield base
    yield replace(base, task=Unlucky())
    yield with_tau(replace(base, training=replace(base.training, clip=None, optimizer=SGD(learning_rate=1e38))), "1")


if __name__ == "__main__":
    main(Sweep(name="faults", doc="Faults.", axes=Axes(), grid=grid))
"""


@pytest.mark.slow
def test_a_crash_is_retried_a_divergence_is_not_and_the_others_go_on(tmp_path):
    log = tmp_path / "log"
    (tmp_path / "faults.py").write_text(FAULTS.replace("LOG", repr(str(log))))
    options = ["--scale", "quick", "--hidden", "8", "--replicates", "2", "--address", "local", "--storage", tmp_path]
    command = [sys.executable, tmp_path / "faults.py", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    runs = pd.read_parquet(tmp_path / "faults" / "runs").set_index("network_id")
    outcomes = pd.read_parquet(tmp_path / "faults" / "outcomes").set_index("network_id")
    by_kind = outcomes["status"].groupby(runs["task"] + " " + runs["tau"]).agg(list).to_dict()
    assert by_kind == {
        "parity trained": ["epochs"] * 2,
        "unlucky trained": ["failed"] * 2,
        "parity 1": ["diverged"] * 2,
    }
    # Once for the estimate beforehand, which does not keep the sweep from beginning.
    assert log.read_text() == "begun\n" * (1 + 1 + _cluster.RETRIES)
    assert "faults: its time cannot be estimated (" in " ".join(result.stderr.split())
    for key in outcomes.index[outcomes["status"] == "failed"]:
        assert f"failed: {key}: RuntimeError: out of luck" in result.stderr
        assert "out of luck" in outcomes.loc[key, "reason"]
        assert "in targets" in (tmp_path / "faults" / "errors" / f"{key}.txt").read_text(), "the way to the error"
    for key in outcomes.index[outcomes["status"] == "diverged"]:
        assert outcomes.loc[key, "reason"] == "the loss became nan in epoch 1"
        assert not (tmp_path / "faults" / "checkpoints" / key).exists()
    assert "unfinished: 2 of 6 networks" in " ".join(result.stderr.split())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 2 MB, where this machine lets one be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_a_full_disk(undisturbed, small_disk):
    process = start(*GRID, "--storage", small_disk)
    wait_for(small_disk / "fixed_tau", 10)
    with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(1024))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "No space left on device" in errors
    assert "Traceback" not in errors
    assert pd.read_parquet(small_disk / "fixed_tau" / "outcomes").empty or "failed" in output + errors
    again = sweep("--resume", "--storage", small_disk)
    assert again.returncode == 1
    assert "No space left on device" in again.stderr
    assert "Traceback" not in again.stderr
    (small_disk / "ballast").unlink()
    result = sweep("--resume", "--storage", small_disk)
    assert result.returncode == 0, result.stderr
    assert_same_tables(small_disk / "fixed_tau", undisturbed / "fixed_tau")
    assert verify(["verify", str(small_disk / "fixed_tau")]) == 0


@pytest.mark.slow
def test_a_sweep_whose_raylet_is_killed_ends_and_says_so(tmp_path):
    process = start(*GRID, "--storage", tmp_path)
    wait_for(tmp_path / "fixed_tau", 4)
    running = descendants(process.pid)
    kill([pid for pid, command in running.items() if "/raylet/raylet " in command])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        "error: Ray on this machine died (raylet); the same command continues where it stopped"
    )
    wait_until_ended(running)


KILLS = 30


@pytest.mark.slow
def test_thirty_kills_at_random_moments_of_one_sweep(tmp_path, capsys):
    """Driver, worker, raylet or all of them; the seed says which, and after how many epochs or seconds."""
    taus = ["1", "2", "3", "4", "5", "trained"]
    grid = [*QUICK, "--hidden", "32", "--taus", *taus, "--replicates", "2"]
    total = len(taus) * 2 * 40
    undisturbed = sweep(*grid, "--storage", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    draw, folder, redone, counts = random.Random(0), tmp_path / "killed" / "fixed_tau", 0, Counter()
    process = start(*grid, "--storage", tmp_path / "killed")
    for _ in range(KILLS):
        kinds = ["driver", "worker", "raylet", "all"]
        if process.poll() is not None:
            process = start(*grid, "--storage", tmp_path / "killed")
            if draw.random() < 0.2:
                time.sleep(draw.uniform(0, 6))  # it is still starting, and may have no others yet
                kinds = ["driver", "all"]
        if len(kinds) == 4:
            run_some_epochs(process, folder, draw)
        assert process.poll() is None, f"it ended by itself after {counts.total()} kills"
        kind = draw.choice(kinds)
        counts[kind] += 1
        running = descendants(process.pid)
        kill(
            {
                "driver": [process.pid],
                "worker": trials(process.pid),
                "raylet": [pid for pid, command in running.items() if "/raylet/raylet " in command],
                "all": [process.pid, *running],
            }[kind]
        )
        if kind != "worker":
            process.communicate(timeout=120)
            wait_until_ended(running)
        redone += sum(rows_without_a_checkpoint(folder))
    if process.poll() is None:
        process.communicate(timeout=600)
    result = sweep("--resume", "--storage", tmp_path / "killed")
    assert result.returncode == 0, result.stderr
    assert_same_tables(folder, tmp_path / "undisturbed" / "fixed_tau")
    assert verify(["verify", str(folder)]) == 0
    with capsys.disabled():
        print(f"\n{dict(counts)}: {redone} epochs of {total} whose rows were written were trained again")


def run_some_epochs(process: subprocess.Popen[str], folder: Path, draw: random.Random) -> None:
    """Let a sweep train for a few epochs, and into the next."""
    goal = trained_epochs(folder) + draw.randrange(1, 6)
    while process.poll() is None and trained_epochs(folder) < goal:
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.1))


def trained_epochs(folder: Path) -> int:
    """Epochs of all networks, as their newest checkpoints say."""
    newest: dict[str, int] = {}
    for path in folder.glob("checkpoints/*/epoch-*"):
        epoch = int(path.stem.removeprefix("epoch-"))
        newest[path.parent.name] = max(epoch, newest.get(path.parent.name, 0))
    return sum(newest.values())


def rows_without_a_checkpoint(folder: Path) -> Iterator[int]:
    """Yield for each network how many of its epochs have rows, and will be trained again: at most one."""
    for path in folder.glob("epochs/n*.parquet"):
        kept = [int(one.stem.removeprefix("epoch-")) for one in folder.glob(f"checkpoints/{path.stem}/epoch-*")]
        ahead = len(pd.read_parquet(path)) - max(kept, default=0)
        assert ahead <= 1, path.stem
        yield max(0, ahead)


def wait_until_ended(pids: Iterable[int]) -> None:
    """Wait until Ray's processes have noticed that they are alone."""
    end = time.monotonic() + 120
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end, [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids if is_running(pid)]
        time.sleep(0.05)


@pytest.mark.slow
def test_a_thousand_short_runs(tmp_path):
    """The driver keeps some 30 kB of each."""
    found = many_runs.measure(1000, tmp_path)
    assert (found.runs, found.status) == (1000, 0)
    early, _, late = found.memory_mb
    assert late - early < 60
