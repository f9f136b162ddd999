"""The command that measures recorded neurons."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from analysis.options import AsJson
from tsrnn import command_line
from tsrnn.command_line import Place, Several, at_least
from tsrnn.errors import UsageError

if TYPE_CHECKING:
    from analysis.figures import Figure


def _seconds(_: type, value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise ValueError("allowed are numbers of seconds")


def _above_zero(_: type, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError("allowed are numbers of seconds above 0")


def spikes(
    spikes: Place,
    /,
    *,
    trials: Place | None = None,
    start: Annotated[float | None, Parameter(validator=_seconds)] = None,
    stop: Annotated[float | None, Parameter(validator=_seconds)] = None,
    bin: Annotated[float, Parameter(validator=_above_zero)] = 0.05,
    lags: Annotated[int, at_least(5)] = 31,
    compare: Place | None = None,
    n: Annotated[list[Annotated[int, at_least(2)]] | None, Several] = None,
    step: Annotated[float | None, Parameter(validator=_above_zero)] = None,
    out: Path | None = None,
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the timescales of recorded neurons from their spikes, and compare them with networks.

    Spikes are counted in bins, and the robust estimator, which is also used for networks, separates the timescale of a
    neuron's rate from the randomness of the counts. See docs/spikes.md for the tables, and for how much data is needed.

    Args:
        spikes: A table (.csv or .parquet) with a row for each spike: neuron, time_s (in seconds), and perhaps trial.
        trials: A table with a row for each trial, also for those without spikes: start_s, stop_s, and trial if SPIKES
            has it. All trials are used for as long as the shortest lasts.
        start: Without --trials: the start of every trial, in seconds, on the clock of time_s.
        stop: Without --trials: the end of every trial.
        bin: The width of a bin, in seconds.
        lags: Fit the autocorrelation at lags below this number of bins.
        compare: Results with measured timescales, such as docs/study/tables/paper, whose single-head and multi-head
            networks are shown beside the neurons.
        n: The N of the networks. [default: the nearest to 5 and 30 that at least half of the networks of both
            curricula have]
        step: How long a time step of the networks is taken to be, in seconds. [default: a bin]
        out: A folder for spikes.parquet (a row for each neuron), spikes.png, spikes.svg, and the caption, spikes.txt.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"neurons": [...], "summary": [...], "networks": [...], "notes": [...], "caption", "files"}.
    """
    command_line.import_plugins(plugin)
    from pandas import DataFrame

    from analysis import tables
    from analysis.data import spikes as data
    from analysis.data.study import Study
    from analysis.figures import spikes as drawing
    from analysis.measure import spikes as measuring

    if compare is None and (n or step):
        raise UsageError("--n and --step are of networks: give their results with --compare")
    recording = data.read(spikes, trials, start, stop)
    networks = None if compare is None else drawing.networks_of(Study(compare), n, bin if step is None else step)
    neurons = measuring.measure(recording, bin, lags, command_line.console(stderr=True))
    summary = measuring.summary(neurons)
    figure = drawing.figure(neurons, summary, measuring.binning(recording, bin), networks)
    files = [] if out is None else _write(figure, out)
    notes = measuring.notes(recording, neurons)
    if out is not None and figure.missing:
        notes.append(f"Not drawn: {figure.missing}.")
    cells = None if networks is None else networks.cells
    if as_json:
        frames = {"neurons": neurons, "summary": summary, "networks": DataFrame() if cells is None else cells}
        listed = {name: tables.json_rows(frame) for name, frame in frames.items()}
        print(json.dumps(listed | {"notes": notes, "caption": figure.caption, "files": files}, indent=2))
    else:
        tables.print_spikes(neurons, summary, cells, [*notes, *([figure.caption] if files else []), *files])


def _write(figure: "Figure", folder: Path) -> list[str]:
    """Write the table of neurons, the figure and its caption, and return the files."""
    from analysis.figures import write
    from tsrnn.io.files import write_atomically
    from tsrnn.io.store import unwritable

    table = folder / "spikes.parquet"
    contents = {table: figure.data["neurons"].to_parquet(index=False)}
    if not figure.missing:
        contents[folder / "spikes.txt"] = f"{figure.title}. {figure.caption}\n".encode()
    for path, content in contents.items():
        try:
            write_atomically(path, content)
        except OSError as error:
            raise unwritable(path, error) from error
    drawn = [] if figure.missing else write(figure, folder)
    return [str(path) for path in (*contents, *drawn)]
