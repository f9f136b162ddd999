"""Interventions against what they mean: smaller networks, changed tensors and single runs, in float64."""

import dataclasses
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import plain
from tests.tolerances import TOLERANCES, distance
from tsrnn.config import GRU, FixedTau, Leaky, LeakyReLU, RunConfig, Tanh, TrainedTau, Training
from tsrnn.interventions import (
    _leading_schur_modes,
    _leading_singular_values,
    ablate,
    by_tau,
    exchange,
    perturb_taus,
    perturb_weights,
    scale_inhibition,
    set_taus,
    shuffle_taus,
    tau_in_effect,
    truncate,
)
from tsrnn.networks import NetworkState, Population, initial_network, population
from tsrnn.networks.copies import LeakyCopies
from tsrnn.networks.leaky import LeakyPopulation
from tsrnn.tasks import Parity
from tsrnn.training.evaluation import in_time_accuracy

NETWORKS = {
    "inside": Leaky(hidden=7),
    "inside tanh": Leaky(hidden=7, nonlinearity=Tanh()),
    "outside": Leaky(hidden=7, self_interaction="outside", nonlinearity=LeakyReLU(slope=0.3)),
    "clamp_forward": Leaky(hidden=7, tau=TrainedTau(constraint="clamp_forward")),
    "fixed": Leaky(hidden=7, tau=FixedTau(tau=2.5)),
}
EXACT = TOLERANCES[torch.float64].forward
HEADS = ((2, 3), (5, 2))
STEPS, BATCH = 12, 3


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def network(request: pytest.FixtureRequest) -> Leaky:
    return request.param


def states_of(network: Leaky, count: int = 2) -> list[NetworkState]:
    config = RunConfig(network=network, training=Training(precision="float64"))
    states = [initial_network(dataclasses.replace(config, seed=r), HEADS[r % len(HEADS)]) for r in range(count)]
    if network.tau.kind == "trained" and network.tau.constraint == "clamp_forward":
        for state in states:
            state["tau"] -= 0.5  # some below 1, as the authors' networks have them
    return states


def people_of(network: Leaky, count: int = 2) -> Population:
    return population(network, states_of(network, count), [HEADS[r % len(HEADS)] for r in range(count)])


def drawn(copies: int, batch: int = BATCH, steps: int = STEPS, hidden: int = 7) -> tuple[Tensor, Tensor]:
    """Return bits and initial states, different for each copy."""
    generator = torch.Generator().manual_seed(1)
    bits = torch.randint(2, (steps, copies, batch), generator=generator).double()
    return bits, torch.rand(copies, batch, hidden, generator=generator, dtype=torch.float64)


def everything(people: Population) -> list[Tensor]:
    return [tensor.clone() for state in people.states() for tensor in state.values()]


def without(state: NetworkState, neurons: list[int]) -> NetworkState:
    """Return a smaller network: the neurons are not there."""
    kept = [i for i in range(len(state["tau"])) if i not in neurons]
    return {
        name: tensor[kept][:, kept]
        if name == "recurrent.weight"
        else tensor
        if name.startswith("heads.") and name.endswith("bias")
        else tensor[..., kept]
        for name, tensor in state.items()
    }


class TestAblate:
    SETS = ((3,), (), (0, 6), (2, 1, 5))

    def test_it_equals_the_network_without_the_neurons(self, network: Leaky):
        people = people_of(network)
        copies = ablate(people, self.SETS)
        bits, initial = drawn(copies.replicates)
        states = copies.all_states(bits, initial)
        logits = copies.logits(states[-1])
        cases = [(r, neurons) for r in range(people.replicates) for neurons in map(list, self.SETS)]
        for i, (r, neurons) in enumerate(cases):
            kept = [j for j in range(network.hidden) if j not in neurons]
            smaller = without(people.states()[r], neurons)
            expected = plain.states(network, smaller, bits[:, i], initial[i][:, kept])
            assert distance(states[:, i][..., kept], torch.stack(expected)) <= EXACT
            assert not states[:, i][..., neurons].any()
            for k, n in enumerate(copies.heads[i]):
                assert distance(logits[i, :, k], plain.logits(smaller, n, expected[-1])) <= EXACT

    def test_by_itself_each_copy_is_the_network_without_the_neurons(self, network: Leaky):
        people = people_of(network)
        copies = ablate(people, self.SETS)
        bits, initial = drawn(copies.replicates)
        for i, state in enumerate(copies.states()):
            r, neurons = divmod(i, len(self.SETS))[0], list(self.SETS[i % len(self.SETS)])
            kept = [j for j in range(network.hidden) if j not in neurons]
            found = plain.states(network, state, bits[:, i], initial[i])
            expected = plain.states(network, without(people.states()[r], neurons), bits[:, i], initial[i][:, kept])
            assert distance(torch.stack(found)[..., kept], torch.stack(expected)) <= EXACT
            for n in copies.heads[i]:
                assert not state[f"heads.{n}.weight"][:, neurons].any()

    def test_the_last_of_all_states_is_the_last_state(self, network: Leaky):
        copies = ablate(people_of(network), self.SETS)
        bits, initial = drawn(copies.replicates)
        last = copies.last_states(bits, [STEPS] * copies.replicates, initial)
        assert distance(last, copies.all_states(bits, initial)[-1]) <= EXACT

    def test_no_neuron_is_the_identity(self, network: Leaky):
        people = people_of(network)
        copies = ablate(people, [[]])
        assert all(torch.equal(a, b) for a, b in zip(everything(copies), everything(people), strict=True))

    def test_ablated_networks_can_be_hurt_again(self):
        people = people_of(Leaky(hidden=7), 1)
        twice, once = ablate(ablate(people, [[3]]), [[5]]), ablate(people, [[3, 5]])
        bits, initial = drawn(1)
        kept = [0, 1, 2, 4, 6]
        found, expected = (copies.all_states(bits, initial)[..., kept] for copies in (twice, once))
        assert distance(found, expected) <= EXACT

    @pytest.mark.parametrize("neuron", [-1, 7])
    def test_a_neuron_that_is_not_there(self, neuron: int):
        with pytest.raises(ValueError, match=f"no neuron {neuron}; allowed are 0 to 6"):
            ablate(people_of(Leaky(hidden=7)), [[0], [neuron]])

    def test_no_set(self):
        with pytest.raises(ValueError, match="at least one"):
            ablate(people_of(Leaky(hidden=7)), [])


class TestByTau:
    def test_ties_by_the_neurons_number(self):
        state = states_of(Leaky(hidden=7), 1)[0] | {"tau": torch.tensor([3.0, 1, 2, 1, 3, 1, 9]).double()}
        assert by_tau(population(Leaky(hidden=7), [state], [HEADS[0]])) == [[1, 3, 5, 2, 0, 4, 6]]

    def test_taus_clamped_in_the_forward_pass_are_equal(self):
        network = NETWORKS["clamp_forward"]
        state = states_of(network, 1)[0] | {"tau": torch.tensor([0.9, 1, 0.5, 2, 1, 0.7, 1]).double()}
        assert by_tau(population(network, [state], [HEADS[0]])) == [[0, 1, 2, 4, 5, 6, 3]]


@pytest.mark.parametrize("perturb", [perturb_weights, perturb_taus])
class TestPerturb:
    NAMES: ClassVar = {perturb_weights: "recurrent.weight", perturb_taus: "tau"}

    def change(self, perturb, people: Population, **options) -> list[Tensor]:
        """Return each copy's change of what is perturbed, and see that nothing else has changed."""
        copies, sources = perturb(people, **options).states(), people.states()
        each, rest = divmod(len(copies), len(sources))
        assert rest == 0
        changes = []
        for i, state in enumerate(copies):
            source = sources[i // each]
            for name in source:
                if name != self.NAMES[perturb]:
                    assert torch.equal(state[name], source[name])
            changes.append(state[self.NAMES[perturb]] - self.in_effect(people, source[self.NAMES[perturb]]))
        return changes

    def in_effect(self, people: Population, tensor: Tensor) -> Tensor:
        clamps = people.network.tau.kind == "trained" and people.network.tau.constraint == "clamp_forward"
        return tensor.clamp(min=1) if clamps and tensor.ndim == 1 else tensor

    @settings(max_examples=20, deadline=None)
    @given(strength=st.floats(1e-3, 10), seed=st.integers(0, 99), draws=st.integers(1, 3))
    def test_norms_are_exact(self, perturb, strength: float, seed: int, draws: int):
        people = people_of(Leaky(hidden=7))
        changes = self.change(perturb, people, strengths=[strength], draws=draws, seeds=[seed, seed + 1])
        for i, change in enumerate(changes):
            whole = people.states()[i // draws][self.NAMES[perturb]]
            expected = strength * float(torch.linalg.vector_norm(whole))
            assert float(torch.linalg.vector_norm(change)) == pytest.approx(expected, rel=1e-12)
            if perturb is perturb_weights:
                assert not change.diagonal().any()
            else:
                assert (change >= 0).all()

    def test_strength_0_is_the_identity(self, perturb, network: Leaky):
        people = people_of(network)
        assert not any(c.any() for c in self.change(perturb, people, strengths=[0.0], draws=2, seeds=[0, 1]))
        bits, initial = drawn(2)
        copies = perturb(people, [0.0], 1, [0, 1])
        assert distance(copies.all_states(bits, initial), people.all_states(bits, initial)) <= EXACT

    def test_directions_are_new_for_each_network_strength_and_draw_or_common(self, perturb):
        people, options = people_of(Leaky(hidden=7)), {"strengths": [0.5, 2.0], "draws": 2, "seeds": [0, 1]}
        for common, different in ((False, 8), (True, 4)):
            changes = self.change(perturb, people, common=common, **options)
            units = [tuple((change / torch.linalg.vector_norm(change)).flatten().tolist()) for change in changes]
            assert len({tuple(round(x, 9) for x in unit) for unit in units}) == different

    def test_a_strength_is_the_same_alone_and_among_others(self, perturb):
        people = people_of(Leaky(hidden=7))
        both = self.change(perturb, people, strengths=[0.1, 0.3], draws=2, seeds=[0, 1])
        alone = self.change(perturb, people, strengths=[0.3], draws=2, seeds=[0, 1])
        assert all(torch.equal(a, b) for a, b in zip((*both[2:4], *both[6:]), alone, strict=True))

    def test_a_population_of_copies_equals_single_runs(self, perturb, network: Leaky):
        copies = perturb(people_of(network), [0.1, 1.0], 2, [0, 1])
        bits, initial = drawn(copies.replicates)
        states = copies.all_states(bits, initial)
        for i, state in enumerate(copies.states()):
            expected = torch.stack(plain.states(network, state, bits[:, i], initial[i]))
            assert distance(states[:, i], expected) <= EXACT
            single = population(network, [state], [copies.heads[i]]).all_states(bits[:, [i]], initial[[i]])
            assert distance(states[:, [i]], single) <= EXACT

    def test_nothing_given_is_changed(self, perturb, network: Leaky):
        people = people_of(network)
        before = everything(people)
        perturb(people, [0.1, 1.0], 2, [0, 1])
        assert all(torch.equal(a, b) for a, b in zip(before, everything(people), strict=True))

    @pytest.mark.parametrize(
        ("strengths", "draws", "message"),
        [([-0.1], 1, "strengths = -0.1"), ([float("nan")], 1, "nan"), ([], 1, "0 strengths"), ([1.0], 0, "0 draws")],
    )
    def test_what_is_not_allowed(self, perturb, strengths, draws, message):
        with pytest.raises(ValueError, match=message):
            perturb(people_of(Leaky(hidden=7)), strengths, draws, [0, 1])


class TestScaleInhibition:
    def test_negative_weights_alone_are_scaled(self, network: Leaky):
        people = people_of(network)
        copies = scale_inhibition(people, [-0.1, 0.0, 0.1])
        for i, state in enumerate(copies.states()):
            source, c = people.states()[i // 3], (-0.1, 0.0, 0.1)[i % 3]
            for name in source.keys() - {"recurrent.weight"}:
                assert torch.equal(state[name], source[name])
            before, after = source["recurrent.weight"], state["recurrent.weight"]
            assert torch.equal(after[before >= 0], before[before >= 0])
            torch.testing.assert_close(after[before < 0], before[before < 0] * (1 + c))
            if c == 0:
                assert torch.equal(after, before)

    @pytest.mark.parametrize(("changes", "message"), [([-1.5], "changes = -1.5"), ([], "at least one")])
    def test_what_is_not_allowed(self, changes, message):
        with pytest.raises(ValueError, match=message):
            scale_inhibition(people_of(Leaky(hidden=7)), changes)


class TestCopies:
    @pytest.mark.parametrize(("count", "batch"), [(1, 1), (5, 200), (300, 1), (29, 9)])
    def test_chunks_of_any_size_equal_a_stack(self, count: int, batch: int):
        """More sequences than are stepped together, chunks that do not divide, two sources."""
        copies = perturb_taus(people_of(Leaky(hidden=7)), [0.5], count, [0, 1])
        stacked = population(copies.network, copies.states(), copies.heads)
        bits, initial = drawn(copies.replicates, batch=batch, steps=4)
        assert distance(copies.all_states(bits, initial), stacked.all_states(bits, initial)) <= EXACT
        assert distance(copies.logits(initial), stacked.logits(initial)) <= EXACT

    def test_in_bfloat16_the_products_are_the_stacks(self):
        config = RunConfig(network=Leaky(hidden=70))
        people = population(config.network, [initial_network(config, (2,))], [(2,)], torch.bfloat16)
        copies = perturb_taus(people, [0.5], 3, [0])
        assert copies.products == torch.bfloat16
        stacked = population(copies.network, copies.states(), copies.heads, torch.bfloat16)
        bits, initial = (tensor.float() for tensor in drawn(3, hidden=70))
        found, expected = copies.all_states(bits, initial), stacked.all_states(bits, initial)
        assert distance(found, expected) <= 0.01
        exact = population(copies.network, copies.states(), copies.heads).all_states(bits, initial)
        assert distance(found, exact) > 1e-5

    def test_several_readouts_of_sequences_of_different_lengths(self):
        copies = ablate(people_of(NETWORKS["inside"]), [(), (0, 4), (1,)])
        apart = LeakyPopulation.from_states(copies.network, copies.states(), copies.heads, copies.products)
        lengths, readouts = (7, 9, 8, 5, 9, 6), (2, 1, 3, 2, 2, 1)
        inputs, initial = drawn(6, steps=9)
        silent = initial.masked_fill(copies.silent[:, None], 0.0)
        found = copies.answers(inputs, lengths, initial, readouts)
        expected = apart.answers(inputs, lengths, silent, readouts)
        for r, own in enumerate(readouts):
            torch.testing.assert_close(found[-own:, r], expected[-own:, r])

    def test_sequences_of_different_lengths_in_other_time_steps(self):
        """Copies that are run one by one forgot their dt."""
        network = Leaky(hidden=7, self_interaction="outside")
        copies = ablate(people_of(network), [(), (0, 4)]).with_steps([0.5] * 4)
        inputs, initial = drawn(4, steps=9)
        expected = copies.all_states(inputs, initial)[-1]
        torch.testing.assert_close(copies.last_states(inputs, [9] * 4, initial), expected)

    def test_copies_divide_among_their_sources(self):
        people = people_of(Leaky(hidden=7))
        parameters = {name: t.repeat_interleave(2, 0) for name, t in people.parameters.items()}
        parameters["recurrent.weight"] = torch.zeros(3, 7, 7)
        with pytest.raises(ValueError, match="4 copies of 3 networks"):
            LeakyCopies(people.network, parameters, [ns for ns in people.heads for _ in range(2)])


class TestInTime:
    def test_a_population_of_hurt_copies_equals_single_runs(self):
        """One accuracy for each copy, whatever it is stacked with; and all that count are watched."""
        people = people_of(Leaky(hidden=7), 1)
        seen: list[Tensor] = []
        for copies in (ablate(people, [[], [2]]), perturb_weights(people, [0.1], 2, [0])):
            seen.clear()
            addresses = [(0, "test", i) for i in range(2)]
            options = {"warm_up": 20, "steps": 230, "trials": 3}
            task = Parity(input_probability=0.5)
            together = in_time_accuracy(copies, task, addresses, watch=seen.append, **options)
            assert sum(len(block) for block in seen) == 230
            assert {block.shape[1:] for block in seen} == {(2, 3, 7)}
            for i, state in enumerate(copies.states()):
                single = population(copies.network, [state], [copies.heads[i]])
                assert in_time_accuracy(single, task, [addresses[i]], **options) == [together[i]]


class TestTaus:
    def test_all_set_to_1_the_network_is_one_that_was_built_so(self, network: Leaky):
        people = people_of(network)
        before = everything(people)
        found = set_taus(people, 1.0)
        built = dataclasses.replace(network, tau=FixedTau(tau=1.0))
        bits, initial = drawn(2)
        states = found.all_states(bits, initial)
        for r, state in enumerate(people.states()):
            ones = state | {"tau": torch.ones(7, dtype=torch.float64)}
            expected = torch.stack(plain.leaky_states(built, ones, bits[:, r], initial[r]))
            assert distance(states[:, r], expected) < EXACT
        assert all(torch.equal(a, b) for a, b in zip(before, everything(people), strict=True))

    def test_shuffled_they_are_the_same_taus_at_other_neurons(self, network: Leaky):
        people = people_of(network)
        found = shuffle_taus(people, 3, [5, 6])
        assert found.replicates == 6
        assert found.heads == (HEADS[0],) * 3 + (HEADS[1],) * 3
        effect = tau_in_effect(people)
        orders = set()
        for i, state in enumerate(found.states()):
            assert torch.equal(state["tau"].sort().values, effect[i // 3].sort().values)
            orders.add(tuple(state["tau"].tolist()))
            for name, tensor in people.states()[i // 3].items():
                assert name == "tau" or torch.equal(tensor, state[name])
        if network.tau.kind == "trained":
            assert len(orders) == 6
        again = shuffle_taus(people_of(network, 1), 3, [5])
        assert torch.equal(again.parameters["tau"], found.parameters["tau"][:3])

    @pytest.mark.parametrize("tau", [0.5, float("inf"), float("nan")])
    def test_what_is_no_tau_is_refused(self, tau):
        with pytest.raises(ValueError, match="allowed are finite numbers of at least 1"):
            set_taus(people_of(Leaky(hidden=7)), tau)

    def test_without_a_draw_there_is_nothing(self):
        with pytest.raises(ValueError, match="an empty population"):
            shuffle_taus(people_of(Leaky(hidden=7)), 0, [0, 1])


class TestExchange:
    def test_of_both_parts_it_is_the_other_network_with_the_own_readout(self, network: Leaky):
        people = people_of(network)
        others = population(network, states_of(network)[::-1], HEADS[::-1])
        found = exchange(people, others, ["weights", "taus"])
        bits, initial = drawn(2)
        assert distance(found.all_states(bits, initial), others.all_states(bits, initial)) < EXACT
        assert torch.equal(found.parameters["readout.weight"], people.parameters["readout.weight"])
        assert found.heads == people.heads

    def test_of_one_part_the_rest_is_the_own(self, network: Leaky):
        people, others = people_of(network), population(network, states_of(network)[::-1], HEADS[::-1])
        taus, weights = (exchange(people, others, [part]) for part in ("taus", "weights"))
        assert torch.equal(taus.parameters["tau"], tau_in_effect(others))
        assert torch.equal(weights.parameters["tau"], people.parameters["tau"])
        for name in ("recurrent.weight", "recurrent.bias", "input.weight", "input.bias"):
            assert torch.equal(taus.parameters[name], people.parameters[name])
            assert torch.equal(weights.parameters[name], others.parameters[name])

    def test_what_cannot_be_exchanged_is_refused(self):
        people = people_of(Leaky(hidden=7))
        with pytest.raises(ValueError, match="parts = readout: allowed are weights, taus or both"):
            exchange(people, people, ["readout"])
        with pytest.raises(ValueError, match="others: 1 networks of 7 neurons; allowed are 2 of 7"):
            exchange(people, people_of(Leaky(hidden=7), 1), ["taus"])


class TestTruncate:
    @pytest.mark.parametrize("modes", ["singular values", "Schur modes"])
    def test_with_all_modes_it_is_the_network_itself(self, network: Leaky, modes):
        people = people_of(network)
        found = truncate(people, [7, 3], modes)
        assert found.heads == (HEADS[0],) * 2 + (HEADS[1],) * 2
        for r, weight in enumerate(people.parameters["recurrent.weight"]):
            assert distance(found.parameters["recurrent.weight"][2 * r], weight) < EXACT
            assert distance(found.parameters["recurrent.weight"][2 * r + 1], weight) > 0.1
        assert (found.parameters["recurrent.weight"].diagonal(dim1=1, dim2=2) == 0).all()

    def test_of_singular_values_it_is_the_nearest_matrix_of_that_rank(self):
        """Eckart and Young: the squared distance is the sum of the squares of the values that are left out."""
        weight = people_of(Leaky(hidden=7), 1).parameters["recurrent.weight"][0]
        values = torch.linalg.eigvalsh(weight.T @ weight).flip(0)
        cut = torch.from_numpy(_leading_singular_values(weight.numpy(), 3))
        assert torch.linalg.matrix_rank(cut) == 3
        assert (cut - weight).square().sum().item() == pytest.approx(values[3:].sum().item())

    def test_of_schur_modes_it_does_to_the_slow_eigenvectors_what_w_does_and_has_no_other(self):
        weight = people_of(Leaky(hidden=7), 1).parameters["recurrent.weight"][0]
        values, vectors = torch.linalg.eig(weight)
        order = values.abs().argsort(descending=True)
        for count in range(1, 8):
            cut = torch.from_numpy(_leading_schur_modes(weight.numpy(), count)).to(vectors)
            rank = int(torch.linalg.matrix_rank(cut))
            assert rank in (count, count + 1)
            kept = vectors[:, order[:rank]]
            torch.testing.assert_close(cut @ kept, kept * values[order[:rank]])
            left = torch.linalg.eigvals(cut).abs().sort(descending=True).values
            torch.testing.assert_close(left[:rank], values.abs()[order[:rank]])

    def test_what_there_is_not_is_refused(self):
        for kept in (0, 8):
            with pytest.raises(ValueError, match=f"kept = {kept}: allowed are 1 to 7, the number of neurons"):
                truncate(people_of(Leaky(hidden=7)), [3, kept], "Schur modes")


def test_other_architectures_have_neither_tau_nor_w():
    gated = population(GRU(hidden=3), [initial_network(RunConfig(network=GRU(hidden=3)), (2,))], [(2,)])
    for change in (
        lambda: set_taus(gated, 1.0),
        lambda: shuffle_taus(gated, 1, [0]),
        lambda: exchange(gated, gated, ["taus"]),
        lambda: truncate(gated, [1], "Schur modes"),
    ):
        with pytest.raises(TypeError, match="of gru networks"):
            change()
