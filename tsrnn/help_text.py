"""Help texts: text that is wrapped in the source is wrapped again at the width of the terminal."""

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App
from cyclopts.help import DefaultFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

_LABEL: Final = re.compile(r"[A-Z][\w ]*: ")


def unwrapped(text: str) -> str:
    """Join the lines of each paragraph.

    A new line begins after an empty line, and where a line begins with a label, such as "Stop rule: ".
    """
    lines: list[str] = []
    for line in map(str.strip, text.strip().splitlines()):
        if line and lines and lines[-1] and not _LABEL.match(line):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(lines)


class HelpText(DefaultFormatter):
    """Cyclopts' own help, with descriptions that are wrapped once."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Show a panel: its options, each with its description."""
        for entry in panel.entries:
            _unwrap(entry.description)
        super().__call__(console, options, panel)

    def render_description(self, console: "Console", options: "ConsoleOptions", description: Any) -> None:
        """Show what a command does."""
        _unwrap(description)
        super().render_description(console, options, description)


def program(name: str, doc: str | None) -> App:
    """Return the application of a program, to which its commands are then added.

    Args:
        name: How the program is called, such as "sweeps/all.py".
        doc: Its help: plain text, whose paragraphs are wrapped at the width of the terminal.
    """
    return App(
        name=name,
        help=doc,
        version=version("tsrnn"),
        help_format="plaintext",
        help_formatter=HelpText(),
        suppress_keyboard_interrupt=False,
    )


def _unwrap(description: Any) -> None:
    """Unwrap plain text; what has a format of its own, such as Markdown, stays."""
    from rich.text import Text

    plain = getattr(description, "primary_renderable", None)
    if isinstance(plain, Text):
        description.primary_renderable = Text(unwrapped(plain.plain), end=plain.end)
