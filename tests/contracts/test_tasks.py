"""What every task must do: labels against the definition, and the distributions data are drawn from.

Statistical tests use fixed seeds and as many samples as make a wrong rule miss by far more than four sigma.
"""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.oracles import plain
from tsrnn.config import DMS, Leaky, Lengths, Parity, RunConfig
from tsrnn.networks import initial_network, population
from tsrnn.randomness import Streams
from tsrnn.sampling import batches
from tsrnn.tasks import draw_batch, draw_bits, draw_lengths, labels

TASKS = [Parity(), DMS()]
CPU = torch.device("cpu")


@pytest.fixture(params=TASKS, ids=lambda task: task.kind)
def task(request):
    return request.param


def bits_of(task, lengths, batch, seed=0):
    streams = Streams.named([(seed, "test", r) for r in range(len(lengths))], CPU)
    return draw_bits(task, lengths, batch, streams)


def final_labels(task, inputs, heads):
    return labels(task, inputs, heads, range(len(inputs) - 1, len(inputs)))[0]


def assert_share(share, count, expected):
    """Hold a share of `count` independent draws within four standard deviations of the expected one."""
    assert abs(share - expected) < 4 * (expected * (1 - expected) / count) ** 0.5


def assert_uniform(values, allowed):
    """Hold draws against the uniform distribution on the integers `allowed`, by chi-square."""
    counts = [values.count(value) for value in allowed]
    assert sum(counts) == len(values)
    assert stats.chisquare(counts).pvalue > 1e-4


class TestLabels:
    @given(st.data())
    def test_are_the_definitions(self, data):
        task = data.draw(st.sampled_from(TASKS))
        R, T, B = (data.draw(st.integers(1, most)) for most in (4, 12, 4))
        lengths = [data.draw(st.integers(1, T)) for _ in range(R)]
        heads = [data.draw(st.lists(st.integers(1, length), min_size=1, max_size=5)) for length in lengths]
        bits = [[data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)) for _ in range(B)] for n in lengths]
        inputs = torch.zeros(T, R, B)
        table = torch.zeros(R, max(map(len, heads)), dtype=torch.int64)
        for r, length in enumerate(lengths):
            inputs[T - length :, r] = torch.tensor(bits[r]).T
            table[r, : len(heads[r])] = torch.tensor(heads[r])
        found = final_labels(task, inputs, table)
        assert (found.shape, found.dtype) == ((R, table.shape[1], B), torch.bool)
        for r in range(R):
            for k, n in enumerate(heads[r]):
                assert found[r, k].tolist() == [plain.label(task, sequence, n) for sequence in bits[r]]

    def test_at_several_steps_are_the_definitions_of_the_sequence_so_far(self, task):
        inputs, table = bits_of(task, [9, 9], 20), [[2, 5], [3, 0]]
        heads = torch.tensor(table)
        found = labels(task, inputs, heads, range(5, 9))
        assert found.shape == (4, 2, 2, 20)
        for s, t in enumerate(range(5, 9)):
            assert torch.equal(found[s], final_labels(task, inputs[: t + 1], heads))
            for r, k in ((0, 0), (0, 1), (1, 0)):
                sequences = inputs[: t + 1, r].T.int().tolist()
                assert found[s, r, k].tolist() == [plain.label(task, bits, table[r][k]) for bits in sequences]
        with pytest.raises(ValueError, match="N = 5 needs sequences of at least 5 steps, got 4"):
            labels(task, inputs, heads, range(3, 9))

    def test_a_head_beyond_the_sequence_is_an_error(self, task):
        with pytest.raises(ValueError, match="N = 4 needs sequences of at least 4 steps, got 3"):
            final_labels(task, torch.zeros(3, 1, 2), torch.tensor([[2, 4]]))

    @pytest.mark.parametrize("n", [2, 3, 10, 20])
    def test_a_long_parity_is_exact(self, n):
        inputs = torch.ones(200, 1, 1)
        assert final_labels(Parity(), inputs, torch.tensor([[n]])).item() is (n % 2 == 1)

    @pytest.mark.parametrize("n", [2, 5, 10, 20])
    def test_share_of_odd_parities_at_a_uniform_probability(self, n):
        # The last N bits hold 0..N ones, each number equally often: at even N there is one more even number.
        count = 100_000
        batch = draw_batch(Parity(), torch.tensor([[n]]), [n + 2], count, Streams.named([(0, "test")], CPU))
        expected = 0.5 if n % 2 else 0.5 - 1 / (2 * (n + 1))
        assert_share(batch.labels.double().mean().item(), count, expected)

    @pytest.mark.parametrize("n", [2, 5, 20])
    def test_share_of_ones_at_a_probability_of_one_half(self, task, n):
        count = 100_000
        task = dataclasses.replace(task, input_probability=0.5)
        batch = draw_batch(task, torch.tensor([[n]]), [n + 2], count, Streams.named([(0, "test")], CPU))
        assert_share(batch.labels.double().mean().item(), count, 0.5)


class TestLengths:
    @pytest.mark.parametrize("n", [2, 7, 30])
    @pytest.mark.parametrize("beyond", [0, 1])
    def test_are_uniform_and_reach_both_ends(self, task, n, beyond):
        task = dataclasses.replace(task, lengths=Lengths(longest_beyond=beyond))
        assert_uniform(draw_lengths(task, n, 20_000, 0, "test"), range(n + 2, 4 * n + beyond + 1))

    def test_depend_on_seed_and_name(self, task):
        draws = [draw_lengths(task, 30, 20, *address) for address in [(0, "a"), (0, "a"), (0, "b"), (1, "a")]]
        assert draws[0] == draws[1]
        assert draws[0] != draws[2]
        assert draws[0] != draws[3]


class TestBits:
    def test_are_zeros_and_ones_and_zero_before_the_start(self, task):
        bits = bits_of(dataclasses.replace(task, input_probability=1.0), [5, 2, 5], 3)
        assert bits.shape == (5, 3, 3)
        assert bits[:, [0, 2]].eq(1).all()
        assert bits[:3, 1].eq(0).all()
        assert bits[3:, 1].eq(1).all()
        assert bits_of(dataclasses.replace(task, input_probability=0.0), [5, 2], 3).eq(0).all()
        assert bits_of(task, [9], 100).unique().tolist() == [0.0, 1.0]

    @pytest.mark.parametrize("probability", [0.5, 0.2])
    def test_one_probability_for_all(self, task, probability):
        M, B = 9, 20_000
        ones = bits_of(dataclasses.replace(task, input_probability=probability), [M], B)[:, 0].sum(0)
        assert_share(ones.double().mean().item() / M, M * B, probability)
        # Bits of one sequence are independent: the number of ones has the binomial variance.
        variance = M * probability * (1 - probability)
        assert abs(ones.double().var().item() / variance - 1) < 4 * (2 / B) ** 0.5

    def test_a_uniform_probability_for_each_sequence(self, task):
        # With p ~ U(0, 1), every number of ones among M bits is equally likely.
        M, B = 9, 20_000
        ones = bits_of(dataclasses.replace(task, input_probability="uniform"), [M], B)[:, 0].sum(0)
        assert_uniform(ones.long().tolist(), range(M + 1))

    def test_defaults_are_the_codes(self):
        assert (Parity().input_probability, DMS().input_probability) == ("uniform", 0.5)


class TestNeighbours:
    HEADS = ((2, 3), (9,), (2,), (4, 5))

    def drawn(self, task, rows, precision=torch.float32):
        heads = [self.HEADS[r] for r in rows]
        network = Leaky(hidden=3, initial_state=0.5)
        states = [initial_network(RunConfig(network=network, seed=r), heads[i]) for i, r in enumerate(rows)]
        return list(batches(task, population(network, states, heads), [(r, "train", 3) for r in rows], 6, 5))

    def test_do_not_change_a_networks_data(self, task):
        together = self.drawn(task, (0, 1, 2, 3))
        for r, heads in enumerate(self.HEADS):
            for (batch, initial), (alone, alone_initial) in zip(together, self.drawn(task, (r,)), strict=True):
                (length,) = alone.lengths
                assert batch.lengths[r] == length
                assert torch.equal(batch.inputs[-length:, r], alone.inputs[:, 0])
                assert batch.inputs[:-length, r].eq(0).all()
                assert torch.equal(batch.labels[r, : len(heads)], alone.labels[0])
                assert torch.equal(initial[r], alone_initial[0])

    def test_have_other_data(self, task):
        task = dataclasses.replace(task, lengths=Lengths(shortest_beyond=6, longest_beyond=0))
        (first, initial), (second, later) = self.drawn(task, (2, 2))[:2]
        assert torch.equal(first.inputs[:, 0], first.inputs[:, 1])  # the same seed: the same data
        assert not torch.equal(initial[0], later[0])
        assert not torch.equal(first.inputs[-8:], second.inputs[-8:])
        (other, other_initial), *_ = self.drawn(task, (0, 2))
        assert not torch.equal(other.inputs[-8:, 0], other.inputs[-8:, 1])
        assert not torch.equal(other_initial[0], other_initial[1])

    def test_lengths_follow_the_networks_own_largest_n(self, task):
        for batch, _ in self.drawn(task, (0, 1, 2, 3)):
            assert len(batch.inputs) == max(batch.lengths)
            for length, heads in zip(batch.lengths, self.HEADS, strict=True):
                assert max(heads) + 2 <= length <= 4 * max(heads)

    def test_initial_states_fill_their_range(self, task):
        initial = torch.stack([state for _, state in self.drawn(task, (0, 1, 2, 3))])
        assert initial.shape == (6, 4, 5, 3)
        assert 0 <= initial.min() < 0.02
        assert 0.48 < initial.max() < 0.5
        assert stats.kstest(initial.flatten().numpy() / 0.5, "uniform").pvalue > 1e-4
