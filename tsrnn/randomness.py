"""Randomness is explicit: a seed and a name give a stream; nothing global is read or set.

A stream is addressed by (seed, *name), for example (7, "train", 12) for the training data of epoch 12. A
network's numbers therefore depend on its own seed and position only: not on its neighbours in a population,
nor on whether the run was interrupted, and a checkpoint need not hold a generator's state.
"""

import hashlib
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor


def key(seed: int, *name: str | int) -> int:
    """Return 64 bits that identify the stream `name` of `seed`."""
    text = "/".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def host_stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return a stream for choices the host needs, such as sequence lengths."""
    return np.random.Generator(np.random.Philox(key(seed, *name)))


class Streams:
    """One device stream per network of a population.

    The numbers depend on the device's type: a CPU and a GPU draw different ones from the same seed.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        """Use one generator per network."""
        self._generators = tuple(generators)

    @classmethod
    def named(cls, names: Sequence[tuple[str | int, ...]], device: torch.device) -> Self:
        """Return streams for [R] addresses, each (seed, *name)."""
        generators = []
        for address in names:
            generator = torch.Generator(device=device)
            generator.manual_seed(key(int(address[0]), *address[1:]))
            generators.append(generator)
        return cls(generators)

    def __len__(self) -> int:
        return len(self._generators)

    @property
    def device(self) -> torch.device:
        """Where the numbers are drawn."""
        return self._generators[0].device

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw U(0, 1) of shape [R, *shape], row r from network r's stream."""
        out = torch.empty(len(self), *shape, dtype=dtype, device=self.device)
        for generator, row in zip(self._generators, out.unbind(), strict=True):
            row.uniform_(generator=generator)
        return out

    def uniform_at_end(self, lengths: Sequence[int], batch: int, before: float) -> Tensor:
        """Draw U(0, 1) for sequences of different lengths that end together.

        Args:
            lengths: [R] steps of each network's sequences.
            batch: sequences a network.
            before: what stands at the steps before a sequence starts.

        Returns:
            [T, R, B] with T = max(lengths).
        """
        longest = max(lengths)
        out = torch.full((longest, len(self), batch), before, device=self.device)
        for r, (generator, length) in enumerate(zip(self._generators, lengths, strict=True)):
            out[longest - length :, r].uniform_(generator=generator)
        return out
