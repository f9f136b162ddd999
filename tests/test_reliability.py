"""Nothing finished is lost or redone, whatever goes wrong: real processes, a real Ray, real kills."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from sweeps import _cluster
from sweeps._folder import SweepFolder
from sweeps._trainable import PopulationTrainable
from tests.test_sweeps import (  # noqa: F401
    GRID,
    ROOT,
    TINY,
    assert_same_tables,
    contents,
    finished,
    nothing_left_running,
    one_line,
    start,
    sweep,
    wait_for,
)
from tsrnn.config import EndRules, Leaky, RunConfig, Training
from tsrnn.lock import FolderLock
from tsrnn.store import Store

SMALL = RunConfig(
    network=Leaky(hidden=4),
    training=Training(batch_size=4, steps_per_epoch=2, test_batches=1),
    end=EndRules(max_epochs=4),
)


def trial(folder: Path, networks: list[RunConfig]) -> dict[str, object]:
    """The Tune config of a trial of these networks, whose tables are made."""
    Store(folder).create()
    settings = {"plugins": [], "folder": str(folder), "device": "cpu", "threads": 1, "gpus": 0, "mark": "runs"}
    return {"trial": {"index": 0, "networks": [one.to_json() for one in networks], **settings}}


def trained(folder: Path, networks: list[RunConfig]) -> PopulationTrainable:
    """Train all of a trial's networks to their end."""
    trainable = PopulationTrainable(trial(folder, networks))
    while not trainable.step()["done"]:
        pass
    return trainable


class TestInterrupt:
    def test_during_the_imports_it_is_one_line(self, tmp_path):
        command = [sys.executable, "sweeps/fixed_tau.py", "--storage", str(tmp_path)]
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
        assert f"this sweep is running in it already (process {os.getpid()} on " in one_line(result)
        assert "Ray" not in result.stderr
        assert [path.name for path in (tmp_path / "fixed_tau").iterdir()] == ["_lock"]

    def test_another_sweep_of_the_same_storage_has_its_own(self, tmp_path):
        first, second = SweepFolder(str(tmp_path), "fixed_tau"), SweepFolder(str(tmp_path), "curricula")
        first.acquire()
        second.acquire()
        first.lock.release()
        second.lock.release()

    def test_a_sweep_killed_while_it_made_its_folder_can_begin_again(self, tmp_path):
        folder = SweepFolder(str(tmp_path), "fixed_tau")
        folder.store.create()
        (folder.path / "_sweep.json.17.0a1b2c3d").write_text('{"sweep": "fi')
        folder.acquire()
        assert folder.read() is None
        folder.lock.release()

    @pytest.mark.slow
    def test_the_same_sweep_twice_at_once(self, finished, tmp_path):  # noqa: F811
        first = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 4)
        second = sweep(*GRID, "--storage", tmp_path)
        assert second.returncode == 1
        assert f"running in it already (process {first.pid} on " in one_line(second)
        _, errors = first.communicate(timeout=300)
        assert first.returncode == 0, errors
        assert_same_tables(tmp_path / "fixed_tau", finished[0] / "fixed_tau")

    @pytest.mark.slow
    def test_two_sweeps_begun_in_one_moment(self, tmp_path):
        """The folder does not exist yet: one of them makes it, the other is refused or finds all done."""
        both = [start(*TINY, "--taus", "1", "--replicates", "1", "--storage", tmp_path) for _ in range(2)]
        errors = [process.communicate(timeout=300)[1] for process in both]
        assert sorted(process.returncode for process in both) in ([0, 1], [0, 0]), errors
        assert [("running in it already" in text) for text in errors].count(True) == sum(p.returncode for p in both)
        assert len(pd.read_parquet(tmp_path / "fixed_tau" / "epochs")) == 40

    @pytest.mark.slow
    def test_two_sweeps_of_one_storage(self, finished, tmp_path):  # noqa: F811
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
        assert_same_tables(tmp_path / "both" / "fixed_tau", finished[0] / "fixed_tau")


class TestWriters:
    def test_a_dead_writer_that_came_further_does_no_harm(self, tmp_path):
        """It wrote the checkpoint of an epoch whose rows the new writer then replaced by those it had."""
        expected, folder = tmp_path / "expected", tmp_path / "folder"
        trained(expected, [SMALL])
        zombie = PopulationTrainable(trial(folder, [SMALL]))
        zombie.step()
        later = PopulationTrainable(trial(folder, [SMALL]))
        zombie.step()
        zombie.step()
        later.step()
        # The new writer is killed now: rows to epoch 2, checkpoints of epochs 2 and 3.
        assert Store(folder).last_epoch(SMALL.network_id) == 2
        trainable = PopulationTrainable(trial(folder, [SMALL]))
        while not (result := trainable.step())["done"]:
            pass
        assert result["warnings"] == []
        assert_same_tables(folder, expected)

    def test_an_epoch_written_again_late_does_no_harm(self, tmp_path):
        expected, folder = tmp_path / "expected", tmp_path / "folder"
        trained(expected, [SMALL])
        zombie = PopulationTrainable(trial(folder, [SMALL]))
        zombie.step()
        later = PopulationTrainable(trial(folder, [SMALL]))
        later.step()
        zombie.step()
        while not later.step()["done"]:
            pass
        assert_same_tables(folder, expected)

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

    def test_a_network_that_has_ended_is_not_trained_by_a_second_attempt(self, tmp_path):
        networks = SMALL.replicates(2)
        Store(tmp_path).create()
        trained(tmp_path, networks[:1])
        before = contents(tmp_path)
        second = PopulationTrainable(trial(tmp_path, networks))
        assert [one.seed for one in second._trainer.networks] == [1]
        assert contents(tmp_path) == before


class TestScratch:
    def test_what_killed_programs_left_is_removed(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        for name in ("tsrnn-dead", "tsrnn-alive", "tsrnn-new", "tsrnn-foreign", "other-dead"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "state.json").write_text("{}")
            if name != "tsrnn-foreign":
                (tmp_path / name / "_lock").touch()
            if "new" not in name:
                os.utime(tmp_path / name / ("_lock" if "foreign" not in name else "state.json"), (0, 0))
        with FolderLock(tmp_path / "tsrnn-alive") as alive:
            alive.acquire()
            os.utime(alive.path, (0, 0))
            with _cluster._scratch() as ours:
                found = {path.name for path in tmp_path.iterdir()}
                assert found == {"tsrnn-alive", "tsrnn-new", "tsrnn-foreign", "other-dead", Path(ours).name}
        assert not Path(ours).exists()


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
