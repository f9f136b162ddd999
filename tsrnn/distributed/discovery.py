"""Finds the Ray cluster that a program should use."""

import os
import socket
from typing import Final

from tsrnn.distributed.ray_internals import answers_as_ray, started_address
from tsrnn.errors import Failure, UsageError

# Seconds that a cluster has to answer. Ray itself would wait for minutes at a port that something else listens on.
_PATIENCE: Final = 10.0


def find(address: str) -> str | None:
    """Return the address that `ray.init` should join, or None if there is no cluster here.

    Args:
        address: auto (RAY_ADDRESS, or the cluster that `ray start` made this machine part of), local or HOST:PORT.

    Raises:
        UsageError: it is none of these.
        Failure: no Ray cluster answers at the address.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto") or "auto"
    if address == "local":
        return None
    if address != "auto":
        if reason := _refused(address):
            raise Failure(f"address = {address}: no Ray cluster answers there ({reason}); try --address local")
        return address
    started = started_address()
    # A cluster that was killed left its address behind. "auto" lets Ray find a cluster's token by itself.
    return "auto" if started is not None and not _refused(started) else None


def require_address(address: str) -> None:
    """Check the form of an address, without looking for a cluster.

    Raises:
        UsageError: it is none of those that `find` takes.
    """
    if address not in ("auto", "local"):
        _host_and_port(address)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"address = {address!r}: allowed are auto, local and HOST:PORT")
    return host, int(port)


def _refused(address: str) -> str:
    """Return why no Ray answers at HOST:PORT; empty where one does.

    Raises:
        UsageError: that is not what the address is.
    """
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=_PATIENCE / 2).close()
    except OSError as error:
        return str(error)
    if answers_as_ray(host, port, _PATIENCE):
        return ""
    return f"something listens there, and did not answer as Ray does within {_PATIENCE:g} s"
