"""Files of results that were changed at random load as what was written, or fail with the project's own error."""

import ast
import io
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from analysis.__main__ import main as analyse
from analysis.data import frames
from analysis.data.frames import ResultsError
from analysis.data.study import Study
from analysis.verify import verification
from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder
from tests.io.test_store import row
from tests.sweeps.commands import ROOT
from tests.sweeps.test_reliability import SMALL, trained
from tsrnn.config import RunConfig
from tsrnn.errors import Failure
from tsrnn.io.checkpoint import Checkpoint, CheckpointError, CheckpointFolder, load
from tsrnn.io.files import location
from tsrnn.io.schemas import BY_NAME, EPOCHS, HEADS, OUTCOMES, RUNS, Table
from tsrnn.io.store import Store, StoreError, read_rows

FEW, MANY = 100, 1000
COUNTS = [FEW, pytest.param(MANY, marks=pytest.mark.slow)]


def mutants(content: bytes, count: int) -> Iterator[bytes]:
    """Bits flipped, bytes replaced, removed and put in, ends cut off, pieces doubled."""
    for seed in range(count):
        draw = random.Random(seed)
        changed, at = bytearray(content), draw.randrange(len(content))
        length = draw.randrange(1, 20)
        match draw.randrange(6):
            case 0:
                changed[at] ^= 1 << draw.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = draw.randbytes(length)
            case 4:
                changed[at:at] = changed[draw.randrange(len(content)) :][: 10 * length]
            case _:
                for _ in range(length):
                    changed[draw.randrange(len(changed))] = draw.randrange(256)
        yield bytes(changed)


def refused(path: Path, count: int, loads_the_same: Callable[[], bool], error: type[Exception]) -> int:
    """Return how many mutants of a file fail with `error`; the others must load as what was written."""
    loaded = 0
    for seed, content in enumerate(mutants(path.read_bytes(), count)):
        path.write_bytes(content)
        with suppress(error):
            assert loads_the_same(), f"mutant {seed} loads as something else"
            loaded += 1
    return count - loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of one network, trained to its end."""
    folder = SweepFolder(str(tmp_path_factory.mktemp("fuzz")), "small")
    folder.write(Record("small", "quick", "paper", SMALL, tuple(SMALL.replicates(3))))
    trained(folder.path, [SMALL])
    return folder.path


@pytest.mark.parametrize("count", COUNTS)
def test_checkpoints(folder: Path, tmp_path: Path, count: int):
    path = Path(shutil.copy(folder / "checkpoints" / SMALL.network_id / "epoch-000004-2.1.safetensors", tmp_path))
    written = load(path)

    def loads_the_same() -> bool:
        found = load(path)
        return (found.config, found.progress) == (written.config, written.progress) and all(
            ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
            for ours, theirs in [
                (found.network, written.network),
                *((found.optimizer[part], written.optimizer[part]) for part in written.optimizer),
            ]
        )

    assert refused(path, count, loads_the_same, CheckpointError) > 0.9 * count


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("table", [RUNS, OUTCOMES, EPOCHS, HEADS], ids=lambda table: table.name)
def test_tables(folder: Path, tmp_path: Path, table: Table, count: int):
    path = Path(shutil.copy(folder / table.name / f"{SMALL.network_id}.parquet", tmp_path))
    written = read_rows(path, table)
    assert refused(path, count, lambda: read_rows(path, table).equals(written), StoreError) > 0.97 * count


@pytest.mark.parametrize("count", COUNTS)
def test_records_of_sweeps(folder: Path, tmp_path: Path, count: int):
    (tmp_path / "small").mkdir()
    path = Path(shutil.copy(folder / "sweep.json", tmp_path / "small"))
    written = SweepFolder(str(tmp_path), "small").read()
    assert refused(path, count, lambda: SweepFolder(str(tmp_path), "small").read() == written, SweepError) > 0.9 * count


@pytest.mark.parametrize("count", COUNTS)
def test_configurations(tmp_path: Path, count: int):
    """A number that became another is another configuration; what is read must be a whole and valid one."""
    path = tmp_path / "config.json"
    path.write_text(SMALL.to_json())

    def is_valid() -> bool:
        found = RunConfig.from_json(path.read_bytes())
        return RunConfig.from_json(found.to_json()) == found

    assert refused(path, count, is_valid, ValidationError) > 0.5 * count


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, with some rows in each table that training or an analysis writes."""
    results = Path(shutil.copytree(folder, tmp_path_factory.mktemp("flips") / "small"))
    store = Store(results)
    for table in BY_NAME.values():
        if not (results / table.name / f"{SMALL.network_id}.parquet").exists():
            store.create([table])
            rows = [row(table, network_id=SMALL.network_id) | ({"n": n} if "n" in table.key else {}) for n in (2, 3)]
            store.write(table, SMALL.network_id, rows if "n" in table.key else rows[:1])
    return results


def max_n_of(results: Path) -> str | None:
    """Return what the command `analysis max-n` prints; None where it refuses."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        status = analyse(["max-n", str(results), "--json"])
    if status:
        assert errors.getvalue().count("\n") == 1, "one line"
        return None
    return output.getvalue()


def reads_of(results: Path, path: Path) -> dict[str, Callable[[], object]]:
    """Return every way in which the project reads a file; each gives something comparable, None where it refuses."""
    reads: dict[str, Callable[[], object]] = {"analysis max-n": lambda: max_n_of(results)}
    if path.suffix == ".parquet":
        table, network_id = BY_NAME[path.parent.name], path.stem
        condition = [("network_id", "=", SMALL.network_id)]

        def rows(one: Callable[[], pd.DataFrame]) -> Callable[[], object]:
            return lambda: one().to_csv()

        reads["load"] = rows(lambda: frames.load(results, table))
        reads["load of a column"] = rows(lambda: frames.load(results, table, [table.columns[-1].name]))
        reads["load of some rows"] = rows(lambda: frames.load(results, table, where=condition))
        reads["Study"] = rows(lambda: Study(results).load(table))
        reads["read_rows"] = lambda: read_rows(location(path), table).to_pylist()
        if network_id != "empty":
            reads["Store.read"] = lambda: Store(results).read(table, network_id)
        if table is OUTCOMES:
            reads["Store.finished"] = Store(results).finished
        if table is EPOCHS:
            reads["Store.last_epoch"] = lambda: Store(results).last_epoch(SMALL.network_id)
    elif path.suffix == ".safetensors":

        def state(found: Checkpoint) -> object:
            tensors = [found.network, *found.optimizer.values()]
            values = [{name: tensor.tolist() for name, tensor in part.items()} for part in tensors]
            return repr((found.config, found.progress, found.computed)), values

        def newest() -> object:
            found, warnings = CheckpointFolder(results, SMALL.network_id).newest(SMALL)
            return None if warnings else state(found)

        reads["checkpoint"] = lambda: state(load(path))
        reads["newest checkpoint"] = newest
    else:
        reads["record"] = SweepFolder(str(results.parent), results.name).read
    return reads


@pytest.mark.parametrize("flips", [40, pytest.param(MANY, marks=pytest.mark.slow)])
def test_one_flipped_bit(results: Path, flips: int):
    """At any place of any file: each read refuses it, or gives what was written; `verify` names what is refused."""
    patterns = [*(f"{name}/*.parquet" for name in BY_NAME), "checkpoints/*/*.safetensors", "sweep.json"]
    kinds = [sorted(results.glob(pattern)) for pattern in patterns]
    assert all(kinds)
    whole = max_n_of(results)
    assert whole is not None
    written = {
        path: {name: whole if name == "analysis max-n" else read() for name, read in reads_of(results, path).items()}
        for kind in kinds
        for path in kind
    }
    refused = 0
    for seed in range(flips):
        draw = random.Random(seed)
        path = draw.choice(kinds[seed % len(kinds)])
        content = path.read_bytes()
        changed = bytearray(content)
        bit = draw.randrange(8 * len(content))
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found = {}
        for name, read in reads_of(results, path).items():
            with suppress(Failure):
                found[name] = read()
        path.write_bytes(content)
        where = f"bit {bit} of {path.relative_to(results)}"
        for name, value in found.items():
            assert value in (None, written[path][name]), f"{name}: {where}"
        if None in found.values() or len(found) < len(written[path]):
            refused += 1
            path.write_bytes(changed)
            named = {problem.path for problem in verification.verify(results).problems}
            path.write_bytes(content)
            assert path.relative_to(results).as_posix() in named, where
        else:
            assert path.suffix != ".parquet", f"{where} is not noticed"
    print(f"{flips} flipped bits: {refused} refused, {flips - refused} read as they were written, 0 as anything else")
    assert refused > 0.9 * flips


class _Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)


def test_a_pickle_in_place_of_a_file_is_never_executed(folder: Path, tmp_path: Path):
    sweep = Path(shutil.copytree(folder, tmp_path / "small"))
    bait = tmp_path / "executed"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        crafted = pickle.dumps(_Payload(bait), protocol)
        for path in [*sweep.rglob("*.safetensors"), *sweep.rglob("*.parquet"), sweep / "sweep.json"]:
            path.write_bytes(crafted)
        for path in sweep.rglob("*.safetensors"):
            with pytest.raises(CheckpointError):
                load(path)
        with pytest.raises(StoreError):
            Store(sweep).finished()
        with pytest.raises(SweepError):
            SweepFolder(str(tmp_path), "small").read()
        with pytest.raises(ResultsError):
            frames.load(sweep, RUNS)
        assert verification.verify(sweep).problems
    torch.save({"weight": _Payload(bait)}, next(sweep.rglob("*.safetensors")))
    assert verification.verify(sweep).problems
    assert not bait.exists()
    pickle.loads(pickle.dumps(_Payload(bait)))
    assert bait.exists(), "the bait works"


def test_no_program_of_the_project_reads_pickles_of_results():
    """torch.load is for the authors' files, and takes tensors only."""
    calls = {"pickle.load", "pickle.loads", "torch.load", "joblib.load", "numpy.load", "np.load", "pd.read_pickle"}
    found = []
    for package in ("tsrnn", "sweeps", "analysis"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in calls:
                    weights_only = any(
                        k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
                    )
                    found.append((path.relative_to(ROOT).as_posix(), ast.unparse(node.func), weights_only))
    assert found == [("tsrnn/io/reference.py", "torch.load", True)]
