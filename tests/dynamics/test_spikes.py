"""Timescales of spike trains whose rate has a known timescale."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from tsrnn.dynamics.spikes import binned, timescales


def counts(tau: float, neurons: int, trials: int, bins: int, seed: int, mean: float = 3.0) -> torch.Tensor:
    """Poisson counts around the rate mean (1 + 0.3 x), x an AR(1) process of timescale tau and variance 1."""
    draws = np.random.default_rng(seed)
    r = np.exp(-1 / tau)
    noise = draws.normal(size=(bins, trials, neurons))
    start = draws.normal(size=(1, trials, neurons)) * r
    x, _ = lfilter([np.sqrt(1 - r * r)], [1, -r], noise, axis=0, zi=start)
    return torch.from_numpy(draws.poisson(mean * (1 + 0.3 * x).clip(0))).transpose(0, 1)


class TestTimescales:
    @pytest.mark.parametrize(("tau", "mean"), [(2.0, 3.0), (8.0, 3.0), (8.0, 1.0)])
    def test_the_timescale_of_the_rate_is_found_under_the_noise_of_counts(self, tau: float, mean: float):
        fits = timescales(counts(tau, neurons=100, trials=20, bins=1500, seed=0, mean=mean))
        assert (fits.status == "double").mean() > 0.95
        assert np.nanmedian(fits.tau_net) == pytest.approx(tau, rel=0.06)
        inside = (fits.tau_low < tau) & (tau < fits.tau_high)
        # 100 intervals of 95 %: fewer than 87 hold it in one of 1000 cases.
        assert inside.mean() >= 0.87
        # The rate's share of the variance of counts; a bin's own part of it is lost in neither.
        signal = (0.3 * mean) ** 2
        assert np.nanmedian(fits.weight_slow) == pytest.approx(signal / (signal + mean), rel=0.1)
        assert np.nanmedian(fits.tau_fast) < 0.4

    def test_what_has_no_timescale_says_so(self):
        data = counts(5.0, neurons=3, trials=10, bins=800, seed=2)
        data[..., 1] = 4
        data[..., 2] = torch.from_numpy(np.random.default_rng(3).poisson(3.0, data.shape[:2]))
        fits = timescales(data)
        assert fits.status.tolist() == ["double", "constant", "single"]
        assert fits.tau_net[2] < 0.4
        assert timescales(data[:, :31, :1]).status.tolist() == ["too_short"]

    @pytest.mark.parametrize("shape", [(3, 4), (0, 5, 2), (2, 5, 0)])
    def test_bad_counts(self, shape: tuple[int, ...]):
        with pytest.raises(ValueError, match="counts: has the shape"):
            timescales(torch.zeros(shape))


class Train(list):
    """Has a unit of its own, as a neo.SpikeTrain: milliseconds."""

    def rescale(self, unit: str):
        assert unit == "s"
        return type("Quantity", (), {"magnitude": np.array(self) / 1000})()


class TestBinned:
    def test_spikes_are_counted_in_whole_bins(self):
        trials = [[[0.05, 0.11, 0.12, 0.31], []], [[0.0, 0.29], [0.1]]]
        found = binned(trials, start=0.0, stop=0.3, width=0.1)
        assert found.tolist() == [[[1, 0], [2, 0], [0, 0]], [[1, 0], [0, 1], [1, 0]]]

    def test_trains_with_a_unit_are_converted(self):
        assert binned([[Train([50, 110])]], start=0, stop=0.2, width=0.1).tolist() == [[[1], [1]]]

    @pytest.mark.parametrize(
        ("trials", "options", "says"),
        [
            ([], {}, "trials: with"),
            ([[]], {}, "trials: with"),
            ([[[1.0]], [[1.0], [2.0]]], {}, "trials: with"),
            ([[[np.nan]]], {}, "not finite"),
            ([[[1.0]]], {"width": 0.0}, "width = 0"),
            ([[[1.0]]], {"stop": 0.05}, "width = 0.1"),
        ],
    )
    def test_bad_input(self, trials, options, says):
        with pytest.raises(ValueError, match=says):
            binned(trials, **{"start": 0.0, "stop": 1.0, "width": 0.1} | options)
