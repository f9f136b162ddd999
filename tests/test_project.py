"""The files around the code say the same: versions, pins, hooks, CI, citation."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
MAKEFILE = (ROOT / "Makefile").read_text()

NEWER_IN_LOCK = {"certifi"}
"""databricks-sdk, which the extra mlflow needs, wants a newer one than the pins that `make` installs without it."""


def name_of(requirement: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    (locked,) = (package["version"] for package in LOCK if package["name"] == "tsrnn")
    assert {citation["version"], newest, locked} == {PROJECT["version"]}


def test_the_lock_has_the_pinned_versions():
    locked: dict[str, set[str]] = {}
    for package in LOCK:
        locked.setdefault(package["name"], set()).add(package["version"])
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if re.match(r"\w", line)
    )
    assert len(pins) > 100
    other = {name for name, version in pins.items() if version not in locked[name_of(name)]}
    assert other == NEWER_IN_LOCK


def test_the_lock_is_of_this_project():
    (own,) = (package["metadata"] for package in LOCK if package["name"] == "tsrnn")
    wanted = [name_of(text) for text in PROJECT["dependencies"]]
    for texts in PROJECT["optional-dependencies"].values():
        wanted += map(name_of, texts)
    assert sorted(one["name"] for one in own["requires-dist"]) == sorted(wanted)


def test_hooks_run_what_make_test_runs():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["id"] for hook in local["hooks"]] == ["ruff", "ruff-format", "mypy"]
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        assert f"$(BIN)/{hook['entry']}" in MAKEFILE


def test_the_workflow_runs_the_checks():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    (python,) = (step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert f">={python}" == PROJECT["requires-python"]


def test_the_citation_is_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what its format asks for
    paper = citation["preferred-citation"]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert paper["title"] in readme
    assert paper["url"] in readme
    cited = readme[readme.index("Please cite the paper") :]
    assert [author["family-names"] for author in paper["authors"]] == re.findall(
        r"(?:[A-Z]\. )+([A-Z]\w+)", cited[: cited.index("(2024)")]
    )


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "mlflow"])
def test_every_tracker_is_an_extra(tracker: str):
    """An error of `--log` names the extra."""
    assert tracker in PROJECT["optional-dependencies"]
