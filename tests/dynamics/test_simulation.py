"""Driving a population for many steps, and streaming what it does."""

import pytest
import torch
from scipy import stats

from tsrnn import DMS, GRU, Leaky, Parity, RunConfig, Sines
from tsrnn.dynamics.simulation import observe, simulate, states_in_blocks
from tsrnn.networks import Population, initial_network, population

HIDDEN = 6


def networks(*seeds: int, network=Leaky(hidden=HIDDEN)) -> Population:  # noqa: B008
    states = [initial_network(RunConfig(network=network, seed=seed), (2,)) for seed in seeds]
    return population(network, states, [(2,)] * len(seeds))


def whole(people: Population, seeds=(0,), **options) -> torch.Tensor:
    """The activities of all steps, as one tensor."""
    options = {"steps": 50, "trials": 3} | options
    return torch.cat(list(simulate(people, [(seed, "test") for seed in seeds], **options)))


def recovered_bits(people: Population, activity: torch.Tensor) -> torch.Tensor:
    """What each step's input was, found from the states before and after it: [T - 1, R, B]."""
    before, after = activity[:-1], activity[1:]
    zero, one = (
        torch.stack([people.all_states(torch.full((1, *s.shape[:2]), x), s)[0] for s in before]) for x in (0.0, 1.0)
    )
    is_zero, is_one = ((guess - after).abs().amax(3) < 1e-5 for guess in (zero, one))
    assert (is_zero ^ is_one).all()
    return is_one


class TestSimulate:
    @pytest.mark.parametrize(
        "network", [Leaky(hidden=HIDDEN), Leaky(hidden=HIDDEN, self_interaction="outside"), GRU(hidden=HIDDEN)]
    )
    def test_states_follow_from_the_ones_before_and_a_bit(self, network, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("tsrnn.dynamics.simulation._BLOCK", 7)
        people = networks(0, 1, network=network)
        activity = whole(people, (0, 1))
        assert activity.shape == (50, 2, 3, HIDDEN)
        bits = recovered_bits(people, activity)
        assert 0.3 < bits.double().mean() < 0.7

    @pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
    def test_bits_are_independent_with_the_probability_asked_for(self, probability):
        people = networks(0)
        bits = recovered_bits(people, whole(people, steps=801, trials=4, inputs=probability)).double()[:, 0]
        assert abs(bits.mean() - probability) <= 5 * (probability * (1 - probability) / bits.numel()) ** 0.5
        if 0 < probability < 1:
            together = torch.cat((bits, bits.roll(1, 0)), 1).T.corrcoef().fill_diagonal_(0)
            assert together.abs().max() < 5 / 800**0.5

    def test_a_probability_of_each_trials_own(self):
        network = networks(0)
        options = {"steps": 801, "trials": 40, "inputs": "uniform"}
        shares = recovered_bits(network, whole(network, **options)).double().mean(0)[0]
        assert stats.kstest(shares.numpy(), "uniform").pvalue > 1e-3
        assert stats.kstest(shares.numpy(), "norm", (0.5, 0.5 / 800**0.5)).pvalue < 1e-3

    @pytest.mark.parametrize("block", [7, 499, 503, 1000])
    def test_blocks_and_burn_in_change_nothing(self, block, monkeypatch: pytest.MonkeyPatch):
        people = networks(0)
        monkeypatch.setattr("tsrnn.dynamics.simulation._BLOCK", block)
        found = whole(people, steps=620, burn_in=503)
        monkeypatch.setattr("tsrnn.dynamics.simulation._BLOCK", 2000)
        everything = whole(people, steps=1123, burn_in=0)
        torch.testing.assert_close(found, everything[503:])

    def test_a_trial_is_the_same_among_others(self):
        alone = whole(networks(1), (1,), trials=2)
        among = whole(networks(0, 1), (0, 1), trials=5, steps=60)
        torch.testing.assert_close(among[:50, 1:, :2], alone)
        assert not torch.equal(among[:, 1, 0], among[:, 1, 1])

    def test_addresses_are_different_randomness(self):
        people = networks(0)
        one, other = (torch.cat(list(simulate(people, [(0, name)], steps=20, trials=1))) for name in ("a", "b"))
        assert not torch.equal(one, other)

    @pytest.mark.parametrize("task", [Parity(input_probability=0.9), DMS(), Sines(), Sines(noise=0.5)])
    def test_a_tasks_own_inputs(self, task):
        people = networks(0)
        activity = whole(people, inputs=task, burn_in=0, steps=700)
        assert activity.shape == (700, 1, 3, HIDDEN)
        if isinstance(task, Parity):
            assert recovered_bits(people, activity).double().mean() > 0.85
        if task == Sines():
            without = whole(people, inputs=0.0, burn_in=0, steps=700)
            torch.testing.assert_close(activity, without)

    def test_observers_see_every_step_once_and_in_order(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("tsrnn.dynamics.simulation._BLOCK", 64)
        people = networks(0)
        seen: list[list[torch.Tensor]] = [[], []]
        observers = [lambda block, kept=kept: kept.append(block.clone()) for kept in seen]
        observe(people, [(0, "test")], observers, steps=200, trials=3)
        for blocks in seen:
            assert len(blocks) > 2
            torch.testing.assert_close(torch.cat(blocks), whole(people, steps=200))

    def test_memory_does_not_grow_with_steps(self):
        """The longest block has as many steps, however many there are."""
        people = networks(0)
        longest = [max(map(len, simulate(people, [(0, "t")], steps=steps, trials=1))) for steps in (1000, 20_000)]
        assert longest[0] == longest[1] <= 1000

    def test_no_gradient_is_kept(self):
        people = networks(0)
        for tensor in people.parameters.values():
            tensor.requires_grad_()
        assert not whole(people).requires_grad

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"steps": 0}, "steps = 0: allowed are numbers of at least 1"),
            ({"trials": 0}, "trials = 0"),
            ({"burn_in": -1}, "burn_in = -1: allowed are numbers of at least 0"),
            ({"inputs": 1.5}, "inputs = 1.5: allowed are a probability"),
            ({"seeds": (0, 1)}, "addresses: 2 of them; allowed are 1"),
        ],
    )
    def test_bad_values(self, options, says):
        with pytest.raises(ValueError, match=says):
            whole(networks(0), **options)


def test_states_in_blocks_go_on_from_each_other():
    people = networks(0)
    bits = torch.bernoulli(torch.full((30, 1, 2), 0.5), generator=torch.Generator().manual_seed(0))
    initial = torch.zeros(1, 2, HIDDEN)
    blocks = list(states_in_blocks(people, bits.split(11), initial))
    assert [len(block) for block in blocks] == [11, 11, 8]
    torch.testing.assert_close(torch.cat(blocks), people.all_states(bits, initial))
