"""Time: bits held for k steps of dt, networks in steps of dt, and the limit of continuous time."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import solve_ivp

from tests.oracles import plain
from tests.tolerances import TOLERANCES, distance
from tsrnn import GRU, EndRules, FixedTau, Leaky, LeakyReLU, MultiHead, Parity, RunConfig, Sines, Tanh, Time, TrainedTau
from tsrnn import Training as TrainingConfig
from tsrnn.io.checkpoint import new
from tsrnn.networks import initial_network, population
from tsrnn.training.evaluation import end_accuracy
from tsrnn.training.loop import Trainer, train
from tsrnn.training.sampling import TaskBatch, held

OUTSIDE = Leaky(hidden=12, self_interaction="outside", tau=TrainedTau(least=0.1))
SMALL = TrainingConfig(batch_size=8, steps_per_epoch=5, test_batches=2)


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"time": Time(k=(2,), dt="1/k")}, "time.dt = '1/k': .* no limit in continuous time; .* 'outside'"),
            ({"time": Time(k=(2,), dt="1/k"), "network": GRU()}, "time.dt = '1/k': a gru has no tau"),
            ({"time": Time(k=(4, 5), dt="1/k"), "network": OUTSIDE}, "tau.least = 0.1: allowed is at least dt = 0.25"),
            ({"time": Time(k=(2,)), "task": Sines()}, r"time.k = \(2,\): sines has no bits to hold"),
            ({"network": OUTSIDE}, "network.tau.least = 0.1: allowed is at least dt = 1"),
        ],
    )
    def test_what_has_no_meaning_is_refused(self, changes: dict[str, object], message: str):
        with pytest.raises(ValidationError, match=message):
            RunConfig(**changes)

    @pytest.mark.parametrize("k", [(), (0,), (3, 2), (2, 2)])
    def test_k_is_checked(self, k: tuple[int, ...]):
        with pytest.raises(ValidationError, match="k"):
            Time(k=k)

    def test_json_and_back(self):
        config = RunConfig(
            network=dataclasses.replace(OUTSIDE, tau=TrainedTau(least=1 / 7)), time=Time(k=(7, 8), dt="1/k")
        )
        assert RunConfig.from_json(config.to_json()) == config
        assert config.network_id != dataclasses.replace(config, time=Time(k=(7, 9), dt="1/k")).network_id


class TestHeldInputs:
    @given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=4), st.integers(0, 2**31))
    def test_every_bit_is_repeated_and_the_ends_stay_aligned(self, sizes: list[tuple[int, int]], seed: int):
        lengths, k = zip(*sizes, strict=True)
        longest, batch = max(lengths), 3
        inputs = torch.randint(2, (longest, len(sizes), batch), generator=torch.Generator().manual_seed(seed)).float()
        targets = torch.zeros(1, len(sizes), 1, batch, dtype=torch.bool)
        found = held(TaskBatch(inputs, lengths, targets, (1,) * len(lengths)), k, [1.0] * len(k))
        assert found.lengths == tuple(a * b for a, b in sizes)
        assert len(found.inputs) == max(found.lengths)
        for r, (length, steps) in enumerate(sizes):
            own = found.inputs[len(found.inputs) - found.lengths[r] :, r]
            expected = np.repeat(inputs[longest - length :, r].numpy(), steps, axis=0)
            assert np.array_equal(own.numpy(), expected)


class TestSteps:
    def test_states_and_gradients_are_the_oracles(self):
        """A step of dt with tau is a step of 1 with tau / dt."""
        dt, (T, B) = (1.0, 0.25, 0.1), (9, 4)
        config = RunConfig(
            network=dataclasses.replace(OUTSIDE, tau=TrainedTau()), training=TrainingConfig(precision="float64")
        )
        networks = [initial_network(run, (2,)) for run in config.replicates(3)]
        people = population(config.network, networks, [(2,)] * 3)
        names = [name for name in people.trained if not name.startswith("readout")]
        leaves = [people.parameters[name].requires_grad_() for name in names]
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randint(2, (T, 3, B), generator=generator).double()
        initial = torch.rand(3, B, 12, generator=generator, dtype=torch.float64)
        last = people.with_steps(dt).last_states(inputs, (T,) * 3, initial)
        found = torch.autograd.grad(last.square().sum(), leaves)
        for r, network in enumerate(networks):
            own = {name: tensor.clone().requires_grad_() for name, tensor in network.items()}
            scaled = own | {"tau": own["tau"] / dt[r]}
            expected = plain.states(config.network, scaled, inputs[:, r], initial[r])[-1]
            assert distance(last[r], expected) < TOLERANCES[torch.float64].forward
            wanted = torch.autograd.grad(expected.square().sum(), [own[name] for name in names])
            for name, gradient, other in zip(names, found, wanted, strict=True):
                assert distance(gradient[r], other) < TOLERANCES[torch.float64].gradient, name

    def test_inside_has_no_other_step(self):
        people = new(RunConfig(network=Leaky(hidden=5))).population()
        assert people.with_steps([1.0]) is people
        with pytest.raises(ValueError, match=r"dt = .* allowed is 1"):
            people.with_steps([0.5])

    def test_halving_dt_halves_the_error_against_the_continuous_network(self):
        """Tau dh/dt = -h + phi(W h + b + u x): scipy's solution is the limit, at first order."""
        network = Leaky(hidden=12, self_interaction="outside", tau=FixedTau(tau=2.0), nonlinearity=Tanh())
        config = RunConfig(network=network, training=TrainingConfig(precision="float64"))
        people = new(config).population()
        tensors = {name: tensor[0].numpy() for name, tensor in people.parameters.items()}
        bits = [1, 0, 0, 1, 1]
        h = np.linspace(0, 0.1, 12)
        for bit in bits:
            drive = tensors["recurrent.bias"] + tensors["input.bias"] + tensors["input.weight"] * bit

            def slope(_: float, h: np.ndarray, drive: np.ndarray = drive) -> np.ndarray:
                return (-h + np.tanh(tensors["recurrent.weight"] @ h + drive)) / 2.0

            h = solve_ivp(slope, (0, 1), h, rtol=1e-11, atol=1e-12).y[:, -1]
        initial = torch.linspace(0, 0.1, 12, dtype=torch.float64).expand(1, 1, 12)
        errors = []
        for k in (20, 40, 80, 160):
            inputs = torch.tensor(bits).double().repeat_interleave(k)[:, None, None]
            last = people.with_steps([1 / k]).last_states(inputs, (len(inputs),), initial)
            errors.append(np.linalg.norm(last[0, 0].numpy() - h))
        ratios = [a / b for a, b in pairwise(errors)]
        assert all(1.9 < ratio < 2.1 for ratio in ratios), ratios


class TestTraining:
    def test_one_step_a_bit_is_the_plain_network(self):
        config = RunConfig(network=dataclasses.replace(OUTSIDE, tau=TrainedTau()), training=SMALL)
        divided = dataclasses.replace(config, time=Time(k=(1,), dt="1/k"))
        one, other = Trainer([new(config)]), Trainer([new(divided)])
        (a,), (b,) = one.run_epoch(), other.run_epoch()
        assert a.loss == b.loss
        assert all(torch.equal(a.checkpoint.network[name], b.checkpoint.network[name]) for name in a.checkpoint.network)

    def test_networks_draw_their_own_k_and_do_not_depend_on_their_neighbours(self):
        network = dataclasses.replace(OUTSIDE, tau=TrainedTau(least=0.5))
        config = RunConfig(network=network, training=SMALL, time=Time(k=(2, 3, 5), dt="1/k"))
        together = Trainer([new(run) for run in config.replicates(3)])
        reports = together.run_epoch()
        assert len({report.checkpoint.progress.operations for report in reports}) > 1
        for report in reports:
            (alone,) = Trainer([new(report.config)]).run_epoch()
            assert alone.checkpoint.progress.operations == report.checkpoint.progress.operations
            for name, tensor in alone.checkpoint.network.items():
                assert distance(report.checkpoint.network[name], tensor) < TOLERANCES[torch.float32].training, name

    def test_no_tau_stays_below_the_least(self):
        network = dataclasses.replace(OUTSIDE, tau=TrainedTau(least=0.5))
        people = new(RunConfig(network=network, time=Time(k=(2,), dt="1/k"))).population()
        people.parameters["tau"][0, :3] = torch.tensor([0.1, 0.5, 0.7])
        people.project_()
        assert people.tau()[0, :3] == pytest.approx([0.5, 0.5, 0.7])

    @pytest.mark.parametrize("time", [Time(k=(2,)), Time(k=(4,), dt="1/k")])
    def test_a_network_learns_with_held_bits_and_answers_at_its_own_k(self, time: Time):
        config = RunConfig(
            task=Parity(),
            network=Leaky(
                hidden=48,
                self_interaction="outside",
                nonlinearity=LeakyReLU(),
                tau=TrainedTau(least=time.longest_step),
            ),
            curriculum=MultiHead(),
            training=TrainingConfig(batch_size=64, steps_per_epoch=200, test_batches=4),
            end=EndRules(max_n=2, max_epochs=15),
            time=time,
        )
        *_, final = train(config)
        assert final.outcome is not None
        assert final.outcome.status == "solved_all", final.accuracy
        people = final.checkpoint.population()
        (same,) = end_accuracy(people, config.task, [(9, "evaluate", 0)], 4, 64, time)
        (unheld,) = end_accuracy(people, config.task, [(9, "evaluate", 0)], 4, 64)
        assert same[2].accuracy > 0.95
        assert unheld[2].accuracy < same[2].accuracy
