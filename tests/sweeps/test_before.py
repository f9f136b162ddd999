"""What a sweep says and asks before it begins."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sweeps.engine.before import say_cost, with_scale
from sweeps.engine.folder import SweepFolder
from sweeps.engine.options import Execution, Options
from sweeps.engine.plan import plan_of, storage_of
from sweeps.engine.runner import next_steps, run
from sweeps.fixed_tau import SWEEP
from tsrnn import command_line
from tsrnn.command_line import ask, counted
from tsrnn.errors import Failure, UsageError

NOBODY_THERE = Execution(address="local")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def console() -> Console:
    return command_line.console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    return console.file.getvalue()


@pytest.mark.parametrize(("cluster", "scale", "other"), [(None, "quick", "paper"), ("auto", "paper", "quick")])
def test_the_scale_is_that_of_the_place(monkeypatch, cluster, scale, other):
    monkeypatch.setattr("tsrnn.distributed.discovery.find", lambda address: cluster)
    chosen, line = with_scale(Options())
    assert chosen.scale == scale
    assert storage_of(chosen, "fixed_tau") == f"results/{scale}"
    assert line.startswith(f"scale {scale}, since ")
    assert f"--scale {other}" in line


def test_a_named_or_recorded_scale_stays(monkeypatch):
    monkeypatch.setattr("tsrnn.distributed.discovery.find", lambda address: pytest.fail("asked for a cluster"))
    assert with_scale(Options(scale="laptop"))[0].scale == "laptop"
    assert with_scale(Options(resume=True)) == (Options(resume=True), "")


def test_scales_have_folders_of_their_own(tmp_path, monkeypatch):
    """After the quick sweep, the laptop scale is not refused."""
    monkeypatch.chdir(tmp_path)
    for scale in ("quick", "laptop"):
        options = Options(scale=scale)
        folder = SweepFolder(storage_of(options, SWEEP.name), SWEEP.name)
        folder.write(plan_of(SWEEP, options, folder).record)
    assert sorted(path.parent.parent.name for path in tmp_path.glob("results/*/fixed_tau/sweep.json")) == [
        "laptop",
        "quick",
    ]


@pytest.mark.parametrize("address", ["nowhere", "host:port", ":6379", ""])
def test_a_wrong_address_is_known_at_once(address):
    with pytest.raises(UsageError, match=rf"address = '{address}': allowed are auto, local and HOST:PORT"):
        Options(address=address)


def test_a_folder_that_cannot_be_used_is_refused_before_the_cost_is_estimated(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sweeps.engine.runner.say_cost", lambda *_: pytest.fail("estimated"))
    small = ["--scale", "quick", "--hidden", "8", "--taus", "1", "--tasks", "parity", "--replicates", "1"]
    (tmp_path / "file").touch()
    assert run(SWEEP, [*small, "--storage", str(tmp_path / "file")]) == 1
    assert f"{tmp_path / 'file'} cannot be written; choose another --storage" in capsys.readouterr().err
    with SweepFolder(str(tmp_path), SWEEP.name) as other:
        other.acquire()
        assert run(SWEEP, [*small, "--storage", str(tmp_path)]) == 1
        assert "this sweep is running in it already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "seconds", "yes", "begins", "asks"),
    [
        ("y\n", 7200, False, True, True),
        ("n\n", 7200, False, False, True),
        ("", 7200, False, False, True),
        ("n\n", 7200, True, True, False),
        ("n\n", 600, False, True, False),
    ],
)
def test_asking(monkeypatch, console, answer, seconds, yes, begins, asks):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    if begins:
        ask("cost", seconds, yes=yes, console=console)
    else:
        with pytest.raises(Failure, match="not begun"):
            ask("cost", seconds, yes=yes, console=console)
    assert ("Begin?" in said(console)) == asks


def test_without_a_terminal_it_begins(monkeypatch, console):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    ask("cost", 7200, yes=False, console=console)
    assert said(console) == "cost\n"


def test_the_cost_of_the_paper_scale_is_said(monkeypatch, console, tmp_path):
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    options = Options(scale="paper", taus=["1"], tasks=["parity"], curricula=["single"], replicates=1)
    plan = plan_of(SWEEP, options, SweepFolder(str(tmp_path), SWEEP.name))
    with pytest.raises(Failure, match="not begun"):
        say_cost("fixed_tau", plan.networks, "paper", NOBODY_THERE, console)
    assert "fixed_tau: at most about " in said(console)
    assert "on 1 core of this machine" in said(console)


def test_what_takes_seconds_says_nothing(console, tmp_path):
    options = Options(scale="quick", hidden=8, taus=["1"], tasks=["parity"], curricula=["single"], replicates=1)
    plan = plan_of(SWEEP, options, SweepFolder(str(tmp_path), SWEEP.name))
    say_cost("fixed_tau", plan.networks, "quick", NOBODY_THERE, console)
    assert said(console) == ""


def test_an_estimate_that_fails_keeps_no_sweep_from_beginning(monkeypatch, console, tmp_path):
    def broken(*_: object) -> None:
        raise TypeError("the task is broken")

    monkeypatch.setattr("sweeps.engine.estimate.estimate", broken)
    plan = plan_of(SWEEP, Options(scale="quick"), SweepFolder(str(tmp_path), SWEEP.name))
    say_cost("fixed_tau", plan.networks, "quick", NOBODY_THERE, console)
    assert said(console) == "fixed_tau: its time cannot be estimated (the task is broken)\n"


def test_next_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert next_steps(SweepFolder("results/quick", "fixed_tau").path) == [
        "results: results/quick/fixed_tau",
        "report:  python -m analysis report results/quick/fixed_tau",
        'query:   pandas.read_parquet("results/quick/fixed_tau/solved")',
    ]


def test_the_next_command_runs_where_the_environment_is_not_active(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("sys.executable", str(tmp_path / ".venv" / "bin" / "python"))
    _, report, _ = next_steps(SweepFolder("results/quick", "fixed_tau").path)
    assert report == "report:  .venv/bin/python -m analysis report results/quick/fixed_tau"


def test_plurals():
    assert [counted(n, "network") for n in (0, 1, 2)] == ["0 networks", "1 network", "2 networks"]
