"""The fast path beyond the contract: gradients at every step, segments, products of bfloat16 numbers, its limits."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tests.oracles import plain
from tests.tolerances import TOLERANCES, distance
from tsrnn.config import FixedTau, Leaky, RunConfig, Training
from tsrnn.networks import Population, _memory, choice, initial_network, population
from tsrnn.networks.choice import Plan
from tsrnn.networks.workspace import Workspace
from tsrnn.training.loop import train

HEADS = (2,)
LENGTHS = (9, 4, 9, 6)
R, T, B, H = len(LENGTHS), max(LENGTHS), 5, 24
# bfloat16 has 8 significant bits: one rounding is off by at most 2^-9, a sum of many by little more in norm. In a
# gradient, a sum near 0 that changes its sign also changes phi's slope tenfold.
BFLOAT16_FORWARD = 0.01
BFLOAT16_GRADIENT = 0.1


@pytest.fixture(params=["inside", "outside"])
def network(request: pytest.FixtureRequest) -> Leaky:
    return Leaky(hidden=H, self_interaction=request.param)


def make(network: Leaky, dtype: torch.dtype, products: torch.dtype | None = None) -> Population:
    config = RunConfig(network=network, training=Training(precision="float64"))
    states = [initial_network(run, HEADS) for run in config.replicates(R)]
    states = [{name: tensor.to(dtype) for name, tensor in state.items()} for state in states]
    people = population(network, states, [HEADS] * R, products)
    for name in people.trained:
        people.parameters[name].requires_grad_()
    return people


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


def bits(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randint(2, (T, R, B), generator=torch.Generator().manual_seed(3)).to(dtype)


def gradients(people: Population, states: Tensor) -> dict[str, Tensor]:
    names = [name for name in people.trained if not name.startswith("readout")]
    weighted = (states * draw(*states.shape, dtype=states.dtype)).sum()
    found = torch.autograd.grad(weighted, [people.parameters[name] for name in names])
    return dict(zip(names, found, strict=True))


def last(people: Population) -> Tensor:
    return people.last_states(bits(people.dtype), LENGTHS, draw(R, B, H, dtype=people.dtype))


class TestLibraries:
    """Every library's products of float32 matrices are those of float64."""

    HIDDEN, BATCH, R = 131, 64, 3
    LENGTHS = (9, 4, 6)

    def people(self, network: Leaky, dtype: torch.dtype) -> Population:
        config = RunConfig(
            network=dataclasses.replace(network, hidden=self.HIDDEN), training=Training(precision="float64")
        )
        states = [
            {name: tensor.to(dtype) for name, tensor in initial_network(run, HEADS).items()}
            for run in config.replicates(self.R)
        ]
        people = population(config.network, states, [HEADS] * self.R)
        for name in people.trained:
            people.parameters[name].requires_grad_()
        return people

    def inputs(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(4)
        shown = torch.randint(2, (T, self.R, self.BATCH), generator=generator).to(dtype)
        return shown, draw(self.R, self.BATCH, self.HIDDEN, dtype=dtype)

    @pytest.mark.parametrize("segment", [None, 4])
    @pytest.mark.parametrize("together", [1, 2, 3])
    @pytest.mark.parametrize("library", choice.LIBRARIES)
    def test_states_and_gradients_are_those_of_float64(self, network: Leaky, library, together, segment, monkeypatch):
        require(library)
        if segment:
            buffers = 1 if network.self_interaction == "inside" else 2
            monkeypatch.setattr(_memory, "KEPT", segment * buffers * 4 * self.BATCH * self.HIDDEN * together)
        people, exact = (self.people(network, dtype) for dtype in (torch.float32, torch.float64))
        people.plan = Plan(library, together)
        tolerance = TOLERANCES[torch.float32]
        last, expected = (
            one.last_states(shown, self.LENGTHS, initial)
            for one in (people, exact)
            for shown, initial in [self.inputs(one.dtype)]
        )
        assert distance(last, expected) < tolerance.forward
        for found, wanted in zip(gradients(people, last).items(), gradients(exact, expected).items(), strict=True):
            assert distance(found[1], wanted[1]) < tolerance.gradient, found[0]

    @pytest.mark.parametrize("library", choice.LIBRARIES)
    def test_every_state(self, network: Leaky, library):
        require(library)
        people, exact = (self.people(network, dtype) for dtype in (torch.float32, torch.float64))
        people.plan = Plan(library, 2)
        shown, initial = self.inputs(torch.float32)
        states = people.all_states(shown, initial)
        expected = exact.all_states(shown.double(), initial.double())
        assert distance(states, expected) < TOLERANCES[torch.float32].forward
        for found, wanted in zip(gradients(people, states).items(), gradients(exact, expected).items(), strict=True):
            assert distance(found[1], wanted[1]) < TOLERANCES[torch.float32].gradient, found[0]


def require(library: str) -> None:
    """Skip where a library is not to be had."""
    if library not in choice.libraries(torch.float32, torch.device("cpu")):
        pytest.skip(f"this torch has no {library}")


class TestEveryStep:
    def test_gradients_are_the_oracles(self, network: Leaky):
        people = make(network, torch.float64)
        states = people.all_states(bits(), draw(R, B, H))
        found, weighting = gradients(people, states), draw(*states.shape)
        for r, state in enumerate(people.states()):
            leaves = {name: state[name].detach().requires_grad_() for name in found}
            expected = torch.stack(plain.states(network, leaves, bits()[:, r], draw(R, B, H)[r]))
            assert distance(states[:, r], expected) < TOLERANCES[torch.float64].forward
            wanted = torch.autograd.grad((expected * weighting[:, r]).sum(), list(leaves.values()))
            for name, gradient in zip(leaves, wanted, strict=True):
                assert distance(found[name][r], gradient) < TOLERANCES[torch.float64].gradient, name

    def test_states_changed_before_the_backward_pass_are_an_error(self, network: Leaky):
        people = make(network, torch.float64)
        states = people.all_states(bits(), draw(R, B, H))
        total = states.sum()
        with torch.no_grad():
            states.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            total.backward()


class TestSegments:
    @pytest.mark.parametrize("products", [None, torch.bfloat16])
    @pytest.mark.parametrize("steps", [1, 2, 4, 5])
    def test_they_change_nothing(
        self, monkeypatch: pytest.MonkeyPatch, network: Leaky, products: torch.dtype | None, steps: int
    ):
        people = make(network, torch.float32, products)
        whole = last(people)
        expected = gradients(people, whole)
        buffers = 1 if network.self_interaction == "inside" else 2
        monkeypatch.setattr(_memory, "KEPT", steps * buffers * R * B * H * 4)
        monkeypatch.setattr(_memory, "PASSING", steps * buffers * R * B * H * 4)
        cut = last(people)
        assert torch.equal(cut, whole)
        # A segment's part of a bfloat16 gradient is rounded by itself.
        tolerance = TOLERANCES[torch.float32].gradient if products is None else BFLOAT16_GRADIENT
        for name, gradient in gradients(people, cut).items():
            assert distance(gradient, expected[name]) < tolerance, name
        with torch.no_grad():
            assert torch.equal(last(people), whole)

    def test_a_gradient_is_taken_once(self, network: Leaky):
        total = last(make(network, torch.float64)).sum()
        total.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="can be taken once"):
            total.backward()


class TestWorkspace:
    def test_graphs_alive_together_do_not_share_buffers(self, network: Leaky):
        people = make(network, torch.float64)
        expected = gradients(people, last(people))
        first, second = last(people), last(people)
        for states in (second, first):
            for name, gradient in gradients(people, states).items():
                assert torch.equal(gradient, expected[name]), name

    def test_a_run_comes_back_where_it_has_room(self):
        workspace: Workspace[Room] = Workspace()
        first = workspace.take("a", 5, lambda: Room("a", 5))
        workspace.give(first)
        assert workspace.take("b", 2, lambda: Room("b", 2)) is not first
        assert workspace.take("a", 3, lambda: Room("a", 3)) is first
        second = workspace.take("a", 3, lambda: Room("a", 3))
        assert second is not first
        workspace.give(second)
        longer = workspace.take("a", 9, lambda: Room("a", 9))
        assert longer.room == 9
        # What was too small is given up, so that lengthening sequences pile up nothing.
        assert workspace.take("a", 3, lambda: Room("a", 4)).room == 4


@dataclasses.dataclass(eq=False)
class Room:
    kind: str
    room: int


class TestBFloat16:
    @pytest.mark.parametrize("tau", [None, 1.0, 50.0])
    def test_states_and_gradients_are_near_float64(self, network: Leaky, tau: float | None):
        if tau is not None:
            network = dataclasses.replace(network, tau=FixedTau(tau=tau))
        exact, rounded = make(network, torch.float64), make(network, torch.float32, torch.bfloat16)
        for people in (exact, rounded):
            people.parameters["tau"].requires_grad_()
        expected, found = last(exact), last(rounded)
        assert found.dtype == torch.float32
        assert 0 < distance(found, expected) < BFLOAT16_FORWARD
        names = [name for name in exact.parameters if not name.startswith("readout")]
        pairs = zip(
            *(_grads(people, states, names) for people, states in ((exact, expected), (rounded, found))), strict=True
        )
        for name, (wanted, gradient) in zip(names, pairs, strict=True):
            assert gradient.dtype == torch.float32
            assert distance(gradient, wanted) < BFLOAT16_GRADIENT, name

    def test_the_leak_of_a_long_tau_is_not_rounded(self, network: Leaky):
        """Without weights a state decays by 1 - 1 / tau a step, whose nearest bfloat16 would be 1/64 or 1/32 off."""
        network = dataclasses.replace(network, tau=FixedTau(tau=50.0))
        people = make(network, torch.float32, torch.bfloat16)
        for name in ("recurrent.weight", "recurrent.bias", "input.weight", "input.bias"):
            people.parameters[name].detach().zero_()
        with torch.no_grad():
            states = people.all_states(torch.zeros(100, R, B), torch.ones(R, B, H))
        torch.testing.assert_close(states[-1], torch.full((R, B, H), 0.98**100), rtol=1e-5, atol=0)

    def test_a_run_learns_with_it(self, monkeypatch: pytest.MonkeyPatch):
        # Slow or not, the numbers are right on every processor.
        monkeypatch.setattr(choice, "bfloat16_is_faster", lambda: True)
        config = RunConfig(
            network=Leaky(hidden=48),
            training=Training(batch_size=64, steps_per_epoch=200, test_batches=4, precision="bfloat16"),
            end=dataclasses.replace(RunConfig().end, max_n=2, max_epochs=8),
        )
        *_, final = train(config)
        assert final.outcome is not None
        assert final.outcome.status == "solved_all"
        assert {tensor.dtype for tensor in final.checkpoint.network.values()} == {torch.float32}


def _grads(people: Population, states: Tensor, names: list[str]) -> tuple[Tensor, ...]:
    weighted = (states * draw(*states.shape, dtype=states.dtype)).sum()
    return torch.autograd.grad(weighted, [people.parameters[name] for name in names])


class TestOperations:
    @pytest.mark.parametrize(
        ("self_interaction", "products", "forward", "backward"),
        [("inside", None, 3, 4), ("outside", None, 4, 7), ("inside", torch.bfloat16, 7, 7)],
    )
    def test_a_time_step_launches_few(
        self, self_interaction: str, products: torch.dtype | None, forward: int, backward: int
    ):
        """Each count is what a GPU would launch for one more time step; views cost it nothing."""
        network = Leaky(hidden=H, self_interaction=self_interaction)
        people = make(network, torch.float32, products)
        counts = {steps: _launches(people, steps) for steps in (10, 30)}
        per_step = [(counts[30][i] - counts[10][i]) / 20 for i in range(2)]
        assert per_step == [forward, backward]


_VIEWS = ("slice", "as_strided", "select", "transpose", "unbind", "view", "expand", "detach", "empty", "unsqueeze", "t")


def _launches(people: Population, steps: int) -> tuple[int, int]:
    """Count the operations of a forward and of a backward pass that are not views."""
    inputs, initial = torch.zeros(steps, R, B), torch.zeros(R, B, H)
    counts = []
    states: list[Tensor] = []
    for run in (
        lambda: states.append(people.last_states(inputs, (steps,) * R, initial)),
        lambda: gradients(people, states[0]),
    ):
        with profile(activities=[ProfilerActivity.CPU]) as recorded:
            run()
        # Operations inside operations are not launched by us.
        own = [e for e in recorded.events() if e.name.startswith("aten::") and not _inside_another(e)]
        counts.append(sum(e.name.removeprefix("aten::").split(".")[0] not in _VIEWS for e in own))
    return counts[0], counts[1]


def _inside_another(event: object) -> bool:
    parent = getattr(event, "cpu_parent", None)
    return parent is not None and parent.name.startswith("aten::")
