"""`--help`, and a mistake on the command line, do not wait for what takes seconds to import."""

import json
import os
import subprocess
import sys
from pathlib import Path

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


def run(commands: list[list[str]], folder: Path) -> list[dict[str, object]]:
    words = [sys.executable, "-c", RUN, json.dumps(commands)]
    environment = os.environ | {"TSRNN_STORAGE": str(folder / "none"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("package", ["sweeps", *SUBCOMMANDS])
def test_help_loads_nothing_slow(package: str, tmp_path: Path):
    if package == "sweeps":
        commands = [[f"sweeps/{name}", "--help"] for name in SWEEPS]
    else:
        commands = [[package, "--help"], *([package, name, "--help"] for name in SUBCOMMANDS[package])]
    found = run(commands, tmp_path)
    assert len(found) == len(commands)
    for command, told in zip(commands, found, strict=True):
        assert (command, told["status"], SLOW & {*told["modules"]}) == (command, 0, set())
        assert len(told["output"]) > 100


def test_a_mistake_loads_nothing_slow(tmp_path: Path):
    commands = [
        ["sweeps/fixed_tau.py", "--taus", "0.5"],
        ["sweeps/fixed_tau.py", "--scale", "huge"],
        ["sweeps/curricula.py", "--taus", "1"],
        ["sweeps/fixed_tau.py", "--cpus-per-trial", "0"],
        ["sweeps/hyperparameters.py", "--stage", "13"],
        ["sweeps/retraining.py", "results", "--n", "1"],
        ["analysis", "timescales", "results", "--every", "0"],
        ["tsrnn", "evaluate", "file", "--seed", "-1"],
    ]
    for command, told in zip(commands, run(commands, tmp_path), strict=True):
        assert (command, told["status"], SLOW & {*told["modules"]}) == (command, 2, set())
        assert told["output"].startswith("error: ")
        assert told["output"].count("\n") == 1


def test_importing_tsrnn_loads_nothing_slow_and_names_everything():
    check = f"""
import sys, tsrnn
assert not {SLOW} & sys.modules.keys(), {SLOW} & sys.modules.keys()
assert {{*tsrnn.__all__}} <= {{*dir(tsrnn)}}
assert not hasattr(tsrnn, "nothing")
for name in tsrnn.__all__:
    getattr(tsrnn, name)
from tsrnn import *
assert train is tsrnn.training.loop.train
"""
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
