"""The temporary folder of Tune: what killed programs left goes, what another user of the machine laid out does not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.scratch import scratch
from tests.sweeps.commands import contents
from tsrnn.io.lock import FolderLock

NOBODY = 65534


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder of temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir(mode=0o777)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def left(folder: Path, mode: int = 0o700) -> Path:
    """Lay out a folder as a program that was killed long ago left it."""
    folder.mkdir()
    folder.chmod(mode)
    (folder / "state.json").write_text("{}")
    (folder / "_lock").write_text("a process")
    os.utime(folder / "_lock", (0, 0))
    return folder


def test_what_killed_programs_left_is_removed(temporary):
    for name in ("tsrnn-dead", "tsrnn-alive", "tsrnn-new", "tsrnn-foreign", "other-dead"):
        left(temporary / name)
    (temporary / "tsrnn-foreign" / "_lock").unlink()
    os.utime(temporary / "tsrnn-new" / "_lock")
    with FolderLock(temporary / "tsrnn-alive") as alive:
        alive.acquire()
        os.utime(alive.path, (0, 0))
        with scratch() as ours:
            found = {path.name for path in temporary.iterdir()}
            assert found == {"tsrnn-alive", "tsrnn-new", "tsrnn-foreign", "other-dead", Path(ours).name}
            assert Path(ours).stat().st_mode & 0o777 == 0o700
    assert not Path(ours).exists()


class TestAttack:
    """Another user may make what he likes in the folder of temporary files, but in a folder of the victim's."""

    @pytest.fixture
    def victim(self, tmp_path: Path) -> Path:
        """A folder that looks like what a killed program left, with a file that its owner needs."""
        folder = left(tmp_path / "home")
        (folder / "thesis.txt").write_text("years of work")
        os.utime(folder / "thesis.txt", (0, 0))
        return folder

    @pytest.fixture
    def nothing_touched(self, victim: Path, temporary: Path) -> Callable[[], None]:
        """Fails if a scratch folder changes anything that there is now."""

        def look() -> tuple[dict[str, bytes], dict[str, os.stat_result]]:
            found = (victim, *victim.rglob("*"), *temporary.rglob("*"))
            return contents(victim), {str(path): tuple(path.lstat())[:7] + path.lstat()[8:] for path in found}

        def check() -> None:
            before = look()
            with scratch():
                pass
            assert look() == before

        return check

    def test_a_link_in_place_of_a_folder(self, temporary, victim, nothing_touched):
        (temporary / "tsrnn-1").symlink_to(victim)
        (temporary / "tsrnn-2").symlink_to(temporary / "nothing")
        nothing_touched()

    @pytest.mark.parametrize("mode", [0o777, 0o755, 0o700])
    @pytest.mark.parametrize("target", ["thesis.txt", "_lock", "new.txt", "."])
    def test_a_link_in_place_of_a_lock(self, temporary, victim, nothing_touched, mode, target):
        folder = left(temporary / "tsrnn-1", mode)
        (folder / "_lock").unlink()
        (folder / "_lock").symlink_to(victim / target)
        nothing_touched()

    def test_a_second_name_of_a_file_in_place_of_a_lock(self, temporary, victim, nothing_touched):
        folder = left(temporary / "tsrnn-1", 0o777)
        (folder / "_lock").unlink()
        os.link(victim / "thesis.txt", folder / "_lock")
        nothing_touched()

    def test_a_pipe_in_place_of_a_lock(self, temporary, nothing_touched):
        folder = left(temporary / "tsrnn-1")
        (folder / "_lock").unlink()
        os.mkfifo(folder / "_lock")
        os.utime(folder / "_lock", (0, 0))
        nothing_touched()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_folder_of_another_user(self, temporary, nothing_touched):
        os.chown(left(temporary / "tsrnn-1"), NOBODY, NOBODY)
        nothing_touched()

    def test_links_in_a_folder_that_is_removed_are_removed_and_not_followed(self, temporary, victim):
        folder, before = left(temporary / "tsrnn-1"), contents(victim)
        (folder / "link").symlink_to(victim)
        with scratch():
            assert not folder.exists()
        assert contents(victim) == before


def test_a_lock_is_no_link(tmp_path):
    """Taking it would write over what the link points to."""
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "sweep").mkdir()
    for target in ("thesis.txt", "new.txt"):
        (tmp_path / "sweep" / "_lock").symlink_to(tmp_path / target)
        with pytest.raises(OSError, match="_lock"):
            FolderLock(tmp_path / "sweep").acquire()
        (tmp_path / "sweep" / "_lock").unlink()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "new.txt").exists()
