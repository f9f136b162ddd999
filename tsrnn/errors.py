"""What a command of the project says instead of a traceback."""

from typing import ClassVar


class Failure(Exception):  # noqa: N818
    """Something that a user can mend: the message is one line that says what is wrong and what to do.

    Attributes:
        status: the exit status of a command that ends with it: 1, or 2 where the command itself is wrong.
    """

    status: ClassVar[int] = 1
