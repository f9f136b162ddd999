"""Shared parts of the project's commands: running them, asking before long ones, and reporting errors in one line."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from cyclopts import App, CycloptsError, Parameter, Token
from pydantic import ValidationError
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult

from tsrnn.config import explain
from tsrnn.errors import Failure
from tsrnn.io.files import Location, location
from tsrnn.plugins import import_file
from tsrnn.untrusted import printable

Several = Parameter(consume_multiple=1, negative=())
"""The rule that an option has one value or more after its name; with none, it would do something else than it says."""

Plugins = Annotated[list[Path] | None, Several, Parameter(name="--plugin")]


def _location(_: type, tokens: Sequence[Token]) -> Location:
    return location(tokens[0].value)


Place = Annotated[Location, Parameter(converter=_location, n_tokens=1, accepts_keys=False)]
"""A file or folder, on a file system or s3://BUCKET/PATH."""


def _whole(_: type, tokens: Sequence[Token]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError as error:
        raise ValueError(f"{tokens[0].value!r}: allowed are whole numbers") from error


Whole = Parameter(converter=_whole, n_tokens=1)
"""The rule that a number is whole: cyclopts would round 2.7 to 3."""


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: "1 network", "2 networks"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Return a time in words, such as "2.5 hours"."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return counted(round(seconds), "second")


def clock(seconds: float) -> str:
    """Return a time as "1:02:03" or "2:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


_ASKED_FROM: Final = 3600.0


def ask(cost: str, seconds: float, *, yes: bool, console: Console) -> None:
    """Print the cost of a command; if it is an hour or more and a user is at the terminal, ask whether to begin.

    Args:
        cost: The line to print.
        seconds: How long the command is expected to take.
        yes: Begin without asking.
        console: Where the line and the question are printed.

    Raises:
        Failure: The answer was no.
    """
    console.print(cost, soft_wrap=True)
    if seconds < _ASKED_FROM or yes or not sys.stdin.isatty():
        return
    console.print("Begin? [y/N] (--yes begins without asking) ", end="", soft_wrap=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("not begun; answer y, or use --yes")


def at_least(least: int) -> Parameter:
    """Return the rule that a number is whole and not below `least`."""

    def check(_: type, value: int | None) -> None:
        if value is not None and value < least:
            raise ValueError(f"allowed are numbers of at least {least}")

    return Parameter(converter=_whole, n_tokens=1, validator=check)


def import_plugins(files: Sequence[Path] | None) -> None:
    """Import the files given as `--plugin`.

    Raises:
        PluginError: if there is no such file.
    """
    for file in files or ():
        import_file(file)


def run(app: App, arguments: Sequence[str], failures: Mapping[type[Exception], int] = MappingProxyType({})) -> int:
    """Run a command and return its exit status; an error is printed as one line, without a traceback.

    Args:
        app: the command.
        arguments: the words after the program's name.
        failures: errors beside `Failure` that the command may end with, and the exit status of each.

    Returns:
        What the command returned (0 for nothing), 2 where an argument is not allowed, or a failure's status.
    """
    try:
        status = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return fail(str(error), 2)
    except ValidationError as error:
        return fail(explain(error), 2)
    except BrokenPipeError:
        # The reader of the pipe, such as `head`, has seen enough; Python's flush at exit must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Failure as error:
        return fail(str(error), error.status)
    except tuple(failures) as error:
        return fail(str(error), next(code for kind, code in failures.items() if isinstance(error, kind)))
    return status if isinstance(status, int) else 0


def run_resumable(app: App, arguments: Sequence[str]) -> int:
    """Run a command that can be resumed; see `run`. Ctrl-C is reported in one line, with status 130."""
    try:
        return run(app, arguments)
    except KeyboardInterrupt:
        return fail("interrupted; the same command continues where it stopped", 130)


def fail(message: str, status: int) -> int:
    """Print an error as one line on standard error, and return its exit status."""
    print("error:", " ".join(printable(message).split()), file=sys.stderr)
    return status


def console(**options: Any) -> Console:
    """Return rich's console, which prints text as it is: without markup, highlights or control characters.

    Args:
        options: Of `rich.console.Console`.
    """
    made = Console(**{"markup": False, "emoji": False, "highlight": False} | options)
    made.push_render_hook(_Printable())
    return made


class _Printable(RenderHook):
    """Takes what a terminal would obey out of all that a console prints, but for the console's own colours."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap what is to be printed."""
        return [_Cleaned(one) for one in renderables]


class _Cleaned:
    def __init__(self, renderable: ConsoleRenderable) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._renderable, options):
            # Control segments are rich's own; no text becomes one.
            yield segment if segment.control else segment._replace(text=printable(segment.text))
