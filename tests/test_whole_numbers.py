"""Options that are whole numbers: cyclopts alone would round 2.7 to 3."""

import re
from collections.abc import Iterator
from typing import get_args

import pytest
from cyclopts import App

from analysis.__main__ import app as analysis
from sweeps.hyperparameters import app as hyperparameters
from sweeps.retraining import app as retraining
from tsrnn.__main__ import app as tsrnn
from tsrnn.command_line import run

REQUIRED = {
    "import-reference": ["FILE", "--curriculum=multi", "--n=5", "--out=OUT"],
    "publish": ["PLACE", "OUT"],
    hyperparameters.name[0]: [],
}
"""What a command must be given beside its options; a place by default."""


def holds_int(hint: object) -> bool:
    return hint is int or any(holds_int(part) for part in get_args(hint))


def whole_numbers() -> Iterator[tuple[App, list[str], str]]:
    """Yield every option that takes whole numbers: the program, the words before it, and the option."""
    for app in (analysis, tsrnn, retraining, hyperparameters):
        subcommands = [name for name in app if not name.startswith("-")]
        for command in subcommands or [None]:
            own = app if command is None else app[command]
            for argument in own.assemble_argument_collection():
                if holds_int(argument.hint):
                    words = REQUIRED.get(command or app.name[0], ["PLACE"])
                    yield app, [*([command] if command else []), *words], argument.name


CASES = list(whole_numbers())


def test_they_are_found():
    found = {(*words[:1], option) for _, words, option in CASES}
    assert {("interventions", "--heads"), ("evaluate", "--k"), ("PLACE", "--epochs"), ("--stage",)} <= found


@pytest.mark.parametrize(("app", "words", "option"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_number_that_is_not_whole_is_refused(app: App, words: list[str], option: str, capsys):
    others = [word for word in words if not word.startswith(f"{option}=")]
    assert run(app, [*others, option, "2.7"]) == 2
    error = capsys.readouterr().err
    assert re.search(f"{option}.*(whole numbers|convert)", error)
    assert error.count("\n") == 1
