"""Gradients at past states, cosines and Hessians against autograd and scipy in float64, and against linear networks."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from tests.oracles.plain import head_loss, leaky_states
from tests.tolerances import TOLERANCES, distance
from tsrnn import Leaky, Parity, ReLU, RunConfig, Tanh
from tsrnn.config import FixedTau, LeakyReLU
from tsrnn.dynamics.gradients import (
    cosines,
    double,
    largest_eigenvalue,
    mean_gradients,
    norms_by_delay,
    posed,
    sharpness,
    state_gradients,
)
from tsrnn.networks import _compiled, initial_network, population
from tsrnn.training.sampling import batches

HIDDEN, HEADS, TASK = 5, (2, 3, 4), Parity()
FORMS = [
    {"self_interaction": where, "nonlinearity": phi}
    for where in ("inside", "outside")
    for phi in (LeakyReLU(), ReLU(), Tanh())
]


def networks(*seeds: int, heads=HEADS, **changes):
    network = Leaky(**{"hidden": HIDDEN} | changes)
    states = [initial_network(RunConfig(network=network, seed=seed), heads) for seed in seeds]
    return double(population(network, states, [heads] * len(seeds)))


def drawn(people, count=1, batch=6):
    """Sequences of one network's, for the population with all its heads."""
    return list(batches(TASK, people.only(0), [(0, "x", 0)], count, batch))


def plain_loss(people, r, tensors, batch, initial, heads):
    """The loss of a network as one writes it first."""
    states = leaky_states(people.network, tensors, batch.inputs[:, r].double(), initial[r])
    own = {n: batch.targets[:, r, k] for k, n in enumerate(people.heads[r])}
    return sum(head_loss(TASK, tensors, n, states, own[n]) for n in heads), states


@pytest.mark.parametrize("library", ["blas", *_compiled.LIBRARIES])
@pytest.mark.parametrize("changes", FORMS, ids=str)
def test_gradients_at_past_states_are_those_of_autograd(changes, library):
    """Every library rounds the decay of the state in its own way, from which slopes are recovered."""
    people = networks(0, 1, **changes)
    if library in _compiled.LIBRARIES and not _compiled.available(library, torch.float64):
        pytest.skip(f"{library} is not available here")
    people.plan = people.plan_for(6, library)
    batch, initial = posed(*drawn(people)[0], people, TASK)
    found = torch.stack(list(state_gradients(people, TASK, batch, initial)))
    steps = len(batch.inputs)
    assert len(found) == steps + 1
    norms = norms_by_delay(people, TASK, batch, initial, steps)
    for r, tensors in enumerate(people.states()):
        start = initial[r].clone().requires_grad_()
        loss, states = plain_loss(people, r, tensors, batch, [*initial[:r], start, *initial[r + 1 :]], HEADS)
        expected = torch.autograd.grad(loss * len(start), [*states[::-1], start])
        assert distance(found[:, r], torch.stack(expected)) < TOLERANCES[torch.float64].gradient
        sizes = [sum(math.hypot(*row) for row in one.tolist()) / len(start) for one in expected]
        assert norms[r].tolist() == pytest.approx(sizes)


def test_in_a_linear_neuron_the_gradient_decays_with_tau():
    """States above 0, no W: each step back multiplies by 1 - 1 / tau, in float32 too."""
    people = networks(0, tau=FixedTau(tau=4.0))
    for name, value in (("recurrent.weight", 0.0), ("recurrent.bias", 1.0), ("input.weight", 1.0), ("input.bias", 0.0)):
        people.parameters[name].fill_(value)
    batch, initial = posed(*drawn(people)[0], people, TASK)
    (norms,) = norms_by_delay(people, TASK, batch, initial, 8)
    np.testing.assert_allclose((norms / norms[0]).numpy(), 0.75 ** np.arange(9), rtol=1e-12)


def test_along_a_delay_line_the_gradient_keeps_its_size_until_the_line_ends():
    people = networks(0, tau=FixedTau(tau=1.0))
    line = torch.eye(HIDDEN).roll(1, 0).double()
    line[0] = 0
    for name, value in (("recurrent.weight", line), ("recurrent.bias", torch.ones(HIDDEN).double())):
        people.parameters[name].copy_(value)
    people.parameters["input.bias"].zero_()
    people.parameters["readout.weight"].zero_()
    people.parameters["readout.weight"][0, 0, 1, -1] = 1.0
    people.parameters["input.weight"].zero_()
    batch, initial = posed(*drawn(people)[0], people, TASK)
    (norms,) = norms_by_delay(people, TASK, batch, initial, 8)
    np.testing.assert_allclose((norms / norms[0]).numpy(), [1] * HIDDEN + [0] * (9 - HIDDEN), atol=1e-12)


def test_delays_beyond_the_sequence_and_different_lengths_are_refused():
    people = networks(0)
    batch, initial = posed(*drawn(people)[0], people, TASK)
    with pytest.raises(ValueError, match="delays = 99: allowed are 0 to"):
        norms_by_delay(people, TASK, batch, initial, 99)
    both = networks(0, 1)
    mixed = next(iter(batches(TASK, both, [(5, "x", 0), (2, "x", 0)], 1, 4)))
    assert len(set(mixed[0].lengths)) == 2
    with pytest.raises(ValueError, match="allowed is one for all"):
        next(state_gradients(both, TASK, *mixed))


@pytest.mark.parametrize("changes", FORMS, ids=str)
def test_cosines_of_heads_are_those_of_autograd(changes):
    whole = networks(0, **changes)
    (state,) = whole.states()
    apart = population(whole.network, [state] * len(HEADS), [(n,) for n in HEADS])
    few = drawn(whole, 2)
    losses, gradients = mean_gradients(apart, TASK, [posed(*one, apart, TASK) for one in few], ["recurrent.weight"])
    found = cosines(gradients["recurrent.weight"].flatten(1))
    expected = []
    for k, n in enumerate(HEADS):
        tensors = {name: tensor.clone().requires_grad_() for name, tensor in state.items()}
        asked = [posed(*one, whole, TASK) for one in few]
        loss = sum(plain_loss(whole, 0, tensors, *one, [n])[0] for one in asked) / len(few)
        (own,) = torch.autograd.grad(loss, tensors["recurrent.weight"])
        expected.append(own.fill_diagonal_(0.0).flatten().numpy())
        assert losses[k].item() == pytest.approx(loss.item())
    for i, one in enumerate(expected):
        for j, other in enumerate(expected):
            cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            assert found[i, j].item() == pytest.approx(cosine, abs=1e-9)


class TestLargestEigenvalue:
    def test_of_a_quadratic_form(self):
        draws = np.random.default_rng(0)
        matrix = draws.normal(size=(40, 40))
        matrix += matrix.T
        whole = torch.from_numpy(matrix)
        found = largest_eigenvalue(lambda points: points @ whole, torch.zeros(40).double())
        assert found == pytest.approx(scipy.linalg.eigh(matrix, eigvals_only=True)[-1], rel=2e-3)

    def test_where_nothing_bends_it_is_0_and_where_nothing_is_finite_no_number(self):
        at = torch.ones(4).double()
        assert largest_eigenvalue(torch.zeros_like, at) == 0
        assert math.isnan(largest_eigenvalue(lambda points: points * math.inf, at))
        with pytest.raises(ValueError, match=r"allowed is torch\.float64"):
            largest_eigenvalue(torch.zeros_like, at.float())


@pytest.mark.parametrize("changes", [*FORMS, {"tau": FixedTau(tau=2.0)}], ids=str)
def test_sharpness_is_the_largest_eigenvalue_of_the_hessian_that_autograd_finds(changes):
    people = networks(0, 1, **changes)
    few = drawn(people, 2)
    found = sharpness(people, TASK, few)
    asked = [posed(*one, people, TASK) for one in few]
    for r, state in enumerate(people.states()):
        names = [name for name in state if name != "tau" or "tau" not in changes]
        sizes = [state[name].numel() for name in names]

        def loss(point, r=r, state=state, names=names, sizes=sizes):
            parts = zip(names, torch.split(point, sizes), strict=True)
            tensors = state | {name: part.view(state[name].shape) for name, part in parts}
            tensors["recurrent.weight"] = tensors["recurrent.weight"] * (1 - torch.eye(HIDDEN).double())
            return sum(plain_loss(people, r, tensors, *one, HEADS)[0] for one in asked) / len(few)

        at = torch.cat([state[name].flatten() for name in names])
        hessian = torch.autograd.functional.hessian(loss, at, vectorize=True).numpy()
        assert found[r] == pytest.approx(scipy.linalg.eigh(hessian, eigvals_only=True)[-1], rel=2e-3)
