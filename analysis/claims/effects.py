"""The smallest effects of interest, read from effects.toml, which also explains its numbers."""

import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

from pydantic import TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from analysis.claims.criteria import Criterion, Exceeds, Lies
from tsrnn.kinds import STRICT

FILE: Final = "effects.toml"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Interest:
    """The smallest effect of interest of a claim, and the N at which the claim is judged.

    Attributes:
        why: the reason for this size.
        n: the N at which the paper shows the effect.
        least: the smallest N at which results are judged.
        spread: the expected standard deviation over networks; for ratios, of their logarithms.
        smallest: the smallest effect of interest; None if a range is given instead.
        low: the lower end of the range that counts as the paper's; None if it has none.
        high: the upper end of this range; None if it has none.
    """

    why: str
    n: int
    least: int
    spread: float
    smallest: float | None = None
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _has_one_size(self) -> "Interest":
        if (self.smallest is None) == (self.low is None and self.high is None):
            raise ValueError(
                f"smallest = {self.smallest}, low = {self.low}, high = {self.high}: allowed is smallest, or low or high"
            )
        return self

    def criterion(self, *, none: float = 0.0, logarithmic: bool = False) -> Criterion:
        """Return the criterion of this size.

        Args:
            none: the value that corresponds to no effect.
            logarithmic: whether sizes are ratios, which are compared in logarithms.
        """
        if self.smallest is not None:
            return Exceeds(none, math.log(self.smallest) if logarithmic else self.smallest)
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if logarithmic:
            low, high = math.log(low) if low > 0 else -math.inf, math.log(high)
        return Lies(low, high)


_FILE: Final[TypeAdapter[dict[str, Interest]]] = TypeAdapter(dict[str, Interest])


@cache
def interests() -> Mapping[str, Interest]:
    """Return the effect sizes by name.

    Raises:
        pydantic.ValidationError: (a ValueError) names the entry, the field and what is allowed.
    """
    text = (resources.files("analysis.claims") / FILE).read_text()
    return MappingProxyType(_FILE.validate_python(tomllib.loads(text)))
