"""How an epoch is trained and tested."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tsrnn.config.optimizer import SGD, Optimizer
from tsrnn.kinds import STRICT, Count, MemoryN, Positive

Precision = Literal["float32", "bfloat16", "float64"]
Library = Literal["blas", "onednn", "compiled", "compiled-scipy"]
"""What multiplies: "blas", torch's public operations (MKL on x86); "onednn", of float32 matrices on a CPU; "compiled",
a compiled loop over time that calls torch's BLAS itself, on a CPU; "compiled-scipy", the same with scipy's (tests read
the heads with torch's). It changes the last bits of a network's numbers, and is not part of its `RunConfig`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RateDecay:
    """A factor on the learning rate: (n / N) ** power while the newest N that is tested is larger than `n`.

    With one new head at a time this is the smallest unsolved N; if all heads, or those of a whole window, are trained
    from the start, it is the largest of them. Large N need smaller steps (docs/hyperparameters.md). The paper's
    learning rate is constant.
    """

    n: MemoryN = 20
    power: Positive = 2.0

    def factor(self, n: int) -> float:
        """Return the factor on the learning rate at the newest N `n`."""
        return float(min(1.0, self.n / n) ** self.power)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradientClip:
    """Gradient clipping: a network's gradient is scaled down to a norm of `max_norm`.

    With `counts` "parameters", the norm is over the parameters that are trained. "parameters_and_diagonal" also
    includes the gradient of the diagonal of W (which is always zero), as the authors' code does.
    """

    max_norm: Positive = 2.0
    counts: Literal["parameters", "parameters_and_diagonal"] = "parameters"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Confirmation:
    """Confirmation of a solved N on fresh sequences, for small or frequent tests, which can be passed by chance.

    A sequential test (`tsrnn.training.confirmation`) uses stages of `batches` batches of `batch_size` sequences until
    it decides, but at most `max_stages`. If it has not decided by then, N is not confirmed, and the test of the next
    epoch may find it solved again. With `solved_accuracy` 0.98 and a `margin` of 0.2, an accuracy of 0.976 or less is
    confirmed with a probability of at most `false_rate`. An accuracy of 0.984 or more is rejected with a probability of
    at most `miss_rate` plus a small term from the largest number of sequences. In between, either result is acceptable.
    The test uses at most 12,672 sequences, fewer than the paper's test has. On average it uses 1,820 if the accuracy is
    0.995, 2,620 at 0.99, 9,150 at 0.98 and 3,280 at 0.976. (These numbers are exact. The probability of confirmation is
    1 at 0.995 and 0.99, 0.968 at 0.984, 0.085 at 0.98 and 0.00005 at 0.976.)
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
    """The settings of one epoch of training and its test.

    An epoch is `steps_per_epoch` optimiser steps, followed by a test on `test_batches` batches. Test batches have
    `test_batch_size` sequences (by default `batch_size`; larger ones make tests of small batches faster). An N is
    solved the first time that the accuracy of its head exceeds `solved_accuracy`; for the newest N, the mean over heads
    has to exceed it as well. `solved_weight` is the weight of solved heads in the loss, which is a sum over heads; the
    other heads have the weight 1.

    With `screening_batches`, each test begins with this number of additional batches. A network that solves nothing on
    them is not tested further. This makes frequent tests cheap, while solved N are still judged on `test_batches`. With
    `confirm`, an N that a test finds solved counts as solved only after fresh sequences confirm it.

    With `truncation`, backpropagation through time is truncated to this number of time steps. The batches of an epoch
    are then consecutive parts, of `truncation` steps each, of the same long sequences: every optimiser step continues
    from the states in which the last one ended. Each epoch begins with new sequences, on which the networks first run
    without training until they have seen the bits of the largest N. The heads of the task in training must be read out
    at all steps (`readout_steps="all"`), and its sequence lengths are not used. A step costs the same at every N. This
    suits multi-head networks, because each of their heads needs to reach back little further than another one.

    `precision` is the dtype of parameters, states and products. "bfloat16" is float32 with products of the recurrence
    and of its gradient in bfloat16, which is faster on processors that support it.
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
    truncation: Count | None = None
    precision: Precision = "float32"
    confirm: Confirmation | None = None

    @property
    def sequences_tested(self) -> int:
        """Sequences of a batch of a test."""
        return self.batch_size if self.test_batch_size is None else self.test_batch_size
