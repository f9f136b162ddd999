"""The command line: `python -m analysis COMMAND RESULTS`.

Exit status 0, 1 where the results cannot be read, 2 where the command is wrong; an error is one line.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from analysis import measures, tables
from analysis.frames import ResultsError

app = App(
    name="python -m analysis",
    help="Measure the results of a sweep, finished or still running.",
    version_flags=[],
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)

AsJson = Annotated[bool, Parameter(name="--json", negative="")]


@app.command
def max_n(results: Path, /, *, as_json: AsJson = False) -> None:
    """Print the largest N solved for each task, curriculum and tau.

    Args:
        results: The sweep's folder, such as results/fixed_tau.
        as_json: Print {"rows": [...]}, one row a cell of the grid.
    """
    frame = measures.max_n(results)
    if as_json:
        print(json.dumps({"rows": tables.json_rows(frame)}, indent=2))
    else:
        tables.print_max_n(frame)


def main(arguments: Sequence[str]) -> int:
    """Run a command, given as the words after the program's name, and return its exit status."""
    try:
        app(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(error, 2)
    except ResultsError as error:
        return _fail(error, 1)
    except BrokenPipeError:
        # The reader of the pipe, such as `head`, has seen enough; Python's flush at exit must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _fail(error: Exception, status: int) -> int:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
