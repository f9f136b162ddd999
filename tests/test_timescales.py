"""tau_net by both methods: what they say of series whose answer is known, and of the authors' own."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from tsrnn.records import TIMESCALES
from tsrnn.timescales import Fits, paper, robust

LAGS = 31
NETWORKS = [("multi", 5), ("multi", 10), ("single", 5)]


def decay(*parts: tuple[float, float]) -> Tensor:
    """The sum of weight * exp(-k / tau) over (weight, tau)."""
    k = torch.arange(LAGS, dtype=torch.float64)
    return sum(weight * torch.exp(-k / tau) for weight, tau in parts)


def test_fits_are_the_tables_columns():
    columns = [column.name for column in TIMESCALES.columns if not column.key]
    assert list(Fits.__dataclass_fields__) == columns


def simulated(
    seed: int, *parts: tuple[float, float], series: int = 20, trials: int = 10, steps: int = 10_000
) -> Tensor:
    """Autocovariances [B, P, L] of sums of independent AR(1) processes, of (variance, tau) each."""
    generator = np.random.default_rng(seed)
    activity = np.zeros((trials, series, steps))
    for variance, tau in parts:
        rate = math.exp(-1 / tau) if tau > 0 else 0.0
        noise = generator.standard_normal(activity.shape)
        noise[..., 1:] *= math.sqrt(1 - rate**2)
        activity += math.sqrt(variance) * lfilter([1], [1, -rate], noise)
    return autocovariances(activity)


def autocovariances(activity: np.ndarray) -> Tensor:
    """Of activity [B, P, T]: [B, P, L], each trial's mean subtracted, lag k divided by T - k."""
    x = activity - activity.mean(-1, keepdims=True)
    steps = x.shape[-1]
    lags = [np.einsum("bpt,bpt->bp", x[..., : steps - k], x[..., k:]) / (steps - k) for k in range(LAGS)]
    return torch.tensor(np.stack(lags, -1))


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
        assert fits.bic_double[0] == pytest.approx(missed + 4 * math.log(LAGS))
        assert fits.aic_single[0] - fits.bic_single[0] == pytest.approx(4 - 2 * math.log(LAGS))

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


class TestRobust:
    """A quick look; benchmarks/timescales_truth.py is the long one."""

    @pytest.mark.parametrize("tau", [1.0, 5.0, 20.0])
    def test_one_exponential(self, tau: float):
        fits = robust(simulated(1, (3.0, tau)), 10_000)
        assert (fits.status == "single").mean() >= 0.9
        assert np.median(fits.tau_net) == pytest.approx(tau, rel=0.05)
        assert ((fits.tau_low <= tau) & (tau <= fits.tau_high)).mean() >= 0.8
        assert (fits.weight_slow == 1).all()

    def test_two_exponentials(self):
        fits = robust(simulated(2, (0.3, 20.0), (0.7, 2.0)), 10_000)
        assert (fits.status == "double").all()
        assert np.median(fits.tau_net) == pytest.approx(20, rel=0.05)
        assert np.median(fits.tau_fast) == pytest.approx(2, rel=0.05)
        assert np.median(fits.weight_slow) == pytest.approx(0.3, rel=0.05)
        assert ((fits.tau_low <= 20) & (fits.tau_high >= 20)).mean() >= 0.8

    def test_white_noise_has_no_timescale_but_a_status(self):
        fits = robust(simulated(3, (1.0, 0.0)), 10_000)
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
        trials = simulated(5, (1.0, 4.0), series=4, steps=1000)
        one, other = robust(trials, 1000), robust(1e-6 * trials, 1000)
        assert one.status.tolist() == other.status.tolist()
        assert np.allclose(one.tau_net, other.tau_net, rtol=1e-6)

    @pytest.mark.parametrize("trials", [1, 2])
    def test_few_trials_give_wide_intervals(self, trials: int):
        autocovariance = simulated(6, (1.0, 4.0))
        few, all_ = robust(autocovariance[:trials], 10_000), robust(autocovariance, 10_000)
        assert (few.status == "single").mean() >= 0.9
        assert np.median(few.tau_high - few.tau_low) > 1.5 * np.median(all_.tau_high - all_.tau_low)

    def test_a_bad_series_is_a_status_and_leaves_the_others_alone(self):
        trials = simulated(7, (1.0, 4.0), series=4, steps=1000)
        trials[3, 1, 2], trials[:, 2], trials[0, 3] = math.nan, 0, math.inf
        fits = robust(trials, 1000)
        assert fits.status.tolist() == ["single", "not_finite", "constant", "not_finite"]
        assert fits.tau_net[0] == pytest.approx(robust(trials[:, :1], 1000).tau_net[0])
        assert np.isnan(fits.tau_net[1:]).all()

    def test_too_short(self):
        trials = simulated(8, (1.0, 50.0), series=3, steps=300)
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
        # At their taus, with the best weights there are: no more than their own residual.
        for i, row in enumerate(theirs.itertuples()):
            taus = [row.tau_net] if row.model == 1 else [row.tau_net, row.tau_fast]
            with np.errstate(divide="ignore"):
                curves = np.exp(-np.arange(LAGS)[:, None] / np.maximum(np.array(taus), 1e-6))
            weights, *_ = np.linalg.lstsq(curves, y[i].numpy(), rcond=None)
            criterion = ours.aic_single[i] - 4 if row.model == 1 else ours.aic_double[i] - 8
            residual = LAGS * math.exp(criterion / LAGS)
            best = float(((y[i].numpy() - curves @ weights) ** 2).sum())
            if (weights >= 0).all() and weights.sum() <= 1:
                assert residual <= best + 1e-6
