"""Imports run one way: every module imports from rows above its own only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    ("kinds", "errors", "randomness", "records", "files", "autocorrelation", "exponentials", "logistic"),
    ("tasks", "bartlett", "lock"),
    ("config", "timescales"),
    ("networks", "curriculum", "presets", "store"),
    ("sampling", "optimizers", "plugins", "interventions", "dynamics"),
    ("checkpoint", "simulation"),
    ("evaluation", "reference", "command_line"),
    ("training",),
    ("tabulate",),
    ("__init__", "__main__"),
)
ROW = {module: row for row, modules in enumerate(LAYERS) for module in modules}


def imported(path: Path) -> set[str]:
    """Return the full names of everything a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """Return the part of tsrnn a file belongs to: a package inside counts as one."""
    return path.relative_to(ROOT / "tsrnn").with_suffix("").parts[0]


def parts_of_tsrnn(names: set[str]) -> set[str]:
    """Return the parts of tsrnn among full names: "tsrnn.config.SGD" and "tsrnn.config" are of config."""
    parts = [name.split(".") for name in names if name.split(".")[0] == "tsrnn"]
    return {part[1] if part[1:] and part[1] in ROW else "__init__" for part in parts}


@pytest.mark.parametrize("path", files("tsrnn"), ids=name_of)
def test_a_module_imports_from_rows_above_its_own(path: Path):
    module = module_of(path)
    assert module in ROW, f"give tsrnn/{module} a place in LAYERS"
    others = parts_of_tsrnn(imported(path)) - {module}
    assert {other for other in others if ROW[other] >= ROW[module]} == set()


def test_every_place_in_the_layers_is_taken():
    assert {module_of(path) for path in files("tsrnn")} == ROW.keys()


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("tsrnn", {"ray", "pandas", "sweeps", "analysis", "tests"}), ("analysis", {"sweeps", "tests"})],
)
def test_packages_that_must_not_be_imported(package: str, forbidden: set[str]):
    for path in files(package):
        assert {name.split(".")[0] for name in imported(path)}.isdisjoint(forbidden), path


def test_importing_tsrnn_loads_neither_ray_nor_pandas_nor_what_uses_tsrnn():
    check = "import sys, tsrnn; print({'ray', 'pandas', 'sweeps', 'analysis'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_part_of_a_package_loads_what_uses_it():
    # pyarrow.dataset, which tsrnn.store needs, loads pandas by itself.
    for package, forbidden in (("tsrnn", {"ray", "sweeps", "analysis"}), ("analysis", {"sweeps"})):
        modules = [name_of(path).removesuffix(".py").replace("/", ".") for path in files(package)]
        check = f"import sys, {', '.join(modules)}; print({forbidden} & sys.modules.keys())"
        done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"
