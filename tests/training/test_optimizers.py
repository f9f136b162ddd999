"""The stacked optimisers against torch's own, one network at a time, in float64."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles.plain import ExactMuon, ExactSOAP, by_singular_values
from tests.tolerances import TOLERANCES, distance
from tsrnn.config import SGD, SOAP, Adam, AdamW, GradientClip, Muon, Optimizer
from tsrnn.networks import NetworkState
from tsrnn.networks.base import stack, unstack
from tsrnn.training.optimizers import (
    OptimizerState,
    StackedOptimizer,
    clip_scale,
    decays,
    gradient_norms,
    initial_state,
    orthogonalized,
    stacked_optimizer,
    step_operations,
)

R = 3
SHAPES = {"recurrent.weight": (4, 4), "recurrent.bias": (4,), "tau": (4,)}
HEADS = ((2, 3), (2, 3), (5, 6))
CLOSE = TOLERANCES[torch.float64].forward
# Eigenvectors amplify rounding by the ratio of the largest eigenvalue to the smallest gap between two.
CLOSE_EIGENVECTORS = 1e-8
OPTIMIZERS = [
    SGD(learning_rate=0.05, momentum=0.0),
    SGD(learning_rate=0.05, momentum=0.6),
    SGD(learning_rate=0.05, momentum=0.6, weight_decay=0.3),
    Adam(learning_rate=0.01),
    Adam(learning_rate=0.01, beta1=0.5, beta2=0.9, epsilon=1e-3, weight_decay=0.3),
    AdamW(learning_rate=0.01, beta1=0.5, beta2=0.9, epsilon=1e-3, weight_decay=0.3),
    Muon(learning_rate=0.01, recurrent_rate=0.03),
    Muon(learning_rate=0.01, recurrent_rate=0.03, beta1=0.5, beta2=0.9, epsilon=1e-3, weight_decay=0.3),
    SOAP(learning_rate=0.01, recurrent_rate=0.03, frequency=3),
    SOAP(
        learning_rate=0.01,
        recurrent_rate=0.03,
        beta1=0.5,
        beta2=0.9,
        recurrent_beta2=0.8,
        shampoo_beta=0.7,
        frequency=1,
        epsilon=1e-3,
        weight_decay=0.3,
    ),
]


def tolerance(optimizer: Optimizer) -> float:
    return CLOSE_EIGENVECTORS if isinstance(optimizer, SOAP) else CLOSE


def named(optimizer: Optimizer) -> str:
    return f"{optimizer.kind}{' with decay' if optimizer.weight_decay else ''}"


@pytest.fixture(params=OPTIMIZERS, ids=named)
def config(request) -> Optimizer:
    return request.param


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def network(generator: torch.Generator, heads: Sequence[int], scale: float = 1.0) -> NetworkState:
    shapes = dict(SHAPES)
    for n in heads:
        shapes |= {f"heads.{n}.weight": (2, 4), f"heads.{n}.bias": (2,)}
    return {name: scale * torch.randn(*s, generator=generator, dtype=torch.float64) for name, s in shapes.items()}


def networks(generator: torch.Generator, scales: Sequence[float] = (1.0,) * R) -> list[NetworkState]:
    return [network(generator, heads, scale) for heads, scale in zip(HEADS, scales, strict=True)]


class Theirs:
    """One network under torch.optim; a head may be replaced by a new one."""

    def __init__(self, config: Optimizer, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        self.parameters: dict[str, torch.nn.Parameter] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.add(tensors)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Give each parameter an optimiser of its own, so that it also counts its own steps."""
        for name, tensor in tensors.items():
            parameter = self.parameters[name] = torch.nn.Parameter(tensor.clone())
            decay = self.config.weight_decay if name.endswith(".weight") else 0.0
            match self.config:
                case SGD(learning_rate=rate, momentum=momentum):
                    self.optimizers[name] = torch.optim.SGD(
                        [parameter], lr=rate, momentum=momentum, nesterov=momentum > 0, weight_decay=decay
                    )
                case Adam(learning_rate=rate, beta1=beta1, beta2=beta2, epsilon=epsilon):
                    self.optimizers[name] = torch.optim.Adam(
                        [parameter], lr=rate, betas=(beta1, beta2), eps=epsilon, weight_decay=decay
                    )
                case Muon(recurrent_rate=rate, beta1=beta1) if name == "recurrent.weight":
                    self.optimizers[name] = ExactMuon([parameter], rate, beta1, decay)
                case SOAP() if name == "recurrent.weight":
                    self.optimizers[name] = ExactSOAP([parameter], self.config)
                case (
                    AdamW(learning_rate=rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
                    | Muon(learning_rate=rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
                    | SOAP(learning_rate=rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
                ):
                    self.optimizers[name] = torch.optim.AdamW(
                        [parameter], lr=rate, betas=(beta1, beta2), eps=epsilon, weight_decay=decay
                    )

    def step(self, gradients: Mapping[str, Tensor], clip: GradientClip | None) -> float:
        for name, gradient in gradients.items():
            self.parameters[name].grad = gradient.clone()
        limit = float("inf") if clip is None else clip.max_norm
        norm = torch.nn.utils.clip_grad_norm_([self.parameters[name] for name in gradients], limit)
        for name in gradients:
            self.optimizers[name].step()
        return norm.item()


def step(
    optimizer: StackedOptimizer, tensors: Sequence[NetworkState], gradients: Sequence[NetworkState], clip, heads=HEADS
) -> tuple[list[NetworkState], Tensor]:
    """Take a stacked step on networks given one by one."""
    parameters, stacked = stack(tensors, heads), stack(gradients, heads)
    norms = gradient_norms(stacked)
    optimizer.update_(parameters, stacked, clip_scale(norms, clip))
    return unstack(parameters, heads), norms


class TestAgainstTorch:
    @pytest.mark.parametrize("clip", [None, GradientClip(max_norm=2.0)])
    def test_steps_are_torchs(self, generator, config: Optimizer, clip: GradientClip | None):
        ours = networks(generator)
        theirs = [Theirs(config, own) for own in ours]
        optimizer = stacked_optimizer(config, [{}] * R, ours, HEADS)
        for _ in range(8):
            gradients = networks(generator, scales=(0.01, 1.0, 100.0))  # the first is never clipped, the last always
            ours, norms = step(optimizer, ours, gradients, clip)
            for r in range(R):
                assert norms[r].item() == pytest.approx(theirs[r].step(gradients[r], clip), rel=CLOSE)
        for r in range(R):
            for name, parameter in theirs[r].parameters.items():
                assert distance(ours[r][name], parameter) < tolerance(config), (r, name)

    def test_a_head_that_comes_later_steps_as_a_new_one(self, generator, config: Optimizer):
        ours = networks(generator)
        theirs = [Theirs(config, own) for own in ours]
        optimizer = stacked_optimizer(config, [{}] * R, ours, HEADS)

        def go_on(steps: int, heads) -> None:
            nonlocal ours
            for _ in range(steps):
                gradients = [network(generator, ns) for ns in heads]
                ours, _ = step(optimizer, ours, gradients, None, heads)
                for own, gradient in zip(theirs, gradients, strict=True):
                    own.step(gradient, None)

        go_on(5, HEADS)
        # Network 1 gets a third head; the stack around it grows.
        heads = (HEADS[0], (2, 3, 4), HEADS[2])
        states = optimizer.states(HEADS)
        head = {"heads.4.weight": torch.ones(2, 4).double(), "heads.4.bias": torch.ones(2).double()}
        ours[1] |= head
        theirs[1].add(head)
        for part, zeros in initial_state(config, head).items():
            states[1][part] |= zeros
        optimizer = stacked_optimizer(config, states, ours, heads)
        go_on(5, heads)
        for r in range(R):
            for name, parameter in theirs[r].parameters.items():
                assert distance(ours[r][name], parameter) < tolerance(config), (r, name)

    def test_networks_that_leave_or_are_regrouped_change_no_numbers(self, generator, config: Optimizer):
        begun = networks(generator)
        gradients = [networks(generator) for _ in range(8)]
        together = begun
        optimizer = stacked_optimizer(config, [{}] * R, together, HEADS)
        for drawn in gradients[:4]:
            together, _ = step(optimizer, together, drawn, GradientClip())
        # Network 1 leaves, the others change places.
        order = (2, 0)
        heads = tuple(HEADS[r] for r in order)
        states = optimizer.states(HEADS)
        together = [together[r] for r in order]
        optimizer = stacked_optimizer(config, [states[r] for r in order], together, heads)
        for drawn in gradients[4:]:
            together, _ = step(optimizer, together, [drawn[r] for r in order], GradientClip(), heads)
        for place, r in enumerate(order):
            single = stacked_optimizer(config, [{}], [begun[r]], (HEADS[r],))
            alone = [begun[r]]
            for drawn in gradients:
                alone, _ = step(single, alone, [drawn[r]], GradientClip(), (HEADS[r],))
            for name, tensor in alone[0].items():
                assert distance(together[place][name], tensor) < CLOSE, (r, name)


class TestMuon:
    @pytest.mark.parametrize("shape", [(6, 6), (9, 3), (3, 9)], ids=str)
    def test_matrices_become_orthogonal_as_in_torch(self, generator, shape: tuple[int, int]):
        """Theirs takes its products in bfloat16, whose relative error is 2^-8."""
        matrices = torch.randn(R, *shape, generator=generator, dtype=torch.float64)
        found = orthogonalized(matrices)
        for own, matrix in zip(found, matrices, strict=True):
            assert distance(own, by_singular_values(matrix)) < 1e-9
            values = torch.linalg.svdvals(own)
            assert 0.6 < values.min() <= values.max() < 1.3
            parameter = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
            parameter.grad = matrix
            torch.optim.Muon([parameter], lr=1.0, momentum=0.0, weight_decay=0.0).step()
            tall = max(1.0, shape[0] / shape[1]) ** 0.5
            assert distance(own * tall, -parameter.detach()) < 0.05
            assert distance(orthogonalized(matrix[None], torch.bfloat16)[0], own) < 0.05

    def test_of_a_tall_matrix_the_step_is_longer_as_in_torch(self, generator):
        own = [network(generator, (2,)) | {"recurrent.weight": torch.zeros(12, 4, dtype=torch.float64)}]
        gradients = [{name: torch.randn(t.shape, generator=generator).double() for name, t in own[0].items()}]
        (after,), _ = step(
            stacked_optimizer(Muon(recurrent_rate=1.0, beta1=0.0), [{}], own, ((2,),)), own, gradients, None, ((2,),)
        )
        expected = -(3**0.5) * by_singular_values(gradients[0]["recurrent.weight"])
        assert distance(after["recurrent.weight"], expected) < 1e-9

    def test_no_gradient_is_no_division_by_zero(self):
        assert orthogonalized(torch.zeros(2, 3, 3)).eq(0).all()

    def test_its_products_are_counted(self):
        """Five iterations of three products of 2 H^3."""
        assert step_operations(Muon(), {"recurrent.weight": (10, 10)}) == 5 * 3 * 2 * 1000
        assert step_operations(Muon(), {"recurrent.weight": (30, 10)}) == 5 * 2 * (2 * 100 * 30 + 1000)
        assert step_operations(AdamW(), {"recurrent.weight": (10, 10)}) == 0


def recurrent(generator: torch.Generator, shape: tuple[int, int] = (6, 6)) -> NetworkState:
    """Return tensors of a network whose recurrent weights have this shape."""
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    return network(generator, (2,)) | {"recurrent.weight": weight}


class TestSOAP:
    CONFIG = SOAP(learning_rate=0.01, recurrent_rate=0.03, frequency=3)

    def after(self, config: SOAP, begun: NetworkState, gradients: Sequence[NetworkState]) -> NetworkState:
        optimizer, own = stacked_optimizer(config, [{}], [begun], ((2,),)), [begun]
        for gradient in gradients:
            own, _ = step(optimizer, own, [gradient], None, ((2,),))
        return own[0]

    @pytest.mark.parametrize("gates", [1, 3, 4])
    def test_each_gate_has_a_matrix_of_its_own(self, generator, gates: int):
        begun = recurrent(generator, (gates * 4, 4))
        gradients = [recurrent(generator, (gates * 4, 4)) for _ in range(8)]
        found = self.after(self.CONFIG, begun, gradients)["recurrent.weight"]
        for rows in torch.arange(gates * 4).split(4):
            theirs = torch.nn.Parameter(begun["recurrent.weight"][rows])
            optimizer = ExactSOAP([theirs], self.CONFIG)
            for gradient in gradients:
                theirs.grad = gradient["recurrent.weight"][rows]
                optimizer.step()
            assert distance(found[rows], theirs) < CLOSE_EIGENVECTORS

    @settings(max_examples=20)
    @given(seed=st.integers(0, 2**31), frequency=st.sampled_from([1, 2, 5]))
    def test_steps_turn_with_the_coordinates(self, seed: int, frequency: int):
        """If all gradients are turned, U G V^T with orthogonal U and V, so are all steps."""
        generator = torch.Generator().manual_seed(seed)
        config = SOAP(frequency=frequency)
        left, right = (torch.linalg.qr(torch.randn(6, 6, generator=generator).double())[0] for _ in range(2))
        # With singular values that are well apart, eigenvectors hardly depend on rounding.
        bases = [torch.linalg.qr(torch.randn(6, 6, generator=generator).double())[0] for _ in range(2)]
        gradients = []
        for _ in range(7):
            noise = torch.randn(6, 6, generator=generator).double()
            matrix = bases[0] @ (torch.diag(2.0 ** torch.arange(6)) + 0.1 * noise) @ bases[1]
            gradients.append(recurrent(generator) | {"recurrent.weight": matrix})
        turned = [own | {"recurrent.weight": left @ own["recurrent.weight"] @ right.T} for own in gradients]
        begun = recurrent(generator) | {"recurrent.weight": torch.zeros(6, 6, dtype=torch.float64)}
        found = self.after(config, begun, gradients)["recurrent.weight"]
        assert distance(self.after(config, begun, turned)["recurrent.weight"], left @ found @ right.T) < 1e-9
        # Adam's own steps do not turn.
        plain = self.after(AdamW(), begun, gradients)["recurrent.weight"]
        assert distance(self.after(AdamW(), begun, turned)["recurrent.weight"], left @ plain @ right.T) > 0.1

    def test_the_first_gradient_sets_the_bases_in_which_it_is_diagonal(self, generator):
        """A second one that is the same is then diagonal, and Adam's first step is as long in all its directions."""
        begun, gradient = recurrent(generator), recurrent(generator)
        config = SOAP(recurrent_rate=1.0)
        assert torch.equal(self.after(config, begun, [gradient])["recurrent.weight"], begun["recurrent.weight"])
        found = self.after(config, begun, [gradient] * 2)["recurrent.weight"]
        left, _, right = torch.linalg.svd(gradient["recurrent.weight"])
        assert distance(found - begun["recurrent.weight"], -left @ right) < 1e-6

    def test_networks_that_have_taken_other_numbers_of_steps_do_not_matter(self, generator):
        """Steps taken before: 0, 2 and 4, so that bases are due at different times. All are stacked for 7 steps."""
        begun = [recurrent(generator) for _ in range(3)]
        gradients = [[recurrent(generator) for _ in range(7 + 2 * r)] for r in range(3)]
        alone = [self.after(self.CONFIG, begun[r], gradients[r]) for r in range(3)]
        heads, states, own = ((2,),) * 3, [], []
        for r in range(3):
            single, one = stacked_optimizer(self.CONFIG, [{}], [begun[r]], ((2,),)), [begun[r]]
            for gradient in gradients[r][: 2 * r]:
                one, _ = step(single, one, [gradient], None, ((2,),))
            states += single.states(((2,),))
            own += one
        optimizer = stacked_optimizer(self.CONFIG, states, own, heads)
        for i in range(7):
            own, _ = step(optimizer, own, [gradients[r][2 * r + i] for r in range(3)], None, heads)
        for r in range(3):
            assert distance(own[r]["recurrent.weight"], alone[r]["recurrent.weight"]) < CLOSE_EIGENVECTORS

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_network_that_diverges_stops_no_other(self, generator, value: float):
        begun = [recurrent(generator) for _ in range(2)]
        optimizer, own = stacked_optimizer(self.CONFIG, [{}] * 2, begun, ((2,),) * 2), begun
        gradients = [recurrent(generator) for _ in range(4)]
        for gradient in gradients:
            diverged = gradient | {"recurrent.weight": torch.full((6, 6), value, dtype=torch.float64)}
            own, _ = step(optimizer, own, [diverged, gradient], None, ((2,),) * 2)
        assert not own[0]["recurrent.weight"].isfinite().any()
        alone = self.after(self.CONFIG, begun[1], gradients)
        assert distance(own[1]["recurrent.weight"], alone["recurrent.weight"]) < CLOSE_EIGENVECTORS

    def test_its_bases_stay_orthonormal_in_float32(self, generator):
        begun = {name: tensor.float() for name, tensor in recurrent(generator, (40, 40)).items()}
        optimizer, own = stacked_optimizer(SOAP(frequency=2), [{}], [begun], ((2,),)), [begun]
        for _ in range(50):
            # Of rank 3: most eigenvalues are 0 but for rounding.
            factors = torch.randn(2, 40, 3, generator=generator)
            gradient = {name: torch.zeros_like(tensor) for name, tensor in begun.items()}
            gradient["recurrent.weight"] = 1e-3 * factors[0] @ factors[1].T
            own, _ = step(optimizer, own, [gradient], None, ((2,),))
        (state,) = optimizer.states(((2,),))
        for part in ("left_basis", "right_basis"):
            (basis,) = state[part]["recurrent.weight"]
            assert distance(basis.T @ basis, torch.eye(40)) < TOLERANCES[torch.float32].forward
        assert own[0]["recurrent.weight"].isfinite().all()

    def test_its_products_are_counted(self):
        """Six products of 2 H^3; for each of two bases, three more and a QR decomposition of 8/3 H^3."""
        square = {"recurrent.weight": (10, 10)}
        assert step_operations(SOAP(frequency=1), square) == pytest.approx(1000 * (6 * 2 + 2 * (3 * 2 + 8 / 3)))
        assert step_operations(SOAP(frequency=10), square) == pytest.approx(1000 * (6 * 2 + 2 * (3 * 2 + 8 / 3) / 10))
        assert step_operations(SOAP(), {"recurrent.weight": (30, 10)}) == 3 * step_operations(SOAP(), square)


class TestClip:
    def stacked(self, generator: torch.Generator, scales: Sequence[float]) -> dict[str, Tensor]:
        return stack(networks(generator, scales), HEADS)

    def test_the_norm_limits_each_network_alone(self, generator):
        gradients = self.stacked(generator, (0.001, 10.0, 100.0))
        scale = clip_scale(gradient_norms(gradients), GradientClip(max_norm=2.0))
        assert scale[0] == 1.0
        clipped = gradient_norms({name: g * scale.view(-1, *[1] * (g.ndim - 1)) for name, g in gradients.items()})
        assert clipped[1:].tolist() == pytest.approx([2.0, 2.0], rel=1e-6)

    def test_without_clipping_nothing_is_scaled(self):
        assert clip_scale(torch.tensor([0.1, 1e9]), None).tolist() == [1.0, 1.0]

    def test_no_gradient_is_no_division_by_zero(self, generator):
        norms = gradient_norms(self.stacked(generator, (0.0, 0.0, 0.0)))
        assert norms.tolist() == [0.0] * R
        assert clip_scale(norms, GradientClip()).tolist() == [1.0] * R


class TestUpdate:
    def test_gradients_are_only_read(self, generator, config: Optimizer):
        parameters = stack(networks(generator), HEADS)
        gradients = stack(networks(generator), HEADS)
        before = {name: gradient.clone() for name, gradient in gradients.items()}
        optimizer = stacked_optimizer(config, [{}] * R, networks(generator), HEADS)
        optimizer.update_(parameters, gradients, torch.full((R,), 0.5, dtype=torch.float64))
        assert all(torch.equal(gradients[name], before[name]) for name in before)

    def test_one_tensor_may_be_the_gradient_of_two_parameters(self, generator, config: Optimizer):
        gradient = torch.randn(R, 4, generator=generator, dtype=torch.float64)
        scale = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)
        results = []
        for other in (gradient, gradient.clone()):
            optimizer = stacked_optimizer(config, [{}] * R, networks(generator), HEADS)
            parameters = {name: torch.ones(R, 4, dtype=torch.float64) for name in ("recurrent.bias", "tau")}
            for _ in range(3):
                optimizer.update_(parameters, {"recurrent.bias": gradient, "tau": other}, scale)
            results.append(parameters)
        for name in results[0]:
            assert torch.equal(results[0][name], results[1][name])
            assert torch.equal(results[0][name], results[0]["tau"])

    def test_a_parameter_without_a_gradient_stays(self, generator, config: Optimizer):
        parameters, gradients = stack(networks(generator), HEADS), stack(networks(generator), HEADS)
        optimizer = stacked_optimizer(config, [{}] * R, networks(generator), HEADS)
        tau = parameters["tau"].clone()
        del gradients["tau"]
        optimizer.update_(parameters, gradients, torch.ones(R, dtype=torch.float64))
        assert torch.equal(parameters["tau"], tau)
        assert not any(tensors["tau"].any() for tensors in optimizer.moments.values() if "tau" in tensors)

    def test_a_place_without_a_head_stays_zero(self, generator, config: Optimizer):
        heads = ((2, 3), (4,))
        own = [network(generator, ns) for ns in heads]
        parameters = stack(own, heads)
        optimizer = stacked_optimizer(config, [{}] * 2, own, heads)
        for _ in range(3):
            gradients = stack([network(generator, ns) for ns in heads], heads)
            optimizer.update_(parameters, gradients, torch.ones(2, dtype=torch.float64))
        assert not parameters["readout.weight"][1, 1].any()
        assert not parameters["readout.bias"][1, 1].any()
        assert parameters["readout.weight"][1, 0].any()

    @pytest.mark.parametrize("kind", [SGD, Adam, AdamW, Muon, SOAP])
    def test_weight_decay_acts_on_weights_alone_and_keeps_zeros(self, generator, kind):
        own = [network(generator, (2,))]
        own[0]["recurrent.weight"].fill_diagonal_(0.0)
        zero = [{name: torch.zeros_like(tensor) for name, tensor in own[0].items()}]
        optimizer = stacked_optimizer(kind(weight_decay=0.5), [{}], own, ((2,),))
        (after,), _ = step(optimizer, own, zero, None, ((2,),))
        changed = {name for name in after if not torch.equal(after[name], own[0][name])}
        assert changed == {"recurrent.weight", "heads.2.weight"}
        assert not after["recurrent.weight"].diagonal().any()
        assert (after["heads.2.weight"].abs() < own[0]["heads.2.weight"].abs()).all()
        assert [name for name in ("input.weight", "readout.weight", "readout.bias", "tau") if decays(name)] == [
            "input.weight",
            "readout.weight",
        ]


def assert_same(some: OptimizerState, others: OptimizerState) -> None:
    assert some.keys() == others.keys()
    for part, tensors in some.items():
        assert tensors.keys() == others[part].keys()
        for name, tensor in tensors.items():
            assert tensor.dtype == others[part][name].dtype
            assert torch.equal(tensor, others[part][name]), (part, name)


class TestStates:
    HEADS = ((2, 3), (5,))

    def test_a_new_run_keeps_nothing_yet(self, generator, config: Optimizer):
        own = [network(generator, ns) for ns in self.HEADS]
        states = stacked_optimizer(config, [{}, {}], own, self.HEADS).states(self.HEADS)
        for state, tensors in zip(states, own, strict=True):
            assert_same(state, initial_state(config, tensors))
            assert not any(tensor.any() for part in state.values() for tensor in part.values())

    def test_a_round_trip(self, generator, config: Optimizer):
        own = [network(generator, ns) for ns in self.HEADS]
        states = [initial_state(config, tensors) for tensors in own]
        for i, tensor in enumerate(t for state in states for part in state.values() for t in part.values()):
            tensor.fill_(i + 1)
        found = stacked_optimizer(config, states, own, self.HEADS).states(self.HEADS)
        for then, now in zip(states, found, strict=True):
            assert_same(then, now)

    def test_no_two_tensors_share_memory(self, generator, config: Optimizer):
        own = network(generator, (2,))
        for state in (
            initial_state(config, own),
            stacked_optimizer(config, [{}], [own], ((2,),)).states(((2,),))[0],
        ):
            places = [tensor.data_ptr() for part in state.values() for tensor in part.values()]
            assert len(set(places)) == len(places)

    def test_a_state_that_lacks_a_tensor_is_an_error(self, generator, config: Optimizer):
        own = network(generator, (2,))
        state = initial_state(config, network(generator, ()))
        with pytest.raises(KeyError, match=r"heads\.2\.weight"):
            stacked_optimizer(config, [state], [own], ((2,),))
