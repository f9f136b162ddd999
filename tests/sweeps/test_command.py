"""The command `tsrnn`: each subcommand is the program that it stands for."""

import json
import subprocess
from pathlib import Path

import pytest

from sweeps import all as every
from sweeps import command, fixed_tau
from sweeps.command import main
from sweeps.engine.options import Options
from sweeps.engine.runner import run
from tsrnn.config import Leaky, RunConfig, SingleHead
from tsrnn.io.checkpoint import new, save

GRID = ["--scale", "quick", "--hidden", "8", "--replicates", "1", "--dry-run", "--json"]


def planned(text: str) -> dict:
    """What a dry run says, but for the time, which is measured."""
    return {name: value for name, value in json.loads(text).items() if name != "seconds"}


def test_a_sweep_is_the_sweep_of_its_file(capsys: pytest.CaptureFixture[str]):
    assert main(["sweep", "fixed-tau", *GRID, "--taus", "1", "trained"]) == 0
    ours = planned(capsys.readouterr().out)
    assert run(fixed_tau.SWEEP, [*GRID, "--taus", "1", "trained"]) == 0
    assert ours == planned(capsys.readouterr().out)
    assert ours["networks"] == 8


def test_every_sweep_has_a_subcommand():
    listed = {name for name in command.tsrnn_app()["sweep"] if not name.startswith("-")}
    assert listed == {name.replace("_", "-") for name in every.SWEEPS} | {"all"}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nothing"], 2, "nothing"),
        (["sweep", "nothing"], 2, "nothing"),
        (["sweep", "fixed-tau", "--taus", "0.5"], 2, "tau = 0.5"),
        (["sweep", "fixed-tau", "--taus"], 2, "--taus requires at least 1 element"),
        (["sweep", "all", "--scale", "huge"], 2, "huge"),
        (["figures", "{}", "--only"], 2, "--only requires at least 1 element"),
        (["gradients", "{}", "--n", "--plugin", "file.py"], 2, "--n requires at least 1 element"),
        (["report", "{}/none"], 1, "is not a folder"),
        (["max-n", "{}", "--colour", "red"], 2, "--colour"),
        (["evaluate", "{}/none"], 1, "no such checkpoint"),
        (["evaluate", "{}/network", "--protocol", "in-time", "--k", "2"], 2, "protocol"),
        (["import-reference", "{}", "--curriculum", "multi", "--n", "5", "--out", "{}/out"], 1, ""),
        (["retraining", "{}", "--n", "1"], 2, "--n. allowed are numbers of at least 2"),
        (["hyperparameters", "--stage", "13"], 2, "stage = 13"),
    ],
)
def test_it_ends_as_the_programs_do(tmp_path: Path, capsys, words: list[str], status: int, said: str):
    save(new(RunConfig(network=Leaky(hidden=3), curriculum=SingleHead(start=101))), tmp_path / "network")
    assert main([word.replace("{}", str(tmp_path)) for word in words]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert said in printed.err


@pytest.mark.parametrize("words", [["sweep", "fixed-tau"], ["sweep", "all"]])
def test_an_interrupted_sweep_says_how_it_goes_on(monkeypatch, capsys, words: list[str]):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeps.engine.runner._run", interrupt)
    monkeypatch.setattr("sweeps.all._Runner", interrupt)
    assert main([*words, "--yes"]) == 130
    assert capsys.readouterr().err == "error: interrupted; the same command continues where it stopped\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--scale", "quick", "--tasks", "parity", "dms", "--taus", "1", "2.5", "--json", "--yes"],
        ["--cpus-per-trial", "0.5", "--niceness", "0", "--self-interactions", "inside", "--storage", "two words"],
        ["--plugin", "a.py", "b.py", "--precision", "bfloat16", "--resume", "--verbose", "--seed", "3"],
    ],
)
def test_options_become_the_words_that_gave_them(monkeypatch, words: list[str]):
    """By the parser itself: `sweeps/all.py` hands them on like this."""
    monkeypatch.delenv("TSRNN_STORAGE", raising=False)
    parse = every.app.parse_args
    bound = parse(words, exit_on_error=False, print_error=False)[1]
    options = bound.arguments.get("options", Options())
    again = parse(options.words(), exit_on_error=False, print_error=False)[1].arguments.get("options", Options())
    assert again == options
    assert sorted(options.words()) == sorted(words)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shell") / "tsrnn.bash"
    command.tsrnn_app().install_completion(shell="bash", output=path, add_to_startup=False)
    return path


class TestCompletion:
    @pytest.mark.parametrize(
        ("typed", "offered"),
        [
            ("tsrnn sw", ["sweep"]),
            ("tsrnn sweep fix", ["fixed-tau"]),
            ("tsrnn sweep fixed-tau --scale over", ["overnight"]),
            ("tsrnn sweep all --repl", ["--replicates"]),
            ("tsrnn time", ["time-steps", "timescales"]),
            ("tsrnn evaluate --proto", ["--protocol"]),
            ("tsrnn retraining --high", ["--higher"]),
        ],
    )
    def test_bash_completes_a_word(self, script: Path, typed: str, offered: list[str]):
        words = typed.split()
        # What bash does at the tab key: it calls the function that was registered for the command.
        asked = f"""
            source {script}
            read -ra registered <<< "$(complete -p tsrnn)"
            COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1} COMP_LINE="{typed}" COMP_POINT={len(typed)}
            "${{registered[2]}}" tsrnn {words[-1]} {words[-2]}
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert sorted(done.stdout.split()) == offered

    def test_installing_it_adds_a_line_to_the_startup_file(self, tmp_path: Path, monkeypatch, capsys):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert main(["--install-completion", "--shell", "bash"]) == 0
        installed = tmp_path / ".local/share/bash-completion/completions/tsrnn"
        assert "complete -F" in installed.read_text()
        assert str(installed) in (tmp_path / ".bashrc").read_text()
        assert str(installed) in capsys.readouterr().out
