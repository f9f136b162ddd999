"""docs/hyperparameters.md: the numbers of its tables are those of the rows that are published beside it."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweeps.search.ablation import parts

FOLDER = Path(__file__).parents[1] / "docs" / "hyperparameters"
PAGE = FOLDER.with_suffix(".md").read_text()
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def table(header: str) -> list[list[str]]:
    """Return the cells of the one table whose first line begins with `header`."""
    (text,) = PAGE.split(f"\n{header}")[1:]
    return [line.strip("| ").split(" | ") for line in text.partition("\n\n")[0].splitlines()[2:]]


def rows(name: str) -> pd.DataFrame:
    return pd.read_parquet(FOLDER / f"{name}.parquet", partitioning=None)


def require(cell: str, values: Sequence[float]) -> None:
    """Require that the numbers of a cell are these values, rounded to as many digits as each has."""
    found = NUMBER.findall(cell)
    assert len(found) == len(values), cell
    for number, value in zip(found, values, strict=True):
        digits = len(number.partition(".")[2])
        assert float(number) == pytest.approx(value, abs=0.5001 * 10**-digits), cell


def require_range(cell: str, values: pd.Series) -> None:
    """Require that a cell has the median and the range; the median alone if all values are equal."""
    median, low, high = values.median(), values.min(), values.max()
    require(cell, [median] if low == high else [median, low, high])


def test_the_numbers_of_a_cell_are_read():
    require("11.9 (10.9 to 12.8)", [11.94, 10.86, 12.8])
    for wrong in ([11.96, 10.9, 12.8], [11.9, 10.9]):
        with pytest.raises(AssertionError):
            require("11.9 (10.9 to 12.8)", wrong)


def test_tuned_and_the_papers_training_to_the_largest_n():
    curves = {
        "tuned": rows("curves/parity-multi-100-hidden-500-seeds-100-103"),
        "paper": rows("curves/parity-multi-50-hidden-500-seeds-100-103"),
    }
    lines = table("| training | N | steps | operations / 1e12 | seconds | mean tau |")
    assert len(lines) == 13
    for training, n, steps, operations, seconds, tau in lines:
        found = curves[training].query(f"n == {n}")
        assert len(found) == 4
        require_range(steps, found["steps"])
        require_range(operations, found["operations"] / 1e12)
        require_range(seconds, found["wall_s"])
        require(tau, [found["tau_mean"].median()])


@pytest.mark.parametrize(("what", "name"), [("single-head parity", "parity-single"), ("multi-head DMS", "dms-multi")])
def test_known_candidates_at_stage_12(what: str, name: str):
    candidates = rows(f"candidates/{name}-12-hidden-500-seeds-0-1")
    solved = candidates.groupby("candidate")["max_n"].agg(["min", "max"])
    (cells,) = [row[1:] for row in table("| | paper's SGD | SGD, momentum 0.9 |") if row[0] == what]
    for cell, (low, high) in zip(cells, solved.to_numpy(), strict=True):
        require(cell.partition(",")[0], [low] if low == high else [low, high])


def test_the_first_experiments():
    found = rows("first_look").set_index(["experiment", "n"])
    columns = (20, 30, 40, 50, 60, 80, 100)
    lines = table("| optimiser and learning rates | N = 20: steps, CPU s | 30 |")
    names = [re.findall(r"`(\w+)`", row[0])[-1] if "same" not in row[0] else "t21" for row in lines]
    assert names == ["h3", "q3", "u0", "t1", "t5", "U1", "t21"]
    for name, row in zip(names, lines, strict=True):
        assert len([cell for cell in row[1:] if NUMBER.search(cell)]) == len(
            [n for n in columns if (name, n) in found.index]
        )
        for n, cell in zip(columns, row[1:], strict=False):
            if NUMBER.search(cell):
                require(cell, found.loc[(name, n), ["steps", "cpu_s"]].tolist())


def test_the_largest_n_of_the_preset_tuned_at_the_scale_quick():
    of_each = rows("tuned_quick").groupby(["tau", "curriculum", "seed"])["n"].max()
    largest = of_each.groupby(["tau", "curriculum"]).mean()
    lines = table("| tau | single, paper | single, tuned |")
    assert [row[0] for row in lines] == ["1", "2", "3", "trained"]
    for tau, _, single, _, multi, ahead in lines:
        for cell, curriculum in ((single, "single"), (multi, "multi"), (ahead, "multi-ahead-5")):
            require(cell, [largest[tau, curriculum]])


def test_the_ablation_of_tuned():
    name = "ablation-parity-multi-50-operations-float32-hidden-500-seeds-200-203"
    n, found = parts(rows(f"candidates/{name}"), rows(f"curves/{name}"), 50)
    assert n == 50
    lines = {tuple(row[1:]) for row in table("| without (replaced by) |")}
    expected = set()
    for part in found:
        median = "not reached" if np.isinf(part.median) else f"{part.median / 1e12:.0f}"
        interval = f"{part.ratio:.2f} ({part.low:.2f} to {part.high:.2f})" if part.without else "1"
        ratio = f"above {math.floor(100 * part.low) / 100:.2f}" if np.isinf(part.high) else interval
        expected.add((f"{min(part.max_n)} to {max(part.max_n)}", median, ratio))
    assert lines == expected


def test_soap_to_the_largest_n():
    found, heads = rows("soap_100"), rows("soap_heads")
    lines = table("| N | steps | operations / 1e12 | of confirmation / 1e12 |")
    assert [int(row[0]) for row in lines] == list(range(10, 101, 10))
    for n, steps, operations, confirmation, seconds, tau, least in lines:
        own, judged = found.query(f"n == {n}"), heads.query(f"n == {n}")
        assert (len(own), len(judged)) == (4, 4 * (int(n) - 1))
        require_range(steps, own["steps"])
        require_range(operations, own["operations"] / 1e12)
        require_range(confirmation, own["confirm_operations"] / 1e12)
        require_range(seconds, own["wall_s"])
        require(tau, [own["tau_mean"].median()])
        require(least, [100 * judged["accuracy"].min()])


def test_the_rates_of_soap():
    found = rows("soap_rates").query("begins_at_n == 50 and n == 55 and confirmed_accuracy == 0.984")
    keys = ["recurrent_rate", "rate_decay_power", "steps_per_epoch"]
    columns = ["steps", "operations", "confirm_operations", "grad_norm"]
    means = found.groupby(keys)[columns].mean()
    lines = table("| rate of W | falls as | a test every |")
    assert len(lines) == len(means)
    for rate, decay, every, *cells in lines:
        power = {"(16 / N)^2": 2.0, "(16 / N)^1.25": 1.25, "16 / N": 1.0}[decay]
        mean = means.loc[(float(rate), power, int(NUMBER.findall(every)[0]))]
        for cell, column in zip(cells, columns, strict=True):
            require(cell, [mean[column] / (1e12 if "operations" in column else 1)])


def test_the_confirmation_of_soap():
    columns = ["steps", "operations", "confirm_operations"]
    means = rows("soap_confirmation").query("n == 56").groupby(["test_every", "max_stages"])[columns].mean()
    lines = table("| a test every | sequences of a confirmation, at most |")
    assert len(lines) == len(means)
    for every, sequences, *cells in lines:
        most = {"12,672": 22, "3456": 6, "1728": 3}[sequences.removesuffix(" (the preset)")]
        mean = means.loc[(int(NUMBER.findall(every)[0]), most)]
        for cell, column in zip(cells, columns, strict=True):
            require(cell, [mean[column] / (1e12 if "operations" in column else 1)])


def test_what_did_not_help():
    found = rows("late_n").pivot(index=["experiment", "n"], columns="seed", values="operations")
    names = ["tuned", "mean of 50 steps", "mean of 20 steps, rates fall as 1/N", "ten heads ahead"]
    lines = table("| training | N = 20 | 30 | 35 | 50 |")
    for name, row in zip(names, lines, strict=True):
        for n, cell in zip((20, 30, 35, 50), row[1:], strict=True):
            if cell == "stopped":
                assert (name, n) not in found.index
            else:
                require(cell, (found.loc[(name, n), [300, 301]] / 1e12).tolist())
