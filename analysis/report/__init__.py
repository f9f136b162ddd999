"""The report: one self-contained HTML page, which works in any browser and needs no network.

The page is `page.html.jinja`, which extends `page.base.jinja` and uses `page.macros.jinja`. It includes `page.css`,
`page.js` and `page.networks.js`. `page.comparison.jinja` is the page that compares two studies.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Console

from analysis.data.study import Study
from analysis.report.claims import SIGNS
from analysis.report.comparison import KINDS, Comparison, compare
from analysis.report.contents import Contents, collect
from analysis.report.deviations import deviations
from tsrnn.io.files import write_atomically
from tsrnn.io.store import unwritable

__all__ = ["Comparison", "Contents", "collect", "compare", "deviations", "render", "write", "write_comparison"]


def write(study: Study, out: Path, console: Console | None = None) -> tuple[Path, Contents]:
    """Write the report of some results.

    Args:
        study: the results, finished or not.
        out: the folder for the report, created if it does not exist, or a file name that ends in .html.
        console: shows progress if it takes more than some seconds; by default, nothing is shown.

    Returns:
        The file, and the content of the report.

    Raises:
        ResultsError: a table cannot be read.
        StoreError: the file cannot be written.
    """
    path = _file(out)
    contents = collect(study, path.parent, console)
    _write(path, render(contents))
    return path, contents


def write_comparison(first: Study, second: Study, out: Path) -> tuple[Path, Comparison]:
    """Write the verdicts of two studies side by side.

    Args:
        first: the one on the left, A.
        second: the one on the right, B.
        out: see `write`.

    Returns:
        The file, and what it shows.

    Raises:
        ResultsError: a table cannot be read.
        StoreError: the file cannot be written.
    """
    path = _file(out)
    comparison = compare(first, second)
    _write(path, _page("page.comparison.jinja", comparison, KINDS))
    return path, comparison


def render(contents: Contents) -> str:
    """Return the page of a report as HTML."""
    return _page("page.html.jinja", contents, SIGNS)


def _file(out: Path) -> Path:
    """Return the file of a page, whose folder is made before minutes are spent on what would not be written."""
    path = out if out.suffix == ".html" else out / "index.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise unwritable(path, error) from error


def _page(template: str, report: Contents | Comparison, signs: Mapping[str, str]) -> str:
    here = resources.files("analysis.report")
    return (
        _environment()
        .get_template(template)
        .render(
            report=report,
            signs=signs,
            css=Markup((here / "page.css").read_text()),
            js=Markup("\n".join((here / name).read_text() for name in ("page.js", "page.networks.js"))),
            data=embedded(report.data),
            deviations=Markup(deviations()) if isinstance(report, Contents) else "",
        )
    )


@cache
def _environment() -> Environment:
    """Return what makes pages of templates, and keeps the compiled ones."""
    loader = PackageLoader("analysis.report", "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def embedded(data: object) -> Markup:
    """Return data as JSON for a script element, with "<" escaped, the only character that could end the element."""
    return Markup(json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))
