"""One file per experiment of the study, run as `python sweeps/NAME.py`."""

import sys
from types import TracebackType


def _say_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report Ctrl-C in one line: a sweep's imports take seconds, before it can catch anything itself."""
    if issubclass(kind, KeyboardInterrupt):
        print("error: interrupted; the same command continues where it stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.excepthook is sys.__excepthook__:
    sys.excepthook = _say_interrupted
