"""What a running sweep says of how far it is."""

import io
import time
from types import SimpleNamespace

from rich.console import Console

from sweeps.engine.progress import Progress
from tsrnn.config import (
    RunConfig,
)


def seen(epoch: int, n: int, ended: str = "") -> dict[str, object]:
    return {"epoch": epoch, "n": n, "accuracy": 0.9, "ended": ended}


class TestProgress:
    def test_headline_and_summary(self):
        networks = RunConfig().replicates(2)
        console = Console(file=io.StringIO(), markup=False)
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
