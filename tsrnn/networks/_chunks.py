"""Chunks: networks that are stepped together, sorted by the lengths of their sequences."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chunk:
    """Networks stepped together, longest sequences first.

    Attributes:
        networks: their positions in the population.
        lengths: their sequence lengths, descending.
    """

    networks: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def steps(self) -> int:
        return self.lengths[0]

    @cached_property
    def begins(self) -> list[int]:
        """[r] the step at which each sequence starts, ascending."""
        return [self.steps - length for length in self.lengths]

    def stages(self, segment: range) -> list[tuple[range, int]]:
        """Cut a segment of time where sequences start: (steps, number of networks that take part, always the first)."""
        cuts = sorted({segment.start, *(begin for begin in self.begins if begin in segment), segment.stop})
        return [(range(*cut), bisect_right(self.begins, cut[0])) for cut in pairwise(cuts)]

    def taken(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Return the networks' part of a population's tensor, [R, ...] or [T, R, ...]; a view if they are in order."""
        if self._in_order:
            return tensor.narrow(dim, self.networks[0], len(self.networks))
        return tensor.index_select(dim, self._places.to(tensor.device))

    def copied(self, tensor: Tensor) -> Tensor:
        """Return a copy of the networks' part of a population's tensor [R, ...]."""
        return self.taken(tensor).clone() if self._in_order else self.taken(tensor)

    def put(self, whole: Tensor, part: Tensor) -> None:
        """Write the networks' part into a population's tensor [R, ...]."""
        if self._in_order:
            whole.narrow(0, self.networks[0], len(self.networks)).copy_(part)
        else:
            whole.index_copy_(0, self._places.to(whole.device), part)

    @cached_property
    def _in_order(self) -> bool:
        first = self.networks[0]
        return self.networks == tuple(range(first, first + len(self.networks)))

    @cached_property
    def _places(self) -> Tensor:
        return torch.tensor(self.networks)


def chunks(lengths: Sequence[int], together: int) -> list[Chunk]:
    """Divide networks with these sequence lengths into chunks of at most `together`, the longest sequences first."""
    order = sorted(range(len(lengths)), key=lambda r: -lengths[r])
    return [
        Chunk(tuple(part), tuple(lengths[r] for r in part))
        for part in (order[i : i + together] for i in range(0, len(order), together))
    ]
