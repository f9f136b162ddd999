"""The stacked optimiser against torch's own, one network at a time, in float64."""

import pytest
import torch
from torch import Tensor

from tests.tolerances import TOLERANCES, distance
from tsrnn.config import SGD, GradientClip
from tsrnn.networks.base import stack
from tsrnn.optimizers import StackedSGD, clip_scale, gradient_norms

R = 3
SHAPES = {"recurrent.weight": (4, 4), "tau": (4,), "readout.weight": (2, 2, 4)}
CLOSE = TOLERANCES[torch.float64].forward


def draw(generator: torch.Generator, scales: tuple[float, ...] = (1.0,) * R) -> dict[str, Tensor]:
    """Draw [R, ...] tensors, network r's `scales[r]` times as large."""
    factor = torch.tensor(scales, dtype=torch.float64)
    return {
        name: torch.randn(R, *shape, generator=generator, dtype=torch.float64) * factor.view(-1, *[1] * len(shape))
        for name, shape in SHAPES.items()
    }


def zeros() -> dict[str, Tensor]:
    return {name: torch.zeros(R, *shape, dtype=torch.float64) for name, shape in SHAPES.items()}


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


class TestAgainstTorch:
    @pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9])
    @pytest.mark.parametrize("clip", [None, GradientClip(max_norm=2.0)])
    def test_steps_are_torchs(self, generator, momentum: float, clip: GradientClip | None):
        parameters = draw(generator)
        theirs = [{name: torch.nn.Parameter(t[r].clone()) for name, t in parameters.items()} for r in range(R)]
        optimizers = [
            torch.optim.SGD(own.values(), lr=0.05, momentum=momentum, nesterov=momentum > 0) for own in theirs
        ]
        ours = StackedSGD(SGD(learning_rate=0.05, momentum=momentum), zeros())
        for _ in range(8):
            gradients = draw(generator, scales=(0.01, 1.0, 100.0))  # the first is never clipped, the last always
            norms = gradient_norms(gradients)
            ours.update_(parameters, gradients, clip_scale(norms, clip))
            for r in range(R):
                for name, parameter in theirs[r].items():
                    parameter.grad = gradients[name][r].clone()
                limit = float("inf") if clip is None else clip.max_norm
                norm = torch.nn.utils.clip_grad_norm_(theirs[r].values(), limit)
                assert norms[r].item() == pytest.approx(norm.item(), rel=CLOSE)
                optimizers[r].step()
        for r in range(R):
            for name, parameter in theirs[r].items():
                assert distance(parameters[name][r], parameter) < CLOSE, (r, name)

    def test_the_norm_limits_each_network_alone(self, generator):
        gradients = draw(generator, scales=(0.001, 10.0, 100.0))
        scale = clip_scale(gradient_norms(gradients), GradientClip(max_norm=2.0))
        assert scale[0] == 1.0
        clipped = gradient_norms({name: g * scale.view(-1, *[1] * (g.ndim - 1)) for name, g in gradients.items()})
        assert clipped[1:].tolist() == pytest.approx([2.0, 2.0], rel=1e-6)

    def test_without_clipping_nothing_is_scaled(self):
        assert clip_scale(torch.tensor([0.1, 1e9]), None).tolist() == [1.0, 1.0]

    def test_no_gradient_is_no_division_by_zero(self):
        norms = gradient_norms(zeros())
        assert norms.tolist() == [0.0] * R
        assert clip_scale(norms, GradientClip()).tolist() == [1.0] * R


class TestUpdate:
    def test_gradients_are_only_read(self, generator):
        gradients, parameters = draw(generator), draw(generator)
        before = {name: gradient.clone() for name, gradient in gradients.items()}
        optimizer = StackedSGD(SGD(momentum=0.5), zeros())
        optimizer.update_(parameters, gradients, torch.full((R,), 0.5, dtype=torch.float64))
        assert all(torch.equal(gradients[name], before[name]) for name in before)

    def test_one_tensor_may_be_the_gradient_of_two_parameters(self, generator):
        gradient = torch.randn(R, 4, generator=generator, dtype=torch.float64)
        scale = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)
        results = []
        for gradients in ({"a": gradient, "b": gradient}, {"a": gradient.clone(), "b": gradient.clone()}):
            parameters = {name: torch.ones(R, 4, dtype=torch.float64) for name in "ab"}
            optimizer = StackedSGD(SGD(momentum=0.5), {name: torch.zeros(R, 4, dtype=torch.float64) for name in "ab"})
            for _ in range(3):
                optimizer.update_(parameters, gradients, scale)
            results.append(parameters)
        for name in "ab":
            assert torch.equal(results[0][name], results[1][name])
            assert torch.equal(results[0][name], results[0]["a"])

    def test_a_parameter_without_a_gradient_stays(self, generator):
        parameters, gradients, momentum = draw(generator), draw(generator), draw(generator)
        tau, tau_momentum = parameters["tau"].clone(), momentum["tau"].clone()
        del gradients["tau"]
        StackedSGD(SGD(), momentum).update_(parameters, gradients, torch.ones(R, dtype=torch.float64))
        assert torch.equal(parameters["tau"], tau)
        assert torch.equal(momentum["tau"], tau_momentum)


class TestStates:
    HEADS = ((2, 3), (5,))

    def networks(self, generator: torch.Generator) -> list[dict[str, Tensor]]:
        return [
            {"tau": torch.randn(4, generator=generator)}
            | {f"heads.{n}.weight": torch.randn(2, 4, generator=generator) for n in heads}
            | {f"heads.{n}.bias": torch.randn(2, generator=generator) for n in heads}
            for heads in self.HEADS
        ]

    def test_a_round_trip(self, generator):
        momenta, networks = self.networks(generator), self.networks(generator)
        found = StackedSGD.from_states(SGD(), momenta, networks, self.HEADS).states(self.HEADS)
        for then, now in zip(momenta, found, strict=True):
            assert then.keys() == now.keys()
            assert all(torch.equal(then[name], now[name]) for name in then)

    def test_a_new_head_has_no_momentum(self, generator):
        momenta, networks = self.networks(generator), self.networks(generator)
        old = {name: tensor for name, tensor in momenta[0].items() if not name.startswith("heads.3.")}
        found = StackedSGD.from_states(SGD(), [old, momenta[1]], networks, self.HEADS).states(self.HEADS)
        assert not found[0]["heads.3.weight"].any()
        assert not found[0]["heads.3.bias"].any()
        assert all(torch.equal(found[0][name], old[name]) for name in old)

    def test_a_new_run_has_no_momentum(self, generator):
        networks = self.networks(generator)
        optimizer = StackedSGD.from_states(SGD(), [{}, {}], networks, self.HEADS)
        assert optimizer.momentum.keys() == stack(networks, self.HEADS).keys()
        assert not any(tensor.any() for tensor in optimizer.momentum.values())

    def test_a_head_that_comes_later_steps_as_a_new_one(self, generator):
        # Torch: a parameter that joins later starts with an empty buffer, whatever the others have.
        late = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
        gradient = torch.tensor([0.3, -2.0], dtype=torch.float64)
        late.grad = gradient.clone()
        torch.optim.SGD([late], lr=0.05, momentum=0.6, nesterov=True).step()
        network = {
            "tau": torch.ones(2, dtype=torch.float64),
            "heads.2.weight": torch.ones(2, 2, dtype=torch.float64),
            "heads.2.bias": torch.ones(2, dtype=torch.float64),
        }
        old = {"tau": torch.full((2,), 7.0, dtype=torch.float64)}
        optimizer = StackedSGD.from_states(SGD(learning_rate=0.05, momentum=0.6), [old], [network], [(2,)])
        parameters = stack([network], [(2,)])
        optimizer.update_(parameters, {"readout.bias": gradient[None, None]}, torch.ones(1, dtype=torch.float64))
        assert distance(parameters["readout.bias"][0, 0], late) < CLOSE
