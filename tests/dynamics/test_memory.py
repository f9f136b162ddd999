"""Memory capacities against networks whose capacity is known: delay lines, leaky integrators, made-up parities."""

import math

import numpy as np
import pytest
import torch

from tsrnn import Leaky, RunConfig
from tsrnn.config import FixedTau
from tsrnn.dynamics.memory import Memory, delays, pairs, parities
from tsrnn.dynamics.simulation import simulate, simulate_with_inputs
from tsrnn.networks import initial_network, population


def networks(hidden: int, tau: float, *seeds: int):
    network = Leaky(hidden=hidden, tau=FixedTau(tau=tau))
    states = [initial_network(RunConfig(network=network, seed=seed), (2,)) for seed in seeds]
    return population(network, states, [(2,)] * len(seeds))


def capacity(people, targets, seeds=(0,), **options) -> torch.Tensor:
    memory = Memory(targets)
    options = {"steps": 4000, "trials": 4} | options
    for inputs, activity in simulate_with_inputs(people, [(seed, "memory") for seed in seeds], **options):
        memory(inputs, activity)
    return memory.capacity()


def delay_line(hidden: int):
    """A network whose neuron i holds the bit of i steps before; its states are positive, where it is linear."""
    people = networks(hidden, 1.0, 0)
    parameters = people.parameters
    with torch.no_grad():
        for name in ("recurrent.weight", "recurrent.bias", "input.weight", "input.bias"):
            parameters[name].zero_()
        parameters["recurrent.weight"][0, torch.arange(1, hidden), torch.arange(hidden - 1)] = 1
        parameters["input.weight"][0, 0] = 1
    return people


class TestDelayLine:
    def test_it_remembers_as_many_bits_as_it_has_neurons_and_no_products(self):
        found = capacity(delay_line(6), [*delays(9), *pairs(4), *parities(4)])
        expected = torch.tensor([1.0] * 6 + [0.0] * 3 + [0.0] * 6 + [0.0] * 3)
        torch.testing.assert_close(found[0].float(), expected, atol=0.01, rtol=0)

    @pytest.mark.parametrize("block", [3, 7, 500])
    def test_blocks_shorter_than_the_longest_delay_change_nothing(self, block: int, monkeypatch: pytest.MonkeyPatch):
        people, targets = networks(5, 2.0, 0), [*delays(9), *parities(6)]
        whole = capacity(people, targets, steps=600)
        monkeypatch.setattr("tsrnn.dynamics.simulation._BLOCK", block)
        torch.testing.assert_close(capacity(people, targets, steps=600), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("tau", [1.5, 4.0])
def test_a_linear_integrator_remembers_as_its_impulse_response_says(tau: float):
    """One neuron h(t) = (1 - 1/tau) h(t - 1) + z(t) / tau: its capacity at delay d is (2 a - a^2) (1 - a)^(2 d)."""
    people = networks(1, tau, 0)
    with torch.no_grad():
        for name in ("recurrent.weight", "recurrent.bias", "input.bias"):
            people.parameters[name].zero_()
        people.parameters["input.weight"].fill_(1.0)
    a = 1 / tau
    found = capacity(people, delays(12), steps=60_000)[0]
    expected = torch.tensor([(2 * a - a * a) * (1 - a) ** (2 * d) for d in range(12)])
    torch.testing.assert_close(found.float(), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_linear_echo_state_network_remembers_as_its_impulse_responses_say(noise: float):
    """States x(t) = A x(t - 1) + b z(t), and noise: capacity v' (sum of v v' + noise^2)^-1 v with v = A^d b.

    Without noise the capacities of all delays sum to the number of neurons (Jaeger 2001).
    """
    hidden, steps, trials, lags = 6, 20_000, 4, 40
    draws = np.random.default_rng(0)
    a = draws.normal(size=(hidden, hidden))
    a *= 0.9 / np.abs(np.linalg.eigvals(a)).max()
    b = draws.normal(size=hidden)
    bits = draws.integers(0, 2, (steps, 1, trials))
    z, states = 2 * bits - 1, np.zeros((steps, 1, trials, hidden))
    for t in range(1, steps):
        states[t] = states[t - 1] @ a.T + z[t, ..., None] * b
    memory = Memory(delays(lags))
    noisy = states + noise * draws.normal(size=states.shape)
    memory(torch.tensor(bits[200:]).float(), torch.tensor(noisy[200:]))
    v = np.stack([np.linalg.matrix_power(a, d) @ b for d in range(1000)], -1)
    expected = (v * np.linalg.solve(v @ v.T + noise**2 * np.eye(hidden), v)).sum(0)
    torch.testing.assert_close(memory.capacity()[0], torch.tensor(expected[:lags]), atol=0.01, rtol=0)
    if not noise:
        assert expected.sum() == pytest.approx(hidden)


class TestMadeUpStates:
    """States that are functions of the bits themselves."""

    @staticmethod
    def states_of(bits: torch.Tensor, *targets: tuple[int, ...]) -> torch.Tensor:
        z = 2 * bits - 1
        return torch.stack([torch.stack([z.roll(d, 0) for d in target]).prod(0) for target in targets], -1)

    def test_a_state_that_is_a_parity_has_that_capacity_and_no_other(self):
        draws = torch.Generator().manual_seed(0)
        bits = (torch.rand(4000, 1, 2, generator=draws) < 0.5).float()
        targets = [*delays(5), *pairs(5), *parities(5)]
        memory = Memory(targets)
        memory(bits[:8], self.states_of(bits, (0, 1, 2))[:8])
        memory(bits[8:], self.states_of(bits, (0, 1, 2))[8:])
        found = dict(zip(targets, memory.capacity()[0].tolist(), strict=True))
        assert found.pop((0, 1, 2)) == pytest.approx(1, abs=1e-6)
        assert max(abs(value) for value in found.values()) < 0.01

    def test_half_of_the_variance_is_half_of_the_capacity(self):
        draws = torch.Generator().manual_seed(0)
        bits = (torch.rand(20_000, 1, 2, generator=draws) < 0.5).float()
        memory = Memory(delays(3))
        memory(bits, self.states_of(bits, (2,)) + torch.randn(20_000, 1, 2, 1, generator=draws))
        torch.testing.assert_close(memory.capacity()[0], torch.tensor([0, 0, 0.5]).double(), atol=0.02, rtol=0)

    def test_noise_of_many_neurons_remembers_nothing_without_bias(self):
        """Readouts of 150 neurons fitted to 600 steps lose a third of the variance: uncorrected, 40 targets lose 13."""
        draws = torch.Generator().manual_seed(0)
        totals = []
        for _ in range(12):
            bits = (torch.rand(340, 1, 4, generator=draws) < 0.5).float()
            memory = Memory(delays(40))
            memory(bits, torch.randn(340, 1, 4, 150, generator=draws))
            totals.append(memory.capacity().sum().item())
        mean = sum(totals) / len(totals)
        sd = math.sqrt(sum((total - mean) ** 2 for total in totals) / (len(totals) - 1))
        assert abs(mean) < 4 * sd / math.sqrt(len(totals))
        assert sd < 1

    def test_networks_do_not_matter_to_each_other_and_one_that_explodes_is_nan(self):
        draws = torch.Generator().manual_seed(0)
        bits = (torch.rand(500, 3, 2, generator=draws) < 0.5).float()
        states = torch.cat([self.states_of(bits[:, r : r + 1], (1,), (0, 1)) for r in range(3)], 1)
        states[:, 1] = torch.inf
        memory = Memory([(0,), (1,), (0, 1)])
        memory(bits, states)
        found = memory.capacity()
        assert found[1].isnan().all()
        torch.testing.assert_close(found[[0, 2]], torch.tensor([[0, 1, 1.0]] * 2).double(), atol=0.02, rtol=0)


def test_a_total_is_at_most_the_number_of_neurons():
    found = capacity(networks(8, 2.0, 0), [*delays(20), *pairs(8)], steps=20_000)
    assert 0 < found.sum() < 8.2


def test_activities_are_those_that_simulate_yields():
    people = networks(5, 2.0, 0)
    options = {"steps": 30, "trials": 2, "burn_in": 3}
    alone = torch.cat(list(simulate(people, [(0, "x")], **options)))
    blocks = list(simulate_with_inputs(people, [(0, "x")], **options))
    torch.testing.assert_close(torch.cat([activity for _, activity in blocks]), alone)
    inputs = torch.cat([shown for shown, _ in blocks])
    again = people.all_states(inputs[1:], alone[0])
    torch.testing.assert_close(again, alone[1:])


class TestBadInput:
    @pytest.mark.parametrize("targets", [[], [()], [(1, 1)], [(-1,)]])
    def test_targets(self, targets):
        with pytest.raises(ValueError, match="targets: "):
            Memory(targets)

    def test_too_few_steps_for_the_delays_or_the_neurons(self):
        with pytest.raises(ValueError, match="longest delay, 50"):
            capacity(networks(3, 1.0, 0), delays(51), steps=40)
        with pytest.raises(ValueError, match="more than 6"):
            capacity(networks(3, 1.0, 0), delays(5), steps=6, trials=2)

    def test_one_trial(self):
        with pytest.raises(ValueError, match="trials = 1"):
            capacity(networks(3, 1.0, 0), delays(5), trials=1)
