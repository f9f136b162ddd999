"""Errors that a sweep reports in one line instead of a traceback."""

from typing import ClassVar

from tsrnn.errors import Failure


class SweepError(Failure):
    """The sweep cannot continue; the message is one line that says what to do. The exit status is 1."""


class UsageError(SweepError):
    """An option's value is not allowed; the message names option, value and allowed values. Exit status 2."""

    status: ClassVar[int] = 2
