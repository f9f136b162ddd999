"""What a sweep tells its user instead of a traceback."""

from typing import ClassVar

from tsrnn.errors import Failure


class SweepError(Failure):
    """The sweep cannot go on; the message is one line that says what to do. Exit status 1."""


class UsageError(SweepError):
    """An option's value is not allowed; the message names the option, the value and what is. Exit status 2."""

    status: ClassVar[int] = 2
