"""The addresses of the BLAS routines sgemm and dgemm, which compiled code calls.

The library that torch is linked with has them: on x86 they are MKL's, and use as many threads as torch. This is not a
documented feature of torch. scipy's routines are public (`scipy.linalg.cython_blas`); they take their number of threads
from the environment (OPENBLAS_NUM_THREADS or OMP_NUM_THREADS).
"""

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Final

import torch

_LETTERS: Final = {torch.float32: "s", torch.float64: "d"}
_LIBRARIES: Final = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}


@cache
def address(dtype: torch.dtype, *, scipys: bool = False) -> int | None:
    """Return the address of sgemm or dgemm, or None if there is none.

    Args:
        dtype: of the matrices.
        scipys: scipy's routines; otherwise torch's, or scipy's if torch's are not found.
    """
    if dtype not in _LETTERS:
        return None
    for source in (_scipys,) if scipys else (_torchs, _scipys):
        found = source(_LETTERS[dtype] + "gemm")
        if found is not None and _multiplies(found, dtype):
            return found
    return None


def _torchs(name: str) -> int | None:
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / _LIBRARIES[sys.platform]))
        return ctypes.cast(getattr(library, name + "_"), ctypes.c_void_p).value
    except (KeyError, OSError, AttributeError):
        return None


def _scipys(name: str) -> int | None:
    from scipy.linalg import cython_blas

    capsule = vars(cython_blas)["__pyx_capi__"][name]
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    found: int | None = pointer_of(capsule, name_of(capsule))
    return found


def _multiplies(function: int, dtype: torch.dtype) -> bool:
    """Return whether a function computes C = A B + C of matrices stored column by column."""
    real = ctypes.c_float if dtype == torch.float32 else ctypes.c_double
    left, right = torch.arange(6, dtype=dtype).view(3, 2), torch.arange(12, dtype=dtype).view(4, 3) - 5
    total = torch.ones(4, 2, dtype=dtype)
    expected = right @ left + total
    # As 64-bit numbers, they are right for a library whose integers have 32 bits too.
    sizes = {size: ctypes.byref(ctypes.c_int64(size)) for size in (2, 3, 4)}
    one, plain = ctypes.byref(real(1)), ctypes.byref(ctypes.c_char(b"N"))
    a, b, c = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (left, right, total))
    routine = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(function)
    routine(plain, plain, sizes[2], sizes[4], sizes[3], one, a, sizes[2], b, sizes[3], one, c, sizes[2])
    return torch.equal(total, expected)
