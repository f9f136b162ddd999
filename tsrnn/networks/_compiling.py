"""Compilation of `_kernels`, and the named tuples of arrays that its functions take.

numba loads compiled code from the disk if the source file of the function has not changed since the code was stored.
It does not check other files, so compiled functions that call each other must be in one file. This file has none.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NamedTuple

from numba import njit

# Attempts of a call: a function calls others, and storing the code of each of them may fail once.
_TRIES: Final = 10


class Settings(NamedTuple):
    """The settings that all networks share.

    Attributes:
        gemm: the address of the BLAS routine.
        inside: whether the self-interaction is inside the nonlinearity (equation 1).
        phi: LEAKY (with a slope of 0, a ReLU) or TANH.
        slope: of the leaky ReLU.
    """

    gemm: int
    inside: bool
    phi: int
    slope: Any


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
    """The buffers of a forward and a backward pass.

    Attributes:
        matrix: [R, H, P] multiplies states from the right: column i has the weights of neuron i.
        back: [R, H, P] multiplies gradients from the right in the backward pass: row i has the weights of neuron i.
        vectors: [R, 4, P] bias and input weight as a step adds them, alpha, 1 - alpha.
        states: [R, S + 1, B, P] the states, the first of which is given; or [R, 2, B, P] if they may be overwritten.
        targets: [R, S, B, P] phi of each step, outside; or [R, 1, B, P].
        carry: [R, 2 G, B, P] gradients at the states after the steps, that of step t in place t % 2 G; each is turned
            into delta, the gradient at phi's argument (outside, without the factor alpha). The products for
            `weight_sum` are taken over G steps at a time.
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
    """Compile a function that releases the GIL and divides as numpy does.

    Returns:
        A function to call from Python. Its attribute `inner` is for calls from other compiled code.
    """
    settings = {"nogil": True, "error_model": "numpy"}
    try:
        kept = njit(cache=True, **settings)(function)
    except RuntimeError:  # no folder for the compiled code is writable
        kept = njit(**settings)(function)

    @wraps(kept)
    def call(*arguments: Any) -> Any:
        for _ in range(_TRIES):
            try:
                return kept(*arguments)
            except OSError:
                # The code of this function, or of one that it calls, could not be stored, for example on a full disk.
                # It has been compiled, but has not run yet.
                continue
        return kept(*arguments)

    call.inner = kept  # type: ignore[attr-defined]
    return call
