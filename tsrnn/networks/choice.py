"""The choice of the implementation of a population's products, by measurement at the shapes in use.

Which library is fastest, and how many networks are best stepped together, depends on the processor and on the sizes.
`fastest` times the candidates for some milliseconds. The result is kept for the process.
"""

import logging
import platform
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, get_args

import torch

from tsrnn.config import Library
from tsrnn.networks import _compiled, onednn

_LOG: Final = logging.getLogger(__name__)

LIBRARIES: Final[tuple[Library, ...]] = get_args(Library)

# How many times as fast as the first plan another one must be. A smaller difference may be chance, and would make
# two processes choose differently.
_GAIN: Final = 1.03
# Seconds after which no further round of measurements begins, and how many there are at most.
_LIMIT: Final = 0.1
_ROUNDS: Final = 4
_CPU: Final = torch.device("cpu")


@dataclass(frozen=True)
class Plan:
    """The way in which the products of a population are computed.

    Attributes:
        library: see `Library`. bfloat16 products are always torch's.
        together: how many networks are stepped together.
    """

    library: Library
    together: int

    def __post_init__(self) -> None:
        """Validate the fields.

        Raises:
            ValueError: naming the field.
        """
        if self.library not in LIBRARIES:
            raise ValueError(f"products = {self.library!r}: allowed are {', '.join(LIBRARIES)}")
        if self.together < 1:
            raise ValueError(f"together = {self.together}: allowed are numbers of at least 1")

    def __str__(self) -> str:
        return f"{self.library}, {self.together} together"


@dataclass(frozen=True)
class Computed:
    """The hardware and the plan with which a network was trained, which affect the last bits of its numbers.

    Attributes:
        processor: see `processor`.
        plan: of its population's products; None where the architecture has no choice.
    """

    processor: str
    plan: Plan | None


def libraries(dtype: torch.dtype, device: torch.device) -> tuple[Library, ...]:
    """Return the libraries that can multiply on a device in a dtype."""
    found: list[Library] = ["blas"]
    if device.type == "cpu":
        if dtype == torch.float32 and onednn.available():
            found.append("onednn")
        found += [library for library in _compiled.LIBRARIES if _compiled.available(library, dtype)]
    return tuple(found)


_CHOSEN: Final[dict[Hashable, Plan]] = {}


def fastest(shape: Hashable, candidates: Iterable[Plan], make: Callable[[Plan], Callable[[], object]]) -> Plan:
    """Return the plan that takes the least time; for a shape that was measured before, the earlier result.

    Args:
        shape: everything that the time depends on, apart from the number of threads.
        candidates: the plans; the first is kept unless another one is clearly faster.
        make: returns a function that does the work of a plan.
    """
    plans, key = list(dict.fromkeys(candidates)), (shape, torch.get_num_threads())
    if len(plans) == 1:
        return plans[0]
    if key not in _CHOSEN:
        seconds = _measured([make(plan) for plan in plans])
        best = min(range(len(plans)), key=lambda i: seconds[i] * (1.0 if i == 0 else _GAIN))
        _CHOSEN[key] = plans[best]
        times = ", ".join(f"{plan}: {s * 1e3:.2f} ms" for plan, s in zip(plans, seconds, strict=True))
        _LOG.info("products: %s (%s)", plans[best], times)
    return _CHOSEN[key]


def _measured(works: Sequence[Callable[[], object]]) -> list[float]:
    """Return the least time of each in seconds, measured alternately."""
    for work in works:
        work()
    least = [float("inf")] * len(works)
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        for i, work in enumerate(works):
            before = time.perf_counter()
            work()
            least[i] = min(least[i], time.perf_counter() - before)
        if time.perf_counter() - began > _LIMIT:
            break
    return least


@cache
def bfloat16_is_faster() -> bool:
    """Return whether bfloat16 products are faster than float32 ones on this CPU; if they are emulated, they are not."""
    single = torch.ones(256, 256)
    half = single.bfloat16()
    float32, bfloat16 = _measured([lambda: single @ single, lambda: half @ half])
    return bfloat16 < float32


def require_bfloat16(device: torch.device) -> None:
    """Raise an error for products in bfloat16 on a processor without instructions for them.

    Raises:
        ValueError: on a CPU on which float32 products are faster.
    """
    if device.type == "cpu" and not bfloat16_is_faster():
        raise ValueError(
            f"precision = 'bfloat16': this processor ({processor(device)}) has no fast bfloat16 products; "
            "allowed here is 'float32'"
        )


@cache
def processor(device: torch.device = _CPU) -> str:
    """Return the processor: a CPU with the instruction set that torch uses, or a GPU."""
    if device.type != "cpu":
        return f"{device.type}: {torch.cuda.get_device_name(device)}"
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    return f"cpu: {name}, {torch.backends.cpu.get_cpu_capability()}"
