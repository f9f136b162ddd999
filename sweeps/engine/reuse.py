"""Reuse: a network is trained only once in a storage, however many sweeps request it.

A network's id is a hash of its configuration and seed, so two sweeps that request the same id request the same numbers.
The rows and checkpoints of networks that another sweep in the storage has finished are copied. Each folder is therefore
complete by itself, and its tables can be queried or moved elsewhere. Checkpoints are hard links if the file system
supports them, and then need no space.
"""

from collections.abc import Mapping, Sequence

from sweeps.engine.folder import SweepFolder
from tsrnn.config import EndState, RunConfig
from tsrnn.io.files import RECORD, Location
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, RUNS, SOLVED


def finished_elsewhere(folder: SweepFolder, networks: Sequence[RunConfig]) -> dict[str, Location]:
    """Return the networks that other sweeps of this storage have finished: their folders, by network_id.

    Args:
        folder: The folder of the sweep; those of the other sweeps are beside it.
        networks: The networks that the sweep has not finished.
    """
    from tsrnn.io.store import Store, StoreError

    wanted, found = {network.network_id for network in networks}, dict[str, Location]()
    if not wanted or not folder.path.parent.is_dir():
        return found
    for other in folder.path.parent.iterdir():
        if other == folder.path or not (other / RECORD).is_file():
            continue
        try:
            finished = Store(other).finished()
        except StoreError:  # a damaged or empty folder counts as having no networks
            continue
        found |= {key: other for key, status in finished.items() if key in wanted and EndState(status).is_final}
    return found


def take_over(folder: SweepFolder, found: Mapping[str, Location]) -> list[str]:
    """Copy finished networks into a sweep's folder, and return the ids of the complete ones.

    The outcome is written last, so that a network whose copy was interrupted is copied or trained again.

    Args:
        folder: The folder of the sweep, locked and with its record written.
        found: The result of `finished_elsewhere`.

    Raises:
        StoreError, OSError: the folder cannot be written.
        ClaimLostError: another driver has taken it over.
    """
    from tsrnn.io.checkpoint import CheckpointError, load
    from tsrnn.io.rows import CODE
    from tsrnn.io.store import Store, StoreError

    taken = []
    for key, other in found.items():
        source = Store(other)
        try:
            rows = {table: source.read(table, key) for table in (HEADS, SOLVED, EPOCHS, OUTCOMES)}
            began = [{name: row[name] for name in CODE} for row in source.read(RUNS, key)]
            kept = sorted((other / "checkpoints" / key).glob("[!_.]*.safetensors"), key=str)
            if {load(path).config.network_id for path in kept} - {key}:
                continue
        except (StoreError, CheckpointError, OSError):  # a damaged network is trained instead
            continue
        if not {row["checkpoint"] for row in rows[SOLVED]} <= {f"checkpoints/{key}/{path.name}" for path in kept}:
            continue
        if began:
            folder.store.write(RUNS, key, [row | began[0] for row in folder.store.read(RUNS, key)])
        with folder.claimed(key) as store:
            for path in kept:
                path.copy_to(folder.path / "checkpoints" / key / path.name)
            for table, own in rows.items():
                store.write(table, key, own)
        taken.append(key)
    return taken
