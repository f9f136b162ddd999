"""Verification: whether the files of a sweep are undamaged and agree with each other, and the repair if not.

Every file is read completely. Tables are checked by their schema, keys and checksums, checkpoints by their checksums
and their configuration. Then the files of each network are compared with each other. Repairing never deletes a result:
a damaged file, and any file that is worthless without it, is moved to `_damaged/`, and the sweep's command makes it
again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from analysis.data.frames import ResultsError
from analysis.verify import rows as rules
from analysis.verify.found import (
    MADE_AGAIN,
    MEASURED_AGAIN,
    OLDER_USED,
    REWRITTEN,
    TRAINED_AGAIN,
    Problem,
    Verification,
)
from analysis.verify.mending import DAMAGED, mend, relative
from tsrnn.command_line import counted
from tsrnn.config import EndState, RunConfig, explain
from tsrnn.io import checkpoint
from tsrnn.io.checkpoint import Checkpoint, CheckpointError, DamagedCheckpointError
from tsrnn.io.claims import CLAIMS
from tsrnn.io.files import RECORD, Location, location, open_sealed_json
from tsrnn.io.lock import FolderLock, LockedError
from tsrnn.io.parquet import PUBLISHED
from tsrnn.io.published import is_published
from tsrnn.io.rows import runs_row
from tsrnn.io.schemas import ANALYSES, BY_NAME, EPOCHS, HEADS, OUTCOMES, RUNS, SOLVED, TABLES, Row, Table
from tsrnn.io.store import DamagedFileError, StoreError, read_rows, schema
from tsrnn.untrusted import below

# results/SCALE/SWEEP/retrained
_DEPTH: Final = 3


def sweeps_below(results: str | Location) -> list[Location]:
    """Return the sweeps' folders at and below a folder, such as results/, results/quick or results/quick/fixed_tau.

    Raises:
        ResultsError: there is none.
    """
    folder = location(results)
    if not folder.is_dir():
        raise ResultsError(f"{folder} is not a folder: give the folder of a sweep, or of several")
    found = [path for path in _candidates(folder, _DEPTH) if _is_sweep(path)]
    if not found:
        raise ResultsError(
            f"{folder} holds no sweep: give the folder of one, which has {RECORD} and {RUNS.name}/ in it"
        )
    return found


def _candidates(folder: Location, depth: int) -> Iterator[Location]:
    """Yield the folders at and below a folder, down to a number of levels, that may be sweeps."""
    yield folder
    if depth:
        for path in _folders(folder):
            if path.name not in BY_NAME and path.name not in ("checkpoints", "errors"):
                yield from _candidates(path, depth - 1)


def verify(folder: Location, *, repair: bool = False) -> Verification:
    """Check the folder of one sweep, and repair it if requested.

    Args:
        folder: The folder of the sweep.
        repair: Whether to repair what can be repaired.

    Raises:
        ResultsError: its networks are of a kind that was not imported; or it is to be repaired while a sweep is, or may
            be, writing to it.
        StoreError, OSError: the folder cannot be written.
        ClaimLostError: a sweep has taken the folder over during the repair.
    """
    if is_published(folder):
        if repair:
            raise ResultsError(f"{folder} holds published results: publish them again from the sweep's own folder")
        found = Verification(folder)
        _Check(found).run()
        return found
    with FolderLock(folder) as lock:
        try:
            locked = lock.acquire()
            if not repair:
                lock.release()  # without a lock, so that nothing has to wait for the check
            elif not locked:
                raise ResultsError(
                    f"{folder}: its file system has no locks, so it is unknown whether a sweep is writing to it; "
                    "repair a copy on another file system"
                )
            found = Verification(folder)
        except LockedError as error:
            if repair:
                raise ResultsError(
                    f"{folder} is being written by {error.holder}; repair it when this process has ended"
                ) from None
            found = Verification(folder, running=error.holder)
        except OSError:  # a folder that can only be read
            found = Verification(folder)
        _Check(found).run()
        if repair:
            mend(found)
    return found


def lines(found: Verification, *, repaired: bool) -> list[str]:
    """Return the result as lines of text."""
    said = counted(len(found.problems), "problem") if found.problems else "nothing wrong"
    head = f"{counted(found.networks, 'network')}, {counted(found.files, 'file')} of rows, "
    head += f"{counted(found.checkpoints, 'checkpoint')}: {said}"
    told = [f"{found.folder}: {head}"]
    if found.running:
        told.append(f"  {found.running} is writing to it, so each file was checked only by itself")
    for problem in found.problems:
        told.append(f"  {problem.path}: {problem.says}")
        remedy = problem.repair or "--repair cannot mend this"
        told.append(f"    {remedy if repaired or not problem.repair else f'with --repair: {remedy}'}")
    if found.leftovers:
        end = "; deleted" if repaired else ", which are harmless; --repair deletes them"
        told.append(f"  {len(found.leftovers)} temporary files of processes that were killed{end}")
    return told


def as_json(found: Verification, *, repaired: bool) -> dict[str, Any]:
    """Return the result as JSON."""
    return {
        "folder": str(found.folder),
        "networks": found.networks,
        "files": found.files,
        "checkpoints": found.checkpoints,
        "problems": [
            {
                "path": problem.path,
                "problem": problem.says,
                "repair": problem.repair,
                "repaired": repaired and bool(problem.repair),
            }
            for problem in found.problems
        ],
        "leftovers": [str(path) for path in found.leftovers],
        "running": found.running,
    }


class _Check:
    """Collects the problems in one folder."""

    def __init__(self, found: Verification) -> None:
        self._found = found
        self._folder = found.folder
        self._rows: dict[tuple[Table, str], pa.Table] = {}
        self._damaged: set[tuple[Table, str]] = set()
        self._foreign: set[str] = set()
        self._sweep: dict[str, Any] = {}
        self._published = is_published(found.folder)
        # Whether a published table could not be read, so that the tables cannot be compared with each other.
        self._incomplete = False

    def run(self) -> None:
        """Check everything."""
        networks = self._networks()
        self._found.networks = len(networks)
        self._found.leftovers = [
            path
            for path in self._folder.rglob("_*")
            if not path.name.startswith("_lock")
            and not relative(self._folder, path).startswith((DAMAGED, CLAIMS))
            and path.is_file()
        ]
        for path in _folders(self._folder):
            if path.name in BY_NAME:
                self._read_table(BY_NAME[path.name], path, networks)
        kept = {path.name: self._checkpoints(path, networks) for path in _folders(self._folder / "checkpoints")}
        if not self._found.running:
            for key, network in networks.items():
                if key not in self._foreign:
                    self._agree(network, kept.get(key, []))

    def _networks(self) -> dict[str, RunConfig]:
        """Return the networks in the record of the folder."""
        path = self._folder / RECORD
        try:
            self._sweep = open_sealed_json(path.read_bytes())
            listed = [json.dumps(one) for one in self._sweep["networks"]]
            self._sweep |= {part: str(self._sweep[part]) for part in ("sweep", "scale", "preset")}
        except FileNotFoundError:
            self._say(path, "absent: without it the sweep cannot be resumed")
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            self._say(path, f"not readable as a sweep's record ({error}): without it the sweep cannot be resumed")
            return {}
        networks = {}
        for text in listed:
            try:
                network = RunConfig.from_json(text)
            except ValidationError as error:
                if any(item["type"] == "unknown_kind" for item in error.errors()):
                    raise ResultsError(f"{path}: {explain(error)} (--plugin FILE)") from None
                self._say(path, explain(error))
            else:
                networks[network.network_id] = network
        return networks

    def _read_published(self, table: Table, path: Location) -> None:
        """Read the single file of a published table, and check the rows of each network."""
        self._found.files += 1
        try:
            whole = read_rows(path, table)
        except StoreError as error:
            self._say(path, str(error))
            self._incomplete = True
            return
        for network_id, rows in rules.by_network(whole):
            try:
                rules.check(table, network_id, rows)
            except ValueError as error:
                self._say(path, f"{network_id}: {error}")
            if table in TABLES:
                self._rows[table, network_id] = rows

    def _read_table(self, table: Table, folder: Location, networks: dict[str, RunConfig]) -> None:
        if self._published:
            self._read_published(table, folder / PUBLISHED)
            return
        for path in _files(folder, "[!_.]*.parquet"):
            network_id = path.name.split(".")[0]
            self._found.files += 1
            try:
                rows = read_rows(path, table)
                rules.check(table, network_id, rows)
            except (DamagedFileError, ValueError) as error:
                self._damaged.add((table, network_id))
                if network_id == "empty":
                    self._say(path, str(error), REWRITTEN, [path])
                elif table is RUNS and network_id in networks:
                    row = self._runs_row(networks[network_id])
                    self._say(path, str(error), REWRITTEN, [path], (RUNS, network_id, [row]))
                elif table in (RUNS, OUTCOMES):
                    self._say(path, str(error), MADE_AGAIN, [path])
                elif table not in TABLES:
                    # The row of its analysis must not mark the network as done.
                    marks = _files(self._folder / ANALYSES.name, f"{network_id}.*parquet")
                    self._say(path, str(error), MEASURED_AGAIN, [path, *marks])
                # Tables of training are handled below, together with the other files of the network.
            except StoreError as error:  # written by another version: the other files of the network are not checked
                self._foreign.add(network_id)
                self._say(path, str(error))
            else:
                if table in TABLES:
                    self._rows[table, network_id] = rows

    def _checkpoints(self, folder: Location, networks: dict[str, RunConfig]) -> list[tuple[Location, Checkpoint]]:
        """Return the valid checkpoints of one network."""
        network, valid = networks.get(folder.name), []
        for path in _files(folder, "[!_.]*.safetensors"):
            self._found.checkpoints += 1
            try:
                found = checkpoint.load(path)
            except DamagedCheckpointError as error:
                if path.name.startswith("epoch-"):
                    self._say(path, str(error), OLDER_USED, [path])
                elif network is None:
                    self._say(path, str(error))
                else:
                    self._say(path, str(error), TRAINED_AGAIN, [path, *self._training_of(network)])
            except CheckpointError as error:
                if path.exists():  # a running sweep keeps the newest two
                    self._say(path, str(error))
            else:
                if network is not None and found.config != network:
                    self._say(path, f"belongs to another network ({found.config.network_id})", OLDER_USED, [path])
                else:
                    valid.append((path, found))
        return valid

    def _published_agree(self, network: RunConfig) -> None:
        """Compare the rows of a network with each other; some or all of its checkpoints may be absent."""
        if self._incomplete:
            return
        key = network.network_id
        epochs, heads, solved, outcomes = (self._table(table, key) for table in (EPOCHS, HEADS, SOLVED, OUTCOMES))
        last = epochs.num_rows
        if not self._table(RUNS, key).num_rows:
            self._say(self._folder / RUNS.name / PUBLISHED, f"{key}: absent")
        if epochs["epoch"].to_pylist() != list(range(1, last + 1)):
            self._say(self._folder / EPOCHS.name / PUBLISHED, f"{key}: epochs are missing")
        elif not rules.covers(heads, last, exactly=bool(outcomes.num_rows)):
            self._say(self._folder / HEADS.name / PUBLISHED, f"{key}: its epochs differ from those of the table epochs")
        elif wrong := rules.unlike(epochs, heads, solved):
            says = f"{key}: N = {wrong[0]} does not agree with the epoch in which it was solved"
            self._say(self._folder / SOLVED.name / PUBLISHED, says)
        for outcome in outcomes.to_pylist():
            most = max(solved["n"].to_pylist(), default=0)
            if outcome["status"] != EndState.FAILED and (outcome["epochs"], outcome["max_n"]) != (last, most):
                says = f"{key}: {outcome['epochs']} epochs, max_n = {outcome['max_n']}; other tables say {last}, {most}"
                self._say(self._folder / OUTCOMES.name / PUBLISHED, says)

    def _agree(self, network: RunConfig, kept: list[tuple[Location, Checkpoint]]) -> None:
        """Compare the files of a network with each other."""
        if self._published:
            self._published_agree(network)
            return
        key = network.network_id
        resume = {found.progress.epoch for path, found in kept if path.name.startswith("epoch-")}
        weights = {relative(self._folder, path): found for path, found in kept if path.name.startswith("n-")}
        if (RUNS, key) not in self._rows and (RUNS, key) not in self._damaged:
            row = self._runs_row(network)
            self._say(self._path(RUNS, key), "absent", REWRITTEN, [], (RUNS, key, [row]))
        if lost := [table for table in (EPOCHS, HEADS) if (table, key) in self._damaged]:
            self._retrain(network, lost[0], "damaged")
            return
        epochs, heads, solved = (self._table(table, key) for table in (EPOCHS, HEADS, SOLVED))
        outcome = next(iter(self._table(OUTCOMES, key).to_pylist()), None)
        if outcome is not None and outcome["status"] == EndState.FAILED:
            outcome = None
        last = epochs.num_rows
        if epochs["epoch"].to_pylist() != list(range(1, last + 1)):
            self._retrain(network, EPOCHS, "epochs are missing in it")
        elif outcome is not None and outcome["epochs"] != last:
            self._retrain(network, EPOCHS, f"ends at epoch {last}, but the network ended after {outcome['epochs']}")
        elif resume and min(resume) > last:
            self._retrain(network, EPOCHS, f"ends at epoch {last}, but the checkpoints begin at epoch {min(resume)}")
        elif not rules.covers(heads, last, exactly=outcome is not None):
            self._retrain(network, HEADS, "does not have the epochs of the table epochs")
        else:
            self._solved_agree(network, epochs, heads, solved, weights, outcome)

    def _solved_agree(
        self,
        network: RunConfig,
        epochs: pa.Table,
        heads: pa.Table,
        solved: pa.Table,
        weights: dict[str, Checkpoint],
        outcome: Row | None,
    ) -> None:
        """Compare the solved N with the checkpoints that have their weights."""
        key, last = network.network_id, epochs.num_rows
        rows = {row["checkpoint"]: row for row in solved.to_pylist()}
        expected = rules.solved_rows(key, epochs, heads, weights)
        absent = [path for path in rows if path not in weights]
        most = max((row["n"] for row in expected), default=0)
        if absent:
            if all(_exists(self._folder, path) for path in absent):
                return  # damaged, which was already reported
            self._retrain(network, SOLVED, f"the checkpoint {absent[0]} is absent")
        elif outcome is not None and outcome["max_n"] != most:
            self._retrain(
                network, SOLVED, f"N = {most} is the largest with a checkpoint, but max_n is {outcome['max_n']}"
            )
        elif (damaged := (SOLVED, key) in self._damaged) or {
            path: row for path, row in rows.items() if row["epoch"] <= last
        } != {row["checkpoint"]: row for row in expected}:
            says = "damaged" if damaged else "does not agree with the checkpoints and epochs"
            path = self._path(SOLVED, key)
            self._say(path, says, REWRITTEN, [path], (SOLVED, key, expected))

    def _runs_row(self, network: RunConfig) -> Row:
        return runs_row(network, *(self._sweep[part] for part in ("sweep", "scale", "preset")))

    def _retrain(self, network: RunConfig, table: Table, says: str) -> None:
        self._say(self._path(table, network.network_id), says, TRAINED_AGAIN, self._training_of(network))

    def _training_of(self, network: RunConfig) -> Iterator[Location]:
        """Return the files to remove so that a network starts again: all but the weights that solved an N."""
        for table in (EPOCHS, HEADS, SOLVED, OUTCOMES):
            yield self._path(table, network.network_id)
        yield from _files(self._folder / "checkpoints" / network.network_id, "epoch-*.safetensors")

    def _table(self, table: Table, network_id: str) -> pa.Table:
        return self._rows.get((table, network_id), schema(table).empty_table())

    def _path(self, table: Table, network_id: str) -> Location:
        return self._folder / table.name / f"{network_id}.parquet"

    def _say(
        self,
        path: Location,
        says: str,
        repair: str = "",
        aside: Iterable[Location] = (),
        rows: tuple[Table, str, Sequence[Row]] | None = None,
    ) -> None:
        where = relative(self._folder, path)
        says = " ".join(says.removeprefix(str(path)).removeprefix(":").split())
        self._found.problems.append(Problem(where, says, repair, tuple(aside), rows))


def _exists(folder: Location, path: str) -> bool:
    """Whether the file that a row names exists inside the folder."""
    try:
        return below(folder, path).exists()
    except ValueError:
        return False


def _is_sweep(folder: Location) -> bool:
    """Whether a folder is a sweep's, which may have lost its record.

    The folder of a hyperparameter study is not one: it has the tables of a sweep, but no networks in `runs`.
    """
    return (folder / RECORD).is_file() or any(
        path.name != "empty.parquet" for path in _files(folder / RUNS.name, "[!_.]*.parquet")
    )


def _folders(folder: Location) -> list[Location]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if not path.name.startswith("_") and path.is_dir()), key=str)


def _files(folder: Location, pattern: str) -> list[Location]:
    return sorted(folder.glob(pattern), key=str) if folder.is_dir() else []
