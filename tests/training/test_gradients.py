"""What a training step follows: by hand where code is compiled, against autograd through the whole graph."""

import sys
from dataclasses import replace

import pytest
import torch

from tests.tolerances import TOLERANCES, distance
from tests.training.runs import OPTIMIZERS, TINY
from tsrnn.config import DMS, GRU, LSTM, FixedTau, Leaky, Network, Parity, RunConfig, Sines, Tanh, TrainedTau
from tsrnn.networks import _compiled, _losses, _memory, initial_network, population
from tsrnn.networks.base import unstack
from tsrnn.networks.choice import Plan
from tsrnn.randomness import Streams
from tsrnn.tasks import BitTask, Task
from tsrnn.training.gradients import losses_and_gradients
from tsrnn.training.loop import train
from tsrnn.training.sampling import TaskBatch, draw_batch, initial_states, over_steps

HEADS = ((2, 3, 5), (4,), (3, 2))
DTYPE = torch.float64
NETWORKS = {
    "inside": Leaky(hidden=9),
    "outside": Leaky(hidden=9, self_interaction="outside", nonlinearity=Tanh()),
    "fixed tau": Leaky(hidden=9, tau=FixedTau(tau=2.0)),
    "clamped tau": Leaky(hidden=9, tau=TrainedTau(constraint="clamp_forward")),
}


def drawn(network: Network, task: Task, dt: tuple[float, ...] = ()):
    """Return three networks whose products are compiled code's, a batch and initial states."""
    config = RunConfig(network=network, task=task)
    states = [initial_network(one, ns) for one, ns in zip(config.replicates(3), HEADS, strict=True)]
    states = [{name: tensor.to(DTYPE) for name, tensor in state.items()} for state in states]
    networks = population(network, states, HEADS)
    networks.plan = Plan("compiled", 1)
    if network == NETWORKS["clamped tau"]:
        networks.parameters["tau"].mul_(0.7)
        assert 0 < (networks.parameters["tau"] < 1).sum() < networks.parameters["tau"].numel()
    streams = Streams.named([(seed, "bits") for seed in range(3)], torch.device("cpu"))
    lengths = [8, 12, 10] if isinstance(task, BitTask) else [task.lengths_for(5)[0]] * 3
    batch = draw_batch(task, networks.head_table, lengths, 6, streams)
    return networks, replace(batch, dt=dt), initial_states(networks, streams, 6)


def by_autograd(networks, task: Task, batch: TaskBatch, initial, weights=None):
    """Return losses and gradients by one graph from parameters to loss."""
    leaves = {name: networks.parameters[name].clone().requires_grad_() for name in networks.trained}
    networks.parameters = networks.parameters | leaves
    answers = networks.with_steps(batch.dt).answers(batch.inputs, batch.lengths, initial, batch.readout_steps)
    losses = over_steps(task.loss(answers, batch.targets), batch.readout_steps) * (networks.head_table > 0)
    weighted = losses if weights is None else losses * weights
    return losses, dict(zip(leaves, torch.autograd.grad(weighted.sum(), list(leaves.values())), strict=True))


@pytest.mark.skipif(not _compiled.available("compiled", DTYPE), reason="there is no compiler")
@pytest.mark.parametrize("task", [Parity(), DMS(), Parity(readout_steps=2), Parity(readout_steps="all"), Sines()])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("in_blocks", [False, True])
def test_losses_and_gradients_are_autograds(in_blocks: bool, network: str, task: Task, monkeypatch):
    networks, batch, initial = drawn(NETWORKS[network], task)
    if in_blocks:
        # As if the weights did not fit in the cache, and 6 sequences were many.
        monkeypatch.setattr(_memory, "CACHE", 1)
        monkeypatch.setattr(_memory, "_BLOCK", 2)
        assert _memory.block(6, networks.network.hidden, DTYPE.itemsize) == 2
    weights = torch.rand(3, 3, dtype=DTYPE, generator=torch.Generator().manual_seed(0))
    found = losses_and_gradients(networks, task, batch, initial, weights=weights)
    expected = by_autograd(networks, task, batch, initial, weights)
    assert distance(found[0], expected[0]) < TOLERANCES[DTYPE].forward
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert distance(found[1][name], gradient) < TOLERANCES[DTYPE].gradient, name


@pytest.mark.skipif(not _compiled.available("compiled", DTYPE), reason="there is no compiler")
@pytest.mark.parametrize("network", NETWORKS)
def test_sequences_too_long_for_the_memory_take_a_graph(network: str, monkeypatch):
    networks, batch, initial = drawn(NETWORKS[network], Parity())
    expected = losses_and_gradients(networks, Parity(), batch, initial)
    steps = []
    monkeypatch.setattr(_losses, "cross_entropy", lambda form, sequences, *_: steps.append(len(sequences.inputs)))
    monkeypatch.setattr(_memory, "KEPT", 11 * initial[0].numel() * initial.element_size())
    found = losses_and_gradients(networks, Parity(), batch, initial)
    assert not steps
    assert distance(found[0], expected[0]) < TOLERANCES[DTYPE].forward
    for name, gradient in expected[1].items():
        assert distance(found[1][name], gradient) < TOLERANCES[DTYPE].gradient, name


@pytest.mark.parametrize("library", _compiled.LIBRARIES)
@pytest.mark.parametrize(("hidden", "batch_size"), [(1, 1), (9, 6), (33, 12), (64, 64), (131, 50)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_networks_losses_and_gradients_have_the_same_bits_in_every_stack(library, hidden, batch_size, dtype):
    """docs/reproducibility.md: whatever heads the others have, and however long their sequences are."""
    if not _compiled.available(library, dtype):
        pytest.skip("there is no compiler, or no BLAS for it to call")
    task = Parity(readout_steps=2)
    runs = RunConfig(network=Leaky(hidden=hidden), task=task).replicates(3)

    def run(*places: int):
        heads = [HEADS[place] for place in places]
        states = [initial_network(runs[place], HEADS[place]) for place in places]
        networks = population(runs[0].network, [{n: t.to(dtype) for n, t in state.items()} for state in states], heads)
        networks.plan = Plan(library, 1)
        streams = Streams.named([(place, "bits") for place in places], torch.device("cpu"))
        lengths = [(8, 12, 10)[place] for place in places]
        batch = draw_batch(task, networks.head_table, lengths, batch_size, streams)
        losses, gradients = losses_and_gradients(networks, task, batch, initial_states(networks, streams, batch_size))
        own = [loss[: len(ns)] for loss, ns in zip(losses, heads, strict=True)]
        return list(zip(own, unstack(gradients, heads), strict=True))

    stacked = run(0, 1, 2)
    for places in ((0,), (1,), (2, 0), (1, 2, 0)):
        for place, (losses, gradients) in zip(places, run(*places), strict=True):
            assert torch.equal(losses, stacked[place][0])
            for name, gradient in gradients.items():
                # A library may add in another order where rows begin at another place in a cache line.
                if hidden % 16 == 0 or not name.startswith("heads."):
                    assert torch.equal(gradient, stacked[place][1][name]), name


@pytest.mark.skipif(not _compiled.available("compiled", DTYPE), reason="there is no compiler")
def test_tau_in_other_time_steps():
    networks, batch, initial = drawn(NETWORKS["outside"], Parity(), dt=(0.5, 1.0, 0.25))
    found = losses_and_gradients(networks, Parity(), batch, initial, names=["tau"])[1]
    expected = by_autograd(networks, Parity(), batch, initial)[1]["tau"]
    assert found.keys() == {"tau"}
    assert distance(found["tau"], expected) < TOLERANCES[DTYPE].gradient


def test_a_task_with_a_loss_of_its_own_has_its_gradient():
    class Squared(Parity):
        def loss(self, outputs, targets):
            return (outputs[..., 1] - targets.transpose(2, 3).float()).square().mean(2)

    outputs = torch.randn(1, 2, 5, 3, 2, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(1, 2, 3, 5, dtype=torch.bool)
    loss, back = Squared().loss_with_gradient(outputs, targets)
    found = back(torch.ones(1, 2, 3))
    assert torch.equal(loss, Squared().loss(outputs, targets))
    torch.testing.assert_close(found[..., 1], 2 * outputs[..., 1] / 5)
    assert not found[..., 0].any()


@pytest.mark.parametrize("task", [Parity(), Sines()])
@pytest.mark.parametrize("network", [Leaky(hidden=9), GRU(hidden=9), LSTM(hidden=9)])
def test_no_process_that_trains_waits_for_sympy(network: Network, task: Task, monkeypatch):
    """Torch imports it where autograd is handed the gradient of anything but a number, which takes 0.7 s."""
    for name in ("sympy", "torch.fx.experimental.symbolic_shapes"):
        monkeypatch.setitem(sys.modules, name, None)  # whoever imports it now is told that there is none
    for optimizer in OPTIMIZERS.values() if network.kind == "leaky" else [OPTIMIZERS["adam"]]:
        training = replace(TINY.training, steps_per_epoch=1, optimizer=optimizer)
        next(train(replace(TINY, network=network, task=task, training=training)))
