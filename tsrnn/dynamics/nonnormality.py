"""Non-normality: how far a matrix is from normal, and the memory of hidden delay lines that eigenvalues do not show.

Source: Henrici (1962) for the departure from normality; Ganguli, Huh and Sompolinsky (2008), "Memory traces in
dynamical systems", for the Fisher memory curve.
"""

import math
from typing import Any

import numpy as np
import scipy.linalg

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def departure(matrix: Matrix) -> float:
    """Return Henrici's departure from normality: the part of a matrix that its eigenvalues do not account for.

    Args:
        matrix: A, [H, H].

    Returns:
        |N| / |A| in Frobenius norms, where N is the strictly upper triangle of the Schur form: 0 for a normal matrix, 1
        for a nilpotent one such as a delay line, NaN where A is 0 or not finite.
    """
    size = float(np.linalg.norm(matrix))
    if not math.isfinite(size) or size == 0:
        return math.nan
    triangle, _ = scipy.linalg.schur(matrix, output="complex")
    return float(np.linalg.norm(np.triu(triangle, 1))) / size


def fisher_memory(matrix: Matrix, source: Matrix, delays: int) -> Matrix:
    """Return the Fisher memory curve: how precisely a noisy linear network holds the input of each past step.

    For h(t) = A h(t-1) + v s(t) + noise of unit variance in every neuron, J(k) = (A^k v)' C^-1 (A^k v), where C = sum_k
    A^k A^k' is the covariance of the noise. For a normal network, the sum over all k is at most |v|^2. A larger sum
    means that there are hidden feedforward chains.

    Args:
        matrix: A, [H, H].
        source: v, [H].
        delays: K.

    Returns:
        [K] J(0) to J(K - 1), in units of the inverse noise variance; all NaN where A has an eigenvalue of size 1 or
        more, so that its noise grows without limit.

    Raises:
        ValueError: if `delays` is less than 1.
    """
    if delays < 1:
        raise ValueError(f"delays = {delays}: allowed are numbers of at least 1")
    if not np.isfinite(matrix).all() or np.abs(np.linalg.eigvals(matrix)).max() >= 1:
        return np.full(delays, np.nan)
    factor = scipy.linalg.cho_factor(_noise(matrix))
    curve, signal = np.empty(delays), np.asarray(source, dtype=float)
    for k in range(delays):
        curve[k] = signal @ scipy.linalg.cho_solve(factor, signal)
        signal = matrix @ signal
    return curve


def _noise(matrix: Matrix) -> Matrix:
    """Return the sum of A^k A^k' over all k, each round of which doubles how many powers are in it."""
    total, power = np.eye(len(matrix)), matrix
    while np.abs(power).max() > np.finfo(float).eps:
        total = total + power @ total @ power.T
        power = power @ power
    return total
