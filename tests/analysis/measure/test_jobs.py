"""Running an analysis over checkpoints: what is measured, once, in parallel, and what a failure leaves."""

import io
import os
from functools import partial
from pathlib import Path

import pytest

from analysis.data.frames import ResultsError, load
from analysis.measure import jobs as _jobs
from analysis.measure.jobs import Analysis, Cost
from analysis.options import Execution
from tsrnn import command_line
from tsrnn.config import Leaky, RunConfig
from tsrnn.errors import Failure, UsageError
from tsrnn.io.checkpoint import Checkpoint, CheckpointFolder, new
from tsrnn.io.files import RECORD, location
from tsrnn.io.lock import FolderLock
from tsrnn.io.published import publish
from tsrnn.io.schemas import ANALYSES, BY_NAME, RUNS, SOLVED, Column, Table
from tsrnn.io.store import Store

MEASURED = Table(
    "measured",
    "What these tests measure.",
    (
        Column("network_id", "string", "", "which network", key=True),
        Column("n", "int64", "", "which N", key=True),
        Column("value", "float64", "", "the sum of tau, and a number"),
        Column("process", "int64", "", "where it was measured"),
    ),
)

CONFIGS = [RunConfig(network=Leaky(hidden=3), seed=seed) for seed in (0, 1)]


def measure(checkpoint: Checkpoint, n: int, add: float = 0.0, folder: str = "") -> dict:
    """Fail as a file in a folder says: "raise-3", "die-3", "misfit-3" at N = 3."""
    if folder:
        (Path(folder) / f"ran-{checkpoint.config.network_id}-{n}").touch()
        if (Path(folder) / f"raise-{n}").exists():
            raise RuntimeError("over\ntwo lines")
        if (Path(folder) / f"die-{n}").exists():
            os._exit(7)
        if (Path(folder) / f"misfit-{n}").exists():
            return {MEASURED: [{"value": "high", "process": 1}]}
    return {MEASURED: [{"value": float(checkpoint.network["tau"].double().sum()) + add, "process": os.getpid()}]}


def analysis(folder: Path | str = "", add: float = 0.0, cost: Cost | None = None) -> Analysis:
    return Analysis("testing", partial(measure, add=add, folder=str(folder)), (MEASURED,), {"add": add}, cost=cost)


def half_an_hour(checkpoint: Checkpoint, n: int) -> float:
    assert isinstance(checkpoint, Checkpoint)
    return 1800.0 if n == 3 else 0.0


def broken(checkpoint: Checkpoint, n: int) -> float:
    raise RuntimeError("cannot be tried")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A sweep of two networks that solved N = 2, 3 and 4."""
    folder = tmp_path / "results"
    store = Store(folder)
    store.create()
    for config in CONFIGS:
        store.write(RUNS, config.network_id, [row(RUNS, config)])
        paths = {n: CheckpointFolder(folder, config.network_id).save_solved(new(config), n) for n in (2, 3, 4)}
        store.write(SOLVED, config.network_id, [row(SOLVED, config, n=n, checkpoint=path) for n, path in paths.items()])
    return folder


def row(table: Table, config: RunConfig, **values: object) -> dict:
    return dict.fromkeys(column.name for column in table.columns) | {"network_id": config.network_id} | values


def at(n: int) -> set[tuple[str, int]]:
    """The checkpoints of all networks at one N."""
    return {(config.network_id, n) for config in CONFIGS}


def expected(add: float = 0.0) -> dict[tuple[str, int], float]:
    sums = {config.network_id: float(new(config).network["tau"].double().sum()) for config in CONFIGS}
    return {(network_id, n): total + add for network_id, total in sums.items() for n in (2, 3, 4)}


def found(results: Path) -> dict[tuple[str, int], float]:
    frame = load(results, "measured")
    return {(row.network_id, row.n): row.value for row in frame.itertuples()}


def run(results: Path, analysis: Analysis, workers: int = 2, **options: object) -> _jobs.Summary:
    console = command_line.console(file=io.StringIO())
    return _jobs.run(results, analysis, execution=local(workers), console=console, **options)


def local(workers: int, *, yes: bool = False) -> Execution:
    return Execution(workers=workers, address="local", yes=yes)


def ran(folder: Path) -> int:
    """How often something was measured since the last call."""
    marks = list(folder.glob("ran-*"))
    for mark in marks:
        mark.unlink()
    return len(marks)


def test_every_checkpoint_is_measured_once(results, tmp_path):
    summary = run(results, analysis(tmp_path))
    assert (summary.done, summary.skipped, summary.failed) == (6, 0, {})
    assert found(results) == expected()
    assert os.getpid() not in set(load(results, "measured")["process"])
    assert set(load(results, ANALYSES)["status"]) == {"done"}
    assert ran(tmp_path) == 6

    again = run(results, analysis(tmp_path))
    assert (again.done, again.skipped, ran(tmp_path)) == (0, 6, 0)

    other = run(results, analysis(tmp_path, add=1.0), only=at(3))
    assert (other.done, other.skipped, ran(tmp_path)) == (2, 0, 2)
    assert found(results) == {key: value + (key[1] == 3) for key, value in expected().items()}


def test_in_published_results_only_what_is_there_and_was_not_measured_is_measured(results, tmp_path, monkeypatch):
    monkeypatch.setitem(BY_NAME, MEASURED.name, MEASURED)
    run(results, analysis(), only=at(2))
    (results / RECORD).touch()
    paths = load(results, SOLVED).query("n < 4")["checkpoint"]
    publish(location(results), location(tmp_path / "out"), set(paths))
    console = command_line.console(file=io.StringIO())
    summary = _jobs.run(tmp_path / "out", analysis(), execution=local(1), console=console)
    assert (summary.done, summary.skipped, summary.unpublished, summary.failed) == (2, 2, 2, {})
    assert "testing: 2 checkpoints left out: not published in " in console.file.getvalue()
    assert found(tmp_path / "out") == {key: value for key, value in expected().items() if key[1] < 4}
    assert len(load(tmp_path / "out", "measured")) == 4

    with pytest.raises(ResultsError, match=r"testing was measured with other settings .*\{\"add\": 0.0\}; measure in"):
        run(tmp_path / "out", analysis(add=1.0))
    assert len(load(tmp_path / "out", "measured")) == 4


def test_published_results_without_the_checkpoints_are_an_error(results, tmp_path):
    (results / RECORD).touch()
    publish(location(results), location(tmp_path / "out"))
    before = sorted(tmp_path.joinpath("out").iterdir())
    with pytest.raises(ResultsError, match="nothing was measured: the checkpoints of these N were not published"):
        run(tmp_path / "out", analysis())
    assert [path for path in sorted(tmp_path.joinpath("out").iterdir()) if path.name[0] != "_"] == before


def test_failures_are_rows_and_the_rest_is_measured(results, tmp_path):
    for name in ("raise-2", "die-3"):
        (tmp_path / name).touch()
    summary = run(results, analysis(tmp_path))
    assert summary.done == 2
    assert {(job.n, message) for job, message in summary.failed.items()} == {
        (2, "RuntimeError: over two lines"),
        (3, "its process died (exit status 7); out of memory?"),
    }
    assert found(results) == {key: value for key, value in expected().items() if key[1] == 4}
    rows = load(results, ANALYSES).sort_values(["network_id", "n"])
    assert rows["status"].tolist() == ["failed", "failed", "done"] * 2
    assert set(rows["message"]) == {*summary.failed.values(), ""}

    (tmp_path / "raise-2").unlink()
    (tmp_path / "die-3").unlink()
    assert ran(tmp_path) == 6
    mended = run(results, analysis(tmp_path), workers=1)
    assert (mended.done, mended.skipped, mended.failed, ran(tmp_path)) == (4, 2, {}, 4)
    assert found(results) == expected()


def test_damaged_checkpoints_and_rows_that_do_not_fit_fail_alone(results, tmp_path):
    (tmp_path / "misfit-4").touch()
    path = results / "checkpoints" / CONFIGS[0].network_id / "n-002.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    summary = run(results, analysis(tmp_path), workers=1)
    assert summary.done == 3
    messages = {(job.network_id, job.n): message for job, message in summary.failed.items()}
    assert f"CheckpointError: {path}" in messages[CONFIGS[0].network_id, 2]
    for config in CONFIGS:
        assert messages[config.network_id, 4].startswith("ValueError: measured: column value must be float64")


def test_a_failure_takes_back_rows_of_other_settings(results, tmp_path):
    run(results, analysis(tmp_path), only=at(2), workers=1)
    (tmp_path / "raise-2").touch()
    run(results, analysis(tmp_path, add=1.0), only=at(2), workers=1)
    assert found(results) == {}


def test_no_cluster_at_the_address(results):
    says = r"address = 127.0.0.1:1: no Ray cluster answers there .* try --address local"
    with pytest.raises(Failure, match=says) as caught:
        _jobs.run(
            results,
            analysis(),
            execution=Execution(address="127.0.0.1:1"),
            console=command_line.console(file=io.StringIO()),
        )
    assert "\n" not in str(caught.value)


def test_no_address():
    with pytest.raises(UsageError, match=r"address = 'nowhere': allowed are auto, local and HOST:PORT"):
        Execution(address="nowhere")


def test_the_same_analysis_twice_at_once_is_refused(results):
    with FolderLock(results, "lock-testing") as lock:
        lock.acquire()
        with pytest.raises(ResultsError, match=rf"testing is already being measured \(process {os.getpid()} on "):
            _jobs.run(results, analysis(), execution=local(1))
        assert not (results / "measured").exists()
    assert run(results, analysis(), workers=1).done == 6


def test_several_analyses_are_one_run(results, tmp_path):
    """Their jobs are mixed, so that the cost of each is soon known; each wants checkpoints of its own."""
    analyses = [
        Analysis(name, partial(measure, add=add), (MEASURED,), {"add": add}, shares_tables=True)
        for name, add in (("one", 1.0), ("other", 2.0))
    ]
    wanted = [lambda network_id, n: True, lambda network_id, n: n == 3]
    planned, _ = _jobs._plan(results, list(zip(analyses, wanted, strict=True)))
    assert [analysis.name for analysis, _ in planned] == ["one", "one", "other", "one", "one", "one", "other", "one"]
    console = command_line.console(file=io.StringIO(), width=40)
    options = {"execution": local(2), "console": console}
    summaries = _jobs.run_all(results, "both", list(zip(analyses, wanted, strict=True)), **options)
    assert [(summary.done, summary.failed) for summary in summaries] == [(6, {}), (2, {})]
    assert (
        console.file.getvalue().splitlines()[0]
        == "both: 8 jobs (one 6, other 2), 2 at a time, their time cannot be estimated"
    )
    values = load(results, "measured").groupby(["network_id", "n"])["value"].apply(sorted).to_dict()
    assert values == {key: [value + 1] + [value + 2] * (key[1] == 3) for key, value in sorted(expected().items())}
    again = _jobs.run_all(results, "both", list(zip(analyses, wanted, strict=True)), **options)
    assert [(summary.done, summary.skipped) for summary in again] == [(0, 6), (0, 2)]


class TestBeforeItBegins:
    """What is said of the time, from the cost of the job of the median N, and what is asked."""

    def begin(
        self,
        results: Path,
        monkeypatch: pytest.MonkeyPatch,
        answer: str,
        *,
        yes: bool = False,
        cost: Cost = half_an_hour,
    ) -> tuple[list[str], int]:
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        monkeypatch.setattr("os.cpu_count", lambda: 2)
        console = command_line.console(file=io.StringIO(), width=40)
        summary = _jobs.run(results, analysis(cost=cost), execution=local(2, yes=yes), console=console)
        return console.file.getvalue().splitlines(), summary.done

    def test_hours_are_said_and_asked(self, results, monkeypatch):
        lines, done = self.begin(results, monkeypatch, "y\n")
        assert lines[0] == "testing: 6 jobs, 2 at a time, about 90.1 minutes"
        assert lines[1].startswith("Begin? [y/N]")
        assert done == 6

    def test_no_leaves_the_results_as_they_are(self, results, monkeypatch):
        before = {path for path in results.rglob("*") if path.is_dir()}
        with pytest.raises(Failure, match="not begun"):
            self.begin(results, monkeypatch, "n\n")
        assert {path for path in results.rglob("*") if path.is_dir()} == before
        assert self.begin(results, monkeypatch, "y\n")[1] == 6

    def test_yes_does_not_ask(self, results, monkeypatch):
        lines, done = self.begin(results, monkeypatch, "n\n", yes=True)
        assert (len(lines), done) == (1, 6)

    def test_what_is_done_is_not_asked_about(self, results, monkeypatch):
        self.begin(results, monkeypatch, "y\n")
        assert self.begin(results, monkeypatch, "n\n") == ([], 0)

    def test_an_estimate_that_fails_stops_nothing(self, results, monkeypatch):
        lines, done = self.begin(results, monkeypatch, "n\n", cost=broken)
        assert lines == ["testing: 6 jobs, 2 at a time, their time cannot be estimated"]
        assert done == 6
