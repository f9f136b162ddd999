"""oneDNN's matrix product of two float32 matrices, which torch has as private operators.

`available` tells whether they are there and compute what they should; where it says no, nothing else here may be
called, and the public products of torch are used.
"""

from functools import cache

import torch
from torch import Tensor


@cache
def available() -> bool:
    """Tell whether torch's private operators for oneDNN exist, and multiply as this module expects."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    rows, matrix = torch.arange(6.0).view(1, 2, 3), torch.arange(12.0).view(4, 3)
    try:
        found = (times(rows, pack(matrix)), times(rows, matrix))
    # Operators that are absent raise AttributeError, those with other arguments RuntimeError or TypeError.
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.equal(product, rows @ matrix.T) for product in found)


def pack(matrix: Tensor) -> Tensor:
    """Return a matrix [n, m] in oneDNN's own order, for `times`: worth it where it multiplies many times."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous())
    return packed


def times(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return rows [..., m] . matrix^T as [..., n]; the matrix [n, m] may be packed."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, matrix, None, "none", [], "")
    return product
