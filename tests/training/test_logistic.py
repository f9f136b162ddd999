"""Readouts fitted together, against scikit-learn's one at a time and against what an optimum is."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from tsrnn.training import logistic
from tsrnn.training.logistic import Heads, fit


def drawn(samples: int = 3000, hidden: int = 6, seed: int = 0) -> tuple[Tensor, torch.Generator]:
    """Return correlated states of different sizes and offsets, [S, H] float32."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(samples, hidden, generator=generator) @ torch.randn(hidden, hidden, generator=generator)
    return mixed * torch.logspace(-1, 1, hidden) + torch.arange(hidden), generator


def noisy_labels(states: Tensor, generator: torch.Generator, noises: list[float]) -> Tensor:
    """Return labels [K, S] that a plane separates but for noise, in units of the logit's spread."""
    logits = states @ torch.randn(states.shape[1], len(noises), generator=generator)
    logits = (logits - logits.median(0).values) / logits.std(0)
    return (logits + torch.tensor(noises) * torch.randn(logits.shape, generator=generator)).T > 0


def by_scikit_learn(states: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [H] and bias of one head, for states as they are."""
    scaler = StandardScaler().fit(states.double().numpy())
    model = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(scaler.transform(states.double().numpy()), labels.numpy())
    weight = model.coef_[0] / scaler.scale_
    return weight, model.intercept_[0] - weight @ scaler.mean_


def gradient_of_mean_loss(states: Tensor, labels: Tensor, heads: Heads) -> Tensor:
    """Return its largest entry for each head [K], by autograd, for states scaled by numpy."""
    x = states.double().numpy()
    spread = x.std(0)
    spread = np.where(spread > 1e-6 * np.abs(x).max(0), spread, 1.0)
    scaled = torch.from_numpy((x - x.mean(0)) / spread)
    weight = heads.weight * torch.from_numpy(spread)
    bias = heads.bias + heads.weight @ torch.from_numpy(x.mean(0))
    readout = [weight.requires_grad_(), bias.requires_grad_()]
    logits = weight @ scaled.T + bias[:, None]
    loss = F.binary_cross_entropy_with_logits(logits, labels.double(), reduction="sum") + weight.square().sum() / 2
    each = torch.autograd.grad(loss, readout)
    return torch.cat([each[0].abs(), each[1].abs()[:, None]], 1).amax(1) / len(states)


class TestFit:
    NOISES = (0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 100.0)

    @pytest.mark.parametrize(("samples", "hidden"), [(3000, 6), (5000, 31), (40, 6), (12, 20)])
    def test_it_is_scikit_learns(self, samples: int, hidden: int):
        states, generator = drawn(samples, hidden)
        labels = noisy_labels(states, generator, list(self.NOISES))
        heads = fit(states, labels)
        assert heads.solved.all()
        for k in range(len(labels)):
            weight, bias = by_scikit_learn(states, labels[k])
            scale = states.double().std(0).numpy()
            # Scaled weights: a gradient of 1e-6 of the mean loss is 1e-6 S of the sum, whose curvature is 1 at least.
            near = 1e-6 * samples * hidden**0.5 + 1e-8
            np.testing.assert_allclose(heads.weight[k].numpy() * scale, weight * scale, atol=near)
            logits = states.double().numpy() @ weight + bias
            sure = np.abs(logits) > 1e-2
            assert (heads.answers(states)[k].numpy() == (logits > 0))[sure].all()

    @pytest.mark.parametrize("seed", range(3))
    def test_the_gradient_vanishes(self, seed: int):
        states, generator = drawn(6000, 25, seed)
        labels = noisy_labels(states, generator, list(self.NOISES))
        heads = fit(states, labels)
        found = gradient_of_mean_loss(states, labels, heads)
        assert (found <= 1.01 * logistic.TOLERANCE).all()
        torch.testing.assert_close(heads.gradient, found, rtol=1e-3, atol=1e-10)

    def test_states_that_a_plane_separates_widely(self):
        states, _ = drawn()
        apart = states.clone()
        labels = torch.arange(len(states)) % 2 == 1
        apart[labels, 0] += 1000.0
        heads = fit(apart, labels[None])
        assert heads.solved.all()
        assert heads.weight.isfinite().all()
        assert torch.equal(heads.answers(apart)[0], labels)
        assert gradient_of_mean_loss(apart, labels[None], heads) <= 1.01 * logistic.TOLERANCE

    def test_constant_neurons_are_not_read(self):
        states, generator = drawn()
        labels = noisy_labels(states, generator, [0.3, 1.0])
        constant = torch.tensor([0.0, 0.1, -1e5])[:, None].expand(3, len(states)).T
        heads, without = fit(torch.cat([states, constant], 1), labels), fit(states, labels)
        assert heads.solved.all()
        # What rounding leaves of a constant neuron has no say.
        assert (heads.weight[:, -3:] * constant[0]).abs().max() < 1e-3
        torch.testing.assert_close(heads.weight[:, :-3], without.weight, rtol=1e-3, atol=1e-4)
        assert torch.equal(heads.answers(torch.cat([states, constant], 1)), without.answers(states))
        nothing = fit(constant, labels)
        torch.testing.assert_close(nothing.bias, torch.logit(labels.double().mean(1)), rtol=0, atol=1e-4)

    def test_neurons_that_are_copies_share_their_weight(self):
        states, generator = drawn()
        labels = noisy_labels(states, generator, [0.3])
        heads = fit(torch.cat([states, states], 1), labels)
        assert heads.solved.all()
        torch.testing.assert_close(heads.weight[:, :6], heads.weight[:, 6:], rtol=1e-6, atol=1e-8)

    def test_one_answer_only(self):
        """The bias would grow without bound: it stops where the gradient does."""
        states, _ = drawn()
        labels = torch.tensor([[True], [False]]).expand(2, len(states))
        heads = fit(states, labels)
        assert heads.solved.all()
        assert torch.equal(heads.answers(states), labels)
        assert (gradient_of_mean_loss(states, labels, heads) <= 1.01 * logistic.TOLERANCE).all()

    def test_heads_know_nothing_of_each_other(self):
        states, generator = drawn(hidden=12)
        labels = noisy_labels(states, generator, [0.02 * k for k in range(40)])
        together = fit(states, labels)
        for k in (0, 17, 39):
            alone = fit(states, labels[k : k + 1])
            torch.testing.assert_close(together.weight[k], alone.weight[0], rtol=1e-6, atol=1e-6)
            assert together.iterations[k] == alone.iterations[0]

    @pytest.mark.parametrize("factor", [-1.0, 1 / 3], ids=["cannot be factored", "steps too long"])
    def test_wrong_second_derivatives_cost_steps_and_nothing_else(self, monkeypatch: pytest.MonkeyPatch, factor: float):
        states, generator = drawn()
        labels = noisy_labels(states, generator, [1.0, 2.0])
        expected = fit(states, labels)
        right = logistic._Problem._products

        def wrong(self: logistic._Problem, curvatures: Tensor, states: Tensor) -> Tensor:
            bound = (curvatures == 0.25).all()
            return right(self, curvatures, states) * (1.0 if bound else factor)

        monkeypatch.setattr(logistic._Problem, "_products", wrong)
        found = fit(states, labels)
        assert found.solved.all()
        assert (found.iterations > expected.iterations).all()
        scale = states.std(0)
        torch.testing.assert_close(found.weight * scale, expected.weight * scale, rtol=0, atol=1e-3)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_states_that_are_no_numbers(self, value: float):
        states, generator = drawn()
        labels = noisy_labels(states, generator, [0.3])
        states[7, 3] = value
        with pytest.raises(ValueError, match="infinite or no number"):
            fit(states, labels)

    @pytest.mark.parametrize("shape", [(3, 10), (10,), (0, 9)])
    def test_labels_of_other_samples(self, shape: tuple[int, ...]):
        with pytest.raises(ValueError, match=r"allowed are \[S, H\] and \[K, S\]"):
            fit(torch.zeros(11, 2), torch.zeros(shape, dtype=torch.bool))
