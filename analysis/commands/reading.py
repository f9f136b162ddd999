"""The commands that check, print, draw or copy the results that are there."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from analysis.options import AsJson
from tsrnn import command_line
from tsrnn.command_line import Place, Several, at_least
from tsrnn.untrusted import printable


def max_n(results: Place, /, *, plugin: command_line.Plugins = None, as_json: AsJson = False) -> None:
    """Print the largest N solved for each task, curriculum and tau.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"rows": [...]}, with a row for each combination of the grid, as JSON.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.data.study import Study

    frame = Study(results).max_n()
    if as_json:
        print(json.dumps({"rows": tables.json_rows(frame)}, indent=2))
    else:
        tables.print_max_n(frame)


def verify(
    results: Place,
    /,
    *,
    repair: Annotated[bool, Parameter(negative="")] = False,
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Check every file of a sweep, and that files agree: schemas, keys, checksums, checkpoints, outcomes.

    The exit status is 1 if something is wrong and was not repaired. While the sweep runs, each file is checked by
    itself.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau, or one that holds several.
        repair: Move damaged files to _damaged/, so that the sweep's own command creates them again. Also rewrite
            files that can be derived from other files, and delete temporary files that killed processes left.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"sweeps": [{"folder", "networks", "files", "checkpoints", "problems": [...], ...}]}.
    """
    from analysis.verify import verification

    command_line.import_plugins(plugin)
    found = [verification.verify(folder, repair=repair) for folder in verification.sweeps_below(results)]
    if as_json:
        print(json.dumps({"sweeps": [verification.as_json(one, repaired=repair) for one in found]}, indent=2))
    else:
        for one in found:
            print(printable("\n".join(verification.lines(one, repaired=repair))))
    return 1 if any(not (repair and problem.repair) for one in found for problem in one.problems) else 0


def _known_figures(_: type, ids: list[str] | None) -> None:
    """Check `--only`."""
    from analysis.figures import FIGURES

    if unknown := [id for id in ids or () if id not in FIGURES]:
        raise ValueError(f"no figure {', '.join(unknown)}: allowed are {', '.join(FIGURES)}")


def figures(
    results: Place,
    /,
    *,
    only: Annotated[list[str] | None, Several, Parameter(validator=_known_figures)] = None,
    out: Path = Path("figures"),
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Draw the paper's figures as PNG and SVG, and write its tables as CSV and Markdown.

    If results for a figure are missing, the command names them, and the command that produces them.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        only: The figures and tables to make, such as 4a S11 table1; all by default.
        out: The folder for the files. Each file is named after its figure.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"figures": [{"id", "title", "caption", "missing", "files"}]}.
    """
    command_line.import_plugins(plugin)
    import time

    from analysis.data.study import Study
    from analysis.figures import FIGURES, build, write
    from analysis.measure.progress import JobProgress

    study, listed = Study(results), []
    ids = [id for id in FIGURES if only is None or id in only]
    with JobProgress("figures", {"figures": len(ids)}, command_line.console(stderr=True)) as shown:
        for id in ids:
            began = time.monotonic()
            figure = build(study, id)
            files = [] if figure.missing else [str(path) for path in write(figure, out)]
            listed.append(
                {name: getattr(figure, name) for name in ("id", "title", "caption", "missing")} | {"files": files}
            )
            if not as_json:
                shown.say(f"{figure.id:7} {', '.join(files) or 'not drawn: ' + figure.missing}")
            shown.take("figures", time.monotonic() - began)
    if as_json:
        print(json.dumps({"figures": listed}, indent=2))


def claims(results: Place, /, *, plugin: command_line.Plugins = None, as_json: AsJson = False) -> None:
    """Judge the paper's claims one by one: reproduced, contradicted, inconclusive or not run.

    The statistical unit is the network. Each verdict comes with its estimate, its 95 % interval, the smallest effect of
    interest, and a p-value corrected for the number of claims. An inconclusive verdict says what would decide it. See
    docs/claims.md.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"counts": {VERDICT: claims}, "claims": [...]}, with a row for each claim and training, as JSON.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.claims.catalogue import counts, judge_all
    from analysis.data.study import Study

    frame = judge_all(Study(results))
    if as_json:
        print(json.dumps({"counts": counts(frame), "claims": tables.json_rows(frame)}, indent=2))
    else:
        tables.print_claims(frame, counts(frame))


def publish(
    results: Place,
    out: Place,
    /,
    *,
    n: Annotated[list[Annotated[int, at_least(2)]] | None, Several] = None,
    where: str = "",
    without: Annotated[list[str] | None, Several] = None,
    plugin: command_line.Plugins = None,
) -> None:
    """Copy results for publication: each table as one file, and checkpoints if you ask for them.

    Every other command reads such a folder like that of a sweep. A sweep refuses to train in it.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        out: The folder to write. It must not exist, be empty, or be one that this command wrote.
        n: Also copy the networks' checkpoints at these solved N; none by default.
        where: The networks whose checkpoints are copied, as a query of pandas.DataFrame.query, such as
            "task == 'parity' and tau == 'trained'"; all by default.
        without: Tables of measurements to leave out, such as autocorrelations, the largest table.
        plugin: Python files that define tasks, networks or curricula of your own.
    """
    command_line.import_plugins(plugin)
    from analysis.data.publish import publish as copy

    files = copy(results, out, n or (), where, without or ())
    size = sum(len(path.read_bytes()) for path in files)
    print(printable(f"{out}: {command_line.counted(len(files), 'file')}, {size / 1e6:.1f} MB"))


def pace(results: Place, /, *, plugin: command_line.Plugins = None, as_json: AsJson = False) -> None:
    """Compare how much training two kinds of networks need, at every N, for each claim of pace (3c, 4a and others).

    A claim of pace is judged at one N, fixed by its rule. This shows the ratio of training with its 95 % interval at
    every N, and between which N the order of the two cells changes. Networks that have not solved N count with their
    whole training as a lower bound.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"rows": [...]}, one row for each claim, training and N.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.claims.course import course
    from analysis.data.study import Study

    frame = course(Study(results))
    if as_json:
        print(json.dumps({"rows": tables.json_rows(frame)}, indent=2))
    else:
        tables.print_pace(frame)


def report(
    results: Place,
    other: Place | None = None,
    /,
    *,
    out: Path = Path("report"),
    plugin: command_line.Plugins = None,
) -> int:
    """Write a report of the results: one page of HTML that works offline. With a second study, compare the two.

    The page has the claims, the largest N, every figure with the query behind it, a page for each network, deviations
    from the paper, run times, the machine, versions, and links to the tables. It lists the figures that cannot be
    drawn, and the commands that they need.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        other: A second study; the page then shows the verdicts and estimates of both, side by side.
        out: The folder for index.html, or a file that ends in .html.
        plugin: Python files that define tasks, networks or curricula of your own.
    """
    command_line.import_plugins(plugin)
    from analysis import report as page
    from analysis.data.study import Study

    if other is not None:
        print(printable(str(page.write_comparison(Study(results), Study(other), out)[0])))
        return 0
    path, contents = page.write(Study(results), out, command_line.console(stderr=True))
    print(printable(str(path)))
    for line in contents.failed:
        print(f"failed: {printable(line)}", file=sys.stderr)
    return 1 if contents.failed else 0
