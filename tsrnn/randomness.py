"""Random streams: a seed and a name identify a stream. No global random state is read or changed.

The address of a stream is (seed, *name), for example (7, "train", 12) for the training data of epoch 12. The numbers of
a network therefore depend only on its own seed and on its position in training. They do not depend on the other
networks of a population, or on whether the run was interrupted, and checkpoints need no generator state.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tsrnn.kinds import Generator


def key(seed: int, *name: str | int) -> int:
    """Return 64 bits that identify the stream `name` of `seed`."""
    text = "/".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def host_stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return a numpy generator for random choices on the host, such as sequence lengths."""
    return np.random.Generator(np.random.Philox(key(seed, *name)))


class _Torch:
    """A stream of torch's generator. On a CPU this is MT19937, which uses 32 bits of the key: streams may coincide."""

    def __init__(self, key: int, device: torch.device) -> None:
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed(key)

    @staticmethod
    def rows(out: Tensor) -> Sequence[Tensor]:
        return out.unbind()

    def fill(self, row: Tensor) -> None:
        row.uniform_(generator=self._generator)


class _PCG64:
    """A stream of numpy's generator PCG64, which uses all 64 bits of the key; on a CPU only."""

    def __init__(self, key: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(key))

    @staticmethod
    def rows(out: Tensor) -> Sequence[np.ndarray]:
        return list(out.numpy())

    def fill(self, row: np.ndarray) -> None:
        self._generator.random(out=row, dtype=row.dtype.type)


class Streams:
    """The random streams of a population: one for each network, on a device.

    The numbers depend on the type of the device: a CPU and a GPU draw different numbers from the same seed.
    """

    def __init__(self, streams: Sequence[_Torch] | Sequence[_PCG64], device: torch.device) -> None:
        """Use one stream per network; `named` makes them."""
        self._streams: Sequence[_Torch | _PCG64] = tuple(streams)
        self._device = device

    @classmethod
    def named(
        cls, names: Sequence[tuple[str | int, ...]], device: torch.device, generator: Generator = "pcg64"
    ) -> Self:
        """Return streams for [R] addresses, each (seed, *name); `generator` draws on a CPU (see `RunConfig`)."""
        keys = [key(int(address[0]), *address[1:]) for address in names]
        if device.type == "cpu" and generator == "pcg64":
            return cls([_PCG64(own) for own in keys], device)
        return cls([_Torch(own, device) for own in keys], device)

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def device(self) -> torch.device:
        """Where the numbers are drawn."""
        return self._device

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw U(0, 1) of shape [R, *shape], row r from network r's stream."""
        out = torch.empty(len(self), *shape, dtype=dtype, device=self.device)
        for stream, row in self._with_rows(out):
            stream.fill(row)
        return out

    def uniform_at_end(self, lengths: Sequence[int], batch: int, before: float) -> Tensor:
        """Draw U(0, 1) for sequences of different lengths that end together.

        Args:
            lengths: [R] steps of each network's sequences.
            batch: sequences a network.
            before: the value at the steps before a sequence starts.

        Returns:
            [T, R, B] with T = max(lengths); the numbers of each network are contiguous in memory.
        """
        longest = max(lengths)
        out = torch.empty(len(self), longest, batch, device=self.device)
        for (stream, row), length in zip(self._with_rows(out), lengths, strict=True):
            row[: longest - length] = before
            stream.fill(row[longest - length :])
        return out.transpose(0, 1)

    def _with_rows(self, out: Tensor) -> Iterator[tuple[Any, Any]]:
        """Return each network's stream, and its row of a tensor in the form that the stream can fill."""
        return zip(self._streams, self._streams[0].rows(out), strict=True)
