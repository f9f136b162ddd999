"""Planning: the candidates for computing a population of leaky networks, and the work with which they are timed."""

from collections.abc import Callable
from typing import Any, Literal

import torch

from tsrnn.config import LeakyReLU, Library, Nonlinearity
from tsrnn.networks import _compiled, _memory, choice
from tsrnn.networks._passage import Form, Parameters, Passage, Sequences
from tsrnn.networks._stepped import SteppedPassage
from tsrnn.networks.choice import Plan
from tsrnn.networks.workspace import Workspace

# Products with fewer multiplications than this are too short for another library to gain anything.
_SMALL = 1 << 18
# Products with at most this many multiplications use one thread of scipy's library, OpenBLAS, however many there are.
ONE_THREAD = 1 << 18
# Time steps of a measurement.
_TRIED = 3


def passage(
    form: Form, together: int, sequences: Sequences, parameters: Parameters, workspace: Workspace[Any]
) -> Passage:
    """Return the implementation that belongs to the form's library."""
    if form.library in _compiled.LIBRARIES:
        return _compiled.CompiledPassage(form, sequences, parameters, workspace)
    return SteppedPassage(form, together, sequences, parameters, workspace)


def plan_for(
    replicates: int, batch: int, hidden: int, *, dtype: torch.dtype, device: torch.device, products: torch.dtype,
    self_interaction: Literal["inside", "outside"], gradient: bool, library: Library | None = None,
    nonlinearity: Nonlinearity | None = None,
) -> Plan:  # fmt: skip
    """Measure, once for each process, the fastest way to compute a population of this shape.

    Args:
        replicates: R.
        batch: B.
        hidden: H.
        dtype: of the parameters.
        device: where they are.
        products: the dtype of the products.
        self_interaction: "inside" or "outside".
        gradient: whether a gradient follows the forward pass.
        library: use this one, and measure only the other choices.
        nonlinearity: phi; None for a leaky ReLU.

    Returns:
        The fastest plan.

    Raises:
        ValueError: if the library cannot multiply in this dtype on this device.
    """
    small = replicates * batch * hidden**2 < _SMALL
    if library is None and (small or device.type != "cpu"):
        names: tuple[Library, ...] = ("blas",)
    else:
        allowed = choice.libraries(products, device)
        if library is not None and library not in allowed:
            raise ValueError(
                f"products = {library!r}: not for {products} on {device.type}; allowed here: {', '.join(allowed)}"
            )
        names = allowed if library is None else (library,)
        if library is None and batch * hidden**2 > ONE_THREAD:
            names = tuple(name for name in names if name != _compiled.SCIPYS)
    fitting = min(replicates, _memory.fitting(hidden, dtype.itemsize))
    if device.type != "cpu":
        return Plan(names[0], replicates)
    if small:
        return Plan(names[0], 1 if names[0] in _compiled.LIBRARIES else fitting)
    one = hidden**2 * dtype.itemsize > _memory.CACHE
    stacks = [fitting] if one else [fitting, min(replicates, 4 * fitting), replicates]
    phi = nonlinearity or LeakyReLU()
    shape = (replicates, batch, hidden, dtype, products, self_interaction, phi, gradient, names)

    def make(plan: Plan) -> Callable[[], object]:
        form = Form(phi, self_interaction, products, plan.library, gradient)
        vectors = torch.full((3, replicates, hidden), 0.5, dtype=dtype)
        parameters = Parameters(torch.full((replicates, hidden, hidden), 1 / hidden, dtype=dtype), *vectors)
        inputs, initial = torch.ones(_TRIED, replicates, batch, dtype=dtype), torch.ones(replicates, batch, hidden)
        sequences = Sequences(inputs, initial.to(dtype), (_TRIED,) * replicates, every=False)
        workspace: Workspace[Any] = Workspace()

        def work() -> None:
            way = passage(form, plan.together, sequences, parameters, workspace)
            last = way.forward()
            if gradient:
                way.gradients(last)

        return work

    # The compiled loop computes networks one after the other, so a network's numbers are the same in every stack. It is
    # the first plan, and is therefore kept if no other plan is clearly faster.
    plans = [Plan(name, 1) for name in _compiled.LIBRARIES if name in names]
    plans += [Plan(name, count) for count in stacks for name in names if name not in _compiled.LIBRARIES]
    return choice.fastest(shape, plans, make)
