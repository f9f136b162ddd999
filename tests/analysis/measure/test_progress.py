"""What a long command says of the time left, on a terminal and without one."""

import io
import itertools

import pytest

from analysis.measure import progress as _progress
from analysis.measure.progress import Estimate, JobProgress
from tsrnn import command_line
from tsrnn.command_line import clock


class TestEstimate:
    def test_nothing_is_known_before_the_first_job_ends(self):
        assert Estimate({"cheap": 3}).left(100.0) is None

    @pytest.mark.parametrize("workers", [1, 4])
    def test_it_is_right_where_kinds_cost_the_same_each_time(self, workers: int):
        """Simulated: workers in parallel, kinds of different costs, side by side; starting takes 7 s."""
        costs, counts = {"cheap": 1.0, "dear": 10.0}, {"cheap": 40, "dear": 40}
        whole = sum(costs[kind] * count for kind, count in counts.items()) / workers
        free, ends = [7.0] * workers, []
        for kind in ["cheap", "dear"] * 40:
            free.sort()
            free[0] += costs[kind]
            ends.append((free[0], kind))
        estimate = Estimate(counts)
        for done, (now, kind) in enumerate(sorted(ends), 1):
            estimate.take(kind, costs[kind], now)
            if done >= 8 * workers:
                assert estimate.left(now) == pytest.approx(whole + 7.0 - now, abs=0.15 * whole)
        assert estimate.left(now) == 0

    def test_a_kind_that_has_not_begun_costs_what_the_others_do(self):
        estimate = Estimate({"known": 2, "unknown": 3})
        estimate.take("known", 2.0, now=2.0)
        assert estimate.left(2.0) == pytest.approx(2.0 * 4)

    def test_it_counts_down_while_nothing_ends(self):
        estimate = Estimate({"only": 2})
        estimate.take("only", 8.0, now=8.0)
        assert [estimate.left(now) for now in (8.0, 11.0, 20.0)] == [8.0, 5.0, 0.0]

    def test_jobs_that_cost_nothing(self):
        estimate = Estimate({"only": 2})
        estimate.take("only", 0.0, now=8.0)
        assert estimate.left(9.0) is None


class TestShown:
    def test_without_a_terminal_there_is_a_line_now_and_then(self, monkeypatch: pytest.MonkeyPatch):
        now = itertools.count(0.0, 2.0)  # every look at the clock is 2 s later
        monkeypatch.setattr(_progress.time, "monotonic", lambda: next(now))
        console = command_line.console(file=io.StringIO(), width=40)
        with JobProgress("hurt", {"one": 6, "other": 6}, console) as shown:
            for kind in ("one", "other") * 6:
                shown.take(kind, 2.0)
        assert console.file.getvalue().splitlines() == ["hurt: 8 of 12 jobs, 0:18 passed, about 0:06 left"]

    def test_on_a_terminal_there_is_a_bar(self):
        console = command_line.console(file=io.StringIO(), force_terminal=True, color_system=None, width=100)
        with JobProgress("measure", {"measure": 2}, console) as shown:
            shown.take("measure", 1.0)
            shown._bar.refresh()
        text = console.file.getvalue()
        assert "1/2 jobs, 0:00 passed, about" in text


def test_the_clock():
    assert [clock(seconds) for seconds in (0.4, 75, 3600 + 61)] == ["0:00", "1:15", "1:01:01"]
