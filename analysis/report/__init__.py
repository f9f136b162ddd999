"""A report: one page of HTML that holds everything it shows, for any browser, without a network.

The page is `page.html.jinja` with `page.macros.jinja`; `page.css`, `page.js` and `page.networks.js` are inside it.
"""

import json
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Console

from analysis.data.study import Study
from analysis.report.claims import SIGNS
from analysis.report.contents import Contents, collect
from analysis.report.deviations import deviations
from tsrnn.io.files import write_atomically
from tsrnn.io.store import StoreError

__all__ = ["Contents", "collect", "deviations", "render", "write"]


def write(study: Study, out: Path, console: Console | None = None) -> tuple[Path, Contents]:
    """Write the report of some results.

    Args:
        study: the results, finished or not.
        out: the folder for it, made if it is missing; or the file, where the name ends in .html.
        console: shows how far it is, where that takes more than seconds; nothing by default.

    Returns:
        The file, and what it shows.

    Raises:
        ResultsError: a table cannot be read.
        StoreError: the file cannot be written.
    """
    path = out if out.suffix == ".html" else out / "index.html"
    contents = collect(study, path.parent, console)
    try:
        write_atomically(path, render(contents).encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from error
    return path, contents


def render(contents: Contents) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("analysis.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    here = resources.files("analysis.report")
    return environment.get_template("page.html.jinja").render(
        report=contents,
        signs=SIGNS,
        css=Markup((here / "page.css").read_text()),
        js=Markup("\n".join((here / name).read_text() for name in ("page.js", "page.networks.js"))),
        data=embedded(contents.data),
        deviations=Markup(deviations()),
    )


def embedded(data: object) -> Markup:
    """Return data as JSON that can stand in a script element: "<" is the one character that could end it."""
    return Markup(json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))
