"""Whether what a small test passed holds: Wald's sequential test, as few sequences as its error rates allow.

The hypotheses are that an accuracy is `low`, or `high` (`Confirmation.bounds`). A sequence with score x, its mean over
some heads, changes their likelihood ratio by the factor 1 + b (x - low), b = (high - low) / (low (1 - low)); where x is
0 or 1 that is Wald's. The ratio has an expectation of at most 1 at every accuracy up to `low`, and its
inverse at every accuracy from `high` on, whatever values in 0..1 a score has: so neither passes its bound more often
than the error rates say (Ville's inequality), also where a score is the mean over heads, which err together.

It holds for sequences of one distribution. Those of one batch share their length, and accuracies depend on it: the
batches of a stage have lengths that are spread evenly (`tsrnn.training.sampling.spread`), and the test looks at whole
stages only. The product over different accuracies is then at most that over their mean.

Source: Wald, "Sequential tests of statistical hypotheses", 1945; Ville, 1939; as bets on a bounded mean, Waudby-Smith
and Ramdas, "Estimating means of bounded random variables by betting", 2024.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from tsrnn.config import Confirmation
from tsrnn.curricula import CurriculumState


def log_ratios(scores: Tensor, low: float, high: float) -> Tensor:
    """Return the logarithm by which each score changes the likelihood ratio of `high` to `low`.

    Args:
        scores: at most 1, of any shape. Those so far below 0 that their factor would be negative have factor 0.
        low: the accuracy that is not enough.
        high: the accuracy that is.
    """
    wrong, right = (1 - high) / (1 - low), high / low
    return (wrong + (right - wrong) * scores.double()).clamp(min=0).log()


class Claims:
    """The N that one network's test claims as solved, until fresh sequences confirm each of them or do not.

    An N is confirmed when every accuracy that solving it takes is (`CurriculumState.judged_by`).
    """

    def __init__(
        self, rule: Confirmation, solved_accuracy: float, state: CurriculumState, claimed: tuple[int, ...]
    ) -> None:
        """Begin without a sequence.

        Args:
            rule: the error rates.
            solved_accuracy: what the test asks for.
            state: the heads that were evaluated.
            claimed: the N that the test solved.
        """
        self._low, self._high = rule.bounds(solved_accuracy)
        self._turned_down, self._confirmed = math.log(rule.miss_rate), -math.log(rule.false_rate)
        self._judged = {n: state.judged_by(n) for n in claimed}
        self._evidence = {heads: 0.0 for judged in self._judged.values() for heads in judged}

    def add(self, scores: Mapping[int, Tensor]) -> None:
        """Take another stage's sequences into account.

        Args:
            scores: each head's score of every sequence, by the head's N; the same sequences for all.
        """
        for heads, before in self._evidence.items():
            if self._verdict(heads) is None:
                mean = torch.stack([scores[n] for n in heads]).double().mean(0)
                self._evidence[heads] = before + float(log_ratios(mean, self._low, self._high).sum())

    def _verdict(self, heads: tuple[int, ...]) -> bool | None:
        """Return whether a mean over heads is good enough; None while it is open."""
        evidence = self._evidence[heads]
        return True if evidence >= self._confirmed else False if evidence <= self._turned_down else None

    def _verdict_on(self, n: int) -> bool | None:
        verdicts = [self._verdict(heads) for heads in self._judged[n]]
        return False if False in verdicts else None if None in verdicts else True

    @property
    def open(self) -> bool:
        """Whether more sequences may change what is confirmed."""
        return any(self._verdict_on(n) is None for n in self._judged)

    @property
    def confirmed(self) -> tuple[int, ...]:
        """The N that are confirmed, ascending; those that are still open are not."""
        return tuple(n for n in self._judged if self._verdict_on(n))
