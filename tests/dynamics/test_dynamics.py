"""Dimensionality and connectivity against numpy, scikit-learn and made data."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from tsrnn import GRU, Leaky, RunConfig
from tsrnn.dynamics.dimensionality import Covariance, dimensionality, incoming_weights
from tsrnn.networks import initial_network, population


def activity(offset: float = 3.0) -> torch.Tensor:
    """Activities [T, R, B, H] of which each trial fills few dimensions."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(900, 2, 3, 4, generator=generator, dtype=torch.float64)
    mixing = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(900, 2, 3, 6, generator=generator, dtype=torch.float64)
    return hidden @ mixing + 0.1 * noise + offset


def watched(series: torch.Tensor, block: int = 200) -> Covariance:
    covariance = Covariance()
    for part in series.split(block):
        covariance(part)
    return covariance


class TestCovariance:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
    @pytest.mark.parametrize("block", [1, 77, 900])
    def test_it_is_numpys(self, dtype, tolerance, block):
        series = activity().to(dtype)
        found = watched(series, block)
        for r in range(2):
            pooled = series[:, r].double().numpy()
            np.testing.assert_allclose(
                found.pooled()[r], np.cov(pooled.reshape(-1, 6).T, bias=True), atol=tolerance, rtol=tolerance
            )
            for b in range(3):
                expected = np.cov(pooled[:, b].T, bias=True)
                np.testing.assert_allclose(found.of_trials()[r, b], expected, atol=tolerance, rtol=tolerance)

    def test_nothing_observed(self):
        with pytest.raises(ValueError, match="no activity"):
            Covariance().pooled()


class TestDimensionality:
    @pytest.mark.parametrize(
        ("variances", "components"),
        [([1.0], 1), ([1, 0, 0], 1), ([9, 1], 1), ([8.9, 1.1], 2), ([1] * 10, 9), ([1] * 11, 10), ([80, 9, 8, 3], 3)],
    )
    def test_the_fewest_components_that_reach_90_percent(self, variances, components):
        rotation = torch.linalg.qr(
            torch.randn(len(variances), len(variances), generator=torch.Generator().manual_seed(0)).double()
        ).Q
        values = torch.tensor(variances).double()
        # A hair above, so that a share that is 90 % exactly counts whatever the rounding.
        found = dimensionality(rotation @ torch.diag(values) @ rotation.T, 0.9 - 1e-9)
        assert found.components == components
        assert found.participation_ratio == pytest.approx(float(values.sum() ** 2 / values.square().sum()))

    def test_it_is_scikit_learns(self):
        series = activity()[:, 0, 0]
        explained = PCA().fit(series.numpy()).explained_variance_ratio_
        expected = int(np.searchsorted(explained.cumsum(), 0.9) + 1)
        assert 1 < expected < 6
        assert dimensionality(watched(series[:, None, None]).pooled()[0]).components == expected

    def test_no_variance(self):
        found = dimensionality(torch.zeros(3, 3, dtype=torch.float64))
        assert found.components == 0
        assert np.isnan(found.participation_ratio)

    def test_not_finite(self):
        found = dimensionality(torch.full((3, 3), torch.nan, dtype=torch.float64))
        assert found.components == -1
        assert np.isnan(found.participation_ratio)

    def test_all_of_the_variance(self):
        assert dimensionality(torch.eye(4, dtype=torch.float64), 1.0).components == 4


class TestIncomingWeights:
    def test_by_hand(self):
        config = RunConfig(network=Leaky(hidden=5))
        states = [initial_network(config, (2,)), initial_network(RunConfig(network=Leaky(hidden=5), seed=1), (2,))]
        found = incoming_weights(population(config.network, states, [(2,)] * 2))
        for r, state in enumerate(states):
            for i in range(5):
                row = [float(w) for j, w in enumerate(state["recurrent.weight"][i]) if j != i]
                assert float(found.mean[r, i]) == pytest.approx(sum(row) / 4)
                assert float(found.positive[r, i]) == pytest.approx(sum(w for w in row if w > 0) / 4)
                assert float(found.negative[r, i]) == pytest.approx(sum(w for w in row if w < 0) / 4)

    @pytest.mark.parametrize(
        ("network", "error", "says"),
        [
            (GRU(hidden=3), TypeError, "of gru networks"),
            (Leaky(hidden=1), ValueError, "allowed are numbers of at least 2"),
        ],
    )
    def test_what_has_none(self, network, error, says):
        people = population(network, [initial_network(RunConfig(network=network), (2,))], [(2,)])
        with pytest.raises(error, match=says):
            incoming_weights(people)
