"""A folder has one holder at a time, and none that is dead."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tsrnn.io.lock import FolderLock, LockedError

HOLD = """
import sys
from pathlib import Path
from tsrnn.io.lock import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_holder_is_named_and_keeps_the_lock(tmp_path, holder):
    with pytest.raises(LockedError) as refused:
        FolderLock(tmp_path).acquire()
    assert refused.value.holder == f"process {holder.pid} on {socket.gethostname()}"
    with pytest.raises(LockedError):
        FolderLock(tmp_path).acquire()


def test_a_killed_holder_leaves_no_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / "_lock").exists()
    with FolderLock(tmp_path) as lock:
        assert lock.acquire()
        assert str(os.getpid()) in (tmp_path / "_lock").read_text()


def test_a_holder_that_left_nothing_readable(tmp_path, holder):
    (tmp_path / "_lock").write_bytes(b"\xff")
    with pytest.raises(LockedError, match="locked by another process"):
        FolderLock(tmp_path).acquire()


def test_locks_of_one_process_exclude_each_other_until_released(tmp_path):
    folder = tmp_path / "not" / "yet"
    with FolderLock(folder) as first:
        assert first.acquire()
        assert first.acquire()
        with pytest.raises(LockedError, match=f"process {os.getpid()} on"):
            FolderLock(folder).acquire()
        assert FolderLock(folder, "other").acquire()
    assert FolderLock(folder).acquire()


def test_a_child_does_not_inherit_it(tmp_path):
    with FolderLock(tmp_path) as lock:
        lock.acquire()
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    assert FolderLock(tmp_path).acquire()
    child.kill()
    child.wait()


def test_a_file_system_without_locks_is_told_of_once(tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not FolderLock(tmp_path).acquire()
    assert not FolderLock(tmp_path, "other").acquire()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"warning: {tmp_path}: its file system has no locks (Operation not supported)" in said


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        FolderLock(tmp_path / "file" / "folder").acquire()
