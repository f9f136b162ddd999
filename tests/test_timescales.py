"""tau_net by both methods: what they say of series whose answer is known, and of the authors' own."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tsrnn.records import TIMESCALES
from tsrnn.timescales import Fits, paper

LAGS = 31
NETWORKS = [("multi", 5), ("multi", 10), ("single", 5)]


def decay(*parts: tuple[float, float]) -> Tensor:
    """The sum of weight * exp(-k / tau) over (weight, tau)."""
    k = torch.arange(LAGS, dtype=torch.float64)
    return sum(weight * torch.exp(-k / tau) for weight, tau in parts)


def test_fits_are_the_tables_columns():
    columns = [column.name for column in TIMESCALES.columns if not column.key]
    assert list(Fits.__dataclass_fields__) == columns


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
