"""Retraining from solved checkpoints: where a run starts, and the whole sweep on Ray."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analysis.data.frames import load
from sweeps.engine.folder import Record, SweepFolder
from sweeps.engine.plan import groups_of
from sweeps.retraining import _begin, app, retrained
from tests.sweeps.commands import ONE_AT_A_TIME
from tests.trained import trained_sweep
from tsrnn.command_line import run as run_command
from tsrnn.config import Leaky, NoCurriculum, RunConfig, Time, stacking_key
from tsrnn.io.checkpoint import CheckpointError, CheckpointFolder, Progress, new
from tsrnn.io.checkpoint import load as load_checkpoint
from tsrnn.io.files import location
from tsrnn.io.published import publish
from tsrnn.io.rows import runs_row, solved_row
from tsrnn.io.schemas import EPOCHS, RETRAINING, RUNS, SOLVED
from tsrnn.io.store import Store

ROOT = Path(__file__).resolve().parents[2]
SOLVED_TWO = Progress(heads=(2,), solved=(2,), epoch=1, max_n=2)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")
    recorded = SweepFolder(str(folder.parent), "sweep")
    recorded.write(Record("sweep", "laptop", "tuned", RunConfig(), ()))
    return folder


@pytest.fixture
def starts(results: Path):
    """Each network that solved N = 2, with where its retraining on N' = 5 starts."""
    rows = load(results, SOLVED).query("n == 2")
    sources = [load_checkpoint(results / path) for path in rows["checkpoint"]]
    return [(source, retrained(source, 2, 5, 20)) for source in sources]


class TestStart:
    def test_all_weights_are_the_sources_and_its_head_is_handed_on(self, starts):
        for source, start in starts:
            assert start.progress.heads == (5,)
            assert start.progress.epoch == 0
            assert torch.equal(start.network["heads.5.weight"], source.network["heads.2.weight"])
            assert torch.equal(start.network["heads.5.bias"], source.network["heads.2.bias"])
            for name in start.network.keys() - {"heads.5.weight", "heads.5.bias"}:
                assert torch.equal(start.network[name], source.network[name])

    def test_sources_tell_runs_apart_and_are_trained_together(self, starts):
        configs = [start.config for _, start in starts]
        assert len({config.network_id for config in configs}) == 4
        assert len({stacking_key(config) for config in configs}) == 1
        assert groups_of(configs) == [configs]
        assert {config.curriculum for config in configs} == {NoCurriculum(n=5)}
        assert RunConfig.from_json(configs[0].to_json()) == configs[0]

    def test_without_its_checkpoint_a_run_is_not_started_from_initial_weights(self, starts):
        with pytest.raises(CheckpointError, match="starts from the checkpoint n"):
            new(starts[0][1].config)

    def test_a_run_from_initial_weights_keeps_its_id(self):
        assert RunConfig().network_id == RunConfig(source="").network_id != RunConfig(source="n1/2").network_id


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process; returns exit status, output and errors."""

    def run(*options: str | Path) -> tuple[int, str, str]:
        return run_command(app, [*map(str, options)]), *capsys.readouterr()

    return run


def test_the_sweep_and_again(results: Path, here):
    options = ("--higher", "2", "--epochs", "2", "--trials", "2", *ONE_AT_A_TIME, "--address", "local", "--json")
    words = [sys.executable, "sweeps/retraining.py", *map(str, (results, *options))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    table = load(results, RETRAINING)
    (n,) = table["n"].unique()
    assert len(table) == 4 * 3
    assert set(table["retrained_n"]) == {n, n + 1, n + 2}
    assert (table.loc[table["retrained_n"] == n, "relative_accuracy"] == 1).all()
    assert table.loc[table["retrained_n"] > n, "epochs"].between(1, 2).all()
    assert {(row["curriculum"], row["networks"]) for row in found["summary"]} == {("single", 2), ("multi", 2)}
    assert [row["beyond"] for row in found["tests"]] == [1, 2]
    assert any("N = 16 is not solved by" in note for note in found["notes"])
    assert f"N = {n}, the largest up to 16 that all have solved" in done.stderr
    runs = load(results / "retrained", RUNS)
    assert set(runs["scale"]) == {"laptop"}
    assert set(runs["preset"]) == {"tuned"}
    # The authors' own measure, accuracies on sequences as in training, is in the tables of the runs.
    ends = load(results / "retrained", EPOCHS).sort_values("epoch").groupby("network_id").last()["accuracy_newest"]
    before = load(results, SOLVED).query("n == @n").set_index("network_id")["accuracy"]
    sources = runs.set_index("network_id")["config"].map(lambda text: RunConfig.from_json(text).source.split("/")[0])
    assert ((ends / sources.map(before)).dropna() > 0.4).sum() == 8
    status, output, errors = here(results, *options)
    assert status == 0
    assert "to train" not in errors
    assert json.loads(output) == found
    # Fewer N' leave the others in the table.
    status, output, _ = here(results, "--higher", "1", *options[2:])
    assert (status, {row["retrained_n"] for row in json.loads(output)["summary"]}) == (0, {n, n + 1})
    assert load(results, RETRAINING).equals(table)


def test_a_start_that_is_damaged_is_written_again(tmp_path: Path):
    folder = SweepFolder(str(tmp_path), "retrained")
    folder.acquire()
    start = retrained(new(RunConfig(network=Leaky(hidden=3))), 2, 3, 1)
    for _ in range(2):
        _begin(folder, [start])
        found, warnings = CheckpointFolder(folder.path, start.config.network_id).newest(start.config)
        assert (found.config, warnings) == (start.config, [])
        (path,) = Path(str(folder.path)).glob("checkpoints/*/epoch-*")
        path.write_bytes(path.read_bytes()[:-5])


class TestBeforeItRuns:
    """What is said in this process, in one line, before Ray is started or anything is written."""

    def test_an_n_that_some_have_not_solved_is_refused(self, results: Path, here):
        status, output, errors = here(results, "--n", "16")
        assert (status, output, errors.count("\n")) == (1, "", 1)
        assert errors.startswith("error: n = 16: not all networks start from it: ")

    def test_bits_of_several_steps_are_refused(self, tmp_path: Path, here):
        """Their accuracy in time is not defined: twenty epochs of training ended in a traceback."""
        config = RunConfig(network=Leaky(hidden=3), time=Time(k=(2,)))
        store, key = Store(tmp_path), config.network_id
        store.create()
        path = CheckpointFolder(tmp_path, key).save_solved(replace(new(config), progress=SOLVED_TWO), 2)
        store.write(RUNS, key, [runs_row(config, "input_duration", "quick", "paper")])
        store.write(SOLVED, key, [solved_row(key, 2, checkpoint=path, epoch=1, epochs_taken=1)])
        status, output, errors = here(tmp_path)
        assert (status, output) == (1, "")
        last = errors.splitlines()[-1]
        assert last.startswith(f"error: {tmp_path}: its networks hear bits of k = 2 time steps; ")
        assert not (tmp_path / "retrained").exists()

    def test_a_dry_run_states_the_runs(self, results: Path, here):
        before = set(results.rglob("*"))
        status, output, _ = here(results, "--higher", "3", "--epochs", "2", "--dry-run", "--json")
        plan = json.loads(output)
        assert status == 0
        assert (plan["sweep"], plan["scale"], plan["preset"], plan["networks"]) == ("retrained", "laptop", "tuned", 12)
        assert plan["operations"] > 0
        assert set(results.rglob("*")) == before
        _, output, _ = here(results, "--higher", "3", "--where", "curriculum == 'multi'", "--dry-run", "--json")
        assert json.loads(output)["networks"] == 6
        _, table, _ = here(results, "--higher", "1", "--dry-run")
        assert re.search(r"none-\d+ tau trained │ +4 │ +0-1 │", table)  # two curricula, two seeds

    def test_published_networks_whose_checkpoint_is_absent_are_left_out(self, results: Path, tmp_path: Path, here):
        rows = load(results, SOLVED).query("n == 2")
        for name, paths in (("some", set(rows["checkpoint"].iloc[:1])), ("none", set())):
            publish(location(results), location(tmp_path / name), paths)
        options = ("--n", "2", "--higher", "3", "--dry-run", "--json")
        status, output, errors = here(tmp_path / "some", *options)
        assert (status, json.loads(output)["networks"]) == (0, 3)
        assert f"retraining: 3 networks left out: not published in {tmp_path / 'some'}" in errors
        status, output, errors = here(tmp_path / "none", *options)
        assert (status, output) == (1, "")
        assert errors.endswith("nothing to retrain: the checkpoints of these N were not published with it\n")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--n", "1"], "--n. allowed are numbers of at least 2"),
            (["--epochs", "0"], "--epochs. allowed are numbers of at least 1"),
            (["--niceness", "20"], "niceness = 20: allowed are whole numbers from 0 to 19"),
        ],
    )
    def test_bad_input(self, results: Path, here, options: list[str], says: str):
        status, _, errors = here(results, *options)
        assert (status, errors.count("\n")) == (2, 1)
        assert errors.startswith("error: ")
        assert says in errors


def test_nothing_there_is_one_line(tmp_path: Path, here):
    status, output, errors = here(tmp_path)
    assert (status, output, errors.count("\n")) == (1, "", 1)
