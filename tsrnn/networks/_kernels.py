"""The compiled recurrence: loops over networks and time, in machine code made by numba when they are first called.

Importing this module imports numba. The code is kept on disk between processes; where no folder can be
written, each process compiles.

Every array is stored row by row, and rows are padded to whole cache lines: H numbers, then zeros. [R, ...] arrays hold
each network's part apart, so that a network's numbers are computed in the same order in every stack. What a
padded place holds is never read into a place that counts.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_PLAIN: Final = np.uint8(ord("N"))
_TRANSPOSED: Final = np.uint8(ord("T"))

LEAKY: Final = 0
TANH: Final = 1


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that holds no Python lock and divides as numpy does."""
    settings = {"nogil": True, "error_model": "numpy"}
    try:
        compiled = njit(cache=True, **settings)(function)
    except RuntimeError:  # there is no folder to keep the code in
        return njit(**settings)(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return compiled(*arguments)
        except OSError:
            # The code could not be kept, as on a full disk. It was compiled before that, and has not run yet.
            return compiled(*arguments)

    return call


@intrinsic
def _gemm(typing: Any, address: Any, a_form: Any, b_form: Any, m: Any, n: Any, k: Any, a: Any, lda: Any, b: Any,
          ldb: Any, beta: Any, c: Any, ldc: Any) -> Any:  # fmt: skip
    """Call the BLAS routine at an address: C = A B + beta C, of matrices stored column by column."""
    size = types.int64
    signature = types.void(
        size, types.uint8, types.uint8, size, size, size, size, size, size, size, beta, size, size
    )  # fmt: skip

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, a_form, b_form, m, n, k, a, lda, b, ldb, beta, c, ldc = values
        pointer = ir.IntType(8).as_pointer()

        def at(value: Any) -> Any:
            return builder.bitcast(cgutils.alloca_once_value(builder, value), pointer)

        def matrix(value: Any) -> Any:
            return builder.inttoptr(value, pointer)

        routine = ir.FunctionType(ir.VoidType(), [pointer] * 13)
        # 64-bit sizes are right for a library whose integers have 32 bits too, where the low half comes first.
        arguments = [
            at(a_form), at(b_form), at(m), at(n), at(k), at(ir.Constant(beta.type, 1.0)), matrix(a), at(lda), matrix(b),
            at(ldb), at(beta), matrix(c), at(ldc),
        ]  # fmt: skip
        builder.call(builder.inttoptr(address, routine.as_pointer()), arguments)
        return context.get_dummy_value()

    return signature, build


@njit(error_model="numpy")
def _bend(rows, bias, input_weight, x, phi, slope):
    """Add bias + x * input weight to rows [B, P], and apply phi, in place."""
    for b in range(len(rows)):
        row, shown = rows[b], x[b]
        if phi == TANH:
            for j in range(len(row)):
                row[j] = math.tanh(row[j] + (bias[j] + shown * input_weight[j]))
        else:
            for j in range(len(row)):
                z = row[j] + (bias[j] + shown * input_weight[j])
                row[j] = z if z > 0 else z * slope


@njit(error_model="numpy")
def _bend_back(grads, activity, x, phi, slope, delta_sum, input_sum):
    """Multiply gradients [B, P] by phi', in place, and add what they and their products with x sum up to."""
    one = grads.dtype.type(1)
    batch = len(grads)
    for b in range(batch):
        grad, h = grads[b], activity[b]
        if phi == TANH:
            for j in range(len(grad)):
                grad[j] *= one - h[j] * h[j]
        else:
            for j in range(len(grad)):
                grad[j] = grad[j] if h[j] > 0 else grad[j] * slope
    # Four rows a pass, added in order, spare writing the sums after each. In one loop the two sums would not be
    # vectorised: the compiler checks only so many pairs of arrays for overlap.
    whole = batch - batch % 4
    for b in range(0, whole, 4):
        first, second, third, fourth = grads[b], grads[b + 1], grads[b + 2], grads[b + 3]
        for j in range(len(delta_sum)):
            delta_sum[j] = delta_sum[j] + first[j] + second[j] + third[j] + fourth[j]
        x0, x1, x2, x3 = x[b], x[b + 1], x[b + 2], x[b + 3]
        for j in range(len(input_sum)):
            input_sum[j] = input_sum[j] + first[j] * x0 + second[j] * x1 + third[j] * x2 + fourth[j] * x3
    for b in range(whole, batch):
        grad, shown = grads[b], x[b]
        for j in range(len(grad)):
            delta_sum[j] += grad[j]
            input_sum[j] += grad[j] * shown


@njit(error_model="numpy")
def _leak(before, target, alpha, after):
    """Write before + alpha (target - before) to `after`; all rows [B, P]."""
    for b in range(len(before)):
        old, aim, new = before[b], target[b], after[b]
        for j in range(len(old)):
            new[j] = old[j] + alpha[j] * (aim[j] - old[j])


@njit(error_model="numpy")
def _leak_back(grads, before, target, leak, out, alpha_sum):
    """Write the gradients' way through the leak to `out`, and add what alpha's gradient sums up to; rows [B, P]."""
    for b in range(len(grads)):
        grad, old, aim, new = grads[b], before[b], target[b], out[b]
        for j in range(len(grad)):
            alpha_sum[j] += grad[j] * (aim[j] - old[j])
            new[j] = grad[j] * leak[j]


@njit(fastmath={"reassoc", "nsz", "contract"})
def _dot(left, right):
    """Return the sum of products, in whatever order is fast: NaN and infinity come through."""
    total = left[0] * right[0]
    for j in range(1, len(left)):
        total += left[j] * right[j]
    return total


@_compiled
def prepare(inside, turned, weight, alpha, input_weight, bias, matrix, back, vectors):
    """Write the products' matrices and what a step adds, for every network.

    Args:
        inside: whether the self-interaction is.
        turned: whether `matrix` is to be transposed, as some libraries multiply faster.
        weight: [R, H, H].
        alpha: [R, H].
        input_weight: [R, H].
        bias: [R, H].
        matrix: [R, H, P] multiplies states.
        back: [R, H, P] its transpose multiplies what comes back; inside, and not turned, the same as `matrix`.
        vectors: [R, 4, P] bias and input weight as a step adds them, alpha, 1 - alpha.
    """
    one = weight.dtype.type(1)
    networks, hidden = alpha.shape
    for r in range(networks):
        for i in range(hidden):
            own = alpha[r, i]
            vectors[r, 2, i], vectors[r, 3, i] = own, one - own
            factor = own if inside else one
            vectors[r, 0, i], vectors[r, 1, i] = bias[r, i] * factor, input_weight[r, i] * factor
            for j in range(hidden):
                back[r, i, j] = weight[r, i, j] * own
            if inside:
                back[r, i, i] += one - own
            if turned:
                for j in range(hidden):
                    matrix[r, j, i] = back[r, i, j] if inside else weight[r, i, j]
            elif not inside:
                for j in range(hidden):
                    matrix[r, i, j] = weight[r, i, j]


@_compiled
def forward(
    gemm, inside, phi, slope, start, span, least, turned, matrix, vectors, inputs, lengths, states, targets, out
):
    """Take a segment of each network's steps.

    Args:
        gemm: the address of the BLAS routine.
        inside: whether the self-interaction is.
        phi: LEAKY (with a slope of 0, a ReLU) or TANH.
        slope: of the leaky ReLU.
        start: the network's own step at which the segment begins.
        span: S, how many steps it has.
        least: networks of more steps than this take part.
        turned: see `prepare`.
        matrix: see `prepare`.
        vectors: see `prepare`.
        inputs: [R, T, B] aligned at their end.
        lengths: [R].
        states: [R, S + 1, B, P] the states, the first given; or [R, 2, B, P] where they may be written over.
        targets: [R, S, B, P] phi of each step, outside; or [R, 1, B, P].
        out: [K, R, B, H] the last K states.
    """
    zero, matrix_form = matrix.dtype.type(0), _PLAIN if turned else _TRANSPOSED
    networks, hidden, padded = matrix.shape
    batch, slots, kept = states.shape[2], states.shape[1], out.shape[0]
    for r in range(networks):
        length = lengths[r]
        if length <= least:
            continue
        at = matrix[r].ctypes.data
        bias, input_weight, alpha = vectors[r, 0], vectors[r, 1], vectors[r, 2]
        shown = inputs[r, inputs.shape[1] - length + start :]
        for t in range(min(length - start, span)):
            before, after = states[r, t % slots], states[r, (t + 1) % slots]
            target = after if inside else targets[r, t % targets.shape[1]]
            # target = before . matrix^T; column by column, this is target^T = matrix . before^T.
            _gemm(
                gemm, matrix_form, _PLAIN, hidden, batch, hidden, at, padded, before.ctypes.data, padded, zero,
                target.ctypes.data, padded,
            )  # fmt: skip
            _bend(target, bias, input_weight, shown[t], phi, slope)
            if not inside:
                _leak(before, target, alpha, after)
            place = kept - length + start + t
            if place >= 0:
                for b in range(batch):
                    for j in range(hidden):
                        out[place, r, b, j] = after[b, j]


@_compiled
def backward(
    gemm, inside, phi, slope, start, matrix, back, vectors, inputs, lengths, states, targets, grads, carry, weight_sum,
    sums,
):  # fmt: skip
    """Bring the gradient from after a segment to before it, and add up what the parameters' gradients are made of.

    Args:
        gemm: the address of the BLAS routine.
        inside: whether the self-interaction is.
        phi: see `forward`.
        slope: see `forward`.
        start: see `forward`.
        matrix: see `prepare`.
        back: see `prepare`.
        vectors: see `prepare`.
        inputs: see `forward`.
        lengths: see `forward`.
        states: see `forward`.
        targets: see `forward`.
        grads: [K, R, B, H] gradients at the last K states.
        carry: [R, 2, B, P] gradients at the states after even steps and after odd ones, in turns; each becomes delta,
            the gradient at phi's argument (outside, without the factor alpha).
        weight_sum: [R, H, P] delta . before^T.
        sums: [R, 3, P] delta; delta * input; outside, the gradient at the state * (phi - before).
    """
    zero, one = matrix.dtype.type(0), matrix.dtype.type(1)
    networks, hidden, padded = matrix.shape
    batch, span, kept = states.shape[2], states.shape[1] - 1, grads.shape[0]
    parts = np.empty((3, padded), matrix.dtype)
    for r in range(networks):
        length = lengths[r]
        at, total, leak = back[r].ctypes.data, weight_sum[r].ctypes.data, vectors[r, 3]
        shown = inputs[r, inputs.shape[1] - length + start :]
        for t in range(min(length - start, span) - 1, -1, -1):
            own, following = carry[r, (start + t) % 2], carry[r, (start + t + 1) % 2]
            place = kept - length + start + t
            newest = start + t == length - 1
            if newest:
                own[:] = zero
                for i in range(3):
                    for j in range(padded):
                        sums[r, i, j] = zero
            if place >= 0:
                for b in range(batch):
                    for j in range(hidden):
                        own[b, j] += grads[place, r, b, j]
            before = states[r, t]
            # A step's sum by itself first: long sums of small numbers lose less.
            parts[:] = zero
            if inside:
                _bend_back(own, states[r, t + 1], shown[t], phi, slope, parts[0], parts[1])
            else:
                _leak_back(own, before, targets[r, t], leak, following, parts[2])
                _bend_back(own, targets[r, t], shown[t], phi, slope, parts[0], parts[1])
            for i in range(3):
                for j in range(padded):
                    sums[r, i, j] += parts[i, j]
            # weight_sum += own^T . before; column by column, weight_sum^T += before^T . own. The first writes over.
            _gemm(
                gemm, _PLAIN, _TRANSPOSED, hidden, hidden, batch, before.ctypes.data, padded, own.ctypes.data, padded,
                zero if newest else one, total, padded,
            )  # fmt: skip
            if start + t > 0:
                # following = own . back, added to the leak's part; column by column, following^T = back^T . own^T.
                _gemm(
                    gemm, _PLAIN, _PLAIN, hidden, batch, hidden, at, padded, own.ctypes.data, padded,
                    zero if inside else one, following.ctypes.data, padded,
                )  # fmt: skip


@_compiled
def finish(inside, weight, alpha, input_weight, bias, weight_sum, sums, weight_grad, alpha_grad, input_grad, bias_grad):
    """Write the parameters' gradients, from the sums of `backward`.

    Args:
        inside: whether the self-interaction is.
        weight: [R, H, H].
        alpha: [R, H].
        input_weight: [R, H].
        bias: [R, H].
        weight_sum: see `backward`.
        sums: see `backward`.
        weight_grad: [R, H, H].
        alpha_grad: [R, H].
        input_grad: [R, H].
        bias_grad: [R, H].
    """
    networks, hidden = alpha.shape
    for r in range(networks):
        for i in range(hidden):
            own, total, given = alpha[r, i], weight_sum[r, i], weight[r, i]
            if inside:
                # alpha multiplies all of W h + b + u x, and 1 - alpha the state itself.
                own_sum = bias[r, i] * sums[r, 0, i] + input_weight[r, i] * sums[r, 1, i] - total[i]
                alpha_grad[r, i] = own_sum + _dot(total[:hidden], given)
            else:
                alpha_grad[r, i] = sums[r, 2, i]
            bias_grad[r, i], input_grad[r, i] = own * sums[r, 0, i], own * sums[r, 1, i]
            for j in range(hidden):
                weight_grad[r, i, j] = own * total[j]


@_compiled
def read(gemm, states, weight, bias, outputs, out):
    """Write what heads say of states.

    Args:
        gemm: the address of the BLAS routine.
        states: [R, B, H].
        weight: [R, M, H].
        bias: [R, M].
        outputs: [R] how many of the M outputs each network has; they are the first.
        out: [R, B, M]; zero beyond them.
    """
    one = weight.dtype.type(1)
    networks, batch, hidden = states.shape
    most = weight.shape[1]
    for r in range(networks):
        own = outputs[r]
        for b in range(batch):
            for m in range(most):
                out[r, b, m] = bias[r, m] if m < own else 0
        # out += states . weight^T; column by column, out^T += weight . states^T.
        _gemm(
            gemm, _TRANSPOSED, _PLAIN, own, batch, hidden, weight[r].ctypes.data, hidden, states[r].ctypes.data, hidden,
            one, out[r].ctypes.data, most,
        )  # fmt: skip


@_compiled
def read_back(gemm, grads, states, weight, outputs, state_grad, weight_grad, bias_grad):
    """Write the gradients of what `read` reads, from that of what it wrote.

    Args:
        gemm: the address of the BLAS routine.
        grads: [R, B, M].
        states: see `read`.
        weight: see `read`.
        outputs: see `read`.
        state_grad: [R, B, H].
        weight_grad: [R, M, H]; zero for outputs that a network has not.
        bias_grad: [R, M]; zero for outputs that a network has not.
    """
    zero = weight.dtype.type(0)
    networks, batch, hidden = states.shape
    most = weight.shape[1]
    for r in range(networks):
        own, given = outputs[r], grads[r].ctypes.data
        bias_grad[r] = zero
        for b in range(batch):
            for m in range(own):
                bias_grad[r, m] += grads[r, b, m]
        # state_grad = grads . weight; column by column, state_grad^T = weight^T . grads^T.
        _gemm(
            gemm, _PLAIN, _PLAIN, hidden, batch, own, weight[r].ctypes.data, hidden, given, most, zero,
            state_grad[r].ctypes.data, hidden,
        )  # fmt: skip
        # weight_grad = grads^T . states; column by column, weight_grad^T = states^T . grads.
        weight_grad[r, own:] = zero
        _gemm(
            gemm, _PLAIN, _TRANSPOSED, hidden, own, batch, states[r].ctypes.data, hidden, given, most, zero,
            weight_grad[r].ctypes.data, hidden,
        )  # fmt: skip
