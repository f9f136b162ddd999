"""The deviations from the paper, as HTML: sections of docs/fidelity.md, which is their only source."""

import importlib.metadata
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

from tsrnn.errors import Failure

_SECTIONS: Final = ("Settings", "Deviations that cannot be switched")
"""The sections of docs/fidelity.md about deviations; the other sections are about checks."""


def deviations() -> str:
    """Return the deviations from the paper as HTML: sections of docs/fidelity.md.

    Raises:
        Failure: neither the repository nor the installed package has the file.
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
    raise Failure("docs/fidelity.md is neither in the repository nor in the installed package; install tsrnn again")
