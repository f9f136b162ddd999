"""The functions of torch that its documentation does not name, and what stands in for them."""

import pytest
import torch

from tsrnn.config import LeakyReLU, Nonlinearity, ReLU, Tanh
from tsrnn.networks import _torch

PHI = {LeakyReLU(slope=0.3): lambda z: torch.nn.functional.leaky_relu(z, 0.3), ReLU(): torch.relu, Tanh(): torch.tanh}


@pytest.fixture(autouse=True)
def asked_anew():
    _torch.has_slopes.cache_clear()
    yield
    _torch.has_slopes.cache_clear()


def test_the_installed_torch_has_them():
    """A canary: with another torch this fails, and the public functions are used until it is mended."""
    assert _torch.has_slopes()


@pytest.mark.parametrize("broken", [None, lambda *args: args[-1].zero_(), lambda *_: torch.ops.aten.no_such_operator])
@pytest.mark.parametrize("nonlinearity", PHI)
def test_slopes_are_autograds(nonlinearity: Nonlinearity, broken, monkeypatch):
    if broken is not None:
        monkeypatch.setattr(_torch, "_slope_into", broken)
        assert not _torch.has_slopes()
    z = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    activity, grad = PHI[nonlinearity](z), torch.linspace(-1, 1, 35, dtype=torch.float64).view(7, 5)
    (expected,) = torch.autograd.grad(activity, z, grad)
    found = torch.empty_like(grad)
    _torch.slope_into(nonlinearity, grad, activity.detach(), found)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
