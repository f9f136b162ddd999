"""A trial without Ray: its process, its files."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from analysis.data.study import Study
from sweeps.engine.folder import SweepFolder
from sweeps.engine.trainable import PopulationTrainable
from tests.sweeps.commands import tables
from tsrnn.__main__ import main as evaluate
from tsrnn.config import (
    GRU,
    LSTM,
    EndRules,
    Leaky,
    RunConfig,
    Training,
)
from tsrnn.io.checkpoint import load
from tsrnn.io.claims import DRIVER, take
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import RUNS
from tsrnn.io.store import Store
from tsrnn.training.loop import train


@pytest.mark.parametrize("network", [GRU(hidden=4), LSTM(hidden=4)], ids=lambda network: network.kind)
def test_a_trial_of_gated_networks(tmp_path, network):
    """Trained in two parts, the second from the checkpoints of the first; then read, and its checkpoint asked."""
    training = Training(batch_size=4, steps_per_epoch=2, test_batches=1, solved_accuracy=1e-9)
    configs = RunConfig(network=network, training=training, end=EndRules(max_epochs=4)).replicates(2)
    SweepFolder(str(tmp_path), "gated").store.create()
    where = tmp_path / "gated"
    settings = {"plugins": [], "folder": str(where), "threads": 1, "gpus": 0}
    settings["claim"] = take(where, DRIVER).name
    trial = {"index": 0, "networks": [one.to_json() for one in configs], **settings}
    first = PopulationTrainable({"trial": trial | {"device": "cpu"}})
    first.step()
    second = PopulationTrainable({"trial": trial | {"device": "cpu"}})
    while not (result := second.step())["done"]:
        pass
    assert result["warnings"] == []
    for config in configs:
        Store(where).write(RUNS, config.network_id, [runs_row(config, sweep="gated", scale="quick")])
    expected = [report for report in train(configs) if report.outcome]
    for report in expected:
        found = load(where / "checkpoints" / report.config.network_id / "epoch-000004-1.2.safetensors")
        assert found.network.keys() == report.checkpoint.network.keys()
        assert all(torch.equal(found.network[name], tensor) for name, tensor in report.checkpoint.network.items())
    runs = pd.read_parquet(where / "runs")
    assert set(runs["architecture"]) == {network.kind}
    assert runs[["tau", "nonlinearity", "self_interaction"]].isna().all(axis=None)
    assert pd.read_parquet(where / "epochs")[["tau_mean", "tau_sd"]].isna().all(axis=None)
    assert Study(where).max_n()[["architecture", "n", "finished", "max"]].values.tolist() == [[network.kind, 2, 2, 5]]
    for protocol in ("end", "in-time"):
        path = where / "checkpoints" / configs[0].network_id / "n-005.safetensors"
        assert evaluate(["evaluate", str(path), "--protocol", protocol]) == 0


def test_a_reused_process_gives_the_numbers_of_a_fresh_one(tmp_path):
    training = Training(batch_size=4, steps_per_epoch=2, test_batches=1)
    small = RunConfig(network=Leaky(hidden=4), training=training, end=EndRules(max_epochs=2))

    def trial(folder: str, seed: int) -> dict[str, object]:
        SweepFolder(str(tmp_path / folder), "fixed_tau").store.create()
        networks = [one.to_json() for one in replace(small, seed=seed).replicates(2)]
        where = str(tmp_path / folder / "fixed_tau")
        settings = {"plugins": [], "folder": where, "device": "cpu", "threads": 1, "gpus": 0}
        settings["claim"] = take(where, DRIVER).name
        return {"trial": {"index": 0, "networks": networks, **settings}}

    reused = PopulationTrainable(trial("reused", 0))
    while not reused.step()["done"]:
        pass
    assert reused.reset_config(trial("reused", 7))
    fresh = PopulationTrainable(trial("fresh", 7))
    for trainable in (reused, fresh):
        while not trainable.step()["done"]:
            pass
    expected, found = tables(tmp_path / "fresh" / "fixed_tau"), tables(tmp_path / "reused" / "fixed_tau")
    for name in ("outcomes", "epochs", "solved", "heads"):
        own = found[name][found[name]["network_id"].isin(expected["outcomes"]["network_id"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, expected[name], check_exact=True)
