"""Networks that another sweep of the same storage has finished are not trained again."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.verify import verification
from sweeps.curricula import SWEEP as SWEEP_OF_CURRICULA
from sweeps.engine import cluster as _cluster
from sweeps.engine.folder import Record, SweepFolder
from sweeps.engine.reuse import finished_elsewhere, take_over
from sweeps.engine.runner import run
from tests.sweeps.commands import BUDGET, TINY, tables
from tsrnn.config import RunConfig
from tsrnn.io.schemas import EPOCHS, OUTCOMES
from tsrnn.io.store import Store


class TestTrainedOnce:
    """What a sweep asks for that another sweep of the same storage has finished."""

    CURRICULA = (*TINY, "--replicates", "2", "--epochs", str(BUDGET))

    @pytest.fixture
    def storage(self, finished, tmp_path) -> Path:
        shutil.copytree(finished[0], tmp_path / "storage")
        return tmp_path / "storage"

    def test_it_is_copied_without_training(self, storage, capsys, monkeypatch):
        monkeypatch.setattr(_cluster, "connect", None)  # Ray is not even started
        assert run(SWEEP_OF_CURRICULA, [*self.CURRICULA, "--storage", str(storage)]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert "curricula: 2 networks taken over from other sweeps" in said
        assert "0 of 2 networks to train" in said
        ours, theirs = tables(storage / "curricula"), tables(storage / "fixed_tau")
        keys = set(ours["runs"]["network_id"])
        assert len(keys) == 2
        assert set(ours["runs"]["sweep"]) == {"curricula"}
        for name in ("outcomes", "epochs", "solved", "heads"):
            own = theirs[name][theirs[name]["network_id"].isin(keys)].reset_index(drop=True)
            pd.testing.assert_frame_equal(ours[name], own, check_exact=True)
        assert len(ours["solved"])
        for path in ours["solved"]["checkpoint"]:
            assert (storage / "curricula" / path).samefile(storage / "fixed_tau" / path)
        (found,) = verification.sweeps_below(storage / "curricula")
        assert verification.verify(found).problems == []
        # The folder is whole by itself.
        shutil.rmtree(storage / "fixed_tau")
        assert run(SWEEP_OF_CURRICULA, [*self.CURRICULA, "--storage", str(storage)]) == 0

    def test_what_is_damaged_or_not_finished_is_not(self, storage):
        folder = SweepFolder(str(storage), "curricula")
        networks = [RunConfig.from_json(text) for text in pd.read_parquet(storage / "fixed_tau" / "runs")["config"]]
        theirs = Store(storage / "fixed_tau")
        damaged, failed, lacking, whole = (network.network_id for network in networks)
        heads = storage / "fixed_tau" / "heads" / f"{damaged}.parquet"
        heads.write_bytes(heads.read_bytes()[:-9])
        (outcome,) = theirs.read(OUTCOMES, failed)
        theirs.write(OUTCOMES, failed, [outcome | {"status": "failed"}])
        for path in (storage / "fixed_tau" / "checkpoints" / lacking).glob("n-*"):
            path.unlink()
        folder.write(Record("curricula", "quick", "paper", networks[0], tuple(networks)))
        found = finished_elsewhere(folder, networks)
        assert found.keys() == {damaged, lacking, whole}
        assert take_over(folder, found) == [whole]
        assert {network.network_id for network in folder.unfinished(networks)} == {damaged, failed, lacking}
        assert folder.store.read(EPOCHS, damaged) == []

    def test_other_folders_beside_it_are_no_sweeps(self, tmp_path):
        (tmp_path / "notes").mkdir()
        (tmp_path / "file").write_text("")
        assert finished_elsewhere(SweepFolder(str(tmp_path), "curricula"), [RunConfig()]) == {}
