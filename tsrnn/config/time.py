"""The duration of a bit, and of a time step."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tsrnn.kinds import STRICT, Count


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Time:
    """The duration of a bit: it is held for `k` time steps of `dt`, so it lasts T = k dt.

    With `dt` "1", T = k (figure S6). With `dt` "1/k", T = 1, and time is discretised in steps that are k times shorter
    (figure S5); tau remains in units of time. If there are several k, one is drawn for each batch and network. N counts
    bits, whatever k is.
    """

    k: Annotated[tuple[Count, ...], Field(min_length=1)] = (1,)
    dt: Literal["1", "1/k"] = "1"

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if list(self.k) != sorted(set(self.k)):
            raise ValueError(f"k = {self.k}: allowed are different numbers in ascending order")
        return self

    def step(self, k: int) -> float:
        """Return dt where a bit is held for k steps."""
        return 1.0 / k if self.dt == "1/k" else 1.0

    @property
    def longest_step(self) -> float:
        """The longest dt there is: no tau may be shorter."""
        return self.step(self.k[0])

    @property
    def mean_k(self) -> float:
        """Time steps a bit, on average."""
        return sum(self.k) / len(self.k)
