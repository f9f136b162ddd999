"""GRU and LSTM compute what torch's own modules do, with the bits as -1 and 1."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tests.tolerances import TOLERANCES, distance
from tsrnn.config import GRU, LSTM, SGD, EndRules, Parity, RunConfig, Training
from tsrnn.networks import NetworkState, initial_network, population
from tsrnn.training.loop import train

MODULES = {"gru": (GRU(hidden=13), nn.GRU), "lstm": (LSTM(hidden=13), nn.LSTM)}
LENGTHS = (9, 4, 9, 1)
BATCH = 5
NAMES = {
    "weight_ih_l0": "input.weight",
    "weight_hh_l0": "recurrent.weight",
    "bias_ih_l0": "input.bias",
    "bias_hh_l0": "recurrent.bias",
}


def module(kind: str, state: NetworkState) -> nn.RNNBase:
    """Return torch's module with a network's weights."""
    weights = {theirs: state[ours] for theirs, ours in NAMES.items()}
    weights["weight_ih_l0"] = weights["weight_ih_l0"][:, None]
    with torch.random.fork_rng():
        made = MODULES[kind][1](1, 13, dtype=state["input.bias"].dtype)
    made.load_state_dict(weights)
    return made


def run(made: nn.RNNBase, bits: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden states [M, B, H] and the last state [B, S] from bits [M, B]."""
    given = torch.where(bits == 1, 1.0, -1.0).to(initial.dtype)[..., None]
    parts = [part[None].contiguous() for part in initial.split(13, dim=-1)]
    hidden, last = made(given, parts[0] if len(parts) == 1 else tuple(parts))
    return hidden, torch.cat([part[0] for part in last], dim=-1) if isinstance(last, tuple) else last[0]


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("kind", MODULES)
class TestTorchsModules:
    def case(self, kind: str, precision: str) -> tuple[RunConfig, list[NetworkState], Tensor, Tensor]:
        config = RunConfig(network=MODULES[kind][0], training=Training(precision=precision))
        states = [initial_network(one, (2,)) for one in config.replicates(len(LENGTHS))]
        generator = torch.Generator().manual_seed(0)
        bits = torch.randint(2, (max(LENGTHS), len(LENGTHS), BATCH), generator=generator).float()
        size = population(config.network, states, [(2,)] * len(states)).state_size
        initial = torch.randn(len(LENGTHS), BATCH, size, generator=generator, dtype=getattr(torch, precision))
        return config, states, bits, initial

    def test_states(self, kind: str, precision: str):
        config, states, bits, initial = self.case(kind, precision)
        people = population(config.network, states, [(2,)] * len(states))
        found, tolerance = people.all_states(bits, initial), TOLERANCES[people.dtype].forward
        assert found.dtype == people.dtype
        for r, state in enumerate(states):
            hidden, last = run(module(kind, state), bits[:, r], initial[r])
            assert distance(people.activity(found)[:, r], hidden) < tolerance
            assert distance(found[-1, r], last) < tolerance

    def test_last_states_and_gradients(self, kind: str, precision: str):
        config, states, bits, initial = self.case(kind, precision)
        people = population(config.network, states, [(2,)] * len(states))
        leaves = {name: people.parameters[name].requires_grad_() for name in NAMES.values()}
        last = people.last_states(bits, LENGTHS, initial)
        weighting = torch.linspace(-1, 1, last[0].numel(), dtype=people.dtype).view_as(last[0])
        gradients = self.gradients(list(leaves.values()), sum((state * weighting).sum() for state in last))
        for r, (state, length) in enumerate(zip(states, LENGTHS, strict=True)):
            made = module(kind, state)
            _, expected = run(made, bits[len(bits) - length :, r], initial[r])
            assert distance(last[r], expected) < TOLERANCES[people.dtype].forward
            theirs = self.gradients([getattr(made, name) for name in NAMES], (expected * weighting).sum())
            for ours, other in zip(gradients, theirs, strict=True):
                assert distance(ours[r], other.view_as(ours[r])) < TOLERANCES[people.dtype].gradient

    def test_gradients_of_all_states(self, kind: str, precision: str):
        config, states, bits, initial = self.case(kind, precision)
        people = population(config.network, states, [(2,)] * len(states))
        leaves = [people.parameters[name].requires_grad_() for name in NAMES.values()]
        found = people.activity(people.all_states(bits, initial))
        weighting = torch.linspace(-1, 1, found[:, 0].numel(), dtype=people.dtype).view_as(found[:, 0])
        gradients = self.gradients(leaves, sum((hidden * weighting).sum() for hidden in found.unbind(1)))
        for r, state in enumerate(states):
            made = module(kind, state)
            hidden, _ = run(made, bits[:, r], initial[r])
            theirs = self.gradients([getattr(made, name) for name in NAMES], (hidden * weighting).sum())
            for ours, other in zip(gradients, theirs, strict=True):
                assert distance(ours[r], other.view_as(ours[r])) < TOLERANCES[people.dtype].gradient

    def gradients(self, parameters: Sequence[Tensor], total: Tensor) -> Sequence[Tensor]:
        return torch.autograd.grad(total, parameters)


@pytest.mark.parametrize("kind", MODULES)
def test_a_small_network_learns(kind: str):
    config = RunConfig(
        task=Parity(input_probability=0.5),
        network=MODULES[kind][0],
        training=Training(
            batch_size=32, steps_per_epoch=300, test_batches=8, optimizer=SGD(learning_rate=0.5, momentum=0.9)
        ),
        end=EndRules(max_n=2, max_epochs=4),
    )
    ends = [report.outcome.status for report in train(config.replicates(2)) if report.outcome]
    assert ends == ["solved_all", "solved_all"]
