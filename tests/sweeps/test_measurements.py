"""What `sweeps/all.py --measure` runs after the sweeps: all that the claims need, at N that can be compared."""

import re
from pathlib import Path

import pytest

from analysis import __main__ as analysing
from analysis.claims.catalogue import CLAIMS
from sweeps import all as every
from sweeps import retraining
from sweeps.engine.measurements import MEASUREMENTS, commands, common_n
from sweeps.engine.options import Options
from tests.handmade import HandMade, config, solved
from tsrnn.io.files import location

MAIN = [("single", 0, 12), ("single", 1, 14), ("multi", 0, 31), ("multi", 1, 29)]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    sweep = HandMade(tmp_path / "study" / "curricula")
    for curriculum, seed, most in MAIN:
        sweep.add(config(curriculum, seed), [solved(n, n) for n in range(2, most + 1)])
        sweep.add(config(curriculum, seed, task="dms"), [solved(2, 1), solved(3, 2)])
    return tmp_path / "study"


def test_they_are_all_that_the_claims_need():
    needed = set()
    for needs in {measure.needs for claim in CLAIMS for measure in claim.measures}:
        sweep, *measured = re.split(", then | and ", needs)
        name = re.match(r"python sweeps/(\w+)\.py", sweep)[1]
        for words in measured:
            needed.add((name, re.fullmatch(r"python (?:-m analysis |sweeps/)(\S+?)(?:\.py)? RESULTS", words)[1]))
    assert {(measurement.sweep, measurement.command) for measurement in MEASUREMENTS} == needed


def test_their_options_exist(tmp_path: Path):
    for words in commands(location(tmp_path)):
        app, own = (analysing.app, words[2:]) if words[0] == "-m" else (retraining.app, words[1:])
        app.parse_args(own, exit_on_error=False, print_error=False)


def test_windows_are_measured_where_the_main_networks_of_parity_are(storage: Path):
    assert [common_n(location(storage), most) for most in (30, 16, 10)] == [12, 12, 10]
    found = list(commands(location(storage)))
    at = {(words[2], Path(words[3]).name, words[-1]) for words in found if words[-2:-1] == ["--n"]}
    assert {("interventions", "curricula", "12"), ("interventions", "sliding_window", "12")} < at
    assert [words[-1] for words in found if words[0].endswith("retraining.py")] == ["12", "12"]


def test_without_the_main_networks_there_is_no_such_n(tmp_path: Path):
    assert common_n(location(tmp_path), 30) is None
    HandMade(tmp_path / "curricula").add(config("single"), [])
    assert common_n(location(tmp_path), 30) is None
    assert not any("--n" in words[-2:-1] and words[-1] != "5" for words in commands(location(tmp_path)))


class TestAll:
    @pytest.fixture
    def ran(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """The commands that all.py ran, of which time-steps fails; asked for JSON, it ends with a signal."""
        found: list[list[str]] = []

        def run(runner: every._Runner, command: list[str]) -> int:
            found.append(command[1:])
            runner.stopped = 15 if "time-steps" in command and "--json" in command else 0
            return 1 if "time-steps" in command else 0

        monkeypatch.setattr(every._Runner, "run", run)
        monkeypatch.setattr(every._Runner, "SIGNALS", ())
        return found

    def options(self, storage: Path, **more: bool) -> Options:
        return Options(scale="quick", storage=str(storage), address="local", **more)

    def test_after_all_sweeps_it_measures_and_writes_the_report(self, storage: Path, ran, capsys):
        assert every.main(self.options(storage), measure=True) == 1
        sweeps = len(every.SWEEPS) + len(every.FURTHER)
        assert all(Path(command[0]).parent.name == "sweeps" for command in ran[:sweeps])
        assert [command[:-3] for command in ran[sweeps:-1]] == list(commands(location(storage)))
        assert all(command[-3:] == ["--address", "local", "--yes"] for command in ran[sweeps:-1])
        assert ran[-1] == ["-m", "analysis", "report", str(storage)]
        shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("== ")]
        assert len(shown) == len(ran)
        assert shown[-1] == f"== python -m analysis report {storage}"

    def test_without_the_option_it_only_trains(self, storage: Path, ran):
        assert every.main(self.options(storage)) == 0
        assert len(ran) == len(every.SWEEPS) + len(every.FURTHER)

    def test_a_dry_run_says_that_measurements_are_not_counted(self, tmp_path: Path, ran, capsys):
        options = Options(scale="quick", hidden=8, replicates=1, dry_run=True, storage=str(tmp_path))
        assert every.main(options, measure=True) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith(f"Then {len(MEASUREMENTS)} measurements, each of which states its time when it begins")
        assert not ran

    def test_a_signal_ends_it(self, storage: Path, ran):
        assert every.main(self.options(storage, json=True), measure=True) == 128 + 15
        assert ran[-1][2] == "time-steps"
