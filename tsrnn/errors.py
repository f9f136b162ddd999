"""Errors that commands report in one line instead of a traceback."""

from typing import ClassVar


class Failure(Exception):  # noqa: N818
    """An error that the user can correct: the message is one line that says what is wrong and what to do.

    Attributes:
        status: the exit status of a command that ends with it: 1, or 2 where the command itself is wrong.
    """

    status: ClassVar[int] = 1


class UsageError(Failure):
    """The value of an option is not allowed, or not with the others; the message names it, and what is allowed."""

    status: ClassVar[int] = 2
