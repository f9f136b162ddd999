"""The error that a sweep reports in one line instead of a traceback."""

from tsrnn.errors import Failure


class SweepError(Failure):
    """The sweep cannot continue; the message is one line that says what to do."""
