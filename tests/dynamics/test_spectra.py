"""Jacobians against autograd, exponents against linear systems and the Henon map, non-normality against delay lines."""

import math

import numpy as np
import pytest
import torch

from tests.oracles.plain import leaky_states
from tsrnn import Leaky, ReLU, RunConfig, Tanh
from tsrnn.config import FixedTau, LeakyReLU
from tsrnn.dynamics.nonnormality import departure, fisher_memory
from tsrnn.dynamics.simulation import simulate_with_inputs
from tsrnn.dynamics.spectra import (
    driven_slopes,
    eigenvalue_timescales,
    lyapunov_exponents,
    mean_slopes,
    tangents,
)
from tsrnn.networks import initial_network, population

HIDDEN = 7


def networks(*seeds: int, **changes):
    network = Leaky(**{"hidden": HIDDEN} | changes)
    states = [initial_network(RunConfig(network=network, seed=seed), (2,)) for seed in seeds]
    return population(network, states, [(2,)] * len(seeds))


FORMS = [
    {"self_interaction": where, "nonlinearity": phi}
    for where in ("inside", "outside")
    for phi in (LeakyReLU(), ReLU(), Tanh())
]


@pytest.mark.parametrize("changes", FORMS, ids=str)
def test_tangents_are_the_jacobians_that_autograd_finds(changes):
    people = networks(0, 1, **changes)
    addresses = [(0, "x"), (1, "x")]
    slopes = list(driven_slopes(people, addresses, steps=4, burn_in=5))
    identity = torch.eye(HIDDEN).double().expand(2, -1, -1)
    found = [step(identity) for step in tangents(people, slopes)]
    gains = [people.input_gain(now) for block in slopes for now in block]
    assert len(found) == 4
    driven = list(simulate_with_inputs(people, addresses, steps=5, trials=1, burn_in=5))
    bits, states = (torch.cat(part) for part in zip(*driven, strict=True))
    for r in range(2):
        tensors = {name: tensor[r].double() for name, tensor in people.parameters.items()}
        for t in range(4):

            def after(before, bit, r=r, tensors=tensors):
                return leaky_states(people.network, tensors, bit[None], before[None])[0][0]

            given = states[t, r, 0].double(), bits[t + 1, r].double()
            by_state, by_input = torch.autograd.functional.jacobian(after, given)
            torch.testing.assert_close(found[t][r], by_state, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(gains[t][r].double(), by_input[:, 0], atol=1e-5, rtol=1e-5)


class TestLyapunovExponents:
    def test_of_a_linear_system_they_are_the_logarithms_of_its_eigenvalues(self):
        draws = np.random.default_rng(0)
        basis = draws.normal(size=(2, 5, 5))
        values = np.array([[0.9, -0.7, 0.5, 0.3, 0.1], [1.2, 0.8, -0.6, 0.4, 0.2]])
        matrices = torch.tensor(basis @ (values[..., None] * np.linalg.inv(basis)))
        found = lyapunov_exponents([lambda x: matrices @ x] * 600, torch.eye(5)[:, :3].expand(2, 5, 3))
        np.testing.assert_allclose(found.numpy(), np.log(np.abs(values[:, :3])), atol=0.01)

    def test_of_the_henon_map(self):
        """0.41922 and -1.62319 (Sprott, 2003), whose sum is ln 0.3 at every step."""
        x, y = 0.1, 0.1
        steps = []
        for _ in range(20_000):
            jacobian = torch.tensor([[[-2.8 * x, 1.0], [0.3, 0.0]]], dtype=torch.float64)
            steps.append(lambda directions, jacobian=jacobian: jacobian @ directions)
            x, y = 1 - 1.4 * x * x + y, 0.3 * x
        found = lyapunov_exponents(steps, torch.eye(2)[None])[0].tolist()
        assert found == pytest.approx([0.41922, -1.62319], abs=0.01)
        assert sum(found) == pytest.approx(math.log(0.3), abs=1e-9)

    def test_of_a_leaky_neuron_alone_it_is_the_leak(self):
        people = networks(0, hidden=1, tau=FixedTau(tau=4.0), nonlinearity=Tanh(), self_interaction="outside")
        found = lyapunov_exponents(tangents(people, driven_slopes(people, [(0, "x")], steps=300)), torch.ones(1, 1, 1))
        assert found.item() == pytest.approx(math.log(0.75), abs=1e-6)

    def test_a_system_that_is_not_finite_is_nan_and_does_not_matter_to_others(self):
        matrices = torch.eye(2).double().expand(2, 2, 2).clone() * 0.5
        matrices[0] = torch.inf
        found = lyapunov_exponents([lambda x: matrices @ x] * 110, torch.eye(2)[:, :1].expand(2, 2, 1))
        assert found[0].isnan().all()
        assert found[1].item() == pytest.approx(math.log(0.5))

    def test_too_few_steps(self):
        with pytest.raises(ValueError, match="more than that"):
            lyapunov_exponents([lambda x: x] * 100, torch.eye(2)[None])


class TestMeanJacobian:
    def test_of_a_network_with_one_slope_it_is_the_matrix_of_its_recurrence(self):
        """States above 0, where the leaky ReLU is linear."""
        people = networks(0)
        with torch.no_grad():
            people.parameters["recurrent.weight"].abs_().mul_(0.1)
            people.parameters["recurrent.bias"].fill_(1.0)
            people.parameters["input.weight"].abs_()
            people.parameters["input.bias"].abs_()
        slopes = mean_slopes(driven_slopes(people, [(0, "x")], steps=20))
        found = people.tangent(slopes, torch.eye(HIDDEN).double()[None])[0]
        tau, weight = people.parameters["tau"][0].double(), people.parameters["recurrent.weight"][0].double()
        torch.testing.assert_close(found, torch.diag(1 - 1 / tau) + weight / tau[:, None])

    def test_without_a_step_there_is_no_mean(self):
        with pytest.raises(ValueError, match="of no step"):
            mean_slopes([])

    def test_timescales_are_those_of_exponential_decay(self):
        times = torch.tensor([[10.0, 4.0, 1.0]]).double()
        rotation = torch.linalg.qr(torch.tensor([[[1.0, 2, 3], [4, 5, 6], [7, 8, 10]]]).double())[0]
        matrix = rotation @ torch.diag_embed((-1 / times).exp()) @ rotation.transpose(1, 2)
        torch.testing.assert_close(eigenvalue_timescales(matrix), times)
        wild = torch.stack([torch.eye(3).double() * 1.1, torch.full((3, 3), torch.nan).double()])
        assert eigenvalue_timescales(wild)[0].tolist() == [math.inf] * 3
        assert eigenvalue_timescales(wild)[1].isnan().all()


class TestNonNormality:
    def test_a_normal_matrix_and_a_delay_line(self):
        draws = np.random.default_rng(0)
        rotation = np.linalg.qr(draws.normal(size=(6, 6)))[0]
        assert departure(rotation) == pytest.approx(0, abs=1e-12)
        assert math.isnan(departure(np.zeros((6, 6))))
        assert departure(np.eye(6, k=-1)) == pytest.approx(1)

    def test_it_is_what_the_eigenvalues_leave(self):
        matrix = np.random.default_rng(1).normal(size=(8, 8))
        rest = np.linalg.norm(matrix) ** 2 - (np.abs(np.linalg.eigvals(matrix)) ** 2).sum()
        assert departure(matrix) == pytest.approx(math.sqrt(rest) / np.linalg.norm(matrix))

    def test_the_memory_of_a_normal_network_sums_to_1(self):
        draws = np.random.default_rng(2)
        rotation = np.linalg.qr(draws.normal(size=(5, 5)))[0]
        source = draws.normal(size=5)
        curve = fisher_memory(0.9 * rotation, source / np.linalg.norm(source), 2000)
        assert curve.sum() == pytest.approx(1)
        np.testing.assert_allclose(curve, 0.9 ** (2 * np.arange(2000)) * (1 - 0.81))

    def test_the_memory_of_a_delay_line(self):
        """Noise adds up along the line, so that the k-th neuron holds 1 / (k + 1): beyond what a normal network can."""
        curve = fisher_memory(np.eye(6, k=-1), np.eye(6)[0], 8)
        np.testing.assert_allclose(curve, [1 / (k + 1) for k in range(6)] + [0, 0], atol=1e-12)
        assert curve.sum() > 2

    def test_what_has_no_memory_curve(self):
        assert np.isnan(fisher_memory(np.eye(3), np.ones(3), 4)).all()
        assert math.isnan(departure(np.full((2, 2), np.inf)))
        with pytest.raises(ValueError, match="delays = 0"):
            fisher_memory(np.eye(3) / 2, np.ones(3), 0)
