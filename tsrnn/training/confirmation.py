"""Confirmation: Wald's sequential test, which uses as few fresh sequences as its error rates allow.

The two hypotheses are that an accuracy is `low`, or `high` (`Confirmation.bounds`). Each sequence with a score x, its
mean over some heads, multiplies their likelihood ratio by the factor 1 + b (x - low), b = (high - low) / (low (1 -
low)). If x is 0 or 1, this is Wald's test. The expectation of the factor is at most 1 at every accuracy up to `low`,
and that of its inverse is at most 1 at every accuracy from `high` on, for any scores in 0..1. By Ville's inequality,
neither error is therefore more frequent than the error rates say. This holds even if a score is the mean over heads,
whose errors are correlated.

The test requires sequences from one distribution. However, the sequences of a batch have the same length, and
accuracies depend on the length. The batches of a stage therefore have lengths that are evenly spread
(`tsrnn.training.sampling.spread`), and the test looks only at whole stages. The product over different accuracies is
then at most the product at their mean.

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
        low: the accuracy that should be rejected.
        high: the accuracy that should be confirmed.
    """
    wrong, right = (1 - high) / (1 - low), high / low
    return (wrong + (right - wrong) * scores.double()).clamp(min=0).log()


class Claims:
    """The N that the test of one network found solved, until fresh sequences confirm or reject each of them.

    An N is confirmed when every accuracy that it is judged by (`CurriculumState.judged_by`) is confirmed.
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
        """Add the sequences of another stage.

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
        """Whether further sequences may change the result."""
        return any(self._verdict_on(n) is None for n in self._judged)

    @property
    def confirmed(self) -> tuple[int, ...]:
        """The confirmed N, ascending, without those that are still undecided."""
        return tuple(n for n in self._judged if self._verdict_on(n))
