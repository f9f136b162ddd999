"""The compiled recurrence and its heads: loops over networks and time, which numba compiles when they are first called.

Importing this module imports numba. The code is kept on disk between processes; where no folder can be
written, each process compiles.

Every array is stored row by row, and rows are padded to whole cache lines: H numbers, then zeros. [R, ...] arrays hold
each network's part apart, so that a network's numbers are computed in the same order in every stack. What a
padded place holds is never read into a place that counts.
"""

import math
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tsrnn.networks._compiling import Heads, Parameters, compiled

_PLAIN: Final = np.uint8(ord("N"))
_TRANSPOSED: Final = np.uint8(ord("T"))

# Rows that are transposed together.
_ROWS: Final = 16

LEAKY: Final = 0
TANH: Final = 1


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


@njit(error_model="numpy")
def _transpose(given, out, size):
    """Write the transpose of the first `size` rows and columns, some rows at a time: they stay in the nearest cache."""
    # A fixed number of rows is what the compiler unrolls.
    whole = size - size % _ROWS
    for first in range(0, whole, _ROWS):
        for j in range(size):
            row = out[j]
            for i in range(_ROWS):
                row[first + i] = given[first + i, j]
    for i in range(whole, size):
        for j in range(size):
            out[j, i] = given[i, j]


@compiled
def prepare(settings, parameters, buffers):
    """Write the products' matrices and what a step adds, for every network, and begin the sums of `backward` with 0."""
    inside = settings.inside
    weight, alpha, input_weight, bias = parameters
    matrix, back, vectors = buffers.matrix, buffers.back, buffers.vectors
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
        _transpose(back[r] if inside else weight[r], matrix[r], hidden)
    buffers.weight_sum[:] = 0
    buffers.sums[:] = 0


@compiled
def forward(settings, start, span, least, inputs, lengths, buffers, out):
    """Take a segment of each network's steps.

    Args:
        settings: see `Settings`.
        start: the network's own step at which the segment begins.
        span: S, how many steps it has.
        least: networks of more steps than this take part.
        inputs: [R, T, B] aligned at their end.
        lengths: [R].
        buffers: after `prepare`, with states to start from; `states` and `targets` are written.
        out: [K, R, B, H] the last K states.
    """
    inside, phi, slope = settings.inside, settings.phi, settings.slope
    matrix, vectors, states, targets = buffers.matrix, buffers.vectors, buffers.states, buffers.targets
    zero = matrix.dtype.type(0)
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
            # target = before . matrix; column by column, this is target^T = matrix^T . before^T.
            _gemm(
                settings.gemm, _PLAIN, _PLAIN, hidden, batch, hidden, at, padded, before.ctypes.data, padded, zero,
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


@compiled
def backward(settings, start, inputs, lengths, buffers, grads):
    """Bring the gradient from after a segment to before it, and add up what the parameters' gradients are made of.

    Args:
        settings: see `Settings`.
        start: see `forward`.
        inputs: see `forward`.
        lengths: see `forward`.
        buffers: after `forward`; `carry` is written, and `weight_sum` and `sums` are added to.
        grads: [K, R, B, H] gradients at the last K states.
    """
    inside, phi, slope = settings.inside, settings.phi, settings.slope
    matrix, back, vectors, states, targets, carry, weight_sum, sums = buffers
    zero, one = matrix.dtype.type(0), matrix.dtype.type(1)
    networks, hidden, padded = matrix.shape
    batch, span, kept = states.shape[2], states.shape[1] - 1, grads.shape[0]
    places = carry.shape[1]
    gathered = places // 2
    parts = np.empty((3, padded), matrix.dtype)
    for r in range(networks):
        length = lengths[r]
        at, total, leak = back[r].ctypes.data, weight_sum[r].ctypes.data, vectors[r, 3]
        shown = inputs[r, inputs.shape[1] - length + start :]
        last = min(length - start, span) - 1
        for t in range(last, -1, -1):
            own, following = carry[r, (start + t) % places], carry[r, (start + t - 1) % places]
            place = kept - length + start + t
            if start + t == length - 1:
                own[:] = zero
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
            if t == 0 or (start + t) % gathered == 0:
                # The sum over the steps from t to the last one that is missing: weight_sum += own^T . before; column by
                # column, weight_sum^T += before^T . own.
                _gemm(
                    settings.gemm, _PLAIN, _TRANSPOSED, hidden, hidden, batch * (last - t + 1), before.ctypes.data,
                    padded, own.ctypes.data, padded, one, total, padded,
                )  # fmt: skip
                last = t - 1
            if start + t > 0:
                # following = own . back, added to the leak's part; column by column, following^T = back^T . own^T.
                _gemm(
                    settings.gemm, _PLAIN, _PLAIN, hidden, batch, hidden, at, padded, own.ctypes.data, padded,
                    zero if inside else one, following.ctypes.data, padded,
                )  # fmt: skip


@compiled
def finish(settings, parameters, buffers, found):
    """Write the parameters' gradients, of `Parameters`, from the sums of `backward`."""
    inside, weight_sum, sums = settings.inside, buffers.weight_sum, buffers.sums
    weight, alpha, input_weight, bias = parameters
    weight_grad, alpha_grad, input_grad, bias_grad = found
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


@compiled
def read(gemm, states, heads, outputs, out):
    """Write what heads say of states.

    Args:
        gemm: the address of the BLAS routine.
        states: [R, B, H].
        heads: see `Heads`.
        outputs: [R] how many of the M outputs each network has; they are the first.
        out: [R, B, M]; zero beyond them.
    """
    weight, bias = heads
    one = weight.dtype.type(1)
    networks, batch, hidden = states.shape
    most = out.shape[2]
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


@compiled
def read_back(gemm, grads, states, heads, outputs, state_grad, found):
    """Write the gradient of the states that `read` reads, from that of what it wrote; add the heads' gradients.

    Args:
        gemm: the address of the BLAS routine.
        grads: [R, B, M].
        states: see `read`.
        heads: see `Heads`.
        outputs: see `read`.
        state_grad: [R, B, H].
        found: the gradients at the heads, of `Heads`, are added to.
    """
    weight, (weight_grad, bias_grad) = heads.weight, found
    zero, one = weight.dtype.type(0), weight.dtype.type(1)
    networks, batch, hidden = states.shape
    most = grads.shape[2]
    for r in range(networks):
        own, given = outputs[r], grads[r].ctypes.data
        for b in range(batch):
            for m in range(own):
                bias_grad[r, m] += grads[r, b, m]
        # state_grad = grads . weight; column by column, state_grad^T = weight^T . grads^T.
        _gemm(
            gemm, _PLAIN, _PLAIN, hidden, batch, own, weight[r].ctypes.data, hidden, given, most, zero,
            state_grad[r].ctypes.data, hidden,
        )  # fmt: skip
        # weight_grad += grads^T . states; column by column, weight_grad^T += states^T . grads.
        _gemm(
            gemm, _PLAIN, _TRANSPOSED, hidden, own, batch, states[r].ctypes.data, hidden, given, most, one,
            weight_grad[r].ctypes.data, hidden,
        )  # fmt: skip


@njit(error_model="numpy")
def _cross_entropy(answers, right, count, share, losses, grads):
    """Add what some answers contribute to each head's mean cross-entropy, and write the gradient of its share of a sum.

    Args:
        answers: [S, B, K, 2] logits of "no" and "yes".
        right: [S, K, B] the probability of "yes" that is asked for.
        count: how many answers of a head the mean is taken over.
        share: [K] the head's weight in the sum.
        losses: [K] are added to.
        grads: [S, B, K, 2].
    """
    steps, batch, places = answers.shape[:3]
    one = answers.dtype.type(1)
    for k in range(places):
        total, each = 0.0, share[k] / answers.dtype.type(count)
        for s in range(steps):
            for b in range(batch):
                z, asked = answers[s, b, k, 1] - answers[s, b, k, 0], right[s, k, b]
                small = math.exp(-abs(z))
                total += (z if z > 0 else 0) - z * asked + math.log1p(small)
                yes = ((one if z > 0 else small) / (one + small) - asked) * each
                grads[s, b, k, 0], grads[s, b, k, 1] = -yes, yes
        losses[k] += total / count


_prepare, _forward, _backward, _finish, _read, _read_back = (
    kernel.inner for kernel in (prepare, forward, backward, finish, read, read_back)
)


@njit
def _of(parameters, networks):
    """Return some networks' part of parameters."""
    weight, alpha, input_weight, bias = parameters
    return Parameters(weight[networks], alpha[networks], input_weight[networks], bias[networks])


@compiled
def differentiate(
    settings, parameters, heads, outputs, inputs, lengths, initial, readout_steps, right, share, buffers, losses, found,
    found_heads,
):  # fmt: skip
    """Write the losses of every network and their gradient, all of one network's before the next one's.

    The states of a network are then still in the core's cache when its backward pass reads them. If there are many
    sequences, C of them go forward and backward before the next C.

    Args:
        settings: see `Settings`.
        parameters: see `Parameters`.
        heads: see `Heads`.
        outputs: see `read`; a head has two.
        inputs: [R, B / C, T, C] aligned at their end.
        lengths: see `forward`.
        initial: [R, B, H] states before the first step.
        readout_steps: [R] the number of last steps at which the heads are read; S is the largest.
        right: [S, R, K, B] the probability of "yes" that is asked for.
        share: [R, K] each head's weight in the sum whose gradient is taken.
        buffers: for C sequences of one network, with room for the longest ones.
        losses: [R, K] zeros; the mean over sequences and steps is written for each head that there is.
        found: the gradients at `parameters`.
        found_heads: the gradients at `heads`; zeros before.
    """
    replicates, batch, hidden = initial.shape
    span, block, dtype = buffers.states.shape[1] - 1, buffers.states.shape[2], initial.dtype
    for r in range(replicates):
        one, own, steps = slice(r, r + 1), outputs[r], readout_steps[r]
        rows = steps * block
        weights, its_heads = _of(parameters, one), Heads(heads.weight[one], heads.bias[one])
        weights_grad, heads_grad = _of(found, one), Heads(found_heads.weight[one], found_heads.bias[one])
        seen, answers = np.empty((steps, 1, block, hidden), dtype), np.empty((1, rows, own), dtype)
        seen_grad, grads = np.empty_like(seen), np.empty_like(answers)
        by_step = (steps, block, own // 2, 2)

        _prepare(settings, weights, buffers)
        for place in range(batch // block):
            first, shown = place * block, inputs[r][place : place + 1]
            for b in range(block):
                for j in range(hidden):
                    buffers.states[0, 0, b, j] = initial[r, first + b, j]
            _forward(settings, 0, span, 0, shown, lengths[one], buffers, seen)
            _read(settings.gemm, seen.reshape(1, rows, hidden), its_heads, outputs[one], answers)
            _cross_entropy(
                answers.reshape(by_step), right[len(right) - steps :, r, :, first : first + block], steps * batch,
                share[r], losses[r], grads.reshape(by_step),
            )  # fmt: skip
            _read_back(
                settings.gemm, grads, seen.reshape(1, rows, hidden), its_heads, outputs[one],
                seen_grad.reshape(1, rows, hidden), heads_grad,
            )  # fmt: skip
            _backward(settings, 0, shown, lengths[one], buffers, seen_grad)
        _finish(settings, weights, buffers, weights_grad)
