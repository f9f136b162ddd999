"""Memory that runs hand on to each other."""

import math

import torch
from torch import Tensor


class Workspace:
    """Memory that goes from one run's large buffers to the next one's: fresh memory costs a page fault every 4 kB."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._free: list[Tensor] = []

    def take(self, *shape: int, like: Tensor) -> Tensor:
        """Return an uninitialised tensor of the dtype and on the device of `like`."""
        size = math.prod(shape) * like.element_size()
        fitting = [i for i, flat in enumerate(self._free) if len(flat) >= size and flat.device == like.device]
        if fitting:
            flat = self._free.pop(min(fitting, key=lambda i: len(self._free[i])))
        else:
            # One that is too small makes room: lengthening sequences pile up nothing.
            del self._free[:1]
            flat = torch.empty(size, dtype=torch.uint8, device=like.device)
        return flat[:size].view(like.dtype).view(shape)

    def give(self, *tensors: Tensor) -> None:
        """Take tensors back; nobody may use them any more."""
        for tensor in tensors:
            self._free.append(torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage()))
