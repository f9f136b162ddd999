"""A report: one page of HTML that holds everything it shows, for any browser, without a network.

The page is `page.html.jinja`, with `page.css` and `page.js` inside it. Its deviations from the paper are those of
docs/fidelity.md, which is their one source: an installed package carries it in share/tsrnn.
"""

import importlib.metadata
import json
from importlib import resources
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from rich.console import Console

from analysis.data.study import Study
from analysis.report._contents import Contents, collect
from tsrnn.io.files import write_atomically
from tsrnn.io.store import StoreError

__all__ = ["Contents", "collect", "deviations", "render", "write"]

_SECTIONS: Final = ("Settings", "Deviations that cannot be switched")
"""The sections of docs/fidelity.md that are about deviations; the others are about what was checked."""


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
    # JSON and script are ours; "<" is the one character that could end their element.
    curves = json.dumps(contents.curves, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return environment.get_template("page.html.jinja").render(
        report=contents,
        css=Markup((here / "page.css").read_text()),
        js=Markup((here / "page.js").read_text()),
        curves=Markup(curves),
        deviations=Markup(deviations()),
    )


def deviations() -> str:
    """Return the deviations from the paper as HTML: sections of docs/fidelity.md.

    Raises:
        FileNotFoundError: neither the repository nor the installed package has the file.
    """
    tokens = MarkdownIt("js-default").parse(_fidelity().read_text())
    kept, keep = [], False
    for i, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            keep = tokens[i + 1].content in _SECTIONS
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
        if token.type == "table_open":
            token.attrSet("class", "sorts")
        if token.type == "th_open":
            token.attrSet("scope", "col")
        kept += [token] if keep else []
    markdown = MarkdownIt("js-default")
    html = str(markdown.renderer.render(kept, markdown.options, {}))
    region = '<div class="scroll" role="region" tabindex="0" aria-label="Settings that differ">'
    return html.replace("<table", f"{region}<table").replace("</table>", "</table></div>")


def _fidelity() -> Path:
    """Return the file docs/fidelity.md: the repository's, or the one that the package was installed with."""
    repository = Path(__file__).resolve().parents[2] / "docs" / "fidelity.md"
    if repository.exists():
        return repository
    for file in importlib.metadata.files("tsrnn") or ():
        if file.name == "fidelity.md":
            return Path(str(file.locate()))
    raise FileNotFoundError("docs/fidelity.md is neither in the repository nor in the installed package")
