"""tau_net by both methods: what they say of series whose answer is known, and of the authors' own."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.signal import lfilter
from torch import Tensor

from benchmarks.timescales_truth import Truth, autocovariances, measure, simulate, truths
from tsrnn.dynamics.timescales import Fits, paper, robust
from tsrnn.io.schemas import TIMESCALES

LAGS = 31
NETWORKS = [("multi", 5), ("multi", 10), ("single", 5)]


def decay(*parts: tuple[float, float]) -> Tensor:
    """The sum of weight * exp(-k / tau) over (weight, tau)."""
    k = torch.arange(LAGS, dtype=torch.float64)
    return sum(weight * torch.exp(-k / tau) for weight, tau in parts)


def test_fits_are_the_tables_columns():
    columns = [column.name for column in TIMESCALES.columns if not column.key]
    assert list(Fits.__dataclass_fields__) == columns


def simulated(seed: int, tau: float, series: int = 20, steps: int = 10_000) -> Tensor:
    """Autocovariances [10, P, L] of AR(1) processes."""
    return simulate(Truth(tau), series, 10, steps, np.random.default_rng(seed))


class TestPaper:
    def test_one_and_two_exponentials(self):
        fits = paper(torch.stack([decay((0.9, 7.0)), decay((0.3, 12.0), (0.6, 1.5))]))
        assert fits.status.tolist() == ["single", "double"]
        assert fits.tau_net.tolist() == pytest.approx([7.0, 12.0], rel=1e-4)
        assert math.isnan(fits.tau_fast[0])
        assert fits.tau_fast[1] == pytest.approx(1.5, rel=1e-4)
        assert fits.weight_slow.tolist() == pytest.approx([1.0, 1 / 3], rel=1e-4)
        assert fits.amplitude.tolist() == pytest.approx([0.9, 0.9], rel=1e-4)
        assert fits.r_squared.tolist() == pytest.approx([1.0, 1.0])
        assert np.isnan(fits.tau_low).all()
        assert np.isnan(fits.tau_high).all()

    def test_criteria_are_those_of_the_residuals(self):
        y = decay((0.4, 9.0), (0.5, 2.0)) + 0.02 * torch.cos(torch.arange(LAGS, dtype=torch.float64))
        fits = paper(y[None])
        missed = LAGS * math.log(float(((1 - fits.r_squared[0]) * (y - y.mean()).square().sum()) / LAGS))
        assert fits.status[0] == "double"
        assert fits.aic_double[0] == pytest.approx(missed + 8)
        assert fits.lags == LAGS

    def test_a_bad_row_is_a_status_and_leaves_the_others_alone(self):
        y = torch.stack([decay((1.0, 5.0))] * 4)
        y[1, 7], y[2], y[3, 0] = math.nan, 0, math.inf
        fits = paper(y)
        assert fits.status.tolist() == ["single", "not_finite", "constant", "not_finite"]
        assert fits.tau_net[0] == pytest.approx(5.0)
        assert np.isnan(fits.tau_net[1:]).all()
        assert np.isnan(fits.aic_single[1:]).all()

    def test_no_series_and_too_few_lags(self):
        assert len(paper(torch.empty(0, LAGS))) == 0
        assert paper(torch.ones(2, 4)).status.tolist() == ["too_short"] * 2
        with pytest.raises(ValueError, match="autocorrelation"):
            paper(torch.ones(LAGS))


class TestAgainstTruth:
    """A quick look at the table of docs/timescales.md, with fixed seeds; the slow test is the whole of it."""

    @pytest.mark.parametrize("tau", [1.0, 5.0, 20.0])
    def test_one_exponential(self, tau: float):
        found = measure(Truth(tau), series=60, trials=10, steps=10_000, seed=1)
        robust, paper = found["robust"], found["paper"]
        assert robust.two <= 0.05
        assert robust.none == 0
        assert abs(robust.mean_error) < 0.01
        assert robust.coverage >= 0.88
        # What makes a second method worth having.
        assert paper.two > 0.1

    @pytest.mark.parametrize("truth", [Truth(20.0, 2.0, 0.3), Truth(5.0, 1.0, 0.7)], ids=str)
    def test_two_exponentials(self, truth: Truth):
        robust = measure(truth, series=60, trials=10, steps=10_000, seed=1)["robust"]
        assert robust.two == 1
        assert abs(robust.mean_error) < 0.05
        assert robust.coverage >= 0.88

    def test_components_are_those_simulated(self):
        trials = simulate(Truth(20.0, 2.0, 0.3), 20, 10, 10_000, np.random.default_rng(2))
        fits = robust(trials, 10_000)
        assert np.median(fits.tau_fast) == pytest.approx(2, rel=0.05)
        assert np.median(fits.weight_slow) == pytest.approx(0.3, rel=0.05)
        assert np.allclose(fits.amplitude, 1, atol=0.01)

    @pytest.mark.slow
    @pytest.mark.parametrize("truth", truths(), ids=str)
    def test_the_whole_table(self, truth: Truth):
        robust = measure(truth, series=200, trials=10, steps=10_000, seed=2)["robust"]
        assert robust.none == 0
        if truth.tau_fast is None:
            assert robust.two <= 0.05
        # A tenth of something that lasts only 4 or 5 times longer than the rest is at the limit of 10 x 10^4 steps.
        faint = truth.tau_fast is not None and truth.weight_slow < 0.2 and truth.tau_slow / truth.tau_fast <= 5
        if not faint:
            assert truth.tau_fast is None or robust.two >= 0.95
            assert abs(robust.median_error) < 0.05
            assert robust.coverage >= 0.9


class TestRobust:
    def test_white_noise_has_no_timescale_but_a_status(self):
        fits = robust(simulated(3, 0.0), 10_000)
        assert (fits.status == "single").mean() >= 0.9
        assert (fits.tau_net < 0.3).all()
        assert (fits.tau_low == 0).mean() >= 0.8

    def test_oscillations_are_not_a_decay(self):
        generator = np.random.default_rng(4)
        noise = generator.standard_normal((10, 5, 10_000))
        # Complex poles: the autocorrelation is a cosine that dies out.
        fits = robust(autocovariances(lfilter([1], [1, -2 * 0.9 * math.cos(1.5), 0.81], noise)), 10_000)
        assert fits.status.tolist() == ["not_a_decay"] * 5
        assert np.isnan(fits.tau_net).all()
        assert np.isfinite(fits.aic_single).all()

    def test_a_common_factor_changes_nothing(self):
        trials = simulated(5, 4.0, series=4, steps=1000)
        one, other = robust(trials, 1000), robust(1e-6 * trials, 1000)
        assert one.status.tolist() == other.status.tolist()
        assert np.allclose(one.tau_net, other.tau_net, rtol=1e-6)

    @pytest.mark.parametrize("trials", [1, 2])
    def test_few_trials_give_wide_intervals(self, trials: int):
        autocovariance = simulated(6, 4.0)
        few, all_ = robust(autocovariance[:trials], 10_000), robust(autocovariance, 10_000)
        assert (few.status == "single").mean() >= 0.9
        assert np.median(few.tau_high - few.tau_low) > 1.5 * np.median(all_.tau_high - all_.tau_low)

    def test_a_bad_series_is_a_status_and_leaves_the_others_alone(self):
        trials = simulated(7, 4.0, series=4, steps=1000)
        trials[3, 1, 2], trials[:, 2], trials[0, 3] = math.nan, 0, math.inf
        fits = robust(trials, 1000)
        assert fits.status.tolist() == ["single", "not_finite", "constant", "not_finite"]
        assert fits.tau_net[0] == pytest.approx(robust(trials[:, :1], 1000).tau_net[0])
        assert np.isnan(fits.tau_net[1:]).all()

    def test_a_timescale_at_its_limit_has_no_upper_end(self):
        fits = robust(torch.ones(3, 1, LAGS), 100_000)
        assert fits.status[0] == "single"
        assert fits.tau_net[0] == pytest.approx(1000)
        assert fits.tau_high[0] == math.inf

    @settings(deadline=None, max_examples=20)
    @given(seed=st.integers(0, 10_000), scale=st.floats(0, 20), steps=st.sampled_from([40, 1000, 100_000]))
    def test_whatever_comes_gets_a_status_and_an_interval_around_its_tau(self, seed: int, scale: float, steps: int):
        generator = np.random.default_rng(seed)
        trials = generator.standard_normal((4, 30, LAGS)) * 10 ** generator.uniform(-scale, scale, (4, 30, 1))
        fits = robust(torch.tensor(trials), steps)
        found = np.isin(fits.status, ["single", "double"])
        assert (np.isnan(fits.tau_net) == ~found).all()
        assert (fits.tau_low[found] <= fits.tau_net[found] * (1 + 1e-9)).all()
        assert (fits.tau_high[found] >= fits.tau_net[found] * (1 - 1e-9)).all()

    def test_too_short(self):
        trials = simulated(8, 50.0, series=3, steps=300)
        assert robust(trials, 300).status.tolist() == ["too_short"] * 3
        assert robust(trials, LAGS).status.tolist() == ["too_short"] * 3
        assert robust(trials[..., :4], 300).status.tolist() == ["too_short"] * 3
        assert len(robust(trials[:, :0], 300)) == 0
        with pytest.raises(ValueError, match="trials"):
            robust(trials[0], 300)
        with pytest.raises(ValueError, match="trials"):
            robust(trials[:0], 300)


class TestAgainstTheAuthors:
    """Their estimator on the same autocorrelations: tau_net.parquet."""

    @pytest.fixture(params=NETWORKS, ids=lambda network: f"{network[0]}-{network[1]}")
    def network(self, request, reference: Path) -> tuple[Tensor, pd.DataFrame, Fits]:
        curriculum, n = request.param
        with np.load(reference / "autocorrelations.npz") as arrays:
            y = torch.tensor(arrays[f"{curriculum}_N{n}_neurons"][:, :LAGS])
        theirs = pd.read_parquet(reference / "tau_net.parquet").query("curriculum == @curriculum and n == @n")
        theirs = theirs.sort_values("neuron")
        assert theirs["neuron"].tolist() == list(range(500))
        return y, theirs, paper(y)

    def test_where_both_choose_the_same_model_so_is_tau_net(self, network):
        _, theirs, ours = network
        tau = theirs["tau_net"].to_numpy()
        same = ((ours.status == "double") == (theirs["model"].to_numpy() == 2)) & (tau > 1)
        assert same.sum() > 80
        assert np.median(np.abs(ours.tau_net - tau)[same] / tau[same]) < 0.01

    def test_residuals_are_never_larger(self, network):
        y, theirs, ours = network
        for i, row in enumerate(theirs.itertuples()):
            criterion = ours.aic_single[i] - 4 if row.model == 1 else ours.aic_double[i] - 8
            taus = [row.tau_net] if row.model == 1 else [row.tau_net, row.tau_fast]
            assert LAGS * math.exp(criterion / LAGS) <= least_at(y[i].numpy(), taus) + 1e-6


def least_at(y: np.ndarray, taus: list[float]) -> float:
    """The least sum of squared residuals at given taus, of weights >= 0 and <= 1 together: no more than theirs."""
    curves = np.exp(-np.arange(LAGS)[:, None] / np.maximum(taus, 1e-6))
    weights, distance = nnls(curves, y)
    if weights.sum() <= 1:
        return distance**2
    if len(taus) == 1:
        return float(((y - curves[:, 0]) ** 2).sum())
    along, rest = curves[:, 0] - curves[:, 1], y - curves[:, 1]
    share = np.clip(along @ rest / max(along @ along, 1e-300), 0, 1)
    return float(((rest - share * along) ** 2).sum())
