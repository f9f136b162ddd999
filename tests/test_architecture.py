"""Imports run one way, and a package loads what it says it does."""

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("loaded", "forbidden"),
    [
        (["tsrnn"], {"ray", "pandas", "torch", "sweeps", "analysis"}),
        # pyarrow.dataset, which tsrnn.io.store needs, loads pandas by itself.
        (modules("tsrnn", without="tsrnn.distributed"), {"ray", "sweeps", "analysis"}),
        (modules("analysis", without=""), {"sweeps"}),
    ],
    ids=["import tsrnn", "tsrnn", "analysis"],
)
def test_a_package_does_not_load_what_uses_it(loaded: list[str], forbidden: set[str]):
    check = f"import sys, {', '.join(loaded)}; print({forbidden} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
