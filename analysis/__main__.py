"""The command line: `python -m analysis COMMAND RESULTS`.

The exit status is 0, 1 if the results cannot be read, or 2 if the command is wrong. Errors are one line. pandas, scipy,
matplotlib, torch and Ray take seconds to import, so the modules that a command needs are imported when it runs, and
`--help` does not wait.
"""

import sys
from collections.abc import Sequence

from cyclopts import App

from analysis.commands import measuring, reading, recorded
from tsrnn import command_line

app = App(
    name="python -m analysis",
    help="Measure the results of a sweep, finished or still running.",
    version_flags=[],
)

# In the order of the help.
for _command in (
    reading.max_n,
    reading.verify,
    measuring.interventions,
    measuring.timescales,
    measuring.memory,
    measuring.spectra,
    measuring.gradients,
    measuring.causes,
    measuring.time_steps,
    recorded.spikes,
    reading.figures,
    reading.claims,
    reading.publish,
    reading.pace,
    reading.report,
):
    app.command(_command)


def main(arguments: Sequence[str]) -> int:
    """Run a command, given as the words after the program's name, and return its exit status."""
    return command_line.run(app, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
