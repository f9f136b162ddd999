"""README, CONTRIBUTING and docs/: their Python runs, their commands parse, their links lead somewhere.

Every block of code is executed here or by the test that `EXECUTED` names; every command is parsed by the program
that it calls, or listed in `NOT_PARSED` with the reason.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from analysis.__main__ import main as analysis
from analysis.claims.catalogue import CLAIMS
from analysis.data.spikes import read
from tests.handmade import HandMade, config, solved
from tsrnn.io.files import location

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
}
TOKENS: Final = {page: MarkdownIt("js-default").parse(text) for page, text in PAGES.items()}

EXECUTED: Final = {
    "README.md": "here",
    "docs/tables.md": "here",
    "docs/report.md": "here",
    "docs/library.md": "here",
    "docs/mechanisms.md": "here",
    "docs/timescales.md": "here",
    "docs/spikes.md": "here",
    "docs/interventions.md": "here",
    "docs/study/remember.md": "here",
    "docs/extending.md": "tests/test_extension.py",
}
"""Where the Python of each page is executed. A test here takes all blocks of its page, so that a new one fails it."""

LANGUAGES: Final = {"bash", "python", "text"}
"""Commands, Python, and what a program printed."""

NOT_PARSED: Final = {
    "python3 -m venv .venv": "makes an environment",
    "source .venv/bin/activate": "is the shell's",
    "pip install": "installs packages",
    "ray": "needs a cluster or cloud",
    "export RAY_AUTH_MODE=token": "is the shell's",
    "RAY_worker_niceness=0 ray start": "starts Ray on this machine, for every other test too",
    "sbatch": "needs Slurm",
    "aws": "needs an account",
    "tensorboard": "is no dependency",
    "optuna-dashboard": "is no dependency",
    "pre-commit": "is no dependency",
    "uv": "is no dependency",
}
"""Commands by their first words, and why they are not tried."""

# Parses commands one after the other in one process, without running them, and prints what was wrong with each.
PARSE: Final = """
import argparse, json, runpy, sys
from cyclopts import App

def parse(app, tokens=None, **_):
    app.parse_args(sys.argv[1:] if tokens is None else tokens, exit_on_error=False, print_error=False)
    parsed.append(True)

App.__call__ = parse

of_argparse = argparse.ArgumentParser.parse_args

def parse_args(parser):
    of_argparse(parser)
    parsed.append(True)
    sys.exit(0)

argparse.ArgumentParser.parse_args = parse_args
for program, *words in json.loads(sys.argv[1]):
    sys.argv, parsed, error = [program, *words], [], None
    try:
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        error = end.code
    except Exception as raised:
        error = repr(raised)
    print(json.dumps([bool(parsed), error]))
"""


def python(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return [token.content for token in TOKENS[page] if token.type == "fence" and token.info == "python"]


def commands(page: str) -> list[str]:
    """Return the commands of a page, those within its sentences among them, without comments."""
    blocks = [token.content for token in TOKENS[page] if token.type == "fence" and token.info == "bash"]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for token in _inline(page):
        if token.type == "code_inline" and re.match(r"(python|make|tsrnn) [\w-]", token.content):
            # "[--option value]" is one that may be left out, "a|b" a choice. A sentence may leave out whose results.
            line = re.sub(r"[\[\]]|\\?\|[\w-]+", "", token.content)
            lines.append(re.sub(r"^(python -m analysis [\w-]+)(?= --|$)", r"\1 RESULTS", line))
    return [shlex.join(shlex.split(line, comments=True)) for line in lines]


def _inline(page: str) -> list[Token]:
    return [child for token in TOKENS[page] for child in token.children or ()]


def _all_commands() -> list[str]:
    return sorted({command for page in PAGES for command in commands(page)})


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep, and another that trained one of its networks too; the work folder is theirs."""
    for sweep in ("fixed_tau", "curricula"):
        made = HandMade(tmp_path / "results" / "quick" / sweep)
        made.add(config("single"), [solved(2, 3, taken=3, tau=1.5), solved(3, 8, taken=5, tau=2.0)])
    made = HandMade(tmp_path / "results" / "quick" / "fixed_tau")
    made.add(config("single", seed=1), [solved(2, 1, taken=1, tau=2.5)])
    made.add(config("multi"), [solved(2, 2, taken=2, tau=1.0), solved(3, 3), solved(4, 4)])
    made.add(config("multi", tau=2.0), [solved(2, 2, tau=2.0, sd=0.0)])
    monkeypatch.chdir(tmp_path)


def shorter(code: str, **numbers: tuple[str, str]) -> str:
    """Return code with numbers replaced, so that it takes a second; each must be there."""
    for name, (old, new) in numbers.items():
        assert f"{name}={old}" in code
        code = code.replace(f"{name}={old}", f"{name}={new}")
    return code


class TestPython:
    def test_every_block_is_executed(self):
        assert {page for page in PAGES if python(page)} == set(EXECUTED)
        extending = PAGES["docs/extending.md"]
        assert len(python("docs/extending.md")) == len(re.findall(r"```python\n# \w+\.py\n", extending))

    @pytest.mark.usefixtures("results")
    def test_queries(self, capsys: pytest.CaptureFixture[str]):
        pandas, polars, duckdb, checked = python("docs/tables.md")
        names: dict = {}
        exec(pandas, names)
        assert names["largest"].to_dict() == {
            ("parity", "single", "trained"): 3,
            ("parity", "multi", "trained"): 4,
            ("parity", "multi", "2"): 2,
        }
        readme, _ = python("README.md")
        printed = capsys.readouterr().out
        assert "trained" in printed
        exec(readme, {})
        assert capsys.readouterr().out == printed
        exec(polars, names)
        pace = {(row["curriculum"], row["n"]): row for row in names["pace"].to_dicts()}
        assert pace["single", 2]["networks"] == 2
        assert pace["single", 2]["epochs_taken"] == 2.0  # of 3 and 1
        assert pace["single", 3]["epochs_taken"] == 5.0
        assert len(pace) == 5
        exec(duckdb, names)
        expected = pd.DataFrame(
            {
                "curriculum": ["multi", "multi", "multi", "single", "single"],
                "n": [2, 3, 4, 2, 3],
                "networks": [1, 1, 1, 2, 1],
                "tau": [1.0, 1.5, 1.5, 2.0, 2.0],
            }
        )
        pd.testing.assert_frame_equal(names["taus"], expected, check_dtype=False)
        exec(checked, names)

    @pytest.mark.usefixtures("results")
    def test_a_figure(self):
        (code,) = python("docs/report.md")
        exec(code, names := {})
        assert names["results"].figure("4a").id == "4a"
        assert names["solved"].groupby("sweep").size().to_dict() == {"curricula": 2, "fixed_tau": 5}
        assert Path("mine.pdf").read_bytes().startswith(b"%PDF")

    def test_queries_of_the_study(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(ROOT)
        capacities, timescales = python("docs/study/remember.md")
        exec(capacities, names := {})
        at_10 = names["parities"].round(2)
        assert (at_10.loc[10, "single"], at_10.loc[2, "single"]) == (0.86, 0.89)
        assert at_10.loc[5:8, "single"].max() <= 0.13
        assert at_10.loc[2:10, "multi"].min() >= 0.94
        means = names["pairs"].groupby(["curriculum", "n"]).mean().round(1)
        assert (means["single", 10], means["multi", 10], means["multi", 31]) == (26.1, 14.0, 3.2)
        exec(timescales, names := {})
        means = names["both"].groupby(["curriculum", "n"])[["tau_net", "timescale_slowest", "decay"]].mean().round(1)
        assert means.loc["single", 10].tolist() == [3.0, 3.3, 4.0]
        assert means.loc["multi", 31].tolist() == [6.3, 1.1, 5.2]

    def test_the_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        """In one folder, since two examples load the network that the first one saves."""
        monkeypatch.chdir(tmp_path)
        _, first = python("README.md")
        same, population_of_four = python("docs/library.md")
        assert same == first
        names: dict = {}
        exec(shorter(first, steps_per_epoch=("100", "2"), max_epochs=("10", "1")), names)
        assert names["population"].replicates == 1
        assert capsys.readouterr().out.startswith("epoch 1: N = 2, accuracy 0.")
        exec(population_of_four, {})
        assert len(capsys.readouterr().out.splitlines()) == 8
        (measured,) = python("docs/timescales.md")
        exec(shorter(measured, steps=("10_000", "500")), names := {})
        assert len(names["paper"](names["moments"].autocorrelation[0]).tau_net) == 65
        (removed,) = python("docs/interventions.md")
        exec(removed, names := {})
        assert names["copies"].replicates == 20
        (remembered,) = python("docs/mechanisms.md")
        exec(shorter(remembered, steps=("1000", "600")), names := {})
        assert names["memory"].capacity().shape == (1, 39)

    def test_recorded_spikes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        monkeypatch.chdir(tmp_path)
        Path("docs").symlink_to(ROOT / "docs")
        simulated, of_nwb, library = python("docs/spikes.md")
        exec(simulated, {})
        command, *_ = commands("docs/spikes.md")
        assert analysis(shlex.split(command)[3:]) == 0
        printed = capsys.readouterr().out
        (shown,) = (token.content for token in TOKENS["docs/spikes.md"] if token.info == "text")
        assert [line.split() for line in shown.splitlines()] == [
            line.split() for line in printed[printed.index("Medians") :].splitlines()[2 : 2 + len(shown.splitlines())]
        ]
        caption = " ".join(Path("recorded/spikes.txt").read_text().split())
        assert f"*{caption}*" in " ".join(PAGES["docs/spikes.md"].split())
        drawings = [path.read_text() for path in (Path("recorded/spikes.svg"), ROOT / "docs" / "images" / "spikes.svg")]
        assert len({tuple(re.findall(r"<text.*?>(.*?)</text>", drawing)) for drawing in drawings}) == 1
        neurons = pd.read_parquet("recorded/spikes.parquet")
        described = re.findall(
            r"`(\w+)`", PAGES["docs/spikes.md"].partition("\n| column | meaning |\n")[2].partition("\n\n")[0]
        )
        assert set(neurons) == set(described)
        monkeypatch.setitem(sys.modules, "pynwb", stand_in_for_pynwb())
        exec(of_nwb, {})
        found = read(location("spikes.parquet"), location("trials.parquet"), None, None)
        assert found.neurons.tolist() == [4, 7]
        assert [[train.tolist() for train in trial] for trial in found.trains(range(2))] == [
            [[0.5], []],
            [[], [0.25, 0.5]],
        ]
        exec(library, names := {})
        assert names["fits"].tau_low[0] * 0.01 < 0.1 < names["fits"].tau_high[0] * 0.01


def stand_in_for_pynwb() -> types.ModuleType:
    """Return a module that has, of a file with three units and two trials, what the documentation reads."""
    times = [np.array([10.5, 30.0]), np.array([20.25, 20.5]), np.array([])]
    units = pd.DataFrame({"spike_times": times, "quality": "good"}, index=pd.Index([4, 7, 9], name="id"))
    trials = pd.DataFrame({"start_time": [10.0, 20.0], "stop_time": [11.0, 21.0], "correct": True})
    tables = {
        name: types.SimpleNamespace(to_dataframe=frame.copy) for name, frame in (("units", units), ("trials", trials))
    }
    module = types.ModuleType("pynwb")
    file = types.SimpleNamespace(read=lambda: types.SimpleNamespace(**tables))
    module.NWBHDF5IO = lambda path, mode: contextlib.nullcontext(file)  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
class TestNotebooks:
    """They are executed here cell by cell, and in a kernel of their own by `make docs`."""

    def test_it_runs(self, notebook: Path, monkeypatch: pytest.MonkeyPatch):
        import matplotlib

        monkeypatch.chdir(notebook.parent)
        matplotlib.use("agg")
        names: dict = {}
        for cell in json.loads(notebook.read_text())["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
        matplotlib.pyplot.close("all")

    def test_it_is_stored_without_outputs(self, notebook: Path):
        cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
        assert cells
        assert not [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None]

    def test_links_lead_somewhere_and_pages_lead_here(self, notebook: Path):
        text = "".join("".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"])
        links = re.findall(r"\]\(([^)#]+)", text)
        assert links
        assert not [link for link in links if not (notebook.parent / link).is_file()]
        for page in ("docs/index.md", "docs/getting-started.md"):
            assert f"(notebooks/{notebook.name})" in PAGES[page]
        assert f"notebooks/{notebook.name}" in (ROOT / "mkdocs.yml").read_text()


class TestCommands:
    def test_every_block_says_what_it_is(self):
        fences = [(page, token.info) for page in PAGES for token in TOKENS[page] if token.type == "fence"]
        assert {language for _, language in fences} <= LANGUAGES
        assert not [page for page in PAGES for token in TOKENS[page] if token.type == "code_block"]

    def test_they_parse(self, tmp_path: Path):
        """By the program that each calls."""
        for block in python("docs/extending.md"):
            (tmp_path / block.split("\n")[0].removeprefix("# ")).write_text(block)
        (tmp_path / "network.safetensors").touch()
        asked = []
        for command in _all_commands():
            if any(command == known or command.startswith(known + " ") for known in NOT_PARSED):
                continue
            program, *words = shlex.split(command)
            if program == "tsrnn":
                program, words = "python", ["-m", "sweeps.command", *words]
            if program == "make":
                assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
                continue
            assert program == "python", f"{command}: neither parsed nor in NOT_PARSED"
            if words[0] == "-m":
                words = words[1:]
            elif (tmp_path / words[0]).exists():
                pass
            else:
                words = [str(ROOT / words[0]), *words[1:]]
            asked.append((command, words))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", PARSE, json.dumps([words for _, words in asked])],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        told = [json.loads(line) for line in done.stdout.splitlines()]
        wrong = [
            (command, error) for (command, _), (parsed, error) in zip(asked, told, strict=True) if error or not parsed
        ]
        assert not wrong, done.stderr

    @pytest.mark.parametrize("start", NOT_PARSED)
    def test_those_that_are_not_parsed_exist(self, start: str):
        assert any(command == start or command.startswith(start + " ") for command in _all_commands())


def _anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    tokens = TOKENS[page]
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    targets = [str(token.attrs.get("href") or token.attrs.get("src") or "") for token in _inline(page)]
    for target in filter(None, targets):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.is_file(), f"{page}: {target}"
        if anchor:
            assert anchor in _anchors(str(file.resolve().relative_to(ROOT))), f"{page}: {target}"


def test_every_page_is_in_the_site_and_in_readme():
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = [page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")]
    assert not [page for page in pages if page not in nav]
    readme = PAGES["README.md"]
    assert not [page for page in pages if f"docs/{page}" not in readme and "/" not in page and page != "index.md"]


def test_docs_that_code_names_exist():
    """Error messages, docstrings and configuration name pages of docs/."""
    folders = ("tsrnn", "sweeps", "analysis", "benchmarks", "clusters", "tests")
    files = [path for name in folders for path in (ROOT / name).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.name != "CHANGELOG.md"]
    kinds = {".py", ".yaml", ".yml", ".toml", ".md", ".sh", ".jinja", ".dockerignore"}
    named = [
        (path, page)
        for path in files
        if path.is_file() and (path.suffix in kinds or path.name in ("Dockerfile", "Makefile"))
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text())
    ]
    assert len(named) > 20
    assert not [(path, page) for path, page in named if not (ROOT / page).exists()]


def test_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", ["README.md", "docs/report.md"])
def test_the_number_of_claims(page: str):
    assert f"{len(CLAIMS)}\nclaims" in PAGES[page] or f"{len(CLAIMS)} claims" in PAGES[page].replace("\n  ", " ")
