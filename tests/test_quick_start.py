"""`--help`, and a mistake on the command line, do not wait for what takes seconds to import."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import app as analysis
from sweeps.command import tsrnn_app
from tsrnn.__main__ import app as tsrnn

ROOT = Path(__file__).resolve().parents[1]
SLOW = {"torch", "ray", "pandas", "scipy", "matplotlib", "pyarrow", "sklearn", "statsmodels", "optuna", "numba"}
SWEEPS = sorted(path.name for path in (ROOT / "sweeps").glob("[a-z]*.py"))
SUBCOMMANDS = {
    name: [command for command in app if command not in ("--help", "-h", "--version")]
    for name, app in (("analysis", analysis), ("tsrnn", tsrnn), ("sweeps.command", tsrnn_app()))
}

# Runs commands one after the other in one process, and prints for each its status and the modules loaded by then.
RUN = """
import contextlib, io, json, runpy, sys
for program, *words in json.loads(sys.argv[1]):
    sys.argv = [program, *words]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            if program.endswith(".py"):
                runpy.run_path(program, run_name="__main__")
            else:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as end:
            status = end.code
    modules = sorted(name for name in sys.modules if "." not in name)
    print(json.dumps({"status": status, "output": output.getvalue(), "modules": modules}))
"""


HELP = {
    "sweeps": [[f"sweeps/{name}", "--help"] for name in SWEEPS],
    **{
        package: [[package, "--help"], *([package, name, "--help"] for name in names)]
        for package, names in SUBCOMMANDS.items()
    },
}
MISTAKES = [
    ["sweeps/fixed_tau.py", "--taus", "0.5"],
    ["sweeps/fixed_tau.py", "--scale", "huge"],
    ["sweeps/curricula.py", "--taus", "1"],
    ["sweeps/fixed_tau.py", "--cpus-per-trial", "0"],
    ["sweeps/hyperparameters.py", "--stage", "13"],
    ["sweeps/retraining.py", "results", "--n", "1"],
    ["analysis", "timescales", "results", "--every", "0"],
    ["tsrnn", "evaluate", "file", "--seed", "-1"],
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], dict[str, Any]]:
    """What each command printed, its status, and the modules that were loaded by then, all in one process."""
    commands = [*(command for of_one in HELP.values() for command in of_one), *MISTAKES]
    words = [sys.executable, "-c", RUN, json.dumps(commands)]
    storage = tmp_path_factory.mktemp("storage") / "none"
    environment = os.environ | {"TSRNN_STORAGE": str(storage), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return {tuple(command): json.loads(line) for command, line in zip(commands, lines, strict=True)}


@pytest.mark.parametrize("package", HELP)
def test_help_loads_nothing_slow(told, package: str):
    assert len(HELP[package]) > 1
    for command in HELP[package]:
        found = told[tuple(command)]
        assert (command, found["status"], SLOW & {*found["modules"]}) == (command, 0, set())
        assert len(found["output"]) > 100


@pytest.mark.parametrize("command", MISTAKES, ids=" ".join)
def test_a_mistake_loads_nothing_slow(told, command: list[str]):
    found = told[tuple(command)]
    assert (found["status"], SLOW & {*found["modules"]}) == (2, set())
    assert found["output"].startswith("error: ")
    assert found["output"].count("\n") == 1
