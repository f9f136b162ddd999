"""A check that networks continue with the code with which they began.

If one version of the code trained the first half of a network and another the second, its numbers are those of neither
version. This is refused unless it is explicitly allowed. Networks that have ended or have not begun are never refused:
the tables record the code that trained each network.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from rich.console import Console

from sweeps.engine.errors import SweepError
from sweeps.engine.folder import SweepFolder
from tsrnn.command_line import counted
from tsrnn.config import RunConfig
from tsrnn.io.files import AnyLocation
from tsrnn.plugins import files_of
from tsrnn.provenance import Code, code

# Reads at a time; in an object store, each is a request.
_READS: Final = 16


def code_of(networks: Sequence[RunConfig]) -> Code:
    """Return the code of this process that trains some networks, including their plugins.

    Raises:
        PluginError: if a task or a network is defined in no file.
    """
    return code(files_of(networks))


def require_same_code(
    folder: SweepFolder, waiting: Sequence[RunConfig], console: Console, *, allowed: bool
) -> dict[str, Code]:
    """Refuse to continue networks that were begun with other code; if that is allowed, report it.

    Args:
        folder: The folder of the sweep.
        waiting: The networks that have not ended.
        console: Where other code in the folder is reported, in one line.
        allowed: Whether networks may continue with other code.

    Returns:
        The code with which new networks will begin, by network_id.

    Raises:
        SweepError: networks would continue with other code, and this is not allowed.
        StoreError: a file of the folder is damaged.
        PluginError: see `code_of`.
    """
    recorded = folder.recorded_code()
    now = {network.network_id: code_of([network]) for network in waiting}
    differ = [key for key, own in now.items() if key in recorded and not recorded[key].is_same(own)]
    begun = _begun(folder, differ)
    require_same(folder.path, folder.sweep, [(recorded[key], now[key]) for key in begun], console, allowed=allowed)
    here = {own.code for own in now.values()}
    others = [recorded[key] for key in recorded.keys() - set(differ) if recorded[key].code not in here]
    if now and others and not begun:
        _say(
            console,
            f"{folder.sweep}: {counted(len(others), 'network')} in {folder.path} {_are(others)} of {_listed(others)}; "
            f"those that are trained now are of {_listed(list(now.values()))}",
        )
    return {key: own for key, own in now.items() if key not in begun}


def require_same(
    place: AnyLocation,
    name: str,
    going_on: Sequence[tuple[Code, Code]],
    console: Console,
    *,
    allowed: bool,
    what: str = "network",
) -> None:
    """Refuse to continue networks with other code than they began with, unless this is allowed or unknown.

    Args:
        place: Where the networks are stored.
        name: The name of the sweep.
        going_on: For each network, the code that began it and the code with which it would continue.
        console: Where networks that continue with other code are reported.
        allowed: Whether they may continue.
        what: The noun for one of them in messages.

    Raises:
        SweepError: some would continue with other code, and this is not allowed.
    """
    other = [(begun, now) for begun, now in going_on if begun.code and not begun.is_same(now)]
    silent = [(begun, now) for begun, now in going_on if not begun.code]
    for pairs, known in ((other, True), (silent, False)):
        if not pairs:
            continue
        before, after = _listed([begun for begun, _ in pairs]), _listed([now for _, now in pairs])
        if known and not allowed:
            raise SweepError(
                f"storage = {place}: {counted(len(pairs), what)} would continue with {after}, and {_were(pairs)} begun "
                f"with {before}; use that code, another --storage, or allow both with --allow-other-code"
            )
        count = counted(len(pairs), what)
        said = (
            f"{count} {_were(pairs)} begun with {before}" if known else f"it is not recorded which code began {count}"
        )
        _say(console, f"{name}: {said}; training continues with {after}")


def _begun(folder: SweepFolder, keys: Sequence[str]) -> list[str]:
    """Return which of these networks have trained an epoch."""
    from tsrnn.io.store import StoreError

    def begun(key: str) -> bool:
        try:
            return folder.store.last_epoch(key) > 0
        except StoreError:  # damaged, so it exists; its trial reports the damage
            return True

    with ThreadPoolExecutor(_READS) as pool:
        return [key for key, has in zip(keys, pool.map(begun, keys), strict=True) if has]


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)


def _listed(codes: Sequence[Code]) -> str:
    return " and ".join(sorted({str(one) for one in codes}))


def _are(items: Sequence[object]) -> str:
    return "is" if len(items) == 1 else "are"


def _were(items: Sequence[object]) -> str:
    return "was" if len(items) == 1 else "were"
