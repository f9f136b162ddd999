"""How `_kernels` is compiled and kept on disk, and what it takes: arrays by name.

numba takes code from the disk if the file in which a function stands is as it was when the code was kept. Compiled
functions that call each other must therefore stand in one file. Here are none.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NamedTuple

from numba import njit

# More than one function calls others, each of which may fail to be kept.
_TRIES: Final = 10


class Settings(NamedTuple):
    """What all networks share.

    Attributes:
        gemm: the address of the BLAS routine.
        inside: whether the self-interaction is.
        phi: LEAKY (with a slope of 0, a ReLU) or TANH.
        slope: of the leaky ReLU.
        turned: whether `Buffers.matrix` is transposed, as some libraries multiply faster.
    """

    gemm: int
    inside: bool
    phi: int
    slope: Any
    turned: bool


class Parameters(NamedTuple):
    """The parameters of R networks, or their gradients.

    Attributes:
        weight: [R, H, H].
        alpha: [R, H].
        input_weight: [R, H].
        bias: [R, H].
    """

    weight: Any
    alpha: Any
    input_weight: Any
    bias: Any


class Heads(NamedTuple):
    """The heads of R networks, or their gradients; zero beyond the outputs that a network has.

    Attributes:
        weight: [R, M, H].
        bias: [R, M].
    """

    weight: Any
    bias: Any


class Buffers(NamedTuple):
    """What a forward and a backward pass need room for.

    Attributes:
        matrix: [R, H, P] multiplies states.
        back: [R, H, P] its transpose multiplies what comes back; inside, and not turned, the same as `matrix`.
        vectors: [R, 4, P] bias and input weight as a step adds them, alpha, 1 - alpha.
        states: [R, S + 1, B, P] the states, the first given; or [R, 2, B, P] where they may be written over.
        targets: [R, S, B, P] phi of each step, outside; or [R, 1, B, P].
        carry: [R, 2, B, P] gradients at the states after even steps and after odd ones, in turns; each becomes delta,
            the gradient at phi's argument (outside, without the factor alpha).
        weight_sum: [R, H, P] delta . before^T.
        sums: [R, 3, P] delta; delta * input; outside, the gradient at the state * (phi - before).
    """

    matrix: Any
    back: Any
    vectors: Any
    states: Any
    targets: Any
    carry: Any
    weight_sum: Any
    sums: Any


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that holds no Python lock and divides as numpy does.

    Returns:
        What Python calls. Its attribute `inner` is for other compiled code to call.
    """
    settings = {"nogil": True, "error_model": "numpy"}
    try:
        kept = njit(cache=True, **settings)(function)
    except RuntimeError:  # there is no folder to keep the code in
        kept = njit(**settings)(function)

    @wraps(kept)
    def call(*arguments: Any) -> Any:
        for _ in range(_TRIES):
            try:
                return kept(*arguments)
            except OSError:
                # The code could not be kept, as on a full disk, or that of a function that it calls. It was compiled
                # before that, and has not run yet.
                continue
        return kept(*arguments)

    call.inner = kept  # type: ignore[attr-defined]
    return call
