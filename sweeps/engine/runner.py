"""The runner, from a sweep's file to its results: options, plan, checks, the run, and the table at the end.

Ray, torch and pandas take seconds to import. They are imported when they are needed, and not for --help or for an error
in the options.
"""

import dataclasses
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cyclopts import App
from rich.console import Console

from sweeps.engine.before import say_cost, with_scale
from sweeps.engine.dry_run import Cost, dry_run
from sweeps.engine.folder import SweepFolder
from sweeps.engine.launch import train
from sweeps.engine.options import Axes, Options, require_installed
from sweeps.engine.plan import Plan, Sweep, plan_of, storage_of
from sweeps.engine.readings import readings
from tsrnn import command_line
from tsrnn.command_line import counted, import_plugins, run_resumable
from tsrnn.help_text import program
from tsrnn.io.files import Location
from tsrnn.untrusted import printable

__all__ = ["Axes", "Sweep", "application", "main", "run"]


def main(sweep: Sweep) -> NoReturn:
    """Run a sweep's command line and exit; see `run`."""
    sys.exit(run(sweep, sys.argv[1:]))


def run(sweep: Sweep, arguments: Sequence[str], costs: list[Cost] | None = None) -> int:
    """Run a sweep's command line and return its exit status.

    Args:
        sweep: the experiment.
        arguments: the words after the program's name.
        costs: the costs of earlier sweeps in the same storage, whose networks are reused; a dry run adds its own.

    Returns:
        0 if everything is done, 1 if something failed or is unfinished, 2 if an option is not allowed.
    """
    return run_resumable(application(sweep, f"sweeps/{sweep.name}.py", costs), arguments)


def application(sweep: Sweep, name: str, costs: list[Cost] | None = None) -> App:
    """Return a sweep's command line; calling it runs the sweep and returns the exit status.

    Args:
        sweep: The experiment.
        name: The name of the command.
        costs: See `run`.
    """
    app = program(name, sweep.doc)

    @app.default
    def command(options: Options = Options()) -> int:  # noqa: B008
        return _run(sweep, options, command_line.console(stderr=True), [] if costs is None else costs)

    return app


def _run(sweep: Sweep, options: Options, console: Console, costs: list[Cost]) -> int:
    import_plugins(options.plugin)
    require_installed(options.log or ())
    if options.scale is None and not options.resume:
        # Errors in options are reported before looking for Ray, which takes seconds.
        tried = dataclasses.replace(options, scale="quick", dry_run=True)
        plan_of(sweep, tried, SweepFolder(storage_of(tried, sweep.name), sweep.name))
    options, chosen = with_scale(options)
    folder = SweepFolder(storage_of(options, sweep.name), sweep.name)
    plan = plan_of(sweep, options, folder)
    for line in filter(None, (chosen, plan.note)):
        console.print(f"{sweep.name}: {line}", soft_wrap=True)
    if options.dry_run:
        costs.append(dry_run(plan, options, as_json=options.json, before=costs))
        return 0
    if waiting := folder.unfinished(plan.networks):
        with folder:
            say_cost(sweep.name, waiting, plan.record.scale, options, console)
            plan, _ = train(
                lambda: plan_of(sweep, options, folder),
                folder,
                options,
                console,
                products=options.products,
                trackers=options.log or (),
                verbose=options.verbose,
            )
    else:
        total = len(plan.networks)
        already = "its network has" if total == 1 else f"all {total} networks have"
        console.print(f"{sweep.name}: {already} ended already, in {folder.path}", soft_wrap=True)
    return _conclude(sweep, folder, plan, options, console)


def _conclude(sweep: Sweep, folder: SweepFolder, plan: Plan, options: Options, console: Console) -> int:
    """Print the table; return the exit status."""
    from analysis.data.study import Study
    from analysis.tables import json_rows, print_max_n

    table = Study(folder.path).max_n()
    if options.json:
        print(json.dumps({"sweep": plan.record.sweep, "folder": str(folder.path), "rows": json_rows(table)}))
    else:
        print_max_n(table)
        for line in readings(folder.path, sweep.figures):
            print(printable(line))
    unfinished = folder.unfinished(plan.networks)
    if unfinished:
        console.print(
            f"unfinished: {len(unfinished)} of {counted(len(plan.networks), 'network')}; the same command, or "
            f"--resume with the same --storage, continues",
            soft_wrap=True,
        )
    for line in next_steps(folder.path):
        console.print(line, soft_wrap=True)
    return 1 if unfinished else 0


def next_steps(folder: Location) -> list[str]:
    """Return three lines: where the results are, the command for a report, and a query."""
    place = _from_here(Path(str(folder))) if folder.is_file_system else str(folder)
    report = shlex.join([_python(), "-m", "analysis", "report", place])
    lines = [f"results: {place}", f"report:  {report}"]
    if folder.is_file_system:
        lines.append(f"query:   pandas.read_parquet({json.dumps(f'{place}/solved')})")
    return lines


def _python() -> str:
    """Return the command for this Python: "python" if its environment is active, otherwise its path."""
    own, found = Path(sys.executable), shutil.which("python")
    return "python" if found and Path(found).parent == own.parent else _from_here(own)


def _from_here(path: Path) -> str:
    """Return a path relative to the working folder, if it is inside it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
