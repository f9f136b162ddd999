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
        The study: tables as frames, largest N, claims and figures. Notebooks show it as a table.

    Raises:
        ResultsError: there is no sweep at this path.
    """
    # pandas takes a second to import, so `import analysis`, which --help of every command needs, does not import it.
    from analysis.data.study import Study

    return Study(path)
