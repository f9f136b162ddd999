"""Imports run one way, and a package loads what it says it does."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.test_quick_start import SLOW

ROOT = Path(__file__).resolve().parents[1]


def test_imports_run_one_way():
    """The contracts are in pyproject.toml."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def modules(package: str, without: str) -> list[str]:
    files = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(file.parts).removesuffix(".__init__") for file in files]
    return [name for name in names if not without or not name.startswith(without)]


# All names of the package are there, also those that are imported when they are first used.
NAMES = """
assert {*tsrnn.__all__} <= {*dir(tsrnn)}
assert not hasattr(tsrnn, "nothing")
for name in tsrnn.__all__:
    getattr(tsrnn, name)
from tsrnn import *
assert train is tsrnn.training.loop.train
"""


def test_a_package_does_not_load_what_uses_it_nor_what_is_slow():
    """All in one process: each part is imported after those that it may use."""
    parts = [
        (["tsrnn"], SLOW | {"sweeps", "analysis"}),
        (modules("tsrnn", without="tsrnn.distributed"), {"ray", "pandas", "sweeps", "analysis"}),
        (modules("analysis", without=""), {"sweeps"}),
    ]
    first, *others = (f"import {', '.join(loaded)}\nprint({bad} & sys.modules.keys())" for loaded, bad in parts)
    check = "\n".join(["import sys", first, NAMES, *others])
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()"] * len(parts)


def imported(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def name_of(requirement: str) -> str:
    """A distribution's name as PyPI compares it, without extras and versions."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


distributions = cache(packages_distributions)

OWN = {"tsrnn", "sweeps", "analysis", "benchmarks", "tests"}


@pytest.mark.parametrize("package", sorted(OWN))
def test_what_is_imported_is_declared(package: str):
    """Every package that the code imports is in pyproject.toml, and not only there because another needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {name_of(text) for text in project["dependencies"]}
    if package in ("tests", "benchmarks"):
        declared |= {name_of(text) for texts in project["optional-dependencies"].values() for text in texts}
    providers = distributions()
    modules = {module.split(".")[0] for path in (ROOT / package).rglob("*.py") for module in imported(path)}
    others = modules - OWN - sys.stdlib_module_names
    undeclared = {module for module in others if not {name_of(name) for name in providers.get(module, ())} & declared}
    assert undeclared == set()


def test_what_is_declared_is_imported():
    """Every package that users must install is imported by the code that they run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = ("tsrnn", "sweeps", "analysis")
    modules = {name for own in packages for path in (ROOT / own).rglob("*.py") for name in imported(path)}
    providers = distributions()
    used = {name_of(name) for module in modules for name in providers.get(module.split(".")[0], ())}
    assert {name_of(text) for text in project["dependencies"]} <= used


def test_private_parts_of_ray_are_used_in_one_module():
    files = [path for package in OWN - {"tests"} for path in (ROOT / package).rglob("*.py")]
    found = [path.name for path in files if re.search(r"ray\._private|run_metadata", path.read_text())]
    assert found == ["ray_internals.py"]
