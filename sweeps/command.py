"""The command `tsrnn`: every program of the project as one of its subcommands.

`tsrnn sweep fixed-tau` is `python sweeps/fixed_tau.py`, `tsrnn report` is `python -m analysis report`, and
`tsrnn evaluate` is `python -m tsrnn evaluate`: options, output and exit statuses are those of the programs.
"""

import importlib
import sys
from collections.abc import Sequence

from cyclopts import App

import tsrnn
from analysis import __main__ as analysing
from sweeps import all as every
from sweeps import hyperparameters, retraining
from sweeps.engine.runner import application
from tsrnn import __main__ as networks
from tsrnn import command_line


def tsrnn_app() -> App:
    """Return the command with all its subcommands."""
    app = App(
        name="tsrnn",
        help="Train recurrent networks on memory tasks, and analyse what they learn.",
        version=tsrnn.__version__,
        suppress_keyboard_interrupt=False,
    )
    sweep = App(name="sweep", help="Train the networks of an experiment, or of all of them.")
    for name in every.SWEEPS:
        called = name.replace("_", "-")
        sweep.command(application(importlib.import_module(f"sweeps.{name}").SWEEP, called))
    sweep.command(every.app, name="all")
    app.command(sweep)
    app.command(retraining.app, name="retraining")
    app.command(hyperparameters.app, name="hyperparameters")
    for others in (analysing.app, networks.app):
        for name in others:
            if not name.startswith("-"):
                app.command(others[name], name=name)
    app.register_install_completion_command(help="Let the shell complete the words of this command.")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: The words after the program's name; those of this process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    app = tsrnn_app()
    command, _, _ = app.parse_commands(words)
    if command and command[0] in ("sweep", "retraining", "hyperparameters"):
        return command_line.run_resumable(app, words)
    return command_line.run(app, words, networks.FAILURES if command and command[0] in networks.app else {})


if __name__ == "__main__":
    sys.exit(main())
