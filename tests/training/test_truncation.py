"""Backpropagation truncated to parts of long sequences, whose states are carried from part to part."""

import copy
import dataclasses

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from tests.tolerances import TOLERANCES
from tests.training.runs import TINY, assert_close, assert_same_runs, of, run, starts
from tsrnn.config import DMS, LSTM, EndRules, Parity, RunConfig, TrainedTau, Training
from tsrnn.networks import Population
from tsrnn.networks.leaky import TAU
from tsrnn.training.gradients import losses_and_gradients
from tsrnn.training.loop import Trainer
from tsrnn.training.sampling import parts

EXACT = TOLERANCES[torch.float64].training


def truncated(steps: int, **changes) -> RunConfig:
    task = changes.pop("task", Parity())
    return dataclasses.replace(
        TINY,
        task=task,
        training_task=dataclasses.replace(task, readout_steps="all"),
        training=dataclasses.replace(TINY.training, truncation=steps, **changes),
    )


def drawn(config: RunConfig, networks: Population, count: int, steps: int):
    addresses = [(r, "train", 1) for r in range(networks.replicates)]
    return list(parts(config.task_in_training, networks, addresses, count, 6, steps, config.generator))


@pytest.fixture
def networks() -> Population:
    return Trainer(starts(truncated(5))).population


class TestParts:
    def test_they_are_one_long_sequence(self, networks):
        config = truncated(5)
        whole = [batch.inputs for batch, _ in drawn(config, networks, 1, 15)]
        cut = [batch.inputs for batch, _ in drawn(config, networks, 3, 5)]
        assert torch.equal(torch.cat(cut), torch.cat(whole))

    @pytest.mark.parametrize("task", [Parity(), DMS()], ids=["parity", "dms"])
    def test_targets_are_those_of_the_long_sequence(self, task, networks):
        config = truncated(5, task=task)
        ((whole, _),) = drawn(config, networks, 1, 15)
        cut = torch.cat([batch.targets for batch, _ in drawn(config, networks, 3, 5)])
        for r, heads in enumerate(networks.heads):
            assert torch.equal(cut[:, r, : len(heads)], whole.targets[:, r, : len(heads)])

    def test_every_step_of_a_part_has_n_bits(self):
        config = truncated(1)
        networks = Trainer([starts(config)[2]]).population  # the largest head is N = 6
        ((batch, _),) = drawn(config, networks, 1, 40)
        bits = batch.inputs[:, 0]
        for step in range(5, 40):
            parity = bits[step - 5 : step + 1].sum(0) % 2
            assert torch.equal(batch.targets[step, 0, networks.heads[0].index(6)].double(), parity.double())

    def test_states_are_carried(self, networks):
        first, second, third = drawn(truncated(5), networks, 3, 5)
        for (batch, before), (_, after) in ((first, second), (second, third)):
            assert torch.equal(networks.last_states(batch.inputs, batch.lengths, before), after)
        ((whole, before),) = drawn(truncated(5), networks, 1, 15)
        assert torch.equal(before, first[1])
        carried = networks.last_states(third[0].inputs, third[0].lengths, third[1])
        at_once = networks.last_states(whole.inputs, whole.lengths, before)
        torch.testing.assert_close(carried, at_once, rtol=EXACT, atol=EXACT)

    def test_states_are_those_of_the_networks_as_they_are_when_asked(self, networks):
        changing = copy.deepcopy(networks)
        shown = parts(truncated(5).task_in_training, changing, [(r, "train", 1) for r in range(4)], 2, 6, 5, "pcg64")
        batch, before = next(shown)
        changing.parameters["recurrent.weight"].mul_(0.5)
        _, after = next(shown)
        assert torch.equal(changing.last_states(batch.inputs, batch.lengths, before), after)
        assert not torch.equal(networks.last_states(batch.inputs, batch.lengths, before), after)

    def test_the_cells_of_an_lstm_are_carried_too(self):
        config = dataclasses.replace(truncated(4), network=LSTM(hidden=9))
        networks = Trainer(starts(config)).population
        first, second = drawn(config, networks, 2, 4)
        assert torch.equal(networks.last_states(first[0].inputs, first[0].lengths, first[1]), second[1])


def test_the_gradient_ends_where_the_part_begins(networks):
    """Autograd through a plain loop from a fixed state, in float64."""
    batch, before = drawn(truncated(5), networks, 2, 5)[1]
    losses, gradients = losses_and_gradients(networks, truncated(5).task_in_training, batch, before)
    r = 2
    own = {name: tensor[r].clone().requires_grad_() for name, tensor in networks.parameters.items()}
    state, alpha, found = before[r], 1 / own[TAU], []
    for bits in batch.inputs[:, r].double():
        driven = own["recurrent.bias"] + own["input.bias"] + bits[:, None] * own["input.weight"]
        state = torch.nn.functional.leaky_relu(
            (1 - alpha) * state + alpha * (state @ own["recurrent.weight"].T + driven), 0.1
        )
        found.append(state)
    total = torch.zeros((), dtype=torch.float64)
    for k in range(len(networks.heads[r])):
        weight, bias = own["readout.weight"][k], own["readout.bias"][k]
        answers = torch.cat([own_state @ weight.T + bias for own_state in found])
        loss = cross_entropy(answers, batch.targets[:, r, k].reshape(-1).long())
        assert losses[r, k].item() == pytest.approx(loss.item(), rel=EXACT)
        total = total + loss
    total.backward()
    for name, gradient in gradients.items():
        expected = own[name].grad
        if name == "recurrent.weight":
            expected = expected - expected.diag().diag()
            gradient[r].fill_diagonal_(0.0)
        torch.testing.assert_close(gradient[r], expected, rtol=EXACT, atol=EXACT)


class TestTraining:
    def test_networks_are_those_that_are_trained_alone(self):
        alike = starts(truncated(5))
        together = Trainer(alike)
        losses, norms, time_steps = together.train_steps(12)
        assert time_steps == [60] * 4
        for r, one in enumerate(alike):
            alone = Trainer([one])
            loss, norm, _ = alone.train_steps(12)
            assert losses[r] == pytest.approx(loss[0], rel=EXACT)
            assert norms[r] == pytest.approx(norm[0], rel=EXACT)
            assert_close(together.population.states()[r], alone.population.states()[0])

    def test_a_run_in_two_parts_is_the_run_bit_for_bit(self):
        config = dataclasses.replace(truncated(5), end=EndRules(max_epochs=6))
        whole = run(Trainer(starts(config)))
        first = Trainer(starts(config))
        reports = first.run_epoch() + first.run_epoch()
        latest = {report.config.seed: report.checkpoint for report in reports if report.outcome is None}
        second = run(Trainer(list(latest.values())))
        for one in config.replicates(4):
            assert_same_runs(of(reports + second, one), of(whole, one))

    def test_operations_are_counted(self):
        (report,) = Trainer([starts(truncated(5))[2]]).run_epoch()
        # Four parts of 5 steps; 5 steps before the first; a carried state after each part but the last.
        trained, run_only, tested = 6 * 20, 6 * (5 + 15), 3 * 6 * (6 + 2 + 4 * 6) / 2
        assert report.checkpoint.progress.operations == (6 * trained + 2 * (run_only + tested)) * 9**2

    def test_a_network_learns(self):
        config = dataclasses.replace(
            truncated(6, batch_size=32, steps_per_epoch=50, precision="float32", solved_accuracy=0.98),
            network=dataclasses.replace(TINY.network, hidden=32, tau=TrainedTau()),
            end=EndRules(max_epochs=40, max_n=2),
        )
        assert run(Trainer([starts(config)[0]]))[-1].checkpoint.progress.max_n == 2


def test_heads_that_are_read_out_at_the_last_step_only_are_refused():
    with pytest.raises(ValidationError, match=r"training.truncation = 5: .*readout_steps = 'all'"):
        RunConfig(training=Training(truncation=5))
