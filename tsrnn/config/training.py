"""How an epoch is trained and tested."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tsrnn.config.optimizer import SGD, Optimizer
from tsrnn.kinds import STRICT, Count, MemoryN, Positive

Precision = Literal["float32", "bfloat16", "float64"]
Library = Literal["blas", "onednn", "compiled", "compiled-scipy"]
"""What multiplies: "blas", torch's public operations (MKL on x86); "onednn", of float32 matrices on a CPU; "compiled",
a compiled loop over time that calls torch's BLAS itself, on a CPU; "compiled-scipy", the same with scipy's. It changes
the last bits of a network's numbers, and is not part of its `RunConfig`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RateDecay:
    """Multiply the learning rate by (n / N) ** power while the smallest unsolved N is larger than `n`.

    Late N want smaller steps (docs/hyperparameters.md); the paper's rate is constant.
    """

    n: MemoryN = 20
    power: Positive = 2.0

    def factor(self, n: int) -> float:
        """Return the factor on the learning rate at the smallest unsolved N `n`."""
        return float(min(1.0, self.n / n) ** self.power)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradientClip:
    """Scale a network's gradient down to `max_norm` over the parameters in use.

    `counts` "parameters" takes the norm of what is trained; "parameters_and_diagonal" adds the gradient of
    the (always zero) diagonal of W, as the authors' code does.
    """

    max_norm: Positive = 2.0
    counts: Literal["parameters", "parameters_and_diagonal"] = "parameters"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Confirmation:
    """How an N that a test solves is confirmed on fresh sequences, where small or frequent tests pass by luck.

    A sequential test (`tsrnn.training.confirmation`) takes stages of `batches` batches of `batch_size` sequences until
    it decides, at most `max_stages`; without a decision by then N is not confirmed, and the next epoch's test may claim
    it again. With `solved_accuracy` 0.98 and a `margin` of 0.2, an accuracy of 0.976 or less is confirmed with a
    probability of `false_rate` at most, one of 0.984 or more is not with one of `miss_rate` and what the largest number
    of sequences adds; in between both are right. That takes at most 12,672 sequences, fewer than the paper's test has;
    on average 1,820 where the accuracy is 0.995, 2,620 at 0.99, 9,150 at 0.98 and 3,280 at 0.976. (Exact numbers; there
    the probability to be confirmed is 1, 1, 0.085 and 0.00005, at 0.984 it is 0.968.)
    """

    margin: Annotated[float, Field(gt=0, lt=1)] = 0.2
    false_rate: Annotated[float, Field(gt=0, lt=0.5)] = 1e-4
    miss_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    batch_size: Count = 32
    batches: Count = 18
    max_stages: Count = 22

    @property
    def stage(self) -> int:
        """Sequences of a stage."""
        return self.batches * self.batch_size

    def bounds(self, solved_accuracy: float) -> tuple[float, float]:
        """Return the accuracy that is not enough, and the one that is: both 0 < accuracy < 1."""
        distance = self.margin * min(solved_accuracy, 1 - solved_accuracy)
        return solved_accuracy - distance, solved_accuracy + distance


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Training:
    """How one epoch is trained and tested.

    An epoch is `steps_per_epoch` optimiser steps, then a test on `test_batches` batches, of `batch_size` sequences
    or, where small batches would make slow tests, of `test_batch_size`. An N is solved the
    first time its head's accuracy exceeds `solved_accuracy`; the newest N, if the mean over heads does too.
    `solved_weight` is the weight, in the sum over heads that is the loss, of heads whose N is solved; the others' is 1.
    With `screening_batches`, so many other batches come first, and a network that solves nothing on them is not
    tested further: frequent tests then cost little, and what is solved is judged on `test_batches` all the same.
    With `confirm` an N that a test solves counts as solved once fresh sequences confirm it.
    `precision` is the dtype of parameters, states and products; "bfloat16" is float32 with the products of the
    recurrence, and of its gradient, taken of bfloat16 numbers: faster where the processor has them.
    """

    batch_size: Count = 256
    steps_per_epoch: Count = 600
    test_batches: Count = 50
    test_batch_size: Count | None = None
    screening_batches: Count | None = None
    optimizer: Optimizer = SGD()
    rate_decay: RateDecay | None = None
    clip: GradientClip | None = GradientClip()
    solved_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    solved_accuracy: Annotated[float, Field(gt=0, lt=1)] = 0.98
    precision: Precision = "float32"
    confirm: Confirmation | None = None

    @property
    def sequences_tested(self) -> int:
        """Sequences of a batch of a test."""
        return self.batch_size if self.test_batch_size is None else self.test_batch_size
