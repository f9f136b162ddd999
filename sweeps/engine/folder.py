"""The folder of a sweep, `STORAGE/<sweep>/`, the record of its content, and the networks that remain to be trained.

`sweep.json` lists every network that the folder is meant to contain. It is written before any of them is trained, so
that a sweep that was interrupted can be finished from the folder alone.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, get_args

from pydantic import ValidationError

from sweeps.engine.errors import SweepError
from sweeps.engine.scales import ScaleName
from tsrnn.config import EndState, RunConfig, differences, explain
from tsrnn.config.presets import PresetName
from tsrnn.errors import UsageError
from tsrnn.io.claims import DRIVER, Claim, last_driver, recorded_number, take
from tsrnn.io.files import RECORD, Location, location, open_sealed_json, sealed_json
from tsrnn.io.lock import FolderLock, LockedError
from tsrnn.io.schemas import OUTCOMES, RUNS
from tsrnn.provenance import UNKNOWN, Code

if TYPE_CHECKING:
    from tsrnn.io.store import Store

_PARTS: Final = {"sweep", "scale", "preset", "base", "networks", "claim"}
# Reads and writes at a time; one by one, the rows of 10,000 networks take minutes, and more in an object store.
_WRITES: Final = 16


def has_ended(store: "Store", network_id: str) -> bool:
    """Return whether a network has an outcome that more training would not change."""
    return any(EndState(row["status"]).is_final for row in store.read(OUTCOMES, network_id))


@dataclass(frozen=True)
class Record:
    """The content of a folder: networks that share `base` and vary as the grid of the sweep defines."""

    sweep: str
    scale: ScaleName
    preset: PresetName
    base: RunConfig
    networks: tuple[RunConfig, ...]

    def including(self, networks: Iterable[RunConfig]) -> "Record":
        """Return the record with more networks; those that are already in it keep their place."""
        merged = tuple(dict.fromkeys((*self.networks, *networks)))
        return Record(self.sweep, self.scale, self.preset, self.base, merged)


class SweepFolder:
    """Reads and writes the record of a sweep's folder, and finds out which networks have ended."""

    def __init__(self, storage: str, sweep: str) -> None:
        """Create the object; nothing is written yet.

        Raises:
            UsageError: if `storage` is neither a folder of this file system nor one of an object store.
        """
        try:
            self.path: Location = location(storage).expanduser().absolute() / sweep
        except ValueError as error:
            raise UsageError(f"storage = {error}") from None
        except RuntimeError:
            raise UsageError(f"storage = {storage}: there is no such user here, or no home folder") from None
        self.sweep = sweep
        self._lock = FolderLock(self.path)
        self._claim: Claim | None = None
        # Networks that have ended, which does not change.
        self._ended: set[str] = set()

    def __enter__(self) -> Self:
        """Check that the folder can be written, and lock it if it exists, before anything that takes seconds.

        Raises:
            SweepError: it cannot be written, or another sweep is running in it.
        """
        self.require_writable()
        if self.path.exists():
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock of the folder."""
        self._lock.release()

    @cached_property
    def store(self) -> "Store":
        """The tables; they need pyarrow, whose import takes too long for an error in the command line."""
        from tsrnn.io.store import Store

        return Store(self.path)

    def read(self) -> Record | None:
        """Return the record of the folder, or None if the folder is absent or empty.

        Raises:
            SweepError: if the folder contains something else.
        """
        record = read_record(self.path)
        if record is None:
            if self._holds_nothing():
                return None
            raise SweepError(
                f"storage = {self.path}: holds files that are not a sweep's (no {RECORD}); choose another --storage"
            )
        from tsrnn.io.published import is_published  # pyarrow takes a moment to import

        if is_published(self.path):
            raise SweepError(
                f"storage = {self.path}: holds published results, in which a sweep does not train; choose another "
                f"--storage"
            )
        if record.sweep != self.sweep:
            raise SweepError(
                f"storage = {self.path}: holds the sweep {record.sweep}, not {self.sweep}; choose another --storage"
            )
        return record

    def _holds_nothing(self) -> bool:
        """Whether the folder is absent, or contains only the remains of a sweep that was killed while creating it."""
        found = (path for path in self.path.rglob("*") if not path.is_dir())
        below = (str(path).removeprefix(str(self.path)) for path in found)
        return all(name.endswith("/empty.parquet") or "/_" in name for name in below)

    def acquire(self) -> None:
        """Lock this folder against other sweeps until this context or this process ends.

        Raises:
            SweepError: another sweep is running in it, or it cannot be written.
        """
        try:
            self._lock.acquire()
        except LockedError as error:
            raise SweepError(
                f"storage = {self.path}: this sweep is running in it already ({error.holder}); wait until it ends, "
                f"stop it, or choose another --storage"
            ) from None
        except OSError as error:
            raise self.unwritable(error) from None

    @property
    def claim(self) -> Claim:
        """The claim on the whole folder, made at the first access; it ends the claims of earlier drivers.

        Raises:
            SweepError: the folder cannot be written.
            ClaimLostError: another driver was faster.
        """
        if self._claim is None:
            try:
                self._claim = take(self.path, DRIVER, after=last_driver(self.path))
                self._claim.adopt(self.path / RECORD, self._adopted)
            except OSError as error:
                raise self.unwritable(error) from None
        return self._claim

    def _adopted(self, data: bytes | None) -> bytes | None:
        """Return the record with the number of this driver; None if it is absent or damaged."""
        assert self._claim
        try:
            return None if data is None else sealed_json(open_sealed_json(data) | {"claim": self._claim.number})
        except ValueError:
            return None

    def require_writable(self) -> None:
        """Check that the folder can be created and written, before Ray is started, which takes seconds.

        Raises:
            SweepError: names the folder or file that is in the way.
        """
        if (obstacle := self.path.obstacle()) is not None:
            raise SweepError(f"storage = {self.path}: {obstacle} cannot be written; choose another --storage")

    def unwritable(self, error: Exception) -> SweepError:
        """Return the error to raise where the folder cannot be written."""
        return SweepError(f"storage = {self.path}: cannot be written ({error}); choose another --storage")

    def recorded_code(self) -> dict[str, Code]:
        """Return the code that `runs` records for each network, by network_id.

        Raises:
            StoreError: a file of the table is damaged.
        """
        from tsrnn.io.rows import CODE, recorded_code
        from tsrnn.io.store import read_folder

        if not (self.path / RUNS.name).exists():
            return {}
        rows = read_folder(self.path / RUNS.name, ["network_id", *CODE]).to_pylist()
        return {row["network_id"]: recorded_code(row) for row in rows}

    def write(self, record: Record, code: Mapping[str, Code] = MappingProxyType({})) -> None:
        """Make the folder and its empty tables, then write the record and the `runs` rows.

        Args:
            record: The intended content of the folder.
            code: The code with which new networks will begin, by network_id. It is written to their rows, even if these
                exist already.

        Raises:
            SweepError: if the folder cannot be written.
            ClaimLostError: another driver has taken over.
        """
        from tsrnn.io.rows import CODE, recorded_code, runs_row
        from tsrnn.io.store import StoreError, read_folder

        text = sealed_json(
            {
                "sweep": record.sweep,
                "scale": record.scale,
                "preset": record.preset,
                "base": json.loads(record.base.to_json()),
                "networks": [json.loads(network.to_json()) for network in record.networks],
                "claim": self.claim.number,
            }
        )
        try:
            self.store.create()
            self.claim.write(self.path / RECORD, text)
            # Rows of earlier versions lack the preset, and are written again.
            known = read_folder(self.path / RUNS.name, ["network_id", "preset", *CODE])
            kept = {row["network_id"]: row for row in known.to_pylist()}
            rows = {}
            for network in record.networks:
                row = kept.get(key := network.network_id, {})
                recorded = recorded_code(row)
                if not row.get("preset") or (key in code and not code[key].is_same(recorded)):
                    own = code.get(key, recorded)
                    rows[key] = [runs_row(network, record.sweep, record.scale, record.preset, own)]
            with ThreadPoolExecutor(_WRITES) as pool:
                list(pool.map(lambda key: self.store.write(RUNS, key, rows[key]), rows))
        except (OSError, StoreError) as error:
            raise self.unwritable(error) from None

    def fail(self, network: RunConfig, reason: str, code: Code = UNKNOWN) -> None:
        """Record that an error ended a network's run, unless a trial that was considered lost has ended it.

        Args:
            network: The network.
            reason: The error, in one line.
            code: The code that trained it.
        """
        from tsrnn.io.rows import outcomes_row
        from tsrnn.training.reports import Outcome

        with self.claimed(network.network_id) as store:
            if not has_ended(store, network.network_id):
                row = outcomes_row(network, Outcome(EndState.FAILED, reason), code=code)
                store.write(OUTCOMES, network.network_id, [row])

    @contextmanager
    def claimed(self, network_id: str) -> "Iterator[Store]":
        """Claim a network, and yield the tables for it; any trial that trains the network loses its claim.

        Raises:
            ClaimLostError: another driver has taken over.
            StoreError: a file of the network is damaged.
            OSError: the folder cannot be written.
        """
        from tsrnn.io.store import Store

        claim = self.claim.within(network_id)
        store = Store(self.path, claim)
        store.adopt(network_id)
        yield store
        claim.release()

    def unfinished(self, networks: Sequence[RunConfig]) -> list[RunConfig]:
        """Return the networks that have not ended; those that failed are among them."""
        if not (self.path / OUTCOMES.name).exists():
            return list(networks)
        found = self.store.finished(without=self._ended)
        self._ended |= {key for key, status in found.items() if EndState(status).is_final}
        return [network for network in networks if network.network_id not in self._ended]


def read_record(folder: Location) -> Record | None:
    """Return the record of a sweep's folder; None if it has none.

    Raises:
        SweepError: if the record is damaged.
    """
    file = folder / RECORD
    try:
        found = open_sealed_json(file.read_bytes())
        if unknown := found.keys() - _PARTS:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        recorded_number(found)
        return Record(
            sweep=found["sweep"],
            scale=_one_of(get_args(ScaleName), found["scale"]),
            preset=_one_of(get_args(PresetName), found["preset"]),
            base=RunConfig.from_json(json.dumps(found["base"])),
            networks=tuple(RunConfig.from_json(json.dumps(network)) for network in found["networks"]),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise SweepError(f"{file}: {explain(error)}; choose another --storage") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SweepError(f"{file}: not readable as a sweep's record ({error}); choose another --storage") from None


def require_same_base(folder: SweepFolder, record: Record, base: RunConfig) -> None:
    """Refuse to mix configurations in one folder.

    Raises:
        SweepError: if they differ; the message names the differences.
    """
    if record.base == base:
        return
    recorded, requested = _flat(differences(record.base)), _flat(differences(base))
    names = sorted(key for key in recorded.keys() | requested.keys() if recorded.get(key) != requested.get(key))
    differing = ", ".join(f"{k} ({recorded.get(k, 'default')}, now {requested.get(k, 'default')})" for k in names)
    raise SweepError(
        f"storage = {folder.path}: holds this sweep at scale {record.scale}, preset {record.preset}, which "
        f"differs in {differing}; use those settings or another --storage"
    )


def _one_of(allowed: tuple[str, ...], found: object) -> Any:
    if found not in allowed:
        raise ValueError(f"{found!r} is not one of {', '.join(allowed)}")
    return found


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
