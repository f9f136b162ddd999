"""docs/fidelity.md names settings, options and files that there are."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tsrnn.config
from analysis.report import deviations
from tsrnn import curricula, tasks

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "fidelity.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", TEXT)
SETTINGS = {
    (match[1], name)
    for text in CODE
    for match in re.finditer(r"\b([A-Z]\w+)\(((?:[^()]|\([^()]*\))*)\)", text)
    for name in re.findall(r"(\w+)=", re.sub(r"\([^()]*\)", "", match[2])) or [""]
}
PATHS = {text for text in CODE if re.fullmatch(r"[\w./]+/[\w.]+", text)}
OPTIONS = {name for text in CODE for name in re.findall(r"--([a-z][a-z-]*)", text)}
FOLDERS = ("sweeps", "analysis", "tsrnn", "benchmarks")
SOURCES = "\n".join(path.read_text() for name in FOLDERS for path in (ROOT / name).rglob("*.py"))


class Table(HTMLParser):
    """Counts the cells of each row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        if tag == "tr":
            self.rows.append(0)
        elif tag in ("td", "th"):
            self.rows[-1] += 1


def test_its_table_is_one_of_five_columns_in_the_report():
    lines = [line for line in TEXT.split("## Settings")[1].split("\n\n")[1].splitlines() if line.startswith("|")]
    assert Table(deviations()).rows == [5] * (len(lines) - 1)


@pytest.mark.parametrize(("name", "setting"), sorted(SETTINGS))
def test_its_settings_exist(name: str, setting: str):
    (kind,) = {getattr(place, name) for place in (tsrnn.config, curricula, tasks) if hasattr(place, name)}
    assert not setting or setting in {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("path", sorted(PATHS))
def test_its_files_exist(path: str):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_its_options_are_parameters_of_commands(option: str):
    assert re.search(rf"(^ +|[(,] ?){option.replace('-', '_')}: ", SOURCES, re.MULTILINE)
