"""`python -m analysis verify`: every kind of damage is found, named, and mended so that the sweep makes it whole."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.__main__ import main
from analysis.claims.catalogue import judge_all
from analysis.data.frames import ResultsError
from analysis.data.publish import publish
from analysis.data.study import Study
from analysis.verify import verification
from analysis.verify.rows import solved_rows
from analysis.verify.verification import verify
from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder
from sweeps.engine.trainable import PopulationTrainable
from tests.sweeps.commands import assert_same_tables, contents
from tests.sweeps.test_reliability import SMALL, trial
from tsrnn.config import Leaky, RunConfig
from tsrnn.io import checkpoint
from tsrnn.io.lock import FolderLock
from tsrnn.io.parquet import read_file, to_bytes
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import ANALYSES, CONNECTIVITY, EPOCHS, HEADS, OUTCOMES, RUNS, SOLVED, TABLES, Table
from tsrnn.io.store import Store, encode

LEARNS = replace(SMALL, network=Leaky(hidden=16), training=replace(SMALL.training, batch_size=16, solved_accuracy=1e-9))
NETWORKS = LEARNS.replicates(2)
VICTIM, OTHER = (network.network_id for network in NETWORKS)
TRAINED_AGAIN = "trains it again"


def train(folder: Path, epochs: int | None = None) -> list[str]:
    """Do what the sweep's command does; return the networks it trained."""
    ended = {key for key, status in Store(folder).finished().items() if status != "failed"}
    waiting = [network for network in NETWORKS if network.network_id not in ended]
    if waiting:
        trainable = PopulationTrainable(trial(folder, waiting))
        while not trainable.step()["done"] and (epochs is None or (epochs := epochs - 1)):
            pass
    return [network.network_id for network in waiting]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = SweepFolder(str(tmp_path_factory.mktemp("whole")), "small")
    folder.write(Record("small", "quick", "paper", LEARNS, tuple(NETWORKS)))
    train(folder.path)
    for network in NETWORKS:
        row = {name.name: 0.5 for name in CONNECTIVITY.columns} | {"network_id": network.network_id, "n": 2}
        Store(folder.path).write(CONNECTIVITY, network.network_id, [row])
        done = {
            "network_id": network.network_id,
            "analysis": "x",
            "n": 2,
            "status": "done",
            "message": "",
            "wall_s": 1.0,
        }
        rows = encode(ANALYSES, network.network_id, [done | {"settings": "{}"}])
        Store(folder.path).write_solved(ANALYSES, network.network_id, 2, rows, "x")
    Store(folder.path).create((CONNECTIVITY, ANALYSES))
    return folder.path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A sweep that has ended, to be damaged."""
    return shutil.copytree(whole, tmp_path / "small")


def flip(path: Path) -> None:
    """Change one bit of a file's data: tables' begin at the front, checkpoints' are at the end."""
    content = bytearray(path.read_bytes())
    content[40 if path.suffix == ".parquet" else -40] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def edit(table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    """Return what rewrites the victim's rows of a table, as a faulty program would."""

    def rewrite(folder: Path) -> None:
        path = folder / table / f"{VICTIM}.parquet"
        schema = pq.read_schema(path)
        pq.write_table(
            pq.read_table(path, schema=schema).from_pandas(change(pd.read_parquet(path)), schema=schema), path
        )

    return rewrite


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[dict], dict]:
    status = main(["verify", *map(str, arguments), "--json"])
    (sweep,) = json.loads(capsys.readouterr().out)["sweeps"]
    return status, sweep["problems"], sweep


DAMAGE = {
    "epochs flipped": (lambda f: flip(f / "epochs" / f"{VICTIM}.parquet"), "epochs", TRAINED_AGAIN),
    "epochs cut": (lambda f: cut(f / "epochs" / f"{VICTIM}.parquet"), "epochs", TRAINED_AGAIN),
    "epochs absent": (lambda f: (f / "epochs" / f"{VICTIM}.parquet").unlink(), "epochs", TRAINED_AGAIN),
    "epochs with a hole": (edit("epochs", lambda rows: rows[rows["epoch"] != 2]), "epochs", TRAINED_AGAIN),
    "epochs short": (edit("epochs", lambda rows: rows[rows["epoch"] < 4]), "epochs", TRAINED_AGAIN),
    "epochs of another": (edit("epochs", lambda rows: rows.assign(network_id=OTHER)), "epochs", TRAINED_AGAIN),
    "epochs twice": (edit("epochs", lambda rows: pd.concat([rows, rows])), "epochs", TRAINED_AGAIN),
    "heads flipped": (lambda f: flip(f / "heads" / f"{VICTIM}.parquet"), "heads", TRAINED_AGAIN),
    "heads absent": (lambda f: (f / "heads" / f"{VICTIM}.parquet").unlink(), "heads", TRAINED_AGAIN),
    "solved flipped": (lambda f: flip(f / "solved" / f"{VICTIM}.parquet"), "solved", "written again"),
    "solved absent": (lambda f: (f / "solved" / f"{VICTIM}.parquet").unlink(), "solved", "written again"),
    "a solved N absent": (edit("solved", lambda rows: rows[rows["n"] > 2]), "solved", "written again"),
    "solved accuracy": (edit("solved", lambda rows: rows.assign(accuracy=0.123)), "solved", "written again"),
    "outcome flipped": (lambda f: flip(f / "outcomes" / f"{VICTIM}.parquet"), "outcomes", "writes it again"),
    "runs flipped": (lambda f: flip(f / "runs" / f"{VICTIM}.parquet"), "runs", "written again"),
    "runs absent": (lambda f: (f / "runs" / f"{VICTIM}.parquet").unlink(), "runs", "written again"),
    "config of another": (
        edit("runs", lambda rows: rows.assign(config=RunConfig().to_json())),
        "runs",
        "written again",
    ),
    "an empty table": (lambda f: cut(f / "heads" / "empty.parquet"), "heads", "written again"),
    "weights flipped": (lambda f: flip(f / "checkpoints" / VICTIM / "n-003.safetensors"), "checkpoints", TRAINED_AGAIN),
    "weights absent": (lambda f: (f / "checkpoints" / VICTIM / "n-003.safetensors").unlink(), "solved", TRAINED_AGAIN),
    "last weights absent": (
        lambda f: max((f / "checkpoints" / VICTIM).glob("n-*")).unlink(),
        "solved",
        TRAINED_AGAIN,
    ),
    "resume flipped": (
        lambda f: flip(f / "checkpoints" / VICTIM / "epoch-000004-2.1.safetensors"),
        "checkpoints",
        "an older checkpoint",
    ),
    "another's checkpoint": (
        lambda f: shutil.copy(f / "checkpoints" / OTHER / "epoch-000004-2.1.safetensors", f / "checkpoints" / VICTIM),
        "checkpoints",
        "an older checkpoint",
    ),
    "analysis flipped": (
        lambda f: flip(f / "connectivity" / f"{VICTIM}.parquet"),
        "connectivity",
        "measures the network",
    ),
}


def test_a_whole_sweep(folder, capsys):
    before = contents(folder)
    assert main(["verify", str(folder)]) == 0
    # 2 networks x (5 tables and 2 of analyses), and 7 files for empty tables; of each two checkpoints to resume from.
    checkpoints = 2 * 2 + len(pd.read_parquet(folder / "solved"))
    text = f"2 networks, 21 files of rows, {checkpoints} checkpoints: nothing wrong"
    assert capsys.readouterr().out == f"{folder}: {text}\n"
    assert {name: content for name, content in contents(folder).items() if name != "_lock"} == before


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_named_and_mended(folder, whole, capsys, damage):
    harm, where, repair = DAMAGE[damage]
    harm(folder)
    before = contents(folder)
    status, problems, _ = run(capsys, folder)
    assert status == 1
    assert len(problems) == 1, problems
    assert problems[0]["path"].startswith(f"{where}/")
    assert repair in problems[0]["repair"]
    assert not problems[0]["repaired"]
    assert {name: content for name, content in contents(folder).items() if name != "_lock"} == before
    status, problems, _ = run(capsys, folder, "--repair")
    assert (status, [problem["repaired"] for problem in problems]) == (0, [True])
    assert OTHER not in train(folder)
    # Alone, and so equal but for rounding: see docs/reproducibility.md.
    assert_same_tables(folder, whole, rounding=repair == TRAINED_AGAIN)
    assert run(capsys, folder)[:2] == (0, [])
    if where == "connectivity":
        # Its analysis sees that the victim is to be measured, and that the other is not.
        assert set(pd.read_parquet(folder / "analyses")["network_id"]) == {OTHER}
    if "absent" not in damage:
        assert list((folder / "_damaged").glob(f"*/{where}/**/*")), "what was damaged is kept"


def test_a_sweep_that_was_cut_off(whole, tmp_path, capsys):
    folder = SweepFolder(str(tmp_path), "small")
    folder.write(Record("small", "quick", "paper", LEARNS, tuple(NETWORKS)))
    train(folder.path, epochs=2)
    (folder.path / "epochs" / "_x.parquet.1.ab").write_bytes(b"PAR1")
    status, problems, sweep = run(capsys, folder.path)
    assert (status, problems, len(sweep["leftovers"])) == (0, [], 1)
    # Rows of the epoch that was being trained: written before its checkpoint, and all at once.
    for path in (folder.path / "checkpoints" / VICTIM).glob("epoch-000002*"):
        path.unlink()
    assert run(capsys, folder.path)[:2] == (0, [])
    # Rows that end before every checkpoint: the command alone could not go on.
    (folder.path / "epochs" / f"{VICTIM}.parquet").unlink()
    status, problems, _ = run(capsys, folder.path, "--repair")
    assert (status, [problem["path"] for problem in problems]) == (0, [f"epochs/{VICTIM}.parquet"])
    assert not (folder.path / "epochs" / "_x.parquet.1.ab").exists()
    assert set(train(folder.path)) == {VICTIM, OTHER}
    # The one begins again beside the other, which has more heads by now.
    assert_same_tables(folder.path, whole, rounding=True)


def test_several_damages_at_once_and_text(folder, whole, capsys):
    flip(folder / "epochs" / f"{VICTIM}.parquet")
    flip(folder / "solved" / f"{VICTIM}.parquet")
    flip(folder / "checkpoints" / VICTIM / "n-002.safetensors")
    flip(folder / "outcomes" / f"{OTHER}.parquet")
    assert main(["verify", str(folder)]) == 1
    text = capsys.readouterr().out
    assert "with --repair: " in text
    assert f"  checkpoints/{VICTIM}/n-002.safetensors: damaged (its contents do not match its checksum)\n" in text
    assert main(["verify", str(folder), "--repair"]) == 0
    # The other goes on from its end, so that the victim is trained alone.
    assert set(train(folder)) == {VICTIM, OTHER}
    assert_same_tables(folder, whole, rounding=True)
    assert main(["verify", str(folder)]) == 0


def test_what_cannot_be_mended_is_left_alone(folder, capsys):
    """Files of a later version of the program are not damaged."""
    path = folder / "epochs" / f"{VICTIM}.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.append_column("later", rows["loss"]), path)
    before = path.read_bytes()
    status, problems, _ = run(capsys, folder, "--repair")
    assert status == 1
    assert (problems[0]["path"], problems[0]["repair"]) == (f"epochs/{VICTIM}.parquet", "")
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"networks": 3}'])
def test_a_damaged_record(folder, capsys, text):
    (folder / "sweep.json").write_text(text)
    status, problems, _ = run(capsys, folder)
    assert status == 1
    assert [problem["path"] for problem in problems] == ["sweep.json"]


def test_a_changed_record(folder, capsys):
    path = folder / "sweep.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 8'))
    status, problems, _ = run(capsys, folder)
    assert (status, "match its checksum" in problems[0]["problem"]) == (1, True)


def test_a_sweep_that_runs(folder, capsys):
    (folder / "solved" / f"{VICTIM}.parquet").unlink()
    with FolderLock(folder) as lock:
        lock.acquire()
        status, problems, sweep = run(capsys, folder)
        assert (status, problems) == (0, [])
        assert sweep["running"].startswith("process ")
        assert main(["verify", str(folder), "--repair"]) == 1
        assert "repair it when this process has ended" in capsys.readouterr().err


def test_networks_of_a_kind_that_was_not_imported(folder, capsys):
    path = folder / "sweep.json"
    found = json.loads(path.read_text())
    del found["sha256"]
    found["networks"][0]["task"]["kind"] = "majority"
    path.write_text(json.dumps(found))
    assert main(["verify", str(folder), "--repair"]) == 1
    assert "unknown kind 'majority'" in capsys.readouterr().err
    assert not (folder / "_damaged").exists()


def test_a_storage_folder_and_what_is_below(folder, tmp_path, capsys):
    shutil.copytree(folder, folder / "retrained")
    shutil.copytree(folder, tmp_path / "second", ignore=shutil.ignore_patterns("retrained"))
    flip(folder / "retrained" / "heads" / f"{VICTIM}.parquet")
    assert main(["verify", str(tmp_path), "--json"]) == 1
    sweeps = json.loads(capsys.readouterr().out)["sweeps"]
    assert [(Path(sweep["folder"]).relative_to(tmp_path).as_posix(), len(sweep["problems"])) for sweep in sweeps] == [
        ("second", 0),
        ("small", 0),
        ("small/retrained", 1),
    ]
    assert main(["verify", str(tmp_path / "none")]) == 1
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ResultsError, match="holds no sweep"):
        verification.sweeps_below(tmp_path / "nothing")


def test_rows_made_again_are_those_that_training_wrote(whole):
    """The oracle is the sweep's own table."""
    rows = pd.read_parquet(whole / "solved" / f"{VICTIM}.parquet")
    epochs, heads = (pq.read_table(whole / table.name / f"{VICTIM}.parquet") for table in (EPOCHS, HEADS))
    weights = {path: checkpoint.load(whole / path) for path in rows["checkpoint"]}
    pd.testing.assert_frame_equal(pd.DataFrame(solved_rows(VICTIM, epochs, heads, weights)), rows)


def test_the_folder_of_a_hyperparameter_study_is_no_sweeps(tmp_path: Path):
    """It has a sweep's tables and no record, as if that were lost. One of an earlier version has `runs`, empty."""
    folder = tmp_path / "quick"
    for name, created in (("study", (OUTCOMES, EPOCHS, SOLVED, HEADS)), ("earlier", TABLES)):
        Store(folder / name).create(created)
    with pytest.raises(ResultsError, match="holds no sweep"):
        verification.sweeps_below(folder)
    config = RunConfig(network=Leaky(hidden=3))
    (folder / "sweep").mkdir()
    Store(folder / "sweep").create()
    Store(folder / "sweep").write(RUNS, config.network_id, [runs_row(config, "sweep", "quick", "paper")])
    assert verification.sweeps_below(folder) == verification.sweeps_below(tmp_path) == [folder / "sweep"]


class TestPublished:
    """Results with one file a table."""

    @pytest.fixture
    def published(self, whole: Path, tmp_path: Path) -> Path:
        publish(whole, tmp_path / "out" / "small", ns=[2], where="seed == 0")
        return tmp_path / "out" / "small"

    def test_it_has_the_same_rows_and_the_checkpoints_that_were_asked_for(self, whole: Path, published: Path):
        before, after = Study(whole), Study(published)
        for table in (*TABLES, CONNECTIVITY):
            key = [*table.key]
            expected = before.load(table).sort_values(key, ignore_index=True)
            pd.testing.assert_frame_equal(after.load(table).sort_values(key, ignore_index=True), expected)
            assert [path.name for path in (published / table.name).iterdir()] == ["published.parquet"]
        solved = before.load(SOLVED).merge(before.networks[["network_id", "seed"]])
        wanted = solved[(solved["n"] == 2) & (solved["seed"] == 0)]["checkpoint"]
        assert len(wanted)
        assert {str(p.relative_to(published)) for p in published.rglob("*.safetensors")} == set(wanted)
        pd.testing.assert_frame_equal(judge_all(after), judge_all(before))

    def test_nothing_is_wrong_with_it_and_nothing_is_written(self, published: Path):
        files = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
        found = verify(published)
        assert found.problems == []
        assert found.networks == len(NETWORKS)
        assert found.checkpoints > 0
        assert {path: path.read_bytes() for path in published.rglob("*") if path.is_file()} == files

    @pytest.mark.parametrize("table", [*TABLES, CONNECTIVITY], ids=lambda table: table.name)
    def test_a_flipped_bit_is_found(self, published: Path, table: Table):
        flip(published / table.name / "published.parquet")
        (problem,) = verify(published).problems
        assert problem.path == f"{table.name}/published.parquet"
        assert problem.says.endswith("get it from its source again")

    @pytest.mark.parametrize(
        ("table", "change", "says"),
        [
            (EPOCHS, lambda rows: rows.slice(1), "epochs are missing"),
            (HEADS, lambda rows: rows.slice(3), "epochs differ"),
            (RUNS, lambda rows: rows.slice(1), "absent"),
            (SOLVED, lambda rows: rows.slice(0, rows.num_rows - 1), "max_n"),
            (SOLVED, lambda rows: changed(rows, "accuracy", 0.5), "does not agree"),
            (OUTCOMES, lambda rows: changed(rows, "max_n", 77), "max_n = 77"),
            (CONNECTIVITY, lambda rows: pa.concat_tables([rows, rows]).sort_by("network_id"), "two rows"),
        ],
    )
    def test_rows_that_do_not_agree_are_found(self, published: Path, table: Table, change, says: str):
        path = published / table.name / "published.parquet"
        path.write_bytes(to_bytes(change(read_file(path))))
        assert any(says in problem.says for problem in verify(published).problems)

    def test_it_is_neither_trained_on_nor_repaired(self, published: Path, capsys: pytest.CaptureFixture[str]):
        with pytest.raises(SweepError, match="published results"):
            SweepFolder(str(published.parent), "small").read()
        assert main(["verify", str(published), "--repair"]) == 1
        assert "publish them again" in capsys.readouterr().err

    def test_tables_of_measurements_can_be_left_out(self, whole: Path, tmp_path: Path, capsys):
        assert main(["publish", str(whole), str(tmp_path / "new"), "--without", "connectivity"]) == 0
        assert not (tmp_path / "new" / "connectivity").exists()
        assert verify(tmp_path / "new").problems == []
        assert main(["publish", str(whole), str(tmp_path / "other"), "--without", "epochs"]) == 2
        assert "without = 'epochs': allowed are ablation" in capsys.readouterr().err

    def test_what_cannot_be_published_says_why(self, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        (tmp_path / "notes.txt").write_text("mine")
        assert main(["publish", str(whole), str(tmp_path)]) == 1
        assert "publish into a new folder" in capsys.readouterr().err
        assert main(["publish", str(whole), str(tmp_path / "new"), "--n", "2", "--where", "sort == 1"]) == 2
        assert "where = 'sort == 1'" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (
                ["--n", "2", "--where", "1"],
                "where = '1': it is no condition, such as \"task == 'parity'\"; columns are",
            ),
            (["--n", "2", "--where", "task"], "where = 'task': "),
            (["--where", "seed == 0"], "where = 'seed == 0': it selects checkpoints, and none are copied without an N"),
            (["--n", "99"], "n = 99: no network has solved it"),
            (["--n", "2", "--where", "seed == 99"], "where = 'seed == 99': it holds for none of the 2 networks"),
        ],
    )
    def test_options_that_select_nothing_are_refused(self, whole: Path, tmp_path: Path, capsys, options, says: str):
        assert main(["publish", str(whole), str(tmp_path / "new"), *options]) == 2
        assert says in (printed := capsys.readouterr()).err
        assert printed.err.count("\n") == 1
        assert not (tmp_path / "new").exists()

    def test_absent_checkpoints_are_known_before_anything_is_written(self, published: Path, tmp_path: Path, capsys):
        assert main(["publish", str(published), str(tmp_path / "new"), "--n", "2"]) == 1
        assert f"{published} lacks the checkpoint checkpoints/" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("place", ["", "inner"])
    def test_not_into_the_folder_of_the_results(self, published: Path, capsys, place: str):
        files = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
        assert main(["publish", str(published), str(published / place)]) == 1
        assert f"is in the folder of the results, {published}: publish into a new folder" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in published.rglob("*") if path.is_file()} == files


def changed(rows: pa.Table, column: str, value: float) -> pa.Table:
    """Return rows with another value in the first."""
    values = rows[column].to_pylist()
    values[0] = value
    return rows.set_column(rows.column_names.index(column), rows.field(column), pa.array(values, rows[column].type))
