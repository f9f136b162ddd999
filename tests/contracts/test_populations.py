"""What every architecture must do. A new one is one line in NETWORKS (and an oracle in tests/oracles)."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.oracles import plain
from tests.tolerances import TOLERANCES, distance
from tsrnn.config import (
    GRU,
    LSTM,
    SGD,
    EndRules,
    FixedTau,
    Leaky,
    LeakyReLU,
    MultiHead,
    Network,
    ReLU,
    RunConfig,
    Tanh,
    TrainedTau,
    Training,
)
from tsrnn.io.checkpoint import Checkpoint, Progress, load, save
from tsrnn.networks import (
    NetworkState,
    Population,
    _compiled,
    initial_network,
    leaky,
    operations,
    population,
    population_class,
    recurrence,
)
from tsrnn.networks.base import READOUT_BIAS, READOUT_WEIGHT, stack, unstack
from tsrnn.networks.choice import Plan
from tsrnn.randomness import Streams
from tsrnn.training.loop import Trainer
from tsrnn.training.sampling import initial_states

NETWORKS = {
    "inside leaky_relu": Leaky(),
    "inside relu": Leaky(nonlinearity=ReLU()),
    "inside tanh": Leaky(nonlinearity=Tanh()),
    "outside leaky_relu": Leaky(self_interaction="outside", nonlinearity=LeakyReLU(slope=0.3)),
    "outside relu": Leaky(self_interaction="outside", nonlinearity=ReLU()),
    "outside tanh": Leaky(self_interaction="outside", nonlinearity=Tanh()),
    "inside fixed": Leaky(tau=FixedTau(tau=2.5)),
    "outside fixed": Leaky(self_interaction="outside", tau=FixedTau(tau=2.5)),
    "inside clamp_forward": Leaky(tau=TrainedTau(constraint="clamp_forward")),
    "outside clamp_forward": Leaky(self_interaction="outside", tau=TrainedTau(constraint="clamp_forward")),
    "gru": GRU(),
    "lstm": LSTM(),
}


@pytest.fixture(autouse=True, params=["measured", *_compiled.LIBRARIES])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an architecture leaves a choice of what multiplies: as in training, and compiled at every size."""
    if request.param != "measured":
        if not all(_compiled.available(request.param, dtype) for dtype in (torch.float32, torch.float64)):
            pytest.skip("there is no compiler")
        for module in (leaky, recurrence):
            monkeypatch.setattr(module, "plan_for", lambda *_, **__: Plan(request.param, 1))


def trains_tau(network: Network) -> bool:
    return isinstance(network, Leaky) and isinstance(network.tau, TrainedTau)


def untrained(network: Network) -> set[str]:
    """The tensors that training leaves as they are."""
    return {"tau"} if isinstance(network, Leaky) and isinstance(network.tau, FixedTau) else set()


@dataclasses.dataclass(frozen=True)
class Sizes:
    hidden: int
    batch: int
    lengths: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]


SIZES = {
    "one": Sizes(7, 3, (5,), ((2, 3),)),
    "one neuron, sequence and step": Sizes(1, 1, (1,), ((2,),)),
    "equal lengths": Sizes(7, 5, (6, 6, 6), ((2,), (3,), (4,))),
    "mixed lengths": Sizes(9, 3, (7, 3, 7, 1, 5), ((2, 3, 4), (9,), (3, 7), (2,), (5, 2))),
    # 151 x 151 float64 weights take 0.18 MB: no more than two or three fit in a core's cache.
    "wide": Sizes(151, 3, (4, 9, 9, 2, 6), ((2,), (2, 3), (4,), (3,), (2,))),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """Networks, and what is put in and looked at."""

    network: Network
    sizes: Sizes
    states: list[NetworkState]
    inputs: Tensor
    initial: Tensor
    weighting: Tensor  # of the logits, in the scalar that is differentiated

    @property
    def rows(self) -> range:
        return range(len(self.states))

    def people(self, *rows: int) -> Population:
        rows = rows or tuple(self.rows)
        return population(self.network, [self.states[r] for r in rows], [self.sizes.heads[r] for r in rows])

    def lengths(self, *rows: int) -> tuple[int, ...]:
        return tuple(self.sizes.lengths[r] for r in rows or self.rows)

    def inputs_of(self, *rows: int) -> Tensor:
        rows = rows or tuple(self.rows)
        return self.inputs[len(self.inputs) - max(self.lengths(*rows)) :, list(rows)]

    def last(self, people: Population, *rows: int) -> Tensor:
        rows = rows or tuple(self.rows)
        return people.last_states(self.inputs_of(*rows), self.lengths(*rows), self.initial[list(rows)])

    def gradients(self, *rows: int) -> tuple[Tensor, list[NetworkState]]:
        """Return logits and gradients of the weighted sum of logits, through the population."""
        people = self.people(*rows)
        rows = rows or tuple(self.rows)
        leaves = {name: people.parameters[name].requires_grad_() for name in people.trained}
        logits = people.logits(self.last(people, *rows))
        weighted = (logits * self.weighting[list(rows), :, : logits.shape[2]]).sum()
        gradients = dict(zip(leaves, torch.autograd.grad(weighted, list(leaves.values())), strict=True))
        return logits.detach(), unstack(gradients, people.heads)

    def plain_gradients(self, r: int) -> tuple[dict[int, Tensor], NetworkState]:
        """Return network r's logits by N, and its gradients, from the oracle in float64."""
        tensors = {name: tensor.double().requires_grad_() for name, tensor in self.states[r].items()}
        inputs = self.inputs_of(r)[:, 0].double()
        last = plain.states(self.network, tensors, inputs, self.initial[r].double())[-1]
        logits = {n: plain.logits(tensors, n, last) for n in self.sizes.heads[r]}
        weighted = sum((self.weighting[r, :, k].double() * logits[n]).sum() for k, n in enumerate(self.sizes.heads[r]))
        found = dict(zip(tensors, torch.autograd.grad(weighted, list(tensors.values())), strict=True))
        return logits, found


def make_case(network: Network, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Case:
    generator = torch.Generator().manual_seed(1)
    network = dataclasses.replace(network, hidden=sizes.hidden)
    R, T, B, K = len(sizes.lengths), max(sizes.lengths), sizes.batch, max(map(len, sizes.heads))
    states = [
        initial_network(RunConfig(network=network, seed=r, training=Training(precision="float64")), sizes.heads[r])
        for r in range(R)
    ]
    if trains_tau(network):
        lowest = 0.7 if network.tau.constraint == "clamp_forward" else 1.0
        for state in states:
            state["tau"].uniform_(lowest, 4.0, generator=generator)
    S = population(network, states, sizes.heads).state_size
    inputs = torch.randint(2, (T, R, B), generator=generator).to(dtype)
    for r, length in enumerate(sizes.lengths):
        inputs[: T - length, r] = torch.nan  # what stands before a sequence's start must not matter
    return Case(
        network,
        sizes,
        [{name: tensor.to(dtype) for name, tensor in state.items()} for state in states],
        inputs,
        torch.randn(R, B, S, generator=generator, dtype=torch.float64).to(dtype),
        torch.randn(R, B, K, 2, generator=generator, dtype=torch.float64).to(dtype),
    )


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]


@pytest.fixture(params=SIZES)
def case(request: pytest.FixtureRequest, network: Network) -> Case:
    return make_case(network, SIZES[request.param])


@pytest.fixture
def mixed(network: Network) -> Case:
    return make_case(network, SIZES["mixed lengths"])


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def same(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


class TestForward:
    def test_shapes_and_dtype(self, case: Case):
        people, sizes = case.people(), case.sizes
        R, B, K = len(sizes.lengths), sizes.batch, max(map(len, sizes.heads))
        last = case.last(people)
        assert (people.replicates, people.dtype) == (R, torch.float64)
        assert last.shape == (R, B, people.state_size)
        assert torch.equal(people.activity(last), last[..., : sizes.hidden])
        assert people.logits(last).shape == (R, B, K, 2)
        assert people.logits(last).dtype == last.dtype == torch.float64

    def test_the_same_again_gives_the_same_bits(self, mixed: Case):
        first, second = mixed.gradients(), mixed.gradients()
        assert torch.equal(first[0], second[0])
        assert all(map(same, first[1], second[1]))

    def test_nothing_is_mutated(self, mixed: Case):
        people = mixed.people()
        leaves = [people.parameters[name].requires_grad_() for name in people.trained]
        everything = [*people.parameters.values(), mixed.inputs, mixed.initial]
        before = copies(everything)
        people.logits(mixed.last(people)).sum().backward()
        people.all_states(mixed.inputs, mixed.initial)
        assert all(leaf.grad is not None for leaf in leaves)
        for now, then in zip(everything, before, strict=True):
            torch.testing.assert_close(now.detach(), then, rtol=0, atol=0, equal_nan=True)

    def test_all_states_are_the_oracles(self, case: Case):
        inputs = torch.nan_to_num(case.inputs, nan=1.0)
        states = case.people().all_states(inputs, case.initial)
        assert not states.requires_grad
        for r in case.rows:
            expected = plain.states(case.network, case.states[r], inputs[:, r], case.initial[r])
            assert distance(states[:, r], torch.stack(expected)) < TOLERANCES[torch.float64].forward

    def test_the_last_of_all_states_is_the_last_state(self, case: Case):
        inputs = torch.nan_to_num(case.inputs, nan=1.0)
        people, length = case.people(), len(inputs)
        last = people.last_states(inputs, [length] * people.replicates, case.initial)
        assert distance(people.all_states(inputs, case.initial)[-1], last) < TOLERANCES[torch.float64].forward

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_a_state_is_all_that_is_needed_to_go_on(self, network: Network, dtype: torch.dtype):
        case = make_case(network, SIZES["equal lengths"], dtype)
        people = case.people()
        whole = people.all_states(case.inputs, case.initial)
        first = people.all_states(case.inputs[:2], case.initial)
        second = people.all_states(case.inputs[2:], first[-1])
        assert distance(torch.cat((first, second)), whole) < TOLERANCES[dtype].forward / 10

    def test_a_parameter_changed_before_the_backward_pass_is_an_error(self, mixed: Case):
        people = mixed.people()
        weight = people.parameters["recurrent.weight"].requires_grad_()
        total = mixed.last(people).sum()
        with torch.no_grad():
            weight.mul_(2)
        with pytest.raises(RuntimeError, match=r"modified .*inplace"):
            total.backward()


class TestGradients:
    def assert_oracle(self, case: Case, dtype: torch.dtype):
        logits, gradients = case.gradients()
        for r in case.rows:
            expected_logits, expected = case.plain_gradients(r)
            for k, n in enumerate(case.sizes.heads[r]):
                assert distance(logits[r, :, k], expected_logits[n]) < TOLERANCES[dtype].forward
            assert gradients[r].keys() == expected.keys() - untrained(case.network)
            errors = {name: distance(found, expected[name]) for name, found in gradients[r].items()}
            assert max(errors.values()) < TOLERANCES[dtype].gradient, errors

    def test_float64_is_the_oracles(self, case: Case):
        self.assert_oracle(case, torch.float64)

    @pytest.mark.parametrize("sizes", ["mixed lengths", "wide"])
    def test_float32_is_the_oracles(self, network: Network, sizes: str):
        self.assert_oracle(make_case(network, SIZES[sizes], torch.float32), torch.float32)

    def test_asked_at_several_steps_of_different_sequences_they_are_the_oracles(self, network: Network):
        case = make_case(network, Sizes(5, 4, (7, 3, 5), ((2, 3), (2,), (4, 3))))
        people, of_step = case.people(), torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64)
        leaves = {name: people.parameters[name].requires_grad_() for name in people.trained}
        answers = people.answers(case.inputs, case.lengths(), case.initial, (3, 3, 3))
        weighted = (answers * of_step.view(3, 1, 1, 1, 1) * case.weighting).sum()
        gradients = dict(zip(leaves, torch.autograd.grad(weighted, list(leaves.values())), strict=True))
        for r, found in enumerate(unstack(gradients, people.heads)):
            tensors = {name: tensor.clone().requires_grad_() for name, tensor in case.states[r].items()}
            states = plain.states(network, tensors, case.inputs_of(r)[:, 0], case.initial[r])[-3:]
            total = 0.0
            for k, n in enumerate(case.sizes.heads[r]):
                said = torch.stack([plain.logits(tensors, n, state) for state in states])
                assert distance(answers[:, r, :, k], said) < TOLERANCES[torch.float64].forward
                total += (said * of_step[:, None, None] * case.weighting[r, :, k]).sum()
            expected = dict(zip(tensors, torch.autograd.grad(total, list(tensors.values())), strict=True))
            errors = {name: distance(gradient, expected[name]) for name, gradient in found.items()}
            assert max(errors.values()) < TOLERANCES[torch.float64].gradient, errors

    def test_a_population_is_its_networks(self, case: Case):
        logits, gradients = case.gradients()
        for r in case.rows:
            alone, (alone_gradients,) = case.gradients(r)
            assert distance(logits[r, :, : alone.shape[2]], alone[0]) < TOLERANCES[torch.float64].forward
            assert gradients[r].keys() == alone_gradients.keys()
            for name, gradient in alone_gradients.items():
                assert distance(gradients[r][name], gradient) < TOLERANCES[torch.float64].gradient, name

    def test_untrained_gradients_are_zeroed_and_no_others(self, mixed: Case):
        people = mixed.people()
        gradients = {name: torch.ones_like(people.parameters[name]) for name in people.trained}
        people.remove_untrained_gradients_(gradients)
        for name, gradient in gradients.items():
            expected = torch.ones_like(gradient)
            if name == "recurrent.weight" and isinstance(mixed.network, Leaky):
                expected -= torch.eye(mixed.sizes.hidden, dtype=torch.float64)
            assert torch.equal(gradient, expected)


class TestHeads:
    def test_stack_and_unstack(self, mixed: Case):
        stacked = stack(mixed.states, mixed.sizes.heads)
        assert all(map(same, unstack(stacked, mixed.sizes.heads), mixed.states))
        for r, heads in enumerate(mixed.sizes.heads):
            assert not stacked[READOUT_WEIGHT][r, len(heads) :].any()
            assert not stacked[READOUT_BIAS][r, len(heads) :].any()

    def test_states_are_copies(self, mixed: Case):
        people = mixed.people()
        for state in people.states():
            for tensor in state.values():
                tensor.fill_(torch.nan)
        assert all(map(same, people.states(), mixed.states))

    def test_logits_are_addressed_by_n(self, mixed: Case):
        people = mixed.people()
        logits = people.logits(mixed.initial)
        for r, heads in enumerate(mixed.sizes.heads):
            assert people.head_table[r, : len(heads)].tolist() == list(heads)
            for k, n in enumerate(heads):
                expected = plain.logits(mixed.states[r], n, mixed.initial[r])
                assert distance(logits[r, :, k], expected) < TOLERANCES[torch.float64].forward
            assert not logits[r, :, len(heads) :].any()
            assert not people.head_table[r, len(heads) :].any()

    def test_the_order_of_heads_means_nothing(self, mixed: Case):
        heads = mixed.sizes.heads[0]
        turned = population(mixed.network, mixed.states[:1], [heads[::-1]])
        assert torch.equal(turned.logits(mixed.initial[:1]).flip(2), mixed.people(0).logits(mixed.initial[:1]))

    def test_a_head_that_is_lacking_is_an_error(self, mixed: Case):
        with pytest.raises(KeyError, match=r"heads\.11\.weight"):
            population(mixed.network, mixed.states[:1], [(2, 11)])

    @pytest.mark.parametrize("rows", [(3,), (4, 0), (1, 2, 4)])
    def test_a_selection_is_restacked(self, mixed: Case, rows: tuple[int, ...]):
        all_logits, all_gradients = mixed.gradients()
        logits, gradients = mixed.gradients(*rows)
        tolerance = TOLERANCES[torch.float64]
        for r, row in enumerate(rows):
            assert same(mixed.people(*rows).states()[r], mixed.states[row])
            assert distance(logits[r], all_logits[row, :, : logits.shape[2]]) < tolerance.forward
            for name, gradient in gradients[r].items():
                assert distance(gradient, all_gradients[row][name]) < tolerance.gradient


class TestNetworks:
    @pytest.mark.parametrize("precision", ["float32", "float64"])
    def test_a_new_network_has_the_shapes_and_the_precision(self, network: Network, precision: str):
        config = RunConfig(network=network, training=Training(precision=precision)).with_hidden(11)
        state = initial_network(config, (2, 5))
        heads = {f"heads.{n}.weight": (2, 11) for n in (2, 5)} | {f"heads.{n}.bias": (2,) for n in (2, 5)}
        shapes = population_class(network).shapes(config.network) | heads
        assert {name: tuple(tensor.shape) for name, tensor in state.items()} == shapes
        assert {tensor.dtype for tensor in state.values()} == {getattr(torch, precision)}

    def test_a_new_network_depends_on_the_seed_alone(self, network: Network):
        config = RunConfig(network=network, seed=3).with_hidden(11)
        state = initial_network(config, (2, 5))
        assert same(state, initial_network(config, (5, 2)))
        other = initial_network(dataclasses.replace(config, seed=4), (2, 5))
        assert {name for name in state if torch.equal(state[name], other[name])} == untrained(network)
        assert not torch.equal(state["heads.2.weight"], state["heads.5.weight"])

    def test_initial_weights_fill_their_range(self, network: Network):
        H = 200
        state = initial_network(RunConfig(network=network).with_hidden(H), (2,))
        state.pop("tau", None)
        assert state.pop("heads.2.bias").abs().max() <= H**-0.5
        if isinstance(network, Leaky):
            assert not state["recurrent.weight"].diagonal().any()
            state["recurrent.weight"] = state["recurrent.weight"][~torch.eye(H, dtype=torch.bool)]
        for name, tensor in state.items():
            bound = 1.0 if isinstance(network, Leaky) and name.startswith("input.") else H**-0.5
            assert 0.9 * bound < tensor.max() <= bound, name
            assert -bound <= tensor.min() < -0.9 * bound, name

    def test_sequences_start_from_the_configured_activity(self, network: Network):
        config = RunConfig(network=dataclasses.replace(network, hidden=50, initial_state=0.3))
        people = population(config.network, [initial_network(c, (2,)) for c in config.replicates(2)], [(2,), (2,)])
        streams = Streams.named([(0, "state"), (1, "state")], people.device)
        initial = initial_states(people, streams, 20)
        assert (initial.shape, initial.dtype) == ((2, 20, people.state_size), torch.float32)
        activity, rest = initial[..., :50], initial[..., 50:]
        assert 0 <= activity.min() < 0.01 < 0.29 < activity.max() < 0.3
        assert abs(activity.mean() - 0.15) < 0.01
        assert not rest.any()

    def test_operations_are_those_of_the_products(self, network: Network):
        case = make_case(network, SIZES["equal lengths"])
        weights = case.people(0).parameters["recurrent.weight"].numel()
        assert operations(case.network, 5, 7) == (6 * 5 + 2 * 7) * weights
        assert weights == {"leaky": 1, "gru": 3, "lstm": 4}[network.kind] * case.sizes.hidden**2

    def test_checkpoint_round_trip_bit_for_bit(self, mixed: Case, tmp_path):
        training = Training(precision="float64")
        for r in mixed.rows:
            config = RunConfig(network=mixed.network, training=training, seed=r)
            heads = tuple(sorted(mixed.sizes.heads[r]))
            momentum = {"momentum": {name: -tensor for name, tensor in mixed.states[r].items()}}
            saved = Checkpoint(config, Progress(heads=heads), mixed.states[r], momentum)
            save(saved, tmp_path / "file")
            loaded = load(tmp_path / "file")
            assert (loaded.config, loaded.progress) == (saved.config, saved.progress)
            assert same(loaded.network, saved.network)
            assert same(loaded.optimizer["momentum"], saved.optimizer["momentum"])
            last = mixed.last(mixed.people(r), r)
            assert torch.equal(mixed.last(loaded.population(), r), last)

    def test_different_fixed_taus_in_one_population(self):
        case = make_case(Leaky(tau=FixedTau(tau=1)), SIZES["mixed lengths"])
        taus = [1.0, 2.0, 3.0, 2.5, 1.0]
        for state, tau in zip(case.states, taus, strict=True):
            state["tau"].fill_(tau)
        assert case.people().tau().mean(1).tolist() == taus
        TestGradients().assert_oracle(case, torch.float64)


class TestTraining:
    @pytest.fixture
    def trainer(self, network: Network) -> Trainer:
        config = RunConfig(
            network=network,
            curriculum=MultiHead(),
            training=Training(
                batch_size=8, steps_per_epoch=3, test_batches=1, optimizer=SGD(learning_rate=0.1), solved_accuracy=0.05
            ),
            end=EndRules(max_epochs=10),
        ).with_hidden(13)
        starts = [
            Checkpoint(c, Progress(heads=heads, solved=heads[:-1]), initial_network(c, heads))
            for c, heads in zip(config.replicates(3), [(2,), (2, 3), (2, 3, 4)], strict=True)
        ]
        if trains_tau(network):
            for start in starts:
                start.network["tau"].fill_(1.0)  # every second step leads below 1
        return Trainer(starts)

    def test_invariants_hold_after_training(self, trainer: Trainer, network: Network):
        before = trainer.population.states()
        trainer.run_epoch()
        trainer.run_epoch()
        after = trainer.population.states()
        assert [max(heads) for heads in trainer.population.heads] == [4, 5, 6]
        for then, now in zip(before, after, strict=True):
            changed = {name for name in then if not torch.equal(then[name], now[name])}
            assert changed == then.keys() - untrained(network)
            assert not (isinstance(network, Leaky) and now["recurrent.weight"].diagonal().any())
            assert all(tensor.isfinite().all() for tensor in now.values())
            assert not any(tensor.requires_grad for tensor in now.values())
        tau = trainer.population.tau()
        if not isinstance(network, Leaky):
            assert tau is None
            return
        assert tau.shape == (3, 13)
        if network.tau == TrainedTau(constraint="project"):
            assert tau.min() == 1.0 < tau.max()
        elif network.tau == TrainedTau(constraint="clamp_forward"):
            # What is stored may be below 1, and acts as 1.
            assert trainer.population.parameters["tau"].min() < 1.0 == tau.min()
