"""What every task must do, and what each one does: targets against the definition, and how data are drawn.

A new task is one line in TASKS (and its definition in tests/oracles). Statistical tests use fixed seeds and as
many samples as make a wrong rule miss by far more than four sigma.
"""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.oracles import plain
from tests.tolerances import TOLERANCES, distance
from tsrnn import tasks
from tsrnn.config import SGD, EndRules, Leaky, MultiHead, RunConfig, SingleHead, Training
from tsrnn.io.checkpoint import Checkpoint, Progress
from tsrnn.networks import initial_network, population
from tsrnn.randomness import Streams
from tsrnn.tasks import DMS, BitTask, Lengths, Parity, Sines
from tsrnn.training.evaluation import end_accuracy, in_time_accuracy
from tsrnn.training.loop import Trainer, train
from tsrnn.training.sampling import TaskBatch, batches, draw_batch, draw_lengths

TASKS = {
    "parity": Parity(),
    "parity at three steps": Parity(readout_steps=3),
    "parity at all steps": Parity(readout_steps="all"),
    "dms": DMS(),
    "sines": Sines(),
    "sines in noise": Sines(period=7.5, steps=20, warm_up=4, noise=0.3),
}
BIT_TASKS = [task for task in TASKS.values() if isinstance(task, BitTask)]
CPU = torch.device("cpu")


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


@pytest.fixture(params=BIT_TASKS, ids=lambda task: task.kind)
def bit_task(request):
    return request.param


def inputs_of(task, lengths, batch, seed=0):
    streams = Streams.named([(seed, "test", r) for r in range(len(lengths))], CPU)
    return task.draw_inputs(lengths, batch, streams)


def batch_of(task, heads, batch, seed=0):
    """Draw a batch for networks with these heads, unused places 0."""
    lengths = [draw_lengths(task, max(ns), 1, seed, r)[0] for r, ns in enumerate(heads)]
    streams = Streams.named([(seed, "test", r) for r in range(len(heads))], CPU)
    return draw_batch(task, table_of(heads), lengths, batch, streams)


def table_of(heads):
    table = torch.zeros(len(heads), max(map(len, heads)), dtype=torch.int64)
    for r, ns in enumerate(heads):
        table[r, : len(ns)] = torch.tensor(ns)
    return table


def outputs_for(task, batch, seed=0):
    """Draw arbitrary outputs of the shape heads would give."""
    S, R, K, B = batch.targets.shape
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(S, R, B, K, task.head_width, generator=generator, dtype=torch.float64)


def final_targets(task, inputs, heads):
    return task.targets(inputs, heads, range(len(inputs) - 1, len(inputs)))[0]


def assert_share(share, count, expected):
    """Hold a share of `count` independent draws within four standard deviations of the expected one."""
    assert abs(share - expected) < 4 * (expected * (1 - expected) / count) ** 0.5


def assert_uniform(values, allowed):
    """Hold draws against the uniform distribution on the integers `allowed`, by chi-square."""
    counts = [values.count(value) for value in allowed]
    assert sum(counts) == len(values)
    assert stats.chisquare(counts).pvalue > 1e-4


class TestEveryTask:
    HEADS = ((2, 3), (5,), (2, 4))

    def test_every_registered_one_of_ours_is_tested_here(self):
        ours = {kind for kind in tasks.TASKS if tasks.TASKS[kind].__module__.startswith(tasks.__name__)}
        assert ours == {task.kind for task in TASKS.values()}
        assert all(type(task) is tasks.TASKS[task.kind] for task in TASKS.values())

    def test_is_part_of_a_run(self, task):
        run = RunConfig(task=task)
        again = RunConfig.from_json(run.to_json())
        assert (again, again.network_id) == (run, run.network_id)

    def test_shapes(self, task):
        batch = batch_of(task, self.HEADS, 6)
        T, S = max(batch.lengths), max(batch.readout_steps)
        assert batch.readout_steps == tuple(
            task.readout_steps_of(length, max(heads)) for length, heads in zip(batch.lengths, self.HEADS, strict=True)
        )
        assert batch.inputs.shape == (T, 3, 6)
        assert batch.targets.shape == (S, 3, 2, 6)
        outputs = outputs_for(task, batch)
        assert task.loss(outputs, batch.targets).shape == (S, 3, 2)
        assert task.score(outputs, batch.targets, table_of(self.HEADS)).shape == (S, 3, 2, 6)

    def test_lengths_are_in_their_range(self, task):
        for n in (2, 3, 17):
            shortest, longest = task.lengths_for(n)
            assert 1 <= task.readout_steps_of(shortest, n) <= shortest <= longest
            assert {shortest, longest} <= set(draw_lengths(task, n, 3000, 0, "test")) <= {*range(shortest, longest + 1)}

    def test_inputs_are_zero_before_the_start_and_the_streams_alone_decide(self, task):
        inputs = inputs_of(task, [5, 2, 5], 40)
        assert inputs.shape == (5, 3, 40)
        assert inputs.isfinite().all()
        assert inputs[:3, 1].eq(0).all()
        assert torch.equal(inputs, inputs_of(task, [5, 2, 5], 40))
        assert torch.equal(inputs[3:, 1:2], inputs_of(task, [2, 2], 40)[:, 1:])

    def test_targets_at_several_steps_are_those_of_the_sequence_so_far(self, task):
        inputs, heads = inputs_of(task, [9, 9], 20), torch.tensor([[2, 5], [3, 0]])
        found = task.targets(inputs, heads, range(5, 9))
        assert found.shape == (4, 2, 2, 20)
        for s, t in enumerate(range(5, 9)):
            alone = final_targets(task, inputs[: t + 1], heads)
            for r, k in ((0, 0), (0, 1), (1, 0)):
                assert torch.equal(found[s, r, k], alone[r, k])
                bits = inputs[: t + 1, r].T.tolist()
                expected = [plain.target(task, sequence, int(heads[r, k])) for sequence in bits]
                assert distance(found[s, r, k], torch.tensor(expected, dtype=torch.float64)) < 1e-12

    def test_the_loss_is_the_oracles_and_so_is_its_gradient(self, task):
        network = Leaky(hidden=4)
        tensors = initial_network(RunConfig(task=task, network=network, training=Training(precision="float64")), (2, 5))
        batch = batch_of(task, ((2, 5),), 7)
        states = torch.randn(len(batch.targets), 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for k, n in enumerate((2, 5)):
            own, theirs = states.clone().requires_grad_(), states.clone().requires_grad_()
            people = population(network, [tensors], [(2, 5)])
            found = task.loss(people.logits_of(own[:, None]), batch.targets)[:, 0, k].mean()
            expected = plain.head_loss(task, tensors, n, list(theirs), batch.targets[:, 0, k])
            assert found.item() == pytest.approx(expected.item(), rel=1e-12)
            assert (
                distance(*(torch.autograd.grad(loss, leaf)[0] for loss, leaf in ((found, own), (expected, theirs))))
                < 1e-9
            )

    def test_loss_and_score_do_not_mix_networks_heads_or_sequences(self, task):
        batch, table = batch_of(task, self.HEADS, 6), table_of(self.HEADS)
        outputs = outputs_for(task, batch)
        loss, score = task.loss(outputs, batch.targets), task.score(outputs, batch.targets, table)
        halves = [task.loss(outputs[:, :, half], batch.targets[..., half]) for half in (slice(3), slice(3, 6))]
        assert distance(loss, torch.stack(halves).mean(0)) < 1e-12
        for r in range(3):
            for k in range(len(self.HEADS[r])):
                at = (slice(None), slice(r, r + 1))
                own, right = outputs[at][..., k : k + 1, :], batch.targets[at][:, :, k : k + 1]
                assert distance(task.loss(own, right)[:, 0, 0], loss[:, r, k]) < 1e-12
                assert torch.equal(task.score(own, right, table[r : r + 1, k : k + 1])[:, 0, 0], score[:, r, k])

    def test_a_perfect_answer_has_score_one_and_no_loss_and_no_other_has_more(self, task):
        batch, table = batch_of(task, self.HEADS, 6), table_of(self.HEADS)
        said = batch.targets.transpose(2, 3)[..., None].double()
        perfect = said if task.head_width == 1 else torch.cat((1000 * (1 - said), 1000 * said), dim=-1)
        assert task.score(perfect, batch.targets, table).eq(1).all()
        assert task.loss(perfect, batch.targets).eq(0).all()
        worse = task.score(outputs_for(task, batch), batch.targets, table).double()
        assert (worse <= 1).all()
        assert worse.mean() < 0.9

    @pytest.mark.parametrize("curriculum", [SingleHead(), MultiHead()], ids=lambda c: c.kind)
    def test_steps_of_training_are_the_oracles(self, task, curriculum):
        training = Training(batch_size=5, precision="float64", optimizer=SGD(learning_rate=0.2, momentum=0.5))
        config = RunConfig(task=task, network=Leaky(hidden=7), training=training, curriculum=curriculum)
        heads = [(3,), (2,)] if curriculum == SingleHead() else [(2, 3), (2, 3, 4)]
        starts = [
            Checkpoint(run, Progress(heads=ns), initial_network(run, ns))
            for run, ns in zip(config.replicates(2), heads, strict=True)
        ]
        trainer = Trainer(starts)
        addresses = [(one.config.seed, "train", 1) for one in starts]
        drawn = list(batches(task, trainer.population, addresses, 10, 5))
        losses, norms, _ = trainer.train_steps(10)
        for r, one in enumerate(starts):
            own = [
                (
                    batch.inputs[len(batch.inputs) - batch.lengths[r] :, r].double(),
                    initial[r],
                    {n: batch.targets[-batch.readout_steps[r] :, r, k] for k, n in enumerate(heads[r])},
                )
                for batch, initial in drawn
            ]
            expected, oracle_losses, oracle_norms = plain.train(one.config, one.network, own)
            assert losses[r] == pytest.approx(np.mean(oracle_losses), rel=TOLERANCES[torch.float64].training)
            assert norms[r] == pytest.approx(np.mean(oracle_norms), rel=TOLERANCES[torch.float64].training)
            for name, tensor in trainer.population.states()[r].items():
                assert distance(tensor, expected[name]) < TOLERANCES[torch.float64].training, name


class TestAccuracies:
    """Accuracy is the mean score, here of the oracle's states."""

    def people(self, task, network):
        run = RunConfig(task=task, network=network, training=Training(precision="float64"))
        tensors = initial_network(run, (2, 3))
        return tensors, population(network, [tensors], [(2, 3)])

    def mean_score(self, task, network, tensors, inputs, initial, n, steps):
        """Score the head for N after each of some steps [B], from inputs [M, B]."""
        states = plain.states(network, tensors, inputs.double(), initial)
        scores = [
            plain.score(task, n, row, plain.target(task, inputs[: t + 1, b].tolist(), n))
            for t in steps
            for b, row in enumerate(plain.logits(tensors, n, states[t]).tolist())
        ]
        return np.mean(scores)

    def test_at_the_end_of_sequences_as_in_training(self, task):
        network = Leaky(hidden=6)
        tensors, people = self.people(task, network)
        address = (0, "test", 1)
        (found,) = end_accuracy(people, task, [address], 3, 8)
        for n in (2, 3):
            each = []
            for batch, initial in batches(task, people, [address], 3, 8):
                steps = range(batch.lengths[0] - batch.readout_steps[0], batch.lengths[0])
                each.append(self.mean_score(task, network, tensors, batch.inputs[:, 0], initial[0], n, steps))
            assert found[n].accuracy == pytest.approx(np.mean(each), rel=1e-9)
            assert found[n].standard_error == pytest.approx(stats.sem(each), rel=1e-9)

    def test_in_time(self, task):
        network = Leaky(hidden=6, initial_state=0.0)
        tensors, people = self.people(task, network)
        address = (0, "test", 1)
        (found,) = in_time_accuracy(people, task, [address], warm_up=30, steps=200, trials=2)
        inputs = task.draw_inputs([230], 2, Streams.named([(*address, "bits")], CPU))[:, 0]
        for n in (2, 3):
            expected = self.mean_score(task, network, tensors, inputs, torch.zeros(2, 6).double(), n, range(30, 230))
            assert found[n].accuracy == pytest.approx(expected, rel=1e-9)


class TestBitTargets:
    @given(st.data())
    def test_are_the_definitions(self, data):
        task = data.draw(st.sampled_from(BIT_TASKS))
        R, T, B = (data.draw(st.integers(1, most)) for most in (4, 12, 4))
        lengths = [data.draw(st.integers(1, T)) for _ in range(R)]
        heads = [data.draw(st.lists(st.integers(1, length), min_size=1, max_size=5)) for length in lengths]
        bits = [[data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)) for _ in range(B)] for n in lengths]
        inputs = torch.zeros(T, R, B)
        for r, length in enumerate(lengths):
            inputs[T - length :, r] = torch.tensor(bits[r]).T
        table = table_of(heads)
        found = final_targets(task, inputs, table)
        assert (found.shape, found.dtype) == ((R, table.shape[1], B), torch.bool)
        for r in range(R):
            for k, n in enumerate(heads[r]):
                assert found[r, k].tolist() == [plain.label(task, sequence, n) for sequence in bits[r]]

    @pytest.mark.parametrize(("n", "steps", "got"), [(4, range(2, 3), 3), (5, range(3, 9), 4)])
    def test_a_head_beyond_the_sequence_is_an_error(self, bit_task, n, steps, got):
        with pytest.raises(ValueError, match=f"N = {n} needs sequences of at least {n} steps, got {got}"):
            bit_task.targets(torch.zeros(9, 1, 2), torch.tensor([[2, n]]), steps)

    @pytest.mark.parametrize("n", [2, 3, 10, 20])
    def test_a_long_parity_is_exact(self, n):
        inputs = torch.ones(200, 1, 1)
        assert final_targets(Parity(), inputs, torch.tensor([[n]])).item() is (n % 2 == 1)

    @pytest.mark.parametrize("n", [2, 5, 10, 20])
    def test_share_of_odd_parities_at_a_uniform_probability(self, n):
        # The last N bits hold 0..N ones, each number equally often: at even N there is one more even number.
        count = 100_000
        batch = draw_batch(Parity(), torch.tensor([[n]]), [n + 2], count, Streams.named([(0, "test")], CPU))
        expected = 0.5 if n % 2 else 0.5 - 1 / (2 * (n + 1))
        assert_share(batch.targets.double().mean().item(), count, expected)

    @pytest.mark.parametrize("n", [2, 5, 20])
    def test_share_of_ones_of_a_balanced_task(self, bit_task, n):
        count = 100_000
        batch = draw_batch(bit_task.balanced(), torch.tensor([[n]]), [n + 2], count, Streams.named([(0, "test")], CPU))
        assert_share(batch.targets.double().mean().item(), count, 0.5)

    def test_a_tie_is_a_no(self, bit_task):
        targets = torch.tensor([True, False]).view(1, 1, 1, 2)
        assert bit_task.score(torch.zeros(1, 1, 2, 1, 2), targets, torch.tensor([[2]])).tolist() == [[[[False, True]]]]


class TestLengths:
    @pytest.mark.parametrize("n", [2, 7, 30])
    @pytest.mark.parametrize("beyond", [0, 1])
    def test_are_uniform_and_reach_both_ends(self, bit_task, n, beyond):
        task = dataclasses.replace(bit_task, lengths=Lengths(longest_beyond=beyond))
        assert_uniform(draw_lengths(task, n, 20_000, 0, "test"), range(n + 2, 4 * n + beyond + 1))

    def test_depend_on_seed_and_name(self, bit_task):
        draws = [draw_lengths(bit_task, 30, 20, *address) for address in [(0, "a"), (0, "a"), (0, "b"), (1, "a")]]
        assert draws[0] == draws[1]
        assert draws[0] != draws[2]
        assert draws[0] != draws[3]


class TestBits:
    def test_are_zeros_and_ones_and_zero_before_the_start(self, bit_task):
        bits = inputs_of(dataclasses.replace(bit_task, input_probability=1.0), [5, 2, 5], 3)
        assert bits.shape == (5, 3, 3)
        assert bits[:, [0, 2]].eq(1).all()
        assert bits[:3, 1].eq(0).all()
        assert bits[3:, 1].eq(1).all()
        assert inputs_of(dataclasses.replace(bit_task, input_probability=0.0), [5, 2], 3).eq(0).all()
        assert inputs_of(bit_task, [9], 100).unique().tolist() == [0.0, 1.0]

    @pytest.mark.parametrize("probability", [0.5, 0.2])
    def test_one_probability_for_all(self, bit_task, probability):
        M, B = 9, 20_000
        ones = inputs_of(dataclasses.replace(bit_task, input_probability=probability), [M], B)[:, 0].sum(0)
        assert_share(ones.double().mean().item() / M, M * B, probability)
        # Bits of one sequence are independent: the number of ones has the binomial variance.
        variance = M * probability * (1 - probability)
        assert abs(ones.double().var().item() / variance - 1) < 4 * (2 / B) ** 0.5

    def test_a_uniform_probability_for_each_sequence(self, bit_task):
        # With p ~ U(0, 1), every number of ones among M bits is equally likely.
        M, B = 9, 20_000
        ones = inputs_of(dataclasses.replace(bit_task, input_probability="uniform"), [M], B)[:, 0].sum(0)
        assert_uniform(ones.long().tolist(), range(M + 1))

    def test_defaults_are_the_codes(self):
        assert (Parity().input_probability, DMS().input_probability) == ("uniform", 0.5)


class TestSines:
    def test_targets_have_the_frequencies_of_their_waves_and_no_others(self):
        # 60 steps hold 12, 6, 4 and 3 whole periods of 5, 10, 15 and 20 steps.
        task = Sines(period=5, steps=60)
        sums = task.targets(torch.zeros(60, 1, 1), torch.tensor([[2, 3, 4]]), range(60))[:, 0, :, 0]
        amplitudes = np.abs(np.fft.rfft(sums.numpy(), axis=0)) / 30
        for k, waves in enumerate([(12, 6), (12, 6, 4), (12, 6, 4, 3)]):
            expected = np.zeros(31)
            expected[list(waves)] = 1.0
            np.testing.assert_allclose(amplitudes[:, k], expected, atol=1e-12)

    @pytest.mark.parametrize(("n", "steps"), [(2, 10), (3, 30), (4, 60)])
    def test_the_accuracy_over_whole_periods_is_the_coefficient_of_determination(self, n, steps):
        task = Sines(period=5, steps=steps)
        batch = batch_of(task, ((n,),), 9)
        said, right = outputs_for(task, batch), batch.targets[:, 0, 0].numpy()
        expected = 1 - ((said[:, 0, :, 0, 0].numpy() - right) ** 2).sum() / ((right - right.mean()) ** 2).sum()
        score = task.score(said, batch.targets, torch.tensor([[n]]))
        assert score.mean().item() == pytest.approx(expected, rel=1e-12)

    def test_silence_has_accuracy_zero_over_whole_periods(self):
        batch = batch_of(Sines(steps=30), ((3,),), 2)
        score = Sines(steps=30).score(torch.zeros(30, 1, 2, 1, 1), batch.targets, torch.tensor([[3]]))
        assert score.double().mean().item() == pytest.approx(0.0, abs=1e-6)

    def test_noise_is_white_and_has_its_standard_deviation(self):
        noise = inputs_of(Sines(noise=0.4), [50], 4000)[:, 0].double()
        assert noise.std().item() == pytest.approx(0.4, rel=0.01)
        assert abs(noise.mean().item()) < 4 * 0.4 / 200_000**0.5
        assert abs((noise[1:] * noise[:-1]).mean().item()) < 4 * 0.16 / 196_000**0.5
        assert inputs_of(Sines(), [50], 10).eq(0).all()

    def test_heads_are_asked_at_every_step_after_the_warm_up(self):
        batch = batch_of(Sines(steps=20, warm_up=6), ((2,),), 1)
        assert (len(batch.inputs), len(batch.targets)) == (20, 14)
        assert batch.targets[0, 0, 0, 0].item() == pytest.approx(plain.target(Sines(), [0.0] * 7, 2))

    @pytest.mark.parametrize("curriculum", [SingleHead(), MultiHead()], ids=lambda c: c.kind)
    def test_small_networks_learn_three_waves(self, curriculum):
        config = RunConfig(
            task=Sines(),
            network=Leaky(hidden=32),
            curriculum=curriculum,
            training=Training(
                batch_size=16, steps_per_epoch=100, test_batches=2, optimizer=SGD(learning_rate=0.05, momentum=0.9)
            ),
            end=EndRules(max_n=3, max_epochs=20),
        )
        reports = list(train(config))
        assert reports[-1].outcome.status == "solved_all"
        assert min(reports[-1].accuracies.values()) > 0.95
        assert reports[0].accuracy < 0.9  # it had to learn


class TestNeighbours:
    HEADS = ((2, 3), (9,), (2,), (4, 5))

    def drawn(self, task, rows) -> list[tuple[TaskBatch, torch.Tensor]]:
        heads = [self.HEADS[r] for r in rows]
        network = Leaky(hidden=3, initial_state=0.5)
        states = [initial_network(RunConfig(task=task, network=network, seed=r), heads[i]) for i, r in enumerate(rows)]
        return list(batches(task, population(network, states, heads), [(r, "train", 3) for r in rows], 6, 5))

    def test_do_not_change_a_networks_data(self, task):
        together = self.drawn(task, (0, 1, 2, 3))
        for r, heads in enumerate(self.HEADS):
            for (batch, initial), (alone, alone_initial) in zip(together, self.drawn(task, (r,)), strict=True):
                (length,) = alone.lengths
                assert batch.lengths[r] == length
                assert torch.equal(batch.inputs[-length:, r], alone.inputs[:, 0])
                assert batch.inputs[:-length, r].eq(0).all()
                assert batch.readout_steps[r] == len(alone.targets)
                assert torch.equal(batch.targets[-batch.readout_steps[r] :, r, : len(heads)], alone.targets[:, 0])
                assert torch.equal(initial[r], alone_initial[0])

    def test_have_other_data(self, bit_task):
        task = dataclasses.replace(bit_task, lengths=Lengths(shortest_beyond=6, longest_beyond=0))
        (first, initial), (second, later) = self.drawn(task, (2, 2))[:2]
        assert torch.equal(first.inputs[:, 0], first.inputs[:, 1])  # the same seed: the same data
        assert not torch.equal(initial[0], later[0])
        assert not torch.equal(first.inputs[-8:], second.inputs[-8:])
        (other, other_initial), *_ = self.drawn(task, (0, 2))
        assert not torch.equal(other.inputs[-8:, 0], other.inputs[-8:, 1])
        assert not torch.equal(other_initial[0], other_initial[1])

    def test_lengths_follow_the_networks_own_largest_n(self, bit_task):
        for batch, _ in self.drawn(bit_task, (0, 1, 2, 3)):
            assert len(batch.inputs) == max(batch.lengths)
            for length, heads in zip(batch.lengths, self.HEADS, strict=True):
                assert max(heads) + 2 <= length <= 4 * max(heads)

    def test_initial_states_fill_their_range(self, task):
        initial = torch.stack([state for _, state in self.drawn(task, (0, 1, 2, 3))])
        assert initial.shape == (6, 4, 5, 3)
        assert 0 <= initial.min() < 0.02
        assert 0.48 < initial.max() < 0.5
        assert stats.kstest(initial.flatten().numpy() / 0.5, "uniform").pvalue > 1e-4
