"""What a power cut leaves: which files and folders are synced, in which order, and what happens where that fails."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tsrnn.io.local import LocalPath
from tsrnn.io.store import Store


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """What is synced, renamed and made below `tmp_path`, in order."""
    found: list[tuple[str, str]] = []
    fsync, rename, mkdir = os.fsync, os.replace, os.mkdir

    def below(path: object) -> str:
        return str(Path(os.fspath(path)).relative_to(tmp_path))

    def sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        # A temporary name is no one's business.
        found.append(("sync", below(path) if os.path.isdir(path) else "content"))
        fsync(descriptor)

    def replace(source: object, target: object, **options: object) -> None:
        rename(source, target, **options)
        found.append(("rename", below(target)))

    def make(path: object, *options: object, **named: object) -> None:
        mkdir(path, *options, **named)
        found.append(("make", below(path)))

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "rename", replace)
    monkeypatch.setattr(os, "mkdir", make)
    return found


def test_the_content_is_on_disk_before_the_name_and_the_name_before_the_return(calls, tmp_path):
    LocalPath(tmp_path / "file").write(b"content")
    assert calls == [("sync", "content"), ("rename", "file"), ("sync", ".")]


def test_every_new_folder_is_synced_into_its_parent(calls, tmp_path):
    LocalPath(tmp_path / "a" / "b" / "file").write(b"content")
    assert calls == [
        ("make", "a"),
        ("sync", "."),
        ("make", "a/b"),
        ("sync", "a"),
        ("sync", "content"),
        ("rename", "a/b/file"),
        ("sync", "a/b"),
    ]


def test_the_tables_of_a_sweep(calls, tmp_path):
    Store(tmp_path / "sweep").create()
    made = [path for what, path in calls if what == "make"]
    assert "sweep/epochs" in made
    for path in made:
        assert ("sync", str(Path(path).parent)) in calls[calls.index(("make", path)) :]
    for what, path in calls:
        if what == "rename":
            assert ("sync", str(Path(path).parent)) in calls[calls.index((what, path)) :]


def failing(kind: str, number: int) -> Callable[[int], None]:
    """Return an fsync that fails for folders, or for files."""
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        if os.path.isdir(os.readlink(f"/proc/self/fd/{descriptor}")) == (kind == "folder"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    return sync


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_sync_folders(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing("folder", number))
    LocalPath(tmp_path / "new" / "file").write(b"content")
    assert (tmp_path / "new" / "file").read_bytes() == b"content"
    monkeypatch.setattr(os, "fsync", failing("file", number))
    with pytest.raises(OSError, match=os.strerror(number)):
        LocalPath(tmp_path / "new" / "file").write(b"other")
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def test_a_folder_that_fails_to_sync_is_an_error_that_says_what_is_in_place(tmp_path, monkeypatch):
    file = LocalPath(tmp_path / "file")
    file.write(b"old")
    monkeypatch.setattr(os, "fsync", failing("folder", errno.EIO))
    with pytest.raises(OSError, match=r"the new content is in place, but a power cut may undo it: '.*/file'") as error:
        file.write(b"new")
    assert error.value.errno == errno.EIO
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"new"


def test_a_folder_that_may_be_written_and_not_read(tmp_path, monkeypatch):
    """It cannot be opened, and hence not synced."""
    open_ = os.open

    def refuse(path: object, flags: int, *mode: int) -> int:
        if os.fspath(path) == str(tmp_path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    LocalPath(tmp_path / "file").write(b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
