"""The compiled recurrence: its bits in every stack, what it calls and what it does where that is not to be had."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from tsrnn.config import Leaky, LeakyReLU, Nonlinearity, ReLU, RunConfig, Tanh
from tsrnn.io.checkpoint import new
from tsrnn.networks import _compiled, _gemm, _memory, _readout, choice, initial_network, population
from tsrnn.networks._passage import Form, Parameters, Sequences
from tsrnn.networks.choice import Plan
from tsrnn.networks.planning import passage, plan_for
from tsrnn.networks.workspace import Workspace
from tsrnn.training.loop import Trainer

CPU = torch.device("cpu")
LENGTHS = (9, 4, 9, 6)
FLOATS = (torch.float32, torch.float64)

needs_compiler = pytest.mark.skipif(
    not all(_compiled.available(library, dtype) for library in _compiled.LIBRARIES for dtype in FLOATS),
    reason="there is no compiler, or no BLAS for it to call",
)


def draw(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


class Networks:
    """R networks and sequences, of which any can be run in any stack."""

    def __init__(
        self, hidden: int, batch: int, dtype: torch.dtype, form: Form, lengths: tuple[int, ...] = LENGTHS
    ) -> None:
        r, t = len(lengths), max(lengths)
        self.form, self.lengths = form, lengths
        self.parameters = Parameters(
            draw(r, hidden, hidden, dtype=dtype) / hidden**0.5,
            draw(r, hidden, dtype=dtype).sigmoid(),
            *(draw(r, hidden, dtype=dtype) for _ in range(2)),
        )
        self.inputs = (draw(t, r, batch, dtype=dtype) > 0).to(dtype)
        self.initial, self.grad = draw(r, batch, hidden, dtype=dtype), draw(r, batch, hidden, dtype=dtype).sin()

    def run(self, *places: int) -> list[tuple[Tensor, ...]]:
        """Return each network's last state and gradients."""
        at, lengths = list(places), tuple(self.lengths[place] for place in places)
        sequences = Sequences(self.inputs[-max(lengths) :, at], self.initial[at], lengths, every=False)
        way = passage(self.form, 1, sequences, Parameters(*(own[at] for own in self.parameters)), Workspace())
        last = way.forward()
        return list(zip(last, *way.gradients(self.grad[at]), strict=True))


def form(self_interaction: str = "inside", nonlinearity: Nonlinearity | None = None, **changes: object) -> Form:
    settings = {"products": torch.float32, "library": "compiled", "gradient": True} | changes
    return Form(nonlinearity or LeakyReLU(), self_interaction, **settings)


@needs_compiler
class TestStacks:
    """docs/reproducibility.md: a network has the same bits alone, in any stack and at any size."""

    @pytest.mark.parametrize("library", _compiled.LIBRARIES)
    @pytest.mark.parametrize("dtype", FLOATS)
    @pytest.mark.parametrize("self_interaction", ["inside", "outside"])
    @pytest.mark.parametrize(("hidden", "batch"), [(1, 1), (7, 5), (16, 16), (33, 12), (64, 64), (131, 50), (500, 7)])
    def test_a_network_has_the_same_bits_in_each(self, hidden, batch, self_interaction, dtype, library):
        networks = Networks(hidden, batch, dtype, form(self_interaction, library=library))
        stacked = networks.run(0, 1, 2, 3)
        for places in ((0,), (1,), (3,), (1, 3), (3, 0, 1), (2, 1, 0, 3, 2)):
            for place, found in zip(places, networks.run(*places), strict=True):
                assert all(map(torch.equal, found, stacked[place]))

    @pytest.mark.parametrize("self_interaction", ["inside", "outside"])
    @pytest.mark.parametrize("steps", [1, 2, 4, 5, 8])
    def test_segments_change_no_bit(self, self_interaction, steps, monkeypatch):
        networks = Networks(7, 5, torch.float32, form(self_interaction))
        whole = networks.run(0, 1, 2, 3)
        buffers = 1 if self_interaction == "inside" else 2
        monkeypatch.setattr(_memory, "KEPT", steps * buffers * len(LENGTHS) * 5 * 7 * 4)
        for found, expected in zip(networks.run(0, 1, 2, 3), whole, strict=True):
            assert all(map(torch.equal, found, expected))


@needs_compiler
@pytest.mark.parametrize("self_interaction", ["inside", "outside"])
class TestGathered:
    """The gradient of large weights is one product over several steps; here small ones count as large."""

    LENGTHS = (49, 4, 33, 16)

    def networks(self, batch: int, dtype: torch.dtype, self_interaction: str) -> Networks:
        return Networks(7, batch, dtype, form(self_interaction, products=dtype), self.LENGTHS)

    @pytest.mark.parametrize(("batch", "steps"), [(1, 16), (5, 16), (40, 4), (128, 2), (129, 1)])
    def test_gradients_are_those_of_single_steps(self, self_interaction, batch, steps, monkeypatch):
        networks = self.networks(batch, torch.float64, self_interaction)
        expected = networks.run(0, 1, 2, 3)
        monkeypatch.setattr(_memory, "CACHE", 1)
        assert _memory.gathered(batch, 7, 8) == steps
        for found, wanted in zip(networks.run(0, 1, 2, 3), expected, strict=True):
            for own, single in zip(found, wanted, strict=True):
                torch.testing.assert_close(own, single, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("segment", [16, 20, 32, 47])
    def test_neither_stacks_nor_segments_change_a_bit(self, self_interaction, segment, monkeypatch):
        monkeypatch.setattr(_memory, "CACHE", 1)
        networks = self.networks(5, torch.float32, self_interaction)
        whole = networks.run(0, 1, 2, 3)
        buffers = 1 if self_interaction == "inside" else 2
        monkeypatch.setattr(_memory, "KEPT", segment * buffers * 5 * 7 * 4)
        for places in ((0,), (2, 0), (0, 1, 2, 3)):
            for place, found in zip(places, networks.run(*places), strict=True):
                assert all(map(torch.equal, found, whole[place]))


@needs_compiler
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("nonlinearity", [LeakyReLU(slope=0.3), ReLU(), Tanh()])
@pytest.mark.parametrize("self_interaction", ["inside", "outside"])
class TestDiverged:
    def test_what_is_not_finite_is_seen_everywhere_it_reaches(self, self_interaction, nonlinearity, dtype):
        networks = Networks(19, 5, dtype, form(self_interaction, nonlinearity))
        networks.initial[1, 2, 3] = torch.nan
        others = networks.run(0, 2)
        states, weight, *_ = networks.run(0, 1, 2, 3)[1]
        assert states[2].isnan().all()
        assert states[[0, 1, 3, 4]].isfinite().all()
        assert weight.isnan().any()
        # Its neighbours do not notice.
        for found, expected in zip([networks.run(0, 1, 2)[i] for i in (0, 2)], others, strict=True):
            assert all(map(torch.equal, found, expected))


@needs_compiler
def test_denormal_numbers_are_flushed_as_torch_is_told_to():
    """A state that decays for a long time is 0 in the end, where its least numbers would slow a processor down."""
    networks = Networks(8, 4, torch.float32, form(gradient=False))
    parameters = Parameters(*(torch.zeros_like(own) for own in networks.parameters))
    parameters.alpha.fill_(0.5)
    sequences = Sequences(torch.zeros(140, 4, 4), torch.ones(4, 4, 8), (140,) * 4, every=False)
    for flushed in (True, False):
        torch.set_flush_denormal(flushed)
        last = passage(networks.form, 1, sequences, parameters, Workspace()).forward()
        assert bool((last == 0).all()) == flushed


class TestRoutines:
    @pytest.mark.parametrize("dtype", FLOATS)
    def test_torchs_library_has_them(self, dtype):
        """A canary: with a torch that hides them this fails, and scipy's are used."""
        if sys.platform != "linux" or platform.machine() != "x86_64":
            pytest.skip("known of torch's wheels for Linux on x86-64")
        name = {torch.float32: "sgemm", torch.float64: "dgemm"}[dtype]
        assert _gemm.address(dtype) == _gemm._torchs(name) is not None

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_where_torchs_hides_them_scipys_are_called(self, dtype, monkeypatch):
        monkeypatch.setattr(_gemm, "_torchs", lambda name: None)
        _gemm.address.cache_clear()
        try:
            assert _gemm.address(dtype) == _gemm.address(dtype, scipys=True) is not None
        finally:
            _gemm.address.cache_clear()

    def test_a_routine_that_computes_something_else_is_not_taken(self, monkeypatch):
        monkeypatch.setattr(_gemm, "_torchs", lambda name: _gemm._scipys(name.replace("gemm", "symm")))
        _gemm.address.cache_clear()
        try:
            assert _gemm.address(torch.float32) == _gemm._scipys("sgemm")
        finally:
            _gemm.address.cache_clear()

    def test_without_any_torch_multiplies(self, monkeypatch):
        for name in ("_torchs", "_scipys"):
            monkeypatch.setattr(_gemm, name, lambda _: None)
        caches = (_gemm.address, _compiled.available)
        for cache in caches:
            cache.cache_clear()
        try:
            assert not {*_compiled.LIBRARIES} & {*choice.libraries(torch.float32, CPU)}
            with pytest.raises(ValueError, match="products = 'compiled': not for"):
                Trainer([new(RunConfig(network=Leaky(hidden=8)))], products="compiled")
        finally:
            for cache in caches:
                cache.cache_clear()

    def test_only_for_numbers_that_they_multiply(self):
        assert not any(_compiled.available(library, torch.bfloat16) for library in _compiled.LIBRARIES)


# Runs programs each in a fork of a process that has imported what they begin with: all but numba and what is compiled.
SERVER = """
import json, os, sys
import numpy, torch
from tests.processes import fork
from tsrnn.networks import choice, planning


def begin(program, environment):
    ends = [os.pipe() for _ in range(2)]

    def work():
        os.environ |= environment
        for file, (_, end) in enumerate(ends, 1):
            os.dup2(end, file)
        exec(program, {"__name__": "__main__"})
        return 0

    child = fork(work)
    for _, end in ends:
        os.close(end)
    return child, [open(end) for end, _ in ends]


for line in sys.stdin:
    assert "numba" not in sys.modules
    programs, environment = json.loads(line)
    told = [(child, [file.read() for file in files]) for child, files in [begin(one, environment) for one in programs]]
    print(json.dumps([(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), *said) for child, said in told]), flush=True)
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., list[tuple[int, str, str]]]]:
    """Runs programs at once, in an environment with these changes; returns exit statuses, outputs and errors."""
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def run(*programs: str, **environment: str) -> list[tuple[int, str, str]]:
            server.stdin.write(json.dumps([programs, environment]) + "\n")
            server.stdin.flush()
            return [tuple(one) for one in json.loads(server.stdout.readline())]

        yield run
        server.communicate()


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None  # what an absent package looks like to an import
import torch
from tsrnn.networks import choice
assert {*choice.libraries(torch.float32, torch.device("cpu"))} <= {"blas", "onednn"}
"""

WITHOUT_A_FOLDER = """
import numba
def refuse(self, *_):
    raise RuntimeError("cannot cache function: no locator available")
numba.core.dispatcher.Dispatcher.enable_caching = refuse
from tsrnn.networks import _kernels
assert _kernels.forward.inner.stats.cache_path is None
"""


@pytest.mark.parametrize("code", [WITHOUT_NUMBA, WITHOUT_A_FOLDER], ids=["no numba", "no folder for its code"])
def test_what_it_does_without(code: str, run):
    pytest.importorskip("numba")
    ((status, _, errors),) = run(code)
    assert status == 0, errors


FORWARD = """
import torch
from tsrnn.config import LeakyReLU
from tsrnn.networks._passage import Form, Parameters, Sequences
from tsrnn.networks.planning import passage
from tsrnn.networks.workspace import Workspace
form = Form(LeakyReLU(), "inside", torch.float32, "compiled", gradient=False)
parameters = Parameters(torch.eye(16).repeat(2, 1, 1), *(torch.full((2, 16), 0.5) for _ in range(3)))
sequences = Sequences(torch.ones(9, 2, 8), torch.ones(2, 8, 16), (9, 4), every=False)
print(float(passage(form, 1, sequences, parameters, Workspace()).forward().sum()))
"""


@needs_compiler
def test_processes_may_compile_at_once(run, tmp_path):
    """Of the loops two that compile fast: all are kept on the disk in the same way."""
    told = run(FORWARD, FORWARD, NUMBA_CACHE_DIR=str(tmp_path))
    assert [status for status, _, _ in told] == [0, 0], told
    assert len({output for _, output, _ in told}) == 1
    assert np.isfinite(float(told[0][1]))
    assert list(tmp_path.rglob("*.nbc"))


@needs_compiler
@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_where_the_code_cannot_be_kept_it_runs_nevertheless(run, tmp_path):
    """A limit of 0 on the size of files stands for a full disk: every write to a file is an OSError.

    A loop that compiles fast runs, and small functions that call each other, as many as there are loops.
    """
    from tsrnn.networks import _kernels

    calls = range(sum(hasattr(value, "inner") for value in vars(_kernels).values()))
    functions = [f"@compiled\ndef part{i}(x):\n    return x + {i}\n" for i in calls]
    functions += [f"inner{i} = part{i}.inner\n" for i in calls]
    functions.append(f"@compiled\ndef whole(x):\n    return {' + '.join(f'inner{i}(x)' for i in calls)}\n")
    (tmp_path / "nested.py").write_text("\n".join(["from tsrnn.networks._compiling import compiled", *functions]))
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n" + FORWARD
    code += f"import sys\nsys.path.append({str(tmp_path)!r})\nimport nested\nprint(nested.whole(0.0))\n"
    ((status, output, errors),) = run(code, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert status == 0, errors
    forward, whole = map(float, output.split())
    assert np.isfinite(forward)
    assert whole == sum(calls)
    assert not list(tmp_path.rglob("*.nbc"))


@needs_compiler
@pytest.mark.parametrize("dtype", FLOATS)
def test_heads_are_read_as_torch_reads_them_and_alike_in_a_stack_of_even_sizes(dtype):
    r, batch, hidden, most = 3, 16, 64, 4
    states, weight, bias, grad = (
        draw(*shape, dtype=dtype)
        for shape in ((r, batch, hidden), (r, most, 2, hidden), (r, most, 2), (r, batch, most, 2))
    )
    owned = (4, 2, 3)
    for place, own in enumerate(owned):
        weight[place, own:], bias[place, own:], grad[place, :, own:] = 0, 0, 0

    def run(places: list[int], places_of_heads: int) -> list[Tensor]:
        leaves = [t[places].clone() for t in (states, weight[:, :places_of_heads], bias[:, :places_of_heads])]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        read = _readout.read(*leaves, [2 * owned[place] for place in places])
        return [read, *torch.autograd.grad(read, leaves, grad[places][:, :, :places_of_heads])]

    wide = [t.double().requires_grad_() for t in (states, weight, bias)]
    expected = torch.einsum("rbh,rkch->rbkc", wide[0], wide[1]) + wide[2][:, None]
    gradients = torch.autograd.grad(expected, wide, grad.double())
    tolerance = {"rtol": 0, "atol": 1e-4 if dtype == torch.float32 else 1e-12}
    stacked = run([0, 1, 2], most)
    for found, right in zip(stacked, (expected, *gradients), strict=True):
        torch.testing.assert_close(found.double(), right, **tolerance)
    for place, own in enumerate(owned):
        read, state_grad, weight_grad, bias_grad = run([place], own)
        assert torch.equal(read[0], stacked[0][place, :, :own])
        assert torch.equal(state_grad[0], stacked[1][place])
        assert torch.equal(weight_grad[0], stacked[2][place, :own])
        assert torch.equal(bias_grad[0], stacked[3][place, :own])


@needs_compiler
def test_scipys_library_is_tried_where_it_takes_one_thread(monkeypatch):
    tried: list[Plan] = []
    monkeypatch.setattr(choice, "fastest", lambda shape, plans, make: tried.extend(plans) or tried[0])
    settings = {"dtype": torch.float32, "device": CPU, "products": torch.float32, "gradient": True}
    for batch, expected in ((64, True), (65, False)):
        tried.clear()
        plan_for(4, batch, 64, self_interaction="inside", **settings)
        assert tried[0] == Plan("compiled", 1)
        assert (Plan(_compiled.SCIPYS, 1) in tried) == expected


@needs_compiler
def test_a_plan_is_recorded_and_taken_again():
    config = RunConfig(network=Leaky(hidden=8))
    trainer = Trainer([new(config)], products="compiled")
    assert trainer.computed.plan == Plan("compiled", 1)
    people = population(config.network, [initial_network(config, (2,))], [(2,)])
    assert people.plan_for(8, "compiled") == Plan("compiled", 1)
