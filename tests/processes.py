"""The processes of this machine, for tests that start, kill and count them."""

import ipaddress
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """A process's children, their children and so on, with their command lines: no other program's."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = {}, [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            with suppress(FileNotFoundError, ProcessLookupError):
                found[child] = (Path("/proc") / str(child) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                todo.append(child)
    return found


def trials(pid: int) -> list[int]:
    """The processes of a running sweep's trials: Ray's workers, but those that wait for work."""
    worker = re.compile("ray::(?!IDLE|DashboardAgent|RuntimeEnvAgent)")
    return [child for child, command in descendants(pid).items() if worker.match(command)]


def is_running(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for has."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def fork(work: Callable[[], int]) -> int:
    """Start a fork of this process; it ends with the status that `work` returns, or 1 if it fails. Return its pid."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def kill(pids: Iterable[int]) -> None:
    """Kill processes that may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_everything(process: subprocess.Popen[str]) -> None:
    """Kill a sweep's driver, its Ray and its workers at once, as a power cut would."""
    kill([process.pid, *descendants(process.pid)])
    process.communicate()


def listening(pids: Iterable[int]) -> dict[tuple[str, int], int]:
    """Return the address and port of every TCP socket that these processes listen on, and which does."""
    owners = {}
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    owners[os.readlink(descriptor)] = pid
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in owners:
                address, port = local.split(":")
                # The kernel writes an address as words of four bytes, each in the machine's order.
                words = bytes.fromhex(address)
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found[str(ipaddress.ip_address(packed)), int(port, 16)] = owners[f"socket:[{inode}]"]
    return found
