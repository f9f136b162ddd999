"""Memory of past inputs: how much of each product of past bits a linear readout of the state explains.

Bits z = 1 or -1 with p = 0.5 are independent, so the products of bits at distinct delays (Walsh functions) are
orthonormal functions of the past. The capacity of a state for one of them is the share of its variance that a linear
readout explains. All capacities of a network add up to at most its number of neurons.

    memory = Memory([*delays(40), *parities(40)])
    for inputs, activity in simulate_with_inputs(population, addresses, steps=20_000):
        memory(inputs, activity)
    memory.capacity()

Source: Jaeger (2001), "Short term memory in echo state networks", for linear memory; Dambre, Verstraeten, Schrauwen and
Massar (2012), "Information processing capacity of dynamical systems", for products.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Final

import torch
from torch import Tensor

Target = tuple[int, ...]
"""The delays of the bits that are multiplied, in time steps: (0,) is the present bit, (0, 1, 2) a parity of three."""

RIDGE: Final = 1e-10
"""Of the readout, relative to the mean variance of the neurons: enough to make the solution unique."""


def delays(count: int) -> list[Target]:
    """Return the single bits at the delays 0 to `count` - 1."""
    return [(delay,) for delay in range(count)]


def pairs(count: int) -> list[Target]:
    """Return the products of two bits at distinct delays from 0 to `count` - 1."""
    return list(combinations(range(count), 2))


def parities(longest: int) -> list[Target]:
    """Return the products of the last 2 to `longest` bits: the targets of N-parity for N = 2 to `longest`."""
    return [tuple(range(n)) for n in range(2, longest + 1)]


class Memory:
    """An observer of inputs and activities that computes the capacity of each network for products of past bits.

    It keeps second moments of each trial, however many steps there are, and as many inputs as the longest delay.

    Args:
        targets: the products, each as its delays.

    Raises:
        ValueError: there is no target, or one has no delay, a negative or a repeated one.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        """Create an observer without data."""
        for target in targets:
            if not target or min(target) < 0 or len(set(target)) < len(target):
                raise ValueError(
                    f"targets: {target} is not allowed; a target needs one or more distinct delays of at least 0"
                )
        if not targets:
            raise ValueError("targets: none; allowed is at least one")
        self.targets = tuple(targets)
        self._longest = max(max(target) for target in targets)
        self._past: Tensor | None = None
        self._steps = 0

    def __call__(self, inputs: Tensor, activity: Tensor) -> None:
        """Take up a block.

        Args:
            inputs: [t, R, B] bits, 0 or 1.
            activity: [t, R, B, H] after the same steps.
        """
        if self._past is None:
            self._begin(activity)
        signs = 2 * inputs.to(torch.float32) - 1
        signs = signs if self._past is None else torch.cat([self._past, signs])
        # Steps whose longest delay is before the first observed input are skipped.
        usable = min(len(activity), len(signs) - self._longest)
        self._past = signs[max(0, len(signs) - self._longest) :].clone()
        if usable < 1:
            return
        now = len(signs) - usable
        wanted = torch.stack(
            [torch.stack([signs[now - d : len(signs) - d] for d in target]).prod(0) for target in self.targets], -1
        )
        states = activity[len(activity) - usable :] - self._shift
        # In float32, products would lose small variances beside large ones.
        x, y = (part.permute(1, 2, 0, 3).flatten(0, 1).double() for part in (states, wanted))
        shape = self._xx.shape[:2]
        self._xx += torch.bmm(x.transpose(1, 2), x).view(*shape, *self._xx.shape[2:])
        self._xy += torch.bmm(x.transpose(1, 2), y).view(*shape, *self._xy.shape[2:])
        self._x += x.sum(1).view(*shape, -1)
        self._y += y.sum(1).view(*shape, -1)
        self._steps += usable

    def _begin(self, activity: Tensor) -> None:
        _, R, B, H = activity.shape
        if B < 2:
            raise ValueError(
                f"trials = {B}: allowed are numbers of at least 2; a readout is judged on trials of its own"
            )
        # The shift reduces the rounding of products.
        self._shift = activity[:1, :, :1].clone()

        def moments(*shape: int) -> Tensor:
            return torch.zeros(R, B, *shape, dtype=torch.float64, device=activity.device)

        K = len(self.targets)
        self._xx, self._xy, self._x, self._y = moments(H, H), moments(H, K), moments(H), moments(K)

    def capacity(self) -> Tensor:
        """Return the capacity of each network for each target, [R, K], in float64.

        A readout is fitted to half of the trials and tested on the other half. The same is done with the halves
        exchanged, and the mean is returned. A readout of H weights that is fitted to T steps loses about (1 - C) H / (T
        - H), which is added back. Without this correction, every capacity would be too small by this amount, and a sum
        of many capacities by far. A capacity of 0 is therefore estimated by numbers of either sign. The result is NaN
        if the activity of a network is not finite.

        Raises:
            ValueError: too few steps were observed for the number of neurons.
        """
        if self._steps <= 0:
            raise ValueError(
                f"steps: none was seen beyond the longest delay, {self._longest}; allowed are more than that"
            )
        B, H = self._x.shape[1:]
        fitted = self._steps * (B // 2)
        if fitted <= 2 * H:
            raise ValueError(
                f"steps: {fitted} to fit a readout of {H} neurons; allowed are more than {2 * H}: simulate longer"
            )
        halves = slice(0, B // 2), slice(B // 2, B)
        found = [self._judged(halves[i], halves[1 - i]) for i in (0, 1)]
        return (found[0] + found[1]) / 2

    def _judged(self, fit: slice, judge: slice) -> Tensor:
        """Return the corrected capacity of readouts fitted to some trials on others."""
        xx, xy, _ = self._centred(fit)
        finite = xx.isfinite().all(-1).all(-1) & xy.isfinite().all(-1).all(-1)
        xx = torch.where(finite[:, None, None], xx, torch.eye(xx.shape[-1], dtype=xx.dtype, device=xx.device))
        variances, directions = torch.linalg.eigh(xx)
        variances = variances.clamp_min(0)
        ridge = RIDGE * variances.mean(-1, keepdim=True).clamp_min(torch.finfo(xx.dtype).tiny)
        shrunk = (directions.transpose(1, 2) @ torch.nan_to_num(xy)) / (variances + ridge)[..., None]
        weights = directions @ shrunk
        fitted = (variances / (variances + ridge)).sum(-1, keepdim=True)
        xx, xy, yy = self._centred(judge)
        missed = yy - 2 * (weights * xy).sum(1) + (weights * (xx @ weights)).sum(1)
        steps = self._steps * (fit.stop - fit.start)
        # The mean loss of a fit to T independent Gaussian states with this number of dimensions.
        loss = fitted / (steps - fitted - 1)
        return torch.where(finite[:, None], 1 - missed / yy / (1 + loss), torch.nan)

    def _centred(self, trials: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return the second moments about the mean over some trials: X'X [R, H, H], X'Y [R, H, K] and Y'Y [R, K]."""
        steps = self._steps * (trials.stop - trials.start)
        x, y = self._x[:, trials].sum(1) / steps, self._y[:, trials].sum(1) / steps
        xx = self._xx[:, trials].sum(1) / steps - x[:, :, None] * x[:, None, :]
        xy = self._xy[:, trials].sum(1) / steps - x[:, :, None] * y[:, None, :]
        return xx, xy, 1 - y**2
