"""oneDNN's product of two float32 matrices, which torch provides as private operators.

`available` returns whether these operators exist and give correct results. If it returns False, nothing else here may
be called, and torch's public products are used.
"""

from functools import cache

import torch
from torch import Tensor


@cache
def available() -> bool:
    """Return whether torch's private operators for oneDNN exist, and multiply as this module expects."""
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
    """Return a matrix [n, m] in oneDNN's own layout, for `times`; this pays if the matrix is used many times."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous())
    return packed


def times(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return rows [..., m] . matrix^T as [..., n]; the matrix [n, m] may be packed."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, matrix, None, "none", [], "")
    return product
