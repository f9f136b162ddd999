"""What README shows of querying results runs as it stands there."""

import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.claims.catalogue import CLAIMS
from tests.handmade import HandMade, config, solved

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(heading: str) -> list[str]:
    """Return the Python code of a section."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep, and another that trained one of its networks too; the work folder is theirs."""
    for sweep in ("fixed_tau", "curricula"):
        made = HandMade(tmp_path / "results" / "quick" / sweep)
        made.add(config("single"), [solved(2, 3, taken=3, tau=1.5), solved(3, 8, taken=5, tau=2.0)])
    made = HandMade(tmp_path / "results" / "quick" / "fixed_tau")
    made.add(config("single", seed=1), [solved(2, 1, taken=1, tau=2.5)])
    made.add(config("multi"), [solved(2, 2, taken=2, tau=1.0), solved(3, 3), solved(4, 4)])
    made.add(config("multi", tau=2.0), [solved(2, 2, tau=2.0, sd=0.0)])
    monkeypatch.chdir(tmp_path)


def test_the_number_of_claims():
    assert f"{len(CLAIMS)} claims" in README


@pytest.mark.usefixtures("results")
def test_queries(capsys: pytest.CaptureFixture[str]):
    pandas, polars, duckdb = blocks("Query the results")
    names: dict = {}
    exec(pandas, names)
    assert names["largest"].to_dict() == {
        ("parity", "single", "trained"): 3,
        ("parity", "multi", "trained"): 4,
        ("parity", "multi", "2"): 2,
    }
    exec(polars, names)
    pace = {(row["curriculum"], row["n"]): row for row in names["pace"].to_dicts()}
    assert pace["single", 2]["networks"] == 2
    assert pace["single", 2]["epochs_taken"] == 2.0  # of 3 and 1
    assert pace["single", 3]["epochs_taken"] == 5.0
    assert len(pace) == 5
    exec(duckdb, names)
    expected = pd.DataFrame(
        {
            "curriculum": ["multi", "multi", "multi", "single", "single"],
            "n": [2, 3, 4, 2, 3],
            "networks": [1, 1, 1, 2, 1],
            "tau": [1.0, 1.5, 1.5, 2.0, 2.0],
        }
    )
    pd.testing.assert_frame_equal(names["taus"], expected, check_dtype=False)
    assert "trained" in capsys.readouterr().out
