"""`make test-avx2`: each of its three variables has taken effect."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from tsrnn.networks import onednn

RESTRICTED = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}

pytestmark = [
    pytest.mark.skipif(
        any(os.environ.get(name, "").lower() != value.lower() for name, value in RESTRICTED.items()),
        reason="the instruction set is not restricted: run `make test-avx2`",
    ),
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"),
        reason=f"{platform.machine()} has no AVX2: the variables mean nothing here, nothing was restricted",
    ),
]


def told(statement: str, **environment: str) -> str:
    """Run a statement with torch in a process of its own, and return all that it prints."""
    run = subprocess.run(
        [sys.executable, "-c", f"import torch; {statement}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout + run.stderr


def test_torchs_own_kernels():
    assert torch.backends.cpu.get_cpu_capability() == "AVX2"


def test_onednn():
    if not onednn.available():
        pytest.skip("this torch has no oneDNN")
    statement = "from tsrnn.networks import onednn; onednn.times(torch.ones(1, 64, 64), torch.ones(64, 64))"
    lines = told(statement, ONEDNN_VERBOSE="1").splitlines()
    assert [line.partition("isa:")[2] for line in lines if "isa:" in line] == ["Intel AVX2"]


def test_mkl():
    """MKL says in its first line what it may use, on Intel's processors only.

    On others (an AMD EPYC was tried) that line is the same whatever the variable says, which MKL reads on Intel's only;
    there the test cannot tell more than that AVX-512 is not named.
    """
    if not torch.backends.mkl.is_available():
        pytest.skip("this torch has no MKL")
    lines = told("torch.ones(64, 64) @ torch.ones(64, 64)", MKL_VERBOSE="1").splitlines()
    (first,) = [line for line in lines if "oneMKL" in line][:1]
    assert "AVX-512" not in first
    assert "AVX512" not in first
    if "Advanced Vector Extensions" in first:
        assert "(Intel(R) AVX2)" in first
