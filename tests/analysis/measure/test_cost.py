"""How long jobs are expected to take."""

from functools import partial

import pytest
import torch

from analysis.measure import cost as _cost
from analysis.measure import dynamics, interventions, time_steps
from analysis.measure.cost import extrapolated, total
from tests.trained import trained_sweep
from tsrnn.io.checkpoint import Checkpoint, load


class TestExtrapolated:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch):
        """A piece of so many units that takes 2 s and 0.1 s a unit, and 5 s more the first time; the units so far."""
        now, units = [0.0], list[int]()

        def piece(size: int) -> None:
            now[0] += 2 + 0.1 * size + (0 if units else 5)
            units.append(size)

        monkeypatch.setattr(_cost.time, "process_time", lambda: now[0])
        return piece, units

    def test_it_is_right_where_the_time_grows_in_proportion(self, clock):
        piece, units = clock
        assert extrapolated(piece, 10, 30, 1000) == pytest.approx(102)
        assert units == [10, 10, 30]

    def test_what_is_no_longer_than_a_piece_is_run_itself(self, clock):
        piece, units = clock
        piece(1)
        assert extrapolated(piece, 10, 30, 20) == pytest.approx(4)
        assert units == [1, 20]


def test_a_kind_that_cannot_be_tried_costs_the_average():
    assert total({"cheap": 3, "dear": 1, "unknown": 2}, {"cheap": 1.0, "dear": 5.0}) == 3 + 5 + 2 * 2


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = trained_sweep(tmp_path_factory.mktemp("trained") / "sweep")
    return load(next(folder.glob("checkpoints/*/n-002.safetensors")))


KINDS = ("ablation", "perturb-weights", "perturb-taus", "inhibition", "heads-retraining")
ANALYSES = {
    analysis.name: analysis
    for analysis in [
        *interventions.analyses(KINDS, protocol=interventions.InTime(), draws=10, common=False, heads=None),
        dynamics.analysis(dynamics.Protocol()),
    ]
}


@pytest.mark.slow  # it measures time, which other tests beside it disturb
@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_estimates_its_cost_about_right(name: str, checkpoint: Checkpoint):
    """Within a factor of four, since the machine may be busy; an estimate that ignored the steps would miss that."""
    analysis = ANALYSES[name]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        estimated = min(analysis.cost(checkpoint, 2) for _ in range(2))
        taken = min(_cost.processor_time(partial(analysis.measure, checkpoint, 2)) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    assert taken / 4 < estimated < 4 * taken


def test_time_steps_cost_what_their_number_says(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint):
    asked = []
    monkeypatch.setattr(time_steps, "measure", lambda checkpoint, n, *, ks, as_trained: asked.extend(ks))
    monkeypatch.setattr(_cost, "processor_time", lambda piece: piece() or 1.0 + asked[-1])
    assert time_steps.cost(checkpoint, 2, ks=(1, 2, 200), as_trained=False) == 1.0 + 203
