"""Analysis of a sweep's tables: `python -m analysis` lists the commands, and `results` is for notebooks."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.data.study import Study
    from tsrnn.io.files import Location

__all__ = ["results"]


def results(path: "str | Location") -> "Study":
    """Open the results of one sweep or of several, finished or still running.

    Args:
        path: A sweep's folder, such as `results/quick/fixed_tau`, or the folder of several, such as `results/quick`.

    Returns:
        Their tables as frames, largest N, claims and figures; a notebook shows it as a table.

    Raises:
        ResultsError: no sweep is there.
    """
    # pandas takes a second to import: not for `import analysis`, which every command's --help does.
    from analysis.data.study import Study

    return Study(path)
