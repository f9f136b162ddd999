"""Results that somebody else made, to harm who reads them: nothing outside is touched, run or shown as it stands."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.table import Table as Grid

from analysis import figures
from analysis.__main__ import main as analyse
from analysis.data.frames import ResultsError
from analysis.measure import jobs
from analysis.measure.jobs import Analysis
from sweeps.engine.errors import SweepError
from sweeps.engine.folder import Record, SweepFolder, read_record
from sweeps.engine.reuse import finished_elsewhere, take_over
from sweeps.retraining import app as retraining
from tests.analysis.measure.test_jobs import MEASURED, local, measure
from tests.handmade import HandMade, config, solved
from tests.sweeps.test_reliability import SMALL, trained
from tsrnn import command_line
from tsrnn.__main__ import main as tsrnn
from tsrnn.config import Leaky, RunConfig
from tsrnn.io.checkpoint import CheckpointError, CheckpointFolder, load, new, save
from tsrnn.io.files import location, open_sealed_json, sealed_json
from tsrnn.io.lock import FolderLock, LockedError
from tsrnn.io.parquet import to_bytes
from tsrnn.io.schemas import RUNS
from tsrnn.io.store import Store
from tsrnn.provenance import Code
from tsrnn.untrusted import below

ROOT = Path(__file__).resolve().parents[1]
DEEP = "[" * 100_000 + "]" * 100_000
SEQUENCES = "\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202e"
EASY = replace(SMALL, training=replace(SMALL.training, solved_accuracy=1e-9))
MARKUP = '<script>alert(1)</script><img src=x onerror="alert(2)">'


def rewritten(folder: Path, table: str, key: str, **columns: object) -> None:
    """Change columns of a network's row, as whoever made the results may."""
    (path,) = (folder / table).glob(f"{key}*.parquet")
    rows = pq.read_table(path)
    changed = rows.to_pydict() | {name: [value] * rows.num_rows for name, value in columns.items()}
    path.write_bytes(to_bytes(pa.table(changed, schema=rows.schema.remove_metadata())))


class TestPaths:
    """A table says where checkpoints are: only those below the sweep's folder are read."""

    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        """A sweep with one network that solved N = 2; a checkpoint that could be read lies outside, too."""
        made = HandMade(tmp_path / "results" / "sweep")
        path = CheckpointFolder(made.folder, SMALL.network_id).save_solved(new(SMALL), 2)
        made.add(SMALL, [solved(2, 1) | {"checkpoint": path}])
        save(new(SMALL), tmp_path / "outside.safetensors")
        folder = SweepFolder(str(tmp_path / "results"), "sweep")
        folder.write(Record("sweep", "quick", "paper", SMALL, (SMALL,)))
        return made.folder

    @pytest.fixture(
        params=["../../outside.safetensors", "checkpoints/../../../outside.safetensors", "absolute", "", "."]
    )
    def outside(self, request: pytest.FixtureRequest, results: Path, tmp_path: Path) -> str:
        """What `solved` says instead."""
        path = str(tmp_path / "outside.safetensors") if request.param == "absolute" else request.param
        rewritten(results, "solved", SMALL.network_id, checkpoint=path)
        return path

    def test_an_analysis_refuses_it(self, results, outside):
        analysis = Analysis("testing", partial(measure), (MEASURED,), {})
        with pytest.raises(ResultsError, match=r"checkpoint = .*: not the path of a file below"):
            jobs.run(results, analysis, execution=local(1), console=command_line.console(file=io.StringIO()))
        assert not list(results.glob("measured/n*"))

    def test_the_commands_refuse_it(self, results, outside, capsys):
        for name in ("timescales", "interventions"):
            assert analyse([name, str(results), "--address", "local"]) == 1
            said = capsys.readouterr().err
            assert said.count("error: ") == 1
            assert "not the path of a file below" in said, name

    def test_retraining_refuses_it(self, results, outside, capsys):
        assert command_line.run_resumable(retraining, [str(results), "--n", "2", "--dry-run"]) == 1
        assert "not the path of a file below" in capsys.readouterr().err

    def test_verify_says_that_it_is_wrong_and_moves_nothing_outside(self, results, outside, tmp_path):
        before = (tmp_path / "outside.safetensors").read_bytes()
        assert analyse(["verify", str(results)]) == 1
        analyse(["verify", str(results), "--repair"])
        assert (tmp_path / "outside.safetensors").read_bytes() == before
        assert {path.name for path in tmp_path.iterdir()} == {"results", "outside.safetensors"}

    def test_another_sweep_does_not_take_it_over(self, tmp_path, outside):
        theirs = tmp_path / "results" / "sweep"
        folder = SweepFolder(str(tmp_path / "results"), "other")
        folder.write(Record("other", "quick", "paper", SMALL, (SMALL,)))
        found = finished_elsewhere(folder, [SMALL])
        assert [str(path) for path in found.values()] == [str(theirs)]
        assert take_over(folder, found) == []

    def test_names_of_networks_stay_inside(self, results, tmp_path, capsys):
        for key in ("../../evil", "/tmp/evil", "a/b", "..", ""):
            rewritten(results, "solved", "n", network_id=key)
            rewritten(results, "runs", "n", network_id=key)
            assert analyse(["timescales", str(results), "--address", "local"]) == 1
            said = capsys.readouterr().err
            assert said.count("\n") == 1, said
            assert "cannot name a file" in said
        assert {path.name for path in tmp_path.iterdir()} == {"results", "outside.safetensors"}
        for write in (
            lambda: Store(results).write(RUNS, "../evil", []),
            lambda: CheckpointFolder(results, "../evil").save_solved(new(SMALL), 2),
        ):
            with pytest.raises(ValueError, match="cannot name a file"):
                write()

    def test_an_object_store_has_no_way_up(self):
        for name in ("s3://bucket/../other", "s3:///etc", "s3://"):
            with pytest.raises(ValueError, match="allowed are"):
                location(name)
        bucket = location("s3://bucket/results/sweep")
        assert str(below(bucket, "checkpoints/n1/n-002.safetensors")) == f"{bucket}/checkpoints/n1/n-002.safetensors"
        for name in ("../other", "/other", "s3://other/file", "a/../../b", ""):
            with pytest.raises(ValueError, match="not the path of a file below"):
                below(bucket, name)


EVIL = """
from pathlib import Path
(Path(__file__).parent / "was-run").touch()
"""


class TestCode:
    """Nothing that comes with results is run."""

    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        """A sweep whose tables and record name a file that comes with them, in every way there is."""
        storage = tmp_path / "download"
        folder = SweepFolder(str(storage), "fixed_tau")
        folder.write(Record("fixed_tau", "quick", "paper", EASY, (EASY,)))
        trained(folder.path, [EASY])
        for name in ("evil.py", "sitecustomize.py", "conftest.py"):
            (folder.path / name).write_text(EVIL)
        for table in ("runs", "outcomes"):
            plugins = json.dumps({str(folder.path / "evil.py"): "0123", "evil.py": "0123"})
            rewritten(folder.path, table, EASY.network_id, plugins=plugins)
        return folder.path

    @staticmethod
    def commands(results: Path) -> list[list[str]]:
        return [
            ["-m", "analysis", "max-n", str(results)],
            ["-m", "analysis", "verify", str(results)],
            ["-m", "analysis", "timescales", str(results), "--steps", "40", "--trials", "1", "--address", "local"],
            ["-m", "analysis", "report", str(results), "--out", str(results.parent.parent / "report")],
            [str(ROOT / "sweeps" / "fixed_tau.py"), "--storage", str(results.parent), "--resume", "--address", "local"],
        ]

    @pytest.mark.parametrize("number", range(5))
    def test_a_file_that_is_named_as_a_plugin(self, results, run_in, tmp_path, number):
        _, errors = run_in(tmp_path, self.commands(results)[number])
        assert "Traceback" not in errors
        assert not (results / "was-run").exists()

    @pytest.mark.parametrize("number", range(5))
    def test_a_kind_that_is_a_module(self, results, run_in, tmp_path, number):
        """Its file is on the way that Python looks for modules, as it is for who works in the folder."""
        part = ("task", "network", "curriculum")[number % 3]
        text = json.loads(EASY.to_json()) | {part: {"kind": "evil"}}
        record = open_sealed_json((results / "sweep.json").read_bytes())
        (results / "sweep.json").write_bytes(sealed_json(record | {"networks": [text]}))
        rewritten(results, "runs", EASY.network_id, config=json.dumps(text), task="evil", architecture="evil")
        status, errors = run_in(tmp_path, self.commands(results)[number], path=results)
        assert status == 1, errors
        assert "unknown kind 'evil'" in errors
        assert "Traceback" not in errors
        assert not (results / "was-run").exists()

    @pytest.mark.parametrize("part", [{"plugins": ["evil.py"]}, {"plugin": "evil.py"}, {"python": "import evil"}])
    def test_a_record_with_more_in_it_is_refused(self, results, part):
        record = open_sealed_json((results / "sweep.json").read_bytes())
        (results / "sweep.json").write_bytes(sealed_json(record | part))
        with pytest.raises(SweepError, match=f"unknown: {next(iter(part))}"):
            read_record(location(results))

    @pytest.mark.parametrize("claim", ["../../evil", [], None, True, -5, 1e30, 10**30])
    def test_a_claim_that_is_no_number_is_refused(self, results, claim):
        record = open_sealed_json((results / "sweep.json").read_bytes())
        (results / "sweep.json").write_bytes(sealed_json(record | {"claim": claim}))
        with pytest.raises(SweepError, match="not readable as a sweep's record"):
            read_record(location(results))

    def test_a_pickle_is_not_read(self, tmp_path, capsys):
        """The authors' checkpoints are what torch.save wrote: of weights alone."""
        import torch

        class Evil:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (tmp_path / "was-run",))

        torch.save({"evil": Evil()}, tmp_path / "evil.pt")
        command = ["import-reference", str(tmp_path / "evil.pt"), "--curriculum", "multi", "--n", "5"]
        assert tsrnn([*command, "--out", str(tmp_path / "out")]) == 1
        assert capsys.readouterr().err.startswith("error: ")
        assert not (tmp_path / "was-run").exists()


@pytest.fixture
def run_in(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Runs a program of ours in a folder; `path` is where Python looks for modules after ours.

    One analysis and the sweep run in processes of their own, as a user's do; the others in this one, which is as free
    to import what lies there.
    """

    def run(folder: Path, words: list[str], path: Path | None = None) -> tuple[int, str]:
        if words[:2] == ["-m", "analysis"] and words[2] != "max-n":
            monkeypatch.chdir(folder)
            monkeypatch.setattr(sys, "path", [str(folder), *sys.path, *([str(path)] if path else [])])
            return analyse(words[2:]), capsys.readouterr().err
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [ROOT, *([path] if path else [])]))}
        if path:
            (path / "sitecustomize.py").unlink(missing_ok=True)  # which Python itself would import
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stderr

    return run


class Tags(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.scripts, self.names = 0, set[str]()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        self.names |= {name for name, _ in attributes}


@pytest.fixture
def hostile(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a sweep whose words are all followed by the same text."""

    def make(text: str) -> Path:
        made = HandMade(tmp_path / "sweep")
        for seed in (0, 1):
            run = config(seed=seed)
            key = made.add(run, [solved(2, 1), solved(3, 2)])
            words = ("status", "reason", "device", "products", "versions", "code", "commit", "plugins")
            rewritten(made.folder, "outcomes", key, **{name: f"{name}{text}" for name in words})
            columns = [column.name for column in RUNS.columns if column.dtype == "string" and not column.key]
            named = {name: f"{name}{text}" for name in columns if name != "config"}
            rewritten(made.folder, "runs", key, **named)
            made.write(jobs.ANALYSES, key, [{"analysis": f"a{text}", "n": 2, "status": "failed", "message": text}])
        return made.folder

    return make


class TestPage:
    def test_markup_in_results_is_text(self, hostile, tmp_path, capsys):
        path = hostile(MARKUP + SEQUENCES)
        assert analyse(["report", str(path), "--out", str(tmp_path / "page")]) in (0, 1)
        assert TestTerminal.said(capsys.readouterr())
        page = (tmp_path / "page" / "index.html").read_text()
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        tags = Tags(page)
        assert tags.scripts == 2
        assert "onerror" not in tags.names

    def test_markup_in_a_table_of_markdown_is_text(self):
        frame = pd.DataFrame({"curriculum": [f"multi{MARKUP}\n<b>|*"], "n": [1.5]})
        text = figures._markdown(SimpleNamespace(title="T", caption="C"), frame)
        assert "<script" not in text
        assert "<b>" not in text
        assert text.splitlines()[4].startswith("| multi&lt;script&gt;alert(1)&lt;/script&gt;")
        assert text.splitlines()[4].endswith("&lt;b&gt;\\|\\* | 1.5 |")


class TestTerminal:
    """What a terminal would obey is not printed: here by all commands but `report`, which TestPage asks."""

    @staticmethod
    def said(captured: object) -> str:
        text = captured.out + captured.err
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), repr(text)
        return text

    @pytest.mark.parametrize(
        "words",
        [["max-n"], ["claims"], ["verify"], ["figures", "--only", "4a", "table1"]],
        ids=lambda words: words[0],
    )
    def test_words_of_results(self, hostile, tmp_path, capsys, monkeypatch, words):
        monkeypatch.chdir(tmp_path)
        name, *options = words
        analyse([name, str(hostile(SEQUENCES)), *options])
        assert self.said(capsys.readouterr())

    def test_names_of_files(self, tmp_path, capsys):
        made = HandMade(tmp_path / f"sweep{SEQUENCES}")
        made.add(config())
        (made.folder / "epochs" / f"n{SEQUENCES}.parquet").write_bytes(b"damaged")
        assert analyse(["verify", str(made.folder)]) == 1
        assert "damaged" in self.said(capsys.readouterr()) or True
        assert analyse(["max-n", str(tmp_path / f"absent{SEQUENCES}")]) == 1
        assert "absent" in self.said(capsys.readouterr())

    def test_values_of_a_configuration(self, tmp_path, capsys):
        made = HandMade(tmp_path / "sweep")
        key = made.add(config())
        text = json.loads(config().to_json()) | {"training": {f"b{SEQUENCES}": f"v{SEQUENCES}"}}
        rewritten(made.folder, "runs", key, config=json.dumps(text), precision=None)
        assert analyse(["max-n", str(made.folder)]) == 1
        assert "cannot be read" in self.said(capsys.readouterr())

    def test_a_console_prints_no_sequence_but_its_own(self):
        file = io.StringIO()
        console = command_line.console(file=file, force_terminal=True, width=100)
        grid = Grid(title=SEQUENCES)
        grid.add_column(f"column{SEQUENCES}")
        grid.add_row(f"[link=http://evil]cell[/link]{SEQUENCES}")
        console.print(grid)
        console.print(f"[red]line{SEQUENCES}\nnext\tone", style="bold", highlight=False)
        text = file.getvalue()
        assert "\x1b[1m" in text
        assert "[link=http://evil]cell[/link]" in text
        assert "[red]line" in text
        for sequence in ("\x1b[2J", "\x1b]0", "\x07", "\x9b", "\x7f", "\u202e"):
            assert sequence not in text


class TestSize:
    """What would exhaust memory or the stack is refused as what it is: damaged."""

    def test_a_header_of_two_gigabytes(self, tmp_path):
        path = tmp_path / "huge.safetensors"
        with path.open("wb") as file:
            file.write(struct.pack("<Q", 2 << 30) + b"{")
            file.truncate((2 << 30) + 8)  # without a block on the disk
        began = time.monotonic()
        with pytest.raises(CheckpointError, match="not a readable safetensors file"):
            load(path)
        assert time.monotonic() - began < 5

    def test_a_checkpoint_whose_header_is_deep(self, tmp_path):
        import safetensors.torch
        import torch

        about = json.dumps({"format": "tsrnn-2", "config": None}).replace("null", DEEP)
        from tsrnn.io.checkpoint import _digest

        tensors = {"network/x": torch.zeros(1)}
        metadata = {"tsrnn": about, "sha256": _digest(about, tensors)}
        (tmp_path / "deep.safetensors").write_bytes(safetensors.torch.save(tensors, metadata))
        with pytest.raises(CheckpointError):
            load(tmp_path / "deep.safetensors")

    @pytest.mark.parametrize("hidden", [10**5, 10**7, 10**10])
    def test_a_checkpoint_of_more_neurons_than_there_is_memory_for(self, tmp_path, hidden: int):
        import safetensors.torch

        from tsrnn.io.checkpoint import _digest

        save(new(RunConfig(network=Leaky(hidden=3))), tmp_path / "small.safetensors")
        with safetensors.safe_open(tmp_path / "small.safetensors", "pt") as file:
            about = file.metadata()["tsrnn"].replace('"hidden": 3', f'"hidden": {hidden}')
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert str(hidden) in about
        metadata = {"tsrnn": about, "sha256": _digest(about, tensors)}
        (tmp_path / "huge.safetensors").write_bytes(safetensors.torch.save(tensors, metadata))
        with pytest.raises(CheckpointError, match=f"its configuration needs .*{hidden}"):
            load(tmp_path / "huge.safetensors")

    def test_a_record_that_is_deep(self, tmp_path):
        (tmp_path / "sweep.json").write_text(DEEP)
        with pytest.raises(SweepError, match="not readable as a sweep's record"):
            read_record(location(tmp_path))
        (tmp_path / "sweep.json").write_text(f'{{"sweep": {DEEP}}}')
        with pytest.raises(SweepError, match="not readable as a sweep's record"):
            read_record(location(tmp_path))

    def test_a_configuration_that_is_deep(self, tmp_path, capsys):
        for text in (DEEP, f'{{"task": {DEEP}}}', '{"task": ' * 100_000 + "1" + "}" * 100_000):
            with pytest.raises(ValueError, match=r".") as refused:
                RunConfig.from_json(text)
            assert not isinstance(refused.value, RecursionError)
        made = HandMade(tmp_path / "sweep")
        key = made.add(config())
        rewritten(made.folder, "runs", key, config=f'{{"task": {DEEP}}}', precision=None)
        rewritten(made.folder, "outcomes", key, versions=DEEP)
        for command in (["max-n"], ["verify"], ["report", "--out", str(tmp_path / "page")]):
            assert analyse([command[0], str(made.folder), *command[1:]]) == 1
            said = capsys.readouterr()
            assert len(said.out + said.err) < 10_000

    def test_versions_that_are_deep(self, tmp_path):
        made = HandMade(tmp_path / "sweep")
        rewritten(made.folder, "outcomes", made.add(config(), [solved(2, 1)]), versions=DEEP)
        assert analyse(["report", str(made.folder), "--out", str(tmp_path / "page")]) == 0
        assert (tmp_path / "page" / "index.html").stat().st_size < 5_000_000

    @pytest.mark.parametrize("text", [DEEP, "no JSON", "[1]", "1"])
    def test_plugins_that_cannot_be_read(self, text):
        assert str(Code("0123", plugins=text)) == "code 0123 (plugins that cannot be read)"

    def test_a_lock_that_is_deep(self, tmp_path):
        with FolderLock(tmp_path) as lock:
            lock.acquire()
            (tmp_path / "_lock").write_text("[" * 1000)
            with pytest.raises(LockedError, match="another process"):
                FolderLock(tmp_path).acquire()
