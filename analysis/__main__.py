"""The command line: `python -m analysis COMMAND RESULTS`.

Exit status 0, 1 where the results cannot be read, 2 where the command is wrong; an error is one line.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from analysis import measures, tables
from analysis.frames import ResultsError
from tsrnn import command_line

app = App(
    name="python -m analysis",
    help="Measure the results of a sweep, finished or still running.",
    version_flags=[],
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
    return command_line.run(app, arguments, {ResultsError: 1})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
