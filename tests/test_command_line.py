"""`python -m tsrnn`: what it prints, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from tests.io.test_reference import small
from tsrnn.__main__ import main
from tsrnn.config import DMS, EndRules, Leaky, MultiHead, Parity, RunConfig, Sines, SingleHead, Training
from tsrnn.help_text import unwrapped
from tsrnn.io.checkpoint import load, new, save
from tsrnn.io.schemas import RUNS, SOLVED
from tsrnn.io.store import Store

CONFIG = RunConfig(network=Leaky(hidden=6), training=Training(batch_size=8, test_batches=4), seed=2)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    save(new(CONFIG), tmp_path / "network.safetensors")
    return str(tmp_path / "network.safetensors")


@pytest.fixture
def theirs(tmp_path: Path) -> str:
    save_file(small(), tmp_path / "theirs.safetensors")
    return str(tmp_path / "theirs.safetensors")


class TestEvaluate:
    @pytest.mark.parametrize("protocol", ["end", "in-time"])
    def test_json(self, checkpoint: str, capsys, protocol: str):
        assert main(["evaluate", checkpoint, "--protocol", protocol, "--json"]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        (head,) = json.loads(printed.out)["heads"]
        assert head.keys() == {"n", "accuracy", "standard_error"}
        assert head["n"] == 2
        assert 0 < head["accuracy"] < 1
        assert 0 < head["standard_error"] < 0.2

    @pytest.mark.parametrize("protocol", ["end", "in-time"])
    def test_table_says_the_same(self, checkpoint: str, capsys, protocol: str):
        assert main(["evaluate", checkpoint, "--protocol", protocol, "--json"]) == 0
        (head,) = json.loads(capsys.readouterr().out)["heads"]
        assert main(["evaluate", checkpoint, "--protocol", protocol]) == 0
        printed = capsys.readouterr().out
        assert f"{protocol} accuracy" in printed
        assert ["2", f"{head['accuracy']:.4f}", f"{head['standard_error']:.4f}"] in map(str.split, printed.splitlines())

    def test_the_protocol_is_end_unless_said_otherwise(self, checkpoint: str, capsys):
        printed = []
        for words in ([], ["--protocol", "end"], ["--protocol", "in-time"]):
            assert main(["evaluate", checkpoint, "--json", *words]) == 0
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1] != printed[2]

    def test_the_seed_decides(self, checkpoint: str, capsys):
        printed = []
        for seed in ("0", "0", "1"):
            assert main(["evaluate", checkpoint, "--json", "--seed", seed]) == 0
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1] != printed[2]

    def test_every_head_of_a_published_network(self, reference: Path, tmp_path: Path, capsys):
        path = str(reference / "checkpoints" / "multi_parity_N5.safetensors")
        assert main(["import-reference", path, "--curriculum", "multi", "--n", "5", "--out", str(tmp_path)]) == 0
        assert pd.read_parquet(tmp_path / "runs")["preset"].tolist() == ["authors"]
        imported = capsys.readouterr().out.strip()
        assert main(["evaluate", imported, "--protocol", "in-time", "--json"]) == 0
        heads = json.loads(capsys.readouterr().out)["heads"]
        assert [head["n"] for head in heads] == [2, 3, 4, 5]
        assert all(head["accuracy"] > 0.99 for head in heads)


class TestImport:
    def run(self, theirs: str, out: Path, *words: str) -> int:
        return main(["import-reference", theirs, "--out", str(out), *words])

    def test_a_multi_head_network(self, theirs: str, tmp_path: Path, capsys):
        out = tmp_path / "results"
        assert self.run(theirs, out, "--curriculum", "multi", "--n", "4") == 0
        found = load(Path(capsys.readouterr().out.strip()))
        assert (found.config.curriculum, found.config.task.kind) == (MultiHead(), "parity")
        assert found.progress.heads == (2, 3, 4)
        assert torch.equal(found.network["tau"], small()["parameterlist.0"])
        (run,) = Store(out).read(RUNS, found.config.network_id)
        assert (run["sweep"], run["task"], run["curriculum"], run["hidden"]) == ("reference", "parity", "multi", 4)
        (solved,) = Store(out).read(SOLVED, found.config.network_id)
        assert solved["n"] == 4
        assert load(out / solved["checkpoint"]).config == found.config
        assert solved["tau_mean"] == 1.0  # all of theirs lie below 1, and act as 1

    def test_task_curriculum_and_network_tell_them_apart(self, theirs: str, tmp_path: Path, capsys):
        words = ("--curriculum", "single", "--n", "3")
        for more in ((), ("--task", "dms"), ("--network", "7")):
            assert self.run(theirs, tmp_path / "results", *words, *more) == 0
        found = [load(Path(line)) for line in capsys.readouterr().out.splitlines()]
        assert len({one.config.network_id for one in found}) == 3
        assert [one.config.task.kind for one in found] == ["parity", "dms", "parity"]
        assert [one.config.seed for one in found] == [0, 0, 7]
        assert {one.config.curriculum for one in found} == {SingleHead()}
        assert {one.progress.heads for one in found} == {(3,)}

    def test_several_n_of_one_network_go_into_one_folder(self, theirs: str, tmp_path: Path, capsys):
        out = tmp_path / "results"
        for n in ("3", "4", "3"):
            assert self.run(theirs, out, "--curriculum", "multi", "--n", n) == 0
        found = load(Path(capsys.readouterr().out.splitlines()[0]))
        assert sorted(row["n"] for row in Store(out).read(SOLVED, found.config.network_id)) == [3, 4]
        assert len(Store(out).read(RUNS, found.config.network_id)) == 1


class TestFailures:
    def error(self, capsys, words: list[str], status: int) -> str:
        """Return the one line a command fails with."""
        assert main(words) == status
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return printed.err

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["nothing"], "nothing"),
            (["evaluate"], "CHECKPOINT"),
            (["evaluate", "{}", "--protocol", "always"], '"end", "in-time"'),
            (["evaluate", "{}", "--seed", "-1"], "allowed are numbers of at least 0"),
            (["evaluate", "{}", "--seed", "some"], "--seed"),
            (["evaluate", "{}", "--colour", "red"], "--colour"),
            (["evaluate", "{}", "more"], "more"),
            (["import-reference", "{}", "--n", "5", "--out", "results"], "--curriculum"),
            (["import-reference", "{}", "--curriculum", "multi", "--out", "results"], "--n"),
            (["import-reference", "{}", "--curriculum", "multi", "--n", "5"], "--out"),
            (["import-reference", "{}", "--curriculum", "none", "--n", "5", "--out", "results"], '"single", "multi"'),
            (["import-reference", "{}", "--curriculum", "multi", "--n", "1", "--out", "results"], "at least 2"),
            (
                ["import-reference", "{}", "--curriculum", "multi", "--n", "5", "--out", "results", "--task", "x"],
                "--task",
            ),
        ],
    )
    def test_wrong_words(self, checkpoint: str, capsys, words: list[str], said: str):
        assert said in self.error(capsys, [word.replace("{}", checkpoint) for word in words], 2)

    def test_evaluate_a_file_that_is_none(self, tmp_path: Path, checkpoint: str, theirs: str, capsys):
        assert "no such checkpoint" in self.error(capsys, ["evaluate", str(tmp_path / "none")], 1)
        assert "not a tsrnn checkpoint" in self.error(capsys, ["evaluate", theirs], 1)
        Path(checkpoint).write_bytes(Path(checkpoint).read_bytes()[:-1])
        assert "not a readable safetensors file" in self.error(capsys, ["evaluate", checkpoint], 1)

    def test_import_a_file_that_is_none(self, tmp_path: Path, checkpoint: str, theirs: str, capsys):
        out = tmp_path / "results"
        words = ["--curriculum", "multi", "--n", "5", "--out", str(out)]
        assert "no such file" in self.error(capsys, ["import-reference", str(tmp_path / "none"), *words], 1)
        assert "it lacks" in self.error(capsys, ["import-reference", checkpoint, *words], 1)
        assert "it lacks modulelist.5" in self.error(capsys, ["import-reference", theirs, *words], 1)
        assert not out.exists()

    def test_import_to_where_nothing_can_be_written(self, tmp_path: Path, theirs: str, capsys):
        (tmp_path / "file").write_text("")
        words = ["--curriculum", "multi", "--n", "4", "--out", str(tmp_path / "file")]
        assert str(tmp_path / "file") in self.error(capsys, ["import-reference", theirs, *words], 1)

    @pytest.mark.parametrize("n", [101, 150])
    def test_in_time_the_warm_up_is_long_enough_for_the_largest_n(self, tmp_path: Path, capsys, n: int):
        end = EndRules(max_n=n)
        save(new(RunConfig(network=Leaky(hidden=3), curriculum=SingleHead(start=n), end=end)), tmp_path / "file")
        assert main(["evaluate", str(tmp_path / "file"), "--protocol", "in-time", "--json"]) == 0
        (head,) = json.loads(capsys.readouterr().out)["heads"]
        assert head["n"] == n
        assert head["accuracy"] == pytest.approx(0.5, abs=0.05)

    def test_bits_of_a_task_without_bits_cannot_be_held(self, tmp_path: Path, capsys):
        save(new(RunConfig(task=Sines(), network=Leaky(hidden=3))), tmp_path / "file")
        assert "has no bits to hold" in self.error(capsys, ["evaluate", str(tmp_path / "file"), "--k", "2"], 2)


def test_the_process_ends_with_the_status(tmp_path: Path):
    words = [sys.executable, "-m", "tsrnn", "evaluate", str(tmp_path / "none")]
    found = subprocess.run(words, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == f"error: {tmp_path / 'none'}: no such checkpoint\n"


def test_help_names_the_commands(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "evaluate" in printed
    assert "import-reference" in printed


def test_dms_checkpoints_are_asked_for_dms(tmp_path: Path, capsys):
    save(new(RunConfig(task=DMS(), network=Leaky(hidden=3), training=Training(batch_size=4))), tmp_path / "dms")
    save(new(RunConfig(task=Parity(), network=Leaky(hidden=3), training=Training(batch_size=4))), tmp_path / "parity")
    printed = []
    for name in ("dms", "parity"):
        assert main(["evaluate", str(tmp_path / name), "--protocol", "in-time", "--json"]) == 0
        printed.append(json.loads(capsys.readouterr().out)["heads"][0]["accuracy"])
    # At N = 2 the two labels are each other's opposite, of the same bits by the same network.
    assert sum(printed) == pytest.approx(1.0)


def test_help_joins_lines_that_the_source_wraps():
    text = """Question.

    Grid: one thing
    and another.
    Stop rule: none.
    """
    assert unwrapped(text) == "Question.\n\nGrid: one thing and another.\nStop rule: none."
