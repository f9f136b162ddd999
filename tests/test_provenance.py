"""Which code it was: the hash of a second copy of the package, its commit, and plugins' files."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tsrnn import provenance
from tsrnn.io.rows import code_columns, recorded_code
from tsrnn.provenance import UNKNOWN, Code

ROOT = Path(__file__).resolve().parents[1]
ASK = "from tsrnn import provenance; print(provenance.__file__, provenance.package_hash(), provenance.commit() or '-')"

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")


def copied(folder: Path) -> Path:
    """Copy the package's sources into a folder."""
    shutil.copytree(ROOT / "tsrnn", folder / "tsrnn", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def asked(folder: Path, **environment: str) -> tuple[str, str]:
    """Ask another process, which has that copy: hash and commit."""
    command = [sys.executable, "-c", ASK]
    own = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    said = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=True).stdout.split()
    assert Path(said[0]).is_relative_to(folder)
    return said[1], said[2].strip("-")


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=someone", "-c", "user.email=someone", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_copy_is_the_same_code_and_an_edit_is_not(tmp_path):
    copy = copied(tmp_path)
    assert asked(copy) == (provenance.package_hash(), "")
    file = copy / "tsrnn" / "tasks" / "parity.py"
    file.write_text(file.read_text() + "\n")
    edited = asked(copy)[0]
    assert edited != provenance.package_hash()
    # The same contents under another name.
    (copy / "tsrnn" / "one.py").write_text("ONE = 1")
    added = asked(copy)[0]
    (copy / "tsrnn" / "one.py").rename(copy / "tsrnn" / "two.py")
    assert len({provenance.package_hash(), edited, added, asked(copy)[0]}) == 4


def test_what_is_no_source_does_not_count(tmp_path):
    copy = copied(tmp_path)
    (copy / "tsrnn" / "notes.txt").write_text("not code")
    (copy / "other.py").write_text("not the package's")
    # An editor's lock, and a copy that a notebook keeps.
    (copy / "tsrnn" / "tasks" / ".#parity.py").symlink_to("someone@somewhere.1234")
    (copy / "tsrnn" / ".ipynb_checkpoints").mkdir()
    (copy / "tsrnn" / ".ipynb_checkpoints" / "errors-checkpoint.py").write_text("")
    assert asked(copy)[0] == provenance.package_hash()


def test_it_takes_milliseconds():
    provenance.package_hash.cache_clear()
    began = time.process_time()
    provenance.package_hash()
    assert time.process_time() - began < 0.1


@needs_git
def test_the_commit_is_that_of_the_checkout_and_says_what_is_changed(tmp_path):
    copy = copied(tmp_path / "checkout")
    git(copy, "init", "-q")
    assert asked(copy)[1] == ""
    git(copy, "add", "tsrnn")
    assert asked(copy)[1] == ""
    git(copy, "commit", "-qm", "first")
    head = git(copy, "rev-parse", "HEAD")
    assert asked(copy)[1] == head
    (copy / "README").write_text("elsewhere")
    git(copy, "add", "README")
    assert asked(copy)[1] == head
    (copy / "tsrnn" / "errors.py").write_text("# changed\n" + (copy / "tsrnn" / "errors.py").read_text())
    assert asked(copy)[1] == f"{head}-dirty"
    # As in a hook of another repository.
    assert asked(copy, GIT_DIR=str(tmp_path / "nowhere"))[1] == f"{head}-dirty"


@needs_git
def test_without_git_there_is_no_commit(tmp_path):
    copy = copied(tmp_path)
    git(copy, "init", "-q")
    git(copy, "add", "tsrnn")
    git(copy, "commit", "-qm", "first")
    assert asked(copy)[1] != ""
    assert asked(copy, PATH="/nowhere") == (provenance.package_hash(), "")


@needs_git
def test_a_package_that_lies_in_the_checkout_of_another_project_has_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    assert asked(copied(tmp_path / "lib"))[1] == ""


class TestPlugins:
    @pytest.fixture(autouse=True)
    def fresh(self):
        provenance._hash_of.cache_clear()

    def test_they_have_a_hash_each_by_name_wherever_they_lie(self, tmp_path):
        for folder in ("here", "there"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "majority.py").write_text("MAJORITY = 1\n")
        here, there = (provenance.code([tmp_path / folder / "majority.py"]) for folder in ("here", "there"))
        assert here.is_same(there)
        assert list(json.loads(here.plugins)) == ["majority.py"]
        (tmp_path / "there" / "majority.py").write_text("MAJORITY = 2\n")
        provenance._hash_of.cache_clear()
        changed = provenance.code([tmp_path / "there" / "majority.py"])
        assert not changed.is_same(here)
        assert changed.code == here.code
        both = provenance.code([tmp_path / folder / "majority.py" for folder in ("here", "there")])
        assert json.loads(both.plugins) == {
            "majority.py": json.loads(here.plugins)["majority.py"],
            "there/majority.py": json.loads(changed.plugins)["majority.py"],
        }

    def test_one_that_is_absent_has_no_hash(self, tmp_path):
        assert json.loads(provenance.code([tmp_path / "absent.py"]).plugins) == {"absent.py": ""}


def test_what_is_not_known_is_the_same_as_nothing():
    known = Code("0123456789abcdef", "c" * 40)
    assert known.is_same(Code("0123456789abcdef"))
    assert not UNKNOWN.is_same(UNKNOWN)
    assert not known.is_same(UNKNOWN)
    assert recorded_code({"network_id": "n1"}) == UNKNOWN == recorded_code(code_columns(UNKNOWN))
    assert code_columns(UNKNOWN) == {"code": None, "commit": None, "plugins": None}
    assert recorded_code(code_columns(known)) == known
    assert str(UNKNOWN) == "code that is not recorded"
    assert str(Code("0123", f"{'c' * 40}-dirty")) == "code 0123 (commit cccccccccc with changes)"
