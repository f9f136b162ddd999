"""What a running sweep says of how far it is."""

import io
import random
import time
from types import SimpleNamespace

from sweeps.engine.progress import Progress
from tsrnn import command_line
from tsrnn.config import RunConfig


def seen(epoch: int, n: int, ended: str = "") -> dict[str, object]:
    return {"epoch": epoch, "n": n, "accuracy": 0.9, "ended": ended}


class TestProgress:
    def test_headline_and_summary(self):
        networks = RunConfig().replicates(2)
        console = command_line.console(file=io.StringIO(), markup=False)
        progress = Progress([networks], console)
        trial = SimpleNamespace(
            trial_id="a", config={"trial": {"index": 0}}, run_metadata=SimpleNamespace(num_failures=2)
        )
        progress.on_trial_start(0, [], trial)
        assert progress._running["a"].summary() == ("starting", "", "")
        latest = {one.network_id: seen(100 + i, 4 + i) for i, one in enumerate(networks)}
        for _ in range(2):
            progress.on_trial_result(0, [], trial, {"networks": latest, "warnings": ["epoch-7: damaged [/x]"]})
        assert trial.run_metadata.num_failures == 0
        # The epochs of an earlier run say nothing about the time that this one takes.
        assert progress._headline() == "0 of 2 networks done, 2 running, 0:00 passed"
        assert progress._running["a"].summary() == ("101/1000", "4-5", "90.0 %")
        assert console.file.getvalue().count("warning: epoch-7: damaged [/x]") == 1
        halfway = {one.network_id: seen(550 + i, 8) for i, one in enumerate(networks)}
        progress._began = time.monotonic() - 60
        progress.on_trial_result(0, [], trial, {"networks": halfway, "warnings": []})
        assert progress._headline() == "0 of 2 networks done, 2 running, 1:00 passed, about 1:00 left"
        progress.on_trial_result(0, [], trial, {"networks": latest, "warnings": []})
        latest[networks[1].network_id] = seen(101, 5, "epochs")
        assert progress._running["a"].summary() == ("100/1000", "4", "90.0 %")
        progress.on_trial_complete(0, [], trial)
        assert progress._headline().startswith("2 of 2 networks done, 0 running")

    def test_sums_are_those_of_the_trials(self):
        """Whatever order trials start, report, begin again, fail and end in."""
        groups = [RunConfig(seed=10 * i).replicates(1 + i % 3) for i in range(20)]
        progress, draw = Progress(groups, command_line.console(file=io.StringIO())), random.Random(0)
        trials = [
            SimpleNamespace(
                trial_id=str(i), config={"trial": {"index": i}}, run_metadata=SimpleNamespace(num_failures=0)
            )
            for i in range(len(groups))
        ]
        latest: dict[int, dict] = {}
        first: dict[str, int] = {}
        ended: set[int] = set()
        for _ in range(2000):
            i = draw.choice([i for i in range(len(groups)) if i not in ended] or [0])
            if i in ended:
                break
            if i not in latest or draw.random() < 0.02:
                progress.on_trial_start(0, [], trials[i])
                latest[i] = {}
            elif draw.random() < 0.02:
                draw.choice([progress.on_trial_complete, progress.on_trial_error])(0, [], trials[i])
                ended.add(i)
            else:
                epoch = draw.randrange(1, 1000)
                latest[i] = {one.network_id: seen(epoch, 3, draw.choice(["", "epochs"])) for one in groups[i]}
                for key in latest[i]:
                    first.setdefault(key, epoch - 1)
                progress.on_trial_result(0, [], trials[i], {"networks": latest[i], "warnings": []})
            running = [j for j in latest if j not in ended]
            epochs = sum(1000 if one["ended"] else one["epoch"] for j in running for one in latest[j].values())
            assert progress._epochs == epochs + 1000 * sum(len(groups[j]) for j in ended)
            assert progress._before == sum(first.values())
            assert progress._running_networks == sum(len(groups[j]) for j in running)
            assert progress._done_networks == sum(len(groups[j]) for j in ended)
        assert len(ended) > 10

    def test_a_terminal_shows_the_newest_report(self):
        networks = RunConfig().replicates(1)
        console = command_line.console(file=io.StringIO(), force_terminal=True, width=100)
        trial = SimpleNamespace(
            trial_id="a", config={"trial": {"index": 0}}, run_metadata=SimpleNamespace(num_failures=0)
        )
        with Progress([networks], console) as progress:
            progress.on_trial_start(0, [], trial)
            latest = {networks[0].network_id: seen(123, 7)}
            progress.on_trial_result(0, [], trial, {"networks": latest, "warnings": []})
            end = time.monotonic() + 10
            while "123/1000" not in console.file.getvalue():
                assert time.monotonic() < end
                time.sleep(0.05)
