"""Results that version 0.1.0 wrote, before settings were renamed and columns added: read, continued and reported.

`data/0.1.0` is a storage folder that two commands made, of which the second was interrupted: sweeps/sliding_window.py
--scale quick --hidden 12 --tasks parity with --replicates 1 --curricula single multi sliding-3-full, then with
--replicates 2 --curricula sliding-2.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main as analyse
from analysis.data.frames import load
from sweeps.engine.folder import SweepFolder
from sweeps.engine.options import Options
from sweeps.engine.plan import plan_of
from sweeps.engine.trainable import PopulationTrainable
from sweeps.sliding_window import SWEEP
from tests.sweeps.test_reliability import trial
from tsrnn.__main__ import main as tsrnn
from tsrnn.config import RunConfig, SlidingWindow
from tsrnn.io.schemas import TABLES

CURRICULA = {
    "n1f1b8a1160ec200e": "single",
    "ndee1ed42d7c67f9f": "multi",
    "n938b5c19be1e38e6": "sliding-3-full",
    "nfb25e78aebe56f3d": "sliding-2",
    "nc320b71a2160e51b": "sliding-2",
}
"""By the ids that version 0.1.0 gave them."""

INTERRUPTED = {"nfb25e78aebe56f3d", "nc320b71a2160e51b"}
# What version 0.1.0 went on to when it resumed the two: epoch, largest N, loss, accuracy.
CONTINUED = {
    "nfb25e78aebe56f3d": [(38, 5, 0.581303, 0.821875), (39, 5, 0.537266, 0.817188), (40, 5, 0.495472, 0.856250)],
    "nc320b71a2160e51b": [(38, 4, 0.271643, 0.942188), (39, 4, 0.259599, 0.906250), (40, 4, 0.246137, 0.942188)],
}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return shutil.copytree(Path(__file__).parent / "data" / "0.1.0", tmp_path / "results")


@pytest.fixture
def folder(storage: Path) -> Path:
    return storage / "sliding_window"


def planned(storage: Path, **options: object) -> set[str]:
    """Return the ids of the networks that the sweep's command asks for."""
    plan = plan_of(SWEEP, Options(storage=str(storage), **options), SweepFolder(str(storage), SWEEP.name))
    return {network.network_id for network in plan.networks}


def test_every_table_has_the_columns_of_today(folder: Path):
    for table in TABLES:
        frame = load(folder, table)
        assert list(frame) == [column.name for column in table.columns], table.name
        assert set(frame["network_id"]) == CURRICULA.keys() - (INTERRUPTED if table.name == "outcomes" else set())


def test_configurations_keep_their_ids_and_names(folder: Path):
    runs = load(folder, "runs").set_index("network_id")
    assert runs["curriculum"].to_dict() == CURRICULA
    for key, text in runs["config"].items():
        config = RunConfig.from_json(text)
        assert (config.network_id, config.curriculum.name, config.generator) == (key, CURRICULA[key], "mt19937")
        if isinstance(config.curriculum, SlidingWindow):
            assert config.curriculum.begins == ("full" if key == "n938b5c19be1e38e6" else "grown")


def test_files_are_whole(storage: Path, capsys: pytest.CaptureFixture[str]):
    assert analyse(["verify", str(storage)]) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_the_commands_name_the_networks_that_they_began(storage: Path):
    assert planned(storage, resume=True) == set(CURRICULA)
    began = {"scale": "quick", "hidden": 12, "tasks": ["parity"], "replicates": 2, "curricula": ["sliding-2"]}
    assert planned(storage, **began) == INTERRUPTED
    assert len(planned(storage, resume=True, curricula=["sliding-3-full"], replicates=2) - set(CURRICULA)) == 1


def test_the_sweep_of_today_goes_on_beside_grown_windows(storage: Path):
    """Its windows are full from the start: other networks, and those that are there stay."""
    default = SweepFolder(str(storage), SWEEP.name)
    plan = plan_of(SWEEP, Options(storage=str(storage), scale="quick", hidden=12), default)
    asked = {network.curriculum.name for network in plan.networks}
    assert asked == {"single", "sliding-3-full", "sliding-5-full", "multi"}
    assert set(CURRICULA) <= {network.network_id for network in plan.record.networks}


def test_a_folder_goes_on_without_confirmation_and_says_so(storage: Path):
    for options in ({"resume": True}, {"scale": "quick", "hidden": 12, "tasks": ["parity"], "replicates": 3}):
        plan = plan_of(SWEEP, Options(storage=str(storage), **options), SweepFolder(str(storage), SWEEP.name))
        assert {network.training.confirm for network in plan.networks} == {None}
        assert "was begun by a version that did not confirm solved N, and continues without that" in plan.note
    fresh = plan_of(
        SWEEP, Options(storage=str(storage / "new"), scale="quick"), SweepFolder(str(storage / "new"), SWEEP.name)
    )
    assert None not in {network.training.confirm for network in fresh.networks}
    assert fresh.note == ""


def test_interrupted_networks_go_on_as_they_would_have(folder: Path):
    record = SweepFolder(str(folder.parent), "sliding_window")
    waiting = record.unfinished(record.read().networks)
    assert {network.network_id for network in waiting} == INTERRUPTED
    before = load(folder, "epochs").set_index(["network_id", "epoch"])
    trainable = PopulationTrainable(trial(folder, waiting))
    while not trainable.step()["done"]:
        pass
    after = load(folder, "epochs").set_index(["network_id", "epoch"])
    pd.testing.assert_frame_equal(after.loc[before.index], before)
    for key, expected in CONTINUED.items():
        found = after.loc[key].loc[38:, ["n_max", "loss", "accuracy_newest"]].reset_index()
        # Other draws would differ by some per cent; another processor's rounding by much less.
        for own, wanted in zip(found.itertuples(index=False), expected, strict=True):
            assert tuple(own) == pytest.approx(wanted, rel=2e-3)
    assert load(folder, "outcomes").set_index("network_id").loc[list(INTERRUPTED), "max_n"].to_dict() == {
        "nfb25e78aebe56f3d": 4,
        "nc320b71a2160e51b": 3,
    }
    assert record.unfinished(record.read().networks) == []
    assert analyse(["verify", str(folder)]) == 0


def test_results_are_reported(storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert analyse(["max-n", str(storage / "sliding_window"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["curriculum"]: (row["n"], row["finished"], row["mean"]) for row in rows} == {
        "single": (1, 1, 4),
        "multi": (1, 1, 4),
        "sliding-3-full": (1, 1, 4),
        "sliding-2": (2, 0, 3.5),
    }
    assert analyse(["claims", str(storage), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["claims"]
    assert analyse(["report", str(storage), "--out", str(tmp_path / "page")]) == 0
    text = (tmp_path / "page" / "index.html").read_text()
    assert "sliding-3-full" in text
    assert "sliding-2" in text


@pytest.mark.parametrize("key", ["ndee1ed42d7c67f9f", "nfb25e78aebe56f3d"])
def test_checkpoints_answer(folder: Path, key: str, capsys: pytest.CaptureFixture[str]):
    assert tsrnn(["evaluate", str(folder / "checkpoints" / key / "n-003.safetensors"), "--json"]) == 0
    heads = {head["n"]: head["accuracy"] for head in json.loads(capsys.readouterr().out)["heads"]}
    assert heads[3] > 0.97
