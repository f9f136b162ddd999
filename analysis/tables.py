"""Tables for the terminal; plain text if the output is piped."""

import math
import sys
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.claims.course import turns
from analysis.claims.verdicts import MEANINGS, decided
from analysis.data.cell import differing
from analysis.quantities.reach import ENDINGS
from analysis.stats.intervals import FEW
from tsrnn import command_line
from tsrnn.command_line import counted

MAIN: Final = ("task", "curriculum", "tau")
"""The columns of a cell that are always shown."""

# Wide enough for every table: without a terminal, nothing is wrapped or cut.
_PIPED_WIDTH: Final = 200


def json_rows(frame: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return the rows of a frame as values for JSON, with None for what JSON has no number for: NaN and infinity."""
    return [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def print_max_n(frame: pd.DataFrame, console: Console | None = None) -> None:
    """Print the largest N solved in each cell, and how many networks have ended.

    Args:
        frame: The result of `analysis.quantities.reach.max_n`. Apart from task, curriculum and tau, columns with the
            same value in all rows are left out; "-" means that an architecture has no such setting.
        console: Where to print; standard output by default.
    """
    console = console or command_line.console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    table = Table(
        title="Largest N solved",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    shown = differing(frame, MAIN)
    for name in shown:
        table.add_column(name, no_wrap=name in MAIN)
    for name in ("networks", "mean", "95 % interval", "median", "range", "epochs"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in frame.to_dict("records"):
        interval = "-" if math.isnan(row["low"]) else f"{row['low']:.1f} to {row['high']:.1f}"
        table.add_row(
            *(Text("-" if pd.isna(row[name]) or row[name] == "" else str(row[name])) for name in shown),
            str(row["n"]),
            f"{row['mean']:.1f}",
            interval,
            f"{row['median']:g}",
            f"{row['min']} to {row['max']}",
            f"{row['epochs_mean']:g}",
        )
    console.print(table)
    for line in notes(frame):
        console.print(line, soft_wrap=True)


def notes(frame: pd.DataFrame) -> list[str]:
    """Return notes on rows of `max_n_by_cell`: how networks ended, and the kind of intervals."""
    return [*endings(frame), *([FEW] if frame["low"].notna().any() else [])]


def endings(frame: pd.DataFrame) -> list[str]:
    """Return in words how the networks of rows of `analysis.quantities.reach.max_n_by_cell` ended."""
    n, finished = int(frame["n"].sum()), int(frame["finished"].sum())
    counts = {column: int(frame[column].sum()) for column in ENDINGS.values()}
    words = [f"{counts[column]} {state.label}" for state, column in ENDINGS.items() if counts[column]]
    if finished < n:
        words.append(f"{n - finished} not finished")
    found = [f"{finished} of {counted(n, 'network')} finished"] if finished < n else []
    found.append(f"{counted(n, 'network')}: {', '.join(words) or 'none'}")
    if counts["out_of_epochs"] or counts["out_of_time"]:
        found.append(
            "Out of epochs or time: the largest N is limited by the budget; with more training, it might be larger."
        )
    if counts["failed"]:
        found.append("Failed networks count with the N that they had solved; run the sweep again to continue them.")
    return found


def print_frame(frame: pd.DataFrame, title: str, console: Console) -> None:
    """Print a frame, with short numbers aligned to the right; print nothing if it is empty."""
    if frame.empty:
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in frame:
        numbers = pd.api.types.is_numeric_dtype(frame[name])
        table.add_column(str(name).replace("_", " "), justify="right" if numbers else "left", no_wrap=numbers)
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(_short(value)) for value in row))
    console.print(table)


def print_interventions(
    summaries: Iterable[tuple[str, pd.DataFrame]],
    tests: Iterable[tuple[str, pd.DataFrame]],
    notes: Iterable[str],
    console: Console | None = None,
) -> None:
    """Print the results of interventions, the comparison of curricula, and notes.

    Args:
        summaries: for each kind, a title and the result of `analysis.stats.comparison.summarise`.
        tests: a title and the result of `analysis.stats.comparison.compare_curricula`.
        notes: lines.
        console: where to print; standard output by default.
    """
    console = console or command_line.console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    for title, frame in summaries:
        if "head" in frame:
            # The mean over networks as a matrix, N by N'.
            keys = ["group", "curriculum", "n", "networks"]
            frame = frame.pivot(index=keys, columns="head", values="accuracy").reset_index()
            frame.columns = [str(name) for name in frame.columns]
        print_frame(frame, title, console)
    tested = False
    for title, frame in tests:
        if len(frame):
            tested = True
            print_frame(frame[[name for name in frame if name not in _UNPRINTED]], title, console)
    lines = list(notes)
    if tested:
        lines.append(
            "p of the permutation test and of Welch's t-test: the unit is the network, and p is corrected for the "
            "number of rows (Holm). p pooled: the paper's test, which treats the draws of one network as independent, "
            "so that p is too small."
        )
        lines.append("inconclusive: with so few networks, p of the corrected permutation test cannot be below 0.05.")
    for line in lines:
        console.print(line, soft_wrap=True)


def print_timescales(summary: pd.DataFrame, notes: Iterable[str], console: Console | None = None) -> None:
    """Print timescales, dimensionality and weights against N, with one table for each method.

    Args:
        summary: the result of `analysis.measure.dynamics_summary.by_curriculum`.
        notes: lines.
        console: where to print; standard output by default.
    """
    console = console or command_line.console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    for method, frame in summary.groupby("method", sort=False):
        shown = frame[["group", "curriculum", "n", "networks", *_TIMESCALES]].rename(columns=_TIMESCALES)
        print_frame(shown, f"Timescales, {method} method", console)
    for line in [
        "share > 1: share of neurons with tau_net > 1; mean > 1, median > 1: mean and median of tau_net over these "
        "neurons; mean, median: over all neurons with a tau_net. All values are averaged over networks.",
        *notes,
    ]:
        console.print(line, soft_wrap=True)


def print_mechanism(
    name: str,
    summary: pd.DataFrame,
    changes: pd.DataFrame,
    tests: pd.DataFrame,
    notes: Iterable[str],
    console: Console | None = None,
) -> None:
    """Print the results of `analysis memory`, `spectra` or `gradients` against N.

    Args:
        name: of the command.
        summary: means over networks.
        changes: what `analysis.stats.comparison.changes_over_n` returned.
        tests: what `analysis.stats.comparison.compare_quantities` returned.
        notes: lines.
        console: where to print; standard output by default.
    """
    console = console or command_line.console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    title, meaning = _MECHANISMS[name]
    print_frame(summary, title, console)
    print_frame(changes, "Change from the smallest to the largest N of each network", console)
    print_frame(tests[[column for column in tests if column not in _UNPRINTED]], "Curricula compared", console)
    lines = [meaning, FEW]
    if len(changes):
        lines.append("change: the mean over networks, and its 95 % interval by Student's t (low to high).")
    if len(tests):
        lines.append(
            "difference: the second curriculum minus the first, and its 95 % interval (low to high). p: exact "
            "permutation test and Welch's t-test; the unit is the network; corrected for the number of rows (Holm)."
        )
    for line in [*lines, *notes]:
        console.print(line, soft_wrap=True)


_MECHANISMS: Final = {
    "memory": (
        "Memory capacity",
        "A capacity is the share of variance that a linear readout explains. The columns are the sum over the delays "
        "of single bits (with its 95 % interval, low to high), the sum over the parities of the last bits, and the "
        "capacity for the parity of N bits.",
    ),
    "spectra": (
        "Lyapunov exponents and mean Jacobians",
        "lyapunov: the largest exponent, in 1 / time steps (with its 95 % interval, low to high). The other columns "
        "describe the mean Jacobian: slowest timescale in time steps, departure from normality, and Fisher memory.",
    ),
    "gradients": (
        "Gradients and curvature",
        "gradient_reach: the norm of the gradient at the oldest bit, divided by that at the newest (with its 95 % "
        "interval, low to high). The next columns are the same for the next N, before it is trained, and the cosine "
        "between the gradient of the newest head and the sum of those of the older heads. sharpness: the largest "
        "eigenvalue of the Hessian of the newest head's loss.",
    ),
}
"""The title of each table, and the meaning of its columns."""


def print_spikes(
    neurons: pd.DataFrame,
    summary: pd.DataFrame,
    networks: pd.DataFrame | None,
    notes: Iterable[str],
    console: Console | None = None,
) -> None:
    """Print the timescales of recorded neurons, and their median beside those of networks.

    Args:
        neurons: the result of `analysis.measure.spikes.measure`.
        summary: the result of `analysis.measure.spikes.summary`.
        networks: the cells of `analysis.figures.spikes.networks_of`, or None.
        notes: lines.
        console: where to print; standard output by default.
    """
    console = console or command_line.console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    shown = {
        "neuron": neurons["neuron"],
        "spikes": neurons["spikes"],
        "rate (Hz)": neurons["rate_hz"],
        "tau_net (bins)": neurons["tau_net"],
        "tau_net (ms)": neurons["tau_net_ms"],
        "95 % interval (ms)": list(map(_interval, neurons["tau_low_ms"], neurons["tau_high_ms"])),
    }
    if (neurons["reason"] != "").any():
        shown["no timescale above a bin because"] = neurons["reason"]
    print_frame(pd.DataFrame(shown), "Timescales of recorded neurons", console)
    (row,) = summary.to_dict("records")
    rows: list[list[object]] = [["recorded neurons", "-", row["neurons"], row["share"], row["median_ms"]]]
    intervals = [_interval(row["low_ms"], row["high_ms"])]
    for cell in [] if networks is None else networks.to_dict("records"):
        rows.append([f"networks, {cell['curriculum']}", cell["n"], cell["networks"], cell["share"], cell["mean"]])
        intervals.append(_interval(cell["low"], cell["high"]))
    frame = pd.DataFrame(rows, columns=["", "N", "count", "share > 1", "median tau_net (ms)"])
    print_frame(frame.assign(**{"95 % interval": intervals}), "Medians", console)
    for line in [
        "share > 1: share of neurons with tau_net above one bin, or one time step in networks; the median is that of "
        "these neurons, and for networks the mean over networks of their medians.",
        *notes,
    ]:
        console.print(line, soft_wrap=True)


def _interval(low: float, high: float) -> str:
    if math.isnan(low) or math.isinf(low):
        return "-"
    return f"above {low:.3g}" if math.isinf(high) else f"{low:.3g} to {high:.3g}"


_TIMESCALES: Final = {
    "fraction_above_1": "share > 1",
    "mean_above_1": "mean > 1",
    "median_above_1": "median > 1",
    "mean_all": "mean",
    "median_all": "median",
    "tau_pop": "tau_pop",
    "tau": "tau",
    "components": "dimensions",
    "weight_mean": "weight",
    "tau_correlation": "r(weight, tau)",
}
"""The printed columns of a summary, and their titles."""


def print_claims(claims: pd.DataFrame, counts: Mapping[str, int], console: Console | None = None) -> None:
    """Print each claim with its verdict, the numbers and the rule.

    Args:
        claims: the result of `analysis.claims.catalogue.judge_all`.
        counts: the number of claims by verdict.
        console: where to print; standard output by default.
    """
    console = console or command_line.console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    for row in claims.to_dict("records"):
        console.print(Text(f"{row['figure']}: {row['claim']}", style="bold"), soft_wrap=True)
        # Verdicts are recognised by their words; colours are an addition.
        verdict = Text(row["verdict"].upper(), style=_COLOURS[row["verdict"]])
        console.print(Text("  ").append_text(verdict).append(f": {row['why']}" if row["why"] else ""), soft_wrap=True)
        for line in claim_lines(row):
            console.print(Text(f"  {line}"), soft_wrap=True)
    number = claims["id"].nunique()
    console.print(f"\n{counted(number, 'claim')}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    for line in MEANINGS:
        console.print(line, soft_wrap=True)


def print_pace(ratios: pd.DataFrame, console: Console | None = None) -> None:
    """Print the ratio of training at every N, with a table for each claim of pace and each training of the networks.

    Args:
        ratios: the result of `analysis.claims.course.course`.
        console: where to print; standard output by default.
    """
    console = console or command_line.console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    if ratios.empty:
        console.print("These results have no two kinds of networks whose training a claim compares.")
    for (id, part), rows in ratios.groupby(["id", "part"], sort=False):
        console.print(Text(f"{id}: {rows['claim'].iloc[0]}", style="bold"), soft_wrap=True)
        console.print(
            Text(f"{part}. A ratio above 1 means that the second kind of network needs more training."), soft_wrap=True
        )
        table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
        for name in ("N", "first solved", "second solved", "ratio", "95 % interval", "p"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows.to_dict("records"):
            interval = f"{_limit(row['low'])} to {_limit(row['high'])}"
            counts = (str(row["first"]), str(row["second"]))
            table.add_row(str(row["n"]), *counts, _short(row["ratio"]), interval, f"{row['p']:.2g}")
        console.print(table)
        pairs = [f"between N = {a} and {b}" for a, b in turns(rows)]
        console.print("The order changes " + " and ".join(pairs) + ".\n" if pairs else "The order never changes.\n")


def _limit(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2f}"


def claim_lines(row: Mapping[Hashable, Any]) -> list[str]:
    """Return the lines below a verdict, which are the same on the terminal and on the page.

    Args:
        row: a row of the result of `analysis.claims.catalogue.judge_all`.
    """
    lines = [f"paper: {row['paper']}"]
    if row["ours"]:
        at = f" at {row['at']}" if row["at"] else ""
        lines.append(f"ours: {row['ours']}{at}; {counted(row['n'], 'network')}; {row['part']}")
    if row["p"] == row["p"]:
        after = (
            ": the verdict does not survive this correction" if decided(row["verdict"]) and not row["survives"] else ""
        )
        lines.append(f"p = {row['p']:.2g}; corrected for the claims judged (Holm): {row['p_holm']:.2g}{after}")
    if row["below"]:
        lines.append(f"below the paper's: {row['below']}")
    if row["takes"]:
        lines.append(f"to decide it: {row['takes']}")
    planned = row["planned"]
    enough = f" {planned:.0f} networks of each kind decide it in four of five studies." if planned == planned else ""
    return [*lines, f"rule: {row['rule']}", f"size: {row['interest']}{enough}"]


_COLOURS: Final = {"reproduced": "green", "contradicted": "red", "inconclusive": "yellow", "not run": "dim"}

# Columns that are only in the JSON, since a terminal is too narrow for them.
_UNPRINTED: Final = {"mean_a", "mean_b", "p_permutation", "p_attainable", "p_t", "n_pooled"}


def _short(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3g}"
    return str(value)
