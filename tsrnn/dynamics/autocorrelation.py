"""Autocovariances of all neurons and trials at once, from streamed activity.

Covariances are computed for the requested lags only. Sums of products are computed by Fourier transforms of short
pieces of the series, in the dtype of the activity, and are added up in float64.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

LAGS = 31
"""Lags 0 to 30: those of the paper's fits (the authors' code)."""

# Number of series that are transformed at once, so that their pieces and spectra fit the cache of a core.
_SERIES = 1000
# Number of spectra that are summed in the dtype of the activity before the sum is added in float64.
_SPECTRA = 16


@dataclass(frozen=True)
class Moments:
    """First and second moments of R networks in B trials of T steps; the last of the H + 1 series is the sum of H.

    Attributes:
        steps: T.
        mean: [R, B, H + 1] float64.
        autocovariance: [R, B, H + 1, L] float64: over the T - l pairs of steps l apart, the mean of the products of
            their deviations from the trial's mean. NaN where the activity is not finite, or T <= l.
    """

    steps: int
    mean: Tensor
    autocovariance: Tensor

    @property
    def neurons(self) -> "Moments":
        """The moments of the H neurons."""
        return Moments(self.steps, self.mean[..., :-1], self.autocovariance[..., :-1, :])

    @property
    def population(self) -> "Moments":
        """The moments of the summed activity, H = 1."""
        return Moments(self.steps, self.mean[..., -1:], self.autocovariance[..., -1:, :])

    @cached_property
    def autocorrelation(self) -> Tensor:
        """[R, H + 1, L]: the mean over trials of the autocovariance relative to that at lag 0.

        It is zero for a series that is constant in one of the trials.
        """
        variance = self.autocovariance[..., :1]
        return torch.where((variance == 0).any(1), 0.0, (self.autocovariance / variance).mean(1))


class Autocovariance:
    """An observer of activities (see `tsrnn.dynamics.simulation.observe`) that computes their autocovariances.

    It needs the memory of about 500 steps of activity, however many steps there are.
    """

    def __init__(self, lags: int = LAGS) -> None:
        """Take lags 0 to `lags` - 1.

        Raises:
            ValueError: if there is no lag.
        """
        if lags < 1:
            raise ValueError(f"lags = {lags}: allowed are numbers of at least 1")
        self._lags = lags
        self._steps = 0

    def __call__(self, activity: Tensor) -> None:
        """Update with a block [t, R, B, H]."""
        series, summed = activity.flatten(1), activity.sum(3).double().flatten(1)
        if not self._steps:
            self._shape = activity.shape[1:]
            self._neurons, self._population = (_Sums(block, self._lags) for block in (series, summed))
        self._neurons.add(series)
        self._population.add(summed)
        self._steps += len(activity)

    def moments(self) -> Moments:
        """Return the moments of the activity that was observed so far.

        Raises:
            ValueError: if nothing was observed.
        """
        if not self._steps:
            raise ValueError("no activity was observed yet")
        R, B, _ = self._shape
        found = [
            (mean.view(R, B, -1), covariance.view(R, B, -1, self._lags))
            for mean, covariance in (self._neurons.moments(), self._population.moments())
        ]
        means, covariances = zip(*found, strict=True)
        return Moments(self._steps, torch.cat(means, 2), torch.cat(covariances, 2))


class _Sums:
    """Sums of the lagged products of S series, which come in blocks [t, S].

    The first value of each series is subtracted, which reduces the rounding of products. Each transformed piece begins
    with the last L - 1 steps of the previous piece, so that no pair of steps is missed; the contribution of these steps
    alone, which would count twice, is subtracted. Zeros after a piece separate its end from its start.
    """

    def __init__(self, block: Tensor, lags: int) -> None:
        series = block.shape[1]
        self._shift = block[0].clone()
        self._lags, self._overlap = lags, lags - 1
        self._pieces, self._overlaps = (_Spectra(block, _power_of_two(k * lags)) for k in (16, 2))
        self._piece, self._twice = (block.new_zeros(sums.size, series) for sums in (self._pieces, self._overlaps))
        self._full = self._pieces.size - self._overlap
        self._filled = self._overlap
        self._first = block.new_zeros(0, series)
        self._steps = 0

    def add(self, block: Tensor) -> None:
        """Update with the next steps."""
        self._steps += len(block)
        if missing := self._overlap - len(self._first):
            self._first = torch.cat((self._first, block[:missing] - self._shift))
        while len(block):
            now = block[: self._full - self._filled]
            torch.sub(now, self._shift, out=self._piece[self._filled : self._filled + len(now)])
            self._filled += len(now)
            block = block[len(now) :]
            if self._filled == self._full:
                self._take_up_piece()

    def _take_up_piece(self) -> None:
        self._pieces.add(self._piece)
        overlap = self._twice[: self._overlap]
        overlap.copy_(self._piece[self._full - self._overlap : self._full])
        self._overlaps.add(self._twice)
        self._piece[: self._overlap] = overlap
        self._filled = self._overlap

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return the means [S] and the autocovariances [S, L] of all steps; no more steps may be added."""
        self._piece[self._filled :] = 0
        self._pieces.add(self._piece)
        (total, products), (total_twice, products_twice) = (
            sums.sums(self._lags) for sums in (self._pieces, self._overlaps)
        )
        total, products = total - total_twice, products - products_twice
        mean = total / self._steps
        # The first step of a pair is not among the last l steps, and the second is not among the first l.
        first, last = self._first.double(), self._piece[self._filled - self._overlap : self._filled].flip(0).double()
        left_out = F.pad(first, (0, 0, 1, self._overlap - len(first))) + F.pad(last, (0, 0, 1, 0))
        both = 2 * total - left_out.cumsum(0).T
        pairs = self._steps - torch.arange(self._lags, device=mean.device)
        covariance = (products - mean * both) / pairs + mean**2
        covariance[:, self._steps :] = torch.nan
        return mean[:, 0] + self._shift, covariance


class _Spectra:
    """Sums over pieces of S series, zero beyond their end: of their values, and of their power spectra."""

    def __init__(self, block: Tensor, size: int) -> None:
        self.size = size
        # Squares of real and imaginary parts, side by side.
        self._recent, self._added = block.new_zeros(block.shape[1], size + 2), 0
        self._power = block.new_zeros(block.shape[1], size // 2 + 1, dtype=torch.float64)
        self._total = torch.zeros(block.shape[1], dtype=torch.float64, device=block.device)

    def add(self, pieces: Tensor) -> None:
        """Update with a piece [size, S] of each series."""
        for start in range(0, pieces.shape[1], _SERIES):
            series = slice(start, start + _SERIES)
            spectrum = torch.fft.rfft(pieces[:, series], dim=0)
            parts = torch.view_as_real(spectrum.T).flatten(1)
            self._recent[series].addcmul_(parts, parts)
            self._total[series] += parts[:, 0]
        self._added += 1
        if self._added == _SPECTRA:
            self._fold()

    def sums(self, lags: int) -> tuple[Tensor, Tensor]:
        """Return the sums over all pieces of values [S, 1] and of products l apart [S, L]."""
        self._fold()
        # The inverse transform, for a few lags only.
        frequencies = torch.arange(self.size // 2 + 1, device=self._power.device)
        angles = torch.outer(frequencies, torch.arange(lags, device=frequencies.device)) % self.size
        waves = (angles.double() * (2 * torch.pi / self.size)).cos() * (2 / self.size)
        waves[[0, -1]] /= 2
        return self._total[:, None], self._power @ waves

    def _fold(self) -> None:
        if self._added:
            self._power += self._recent[:, ::2] + self._recent[:, 1::2]
            self._recent.zero_()
            self._added = 0


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
