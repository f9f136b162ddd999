"""Sweeps that are killed, interrupted or extended end as one that nothing disturbed: real kills."""

import json
import os
import re
import shutil
import signal

import pandas as pd
import pytest

from tests.processes import kill, kill_everything, trials
from tests.sweeps.commands import (
    GRID,
    TINY,
    assert_same_tables,
    contents,
    niceness_of_trials,
    start,
    start_and_kill_half_way,
    sweep,
    tables,
    wait_for,
)


@pytest.mark.slow
class TestKills:
    def test_everything_killed_then_resumed_is_the_undisturbed_sweep(self, undisturbed, tmp_path):
        start_and_kill_half_way(tmp_path)
        assert not (tmp_path / "fixed_tau" / "outcomes").exists() or len(tables(tmp_path / "fixed_tau")["outcomes"]) < 4
        result = sweep("--resume", "--storage", tmp_path)
        assert result.returncode == 0, result.stderr
        assert_same_tables(tmp_path / "fixed_tau", undisturbed / "fixed_tau")

    def test_a_damaged_checkpoint_costs_an_epoch_and_is_reported(self, undisturbed, tmp_path):
        start_and_kill_half_way(tmp_path)
        newest = max((tmp_path / "fixed_tau" / "checkpoints").glob("*/epoch-*"), key=lambda path: path.name)
        content = bytearray(newest.read_bytes())
        content[-5] ^= 0xFF
        newest.write_bytes(content)
        result = sweep("--resume", "--storage", tmp_path)
        assert result.returncode == 0, result.stderr
        assert result.stderr.count("warning: ") == 1
        assert "damaged (its contents do not match its checksum); continuing from epoch" in result.stderr
        assert_same_tables(tmp_path / "fixed_tau", undisturbed / "fixed_tau")

    def test_a_killed_worker_is_replaced(self, undisturbed, tmp_path):
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 10)
        workers = trials(process.pid)
        assert workers
        assert niceness_of_trials(process) == {os.nice(0)}
        kill(workers[:1])
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert_same_tables(tmp_path / "fixed_tau", undisturbed / "fixed_tau")

    def test_auto_does_not_join_the_private_ray_of_another_program(self, tmp_path):
        other = start(*GRID, "--storage", tmp_path / "other")
        wait_for(tmp_path / "other" / "fixed_tau", 1)
        mine = start(*GRID, "--storage", tmp_path / "mine", "--address", "auto")
        wait_for(tmp_path / "mine" / "fixed_tau", 1)
        kill_everything(other)
        _, errors = mine.communicate(timeout=300)
        assert mine.returncode == 0, errors
        assert "local Ray: " in errors

    def test_an_extension_leaves_the_files_of_others_alone(self, undisturbed, tmp_path):
        shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
        before = contents(tmp_path)
        assert sweep(*TINY, "--taus", "1", "3", "--replicates", "3", "--storage", tmp_path).returncode == 0
        after = contents(tmp_path)
        changed = {name for name in before if after[name] != before[name]}
        assert changed == {"fixed_tau/sweep.json", "fixed_tau/_lock"}  # the lock names its last holder
        assert len(pd.read_parquet(tmp_path / "fixed_tau" / "outcomes")) == 4 + 1 + 3

    def test_a_failure_is_told_of_the_networks_that_failed(self, undisturbed, tmp_path):
        """Of a trial that never reported, Tune knows no config, or that of another trial."""
        shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
        folder = tmp_path / "fixed_tau"
        runs = pd.read_parquet(folder / "runs").set_index("network_id")
        for network_id in runs.index:
            (folder / "outcomes" / f"{network_id}.parquet").unlink()
        broken = set(runs.index[runs["tau"] == "trained"])
        for network_id in broken:
            (folder / "epochs" / f"{network_id}.parquet").unlink()
        for process in ("reused", "fresh"):
            result = sweep("--resume", "--cpus-per-trial", "2", "--storage", tmp_path)
            assert result.returncode == 1, process
            assert "Traceback" not in result.stderr
            assert set(re.findall("failed: (n[0-9a-f]{16})", result.stderr)) == broken
            outcomes = pd.read_parquet(folder / "outcomes").set_index("network_id")
            assert set(outcomes.index[outcomes["status"] == "failed"]) == broken
            assert set(outcomes["status"].drop(list(broken))) == {"epochs"}

    def test_sigterm_stops_a_sweep_as_an_interrupt_does(self, tmp_path):
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 10)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "same --storage, continues" in errors
        assert "SIGTERM" not in errors

    def test_interrupted_then_extended(self, tmp_path):
        process = start(*GRID, "--storage", tmp_path)
        wait_for(tmp_path / "fixed_tau", 10)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (1, 130)
        assert "continue" in errors
        assert "Traceback" not in errors
        result = sweep(*TINY, "--taus", "1", "3", "--replicates", "3", "--storage", tmp_path)
        assert result.returncode == 0, result.stderr
        runs = pd.read_parquet(tmp_path / "fixed_tau" / "runs")
        assert sorted(runs["tau"]) == ["1"] * 3 + ["3"] * 3 + ["trained"] * 2
        assert sweep("--resume", "--storage", tmp_path).returncode == 0
        assert len(pd.read_parquet(tmp_path / "fixed_tau" / "outcomes")) == 8

    def test_a_failed_trial_is_named_and_can_be_repaired(self, tmp_path):
        found = json.loads(sweep(*GRID, "--dry-run", "--json").stdout)
        victim = found["runs"][0]["network_ids"][0]
        sweep(*TINY, "--taus", "trained", "--replicates", "1", "--storage", tmp_path)
        (tmp_path / "fixed_tau" / "checkpoints" / victim).write_text("in the way")
        result = sweep(*GRID, "--storage", tmp_path)
        assert result.returncode == 1
        assert f"failed: {victim}" in result.stderr
        outcomes = pd.read_parquet(tmp_path / "fixed_tau" / "outcomes").set_index("network_id")
        assert outcomes.loc[victim, "status"] == "failed"
        assert len(outcomes) == 4
        (tmp_path / "fixed_tau" / "checkpoints" / victim).unlink()
        assert sweep(*GRID, "--storage", tmp_path).returncode == 0
