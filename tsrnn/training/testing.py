"""The test of an epoch: which N each network of a population solves, with optional screening and confirmation."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tsrnn.config import RunConfig
from tsrnn.curricula import CurriculumState
from tsrnn.io.checkpoint import Progress
from tsrnn.networks import Population, population
from tsrnn.training.confirmation import Claims
from tsrnn.training.evaluation import end_accuracy, end_scores
from tsrnn.training.sampling import Address, spread


@dataclass
class Tested:
    """The result of a test: accuracy by N, the N solved for the first time, and the time steps of its sequences.

    `confirm_steps` are the time steps of the sequences that were used for confirmation.
    """

    accuracies: dict[int, float] = dataclasses.field(default_factory=dict)
    solved: tuple[int, ...] = ()
    steps: float = 0.0
    confirm_steps: float = 0.0


class EpochTest:
    """The test of R networks at the end of an epoch."""

    def __init__(self, configs: Sequence[RunConfig], progress: Sequence[Progress], networks: Population) -> None:
        """Test a population whose runs are where `progress` says: the epoch that ends is not counted in it yet."""
        self._configs, self._progress, self._networks = configs, progress, networks

    def run(self) -> list[Tested]:
        """Test each network; if it solves the newest evaluated N, also test the heads that are evaluated next."""
        states = [progress.curriculum for progress in self._progress]
        found = [Tested() for _ in states]
        places, again = list(range(len(states))), 0
        while places:
            evaluated = [self._configs[r].curriculum.evaluated(states[r]) for r in places]
            following = []
            for r, state, outcome in zip(places, evaluated, self._evaluate(places, evaluated, again), strict=True):
                # What an N was solved with on its own sequences is not overwritten by those of a later one.
                found[r].accuracies = outcome.accuracies | {n: found[r].accuracies[n] for n in found[r].solved}
                found[r].solved += outcome.solved
                found[r].steps += outcome.steps
                found[r].confirm_steps += outcome.confirm_steps
                states[r] = states[r].solving(outcome.solved)
                following_n = self._configs[r].curriculum.evaluated(states[r]).newest
                if state.newest < min(following_n, self._configs[r].end.max_n):
                    following.append(r)
            places, again = following, again + 1
        return found

    def _evaluate(self, places: Sequence[int], evaluated: Sequence[CurriculumState], again: int) -> list[Tested]:
        """Test the networks at some places on the heads that are evaluated, for the first time or once more."""
        training = self._configs[0].training
        suffix = f"-{again}" if again else ""
        if training.screening_batches is None:
            found = self._tested(places, evaluated, "test" + suffix, training.test_batches)
        else:
            found = self._tested(places, evaluated, "screen" + suffix, training.screening_batches)
            passed = [i for i, outcome in enumerate(found) if outcome.solved]
            whole = self._tested(
                [places[i] for i in passed], [evaluated[i] for i in passed], "test" + suffix, training.test_batches
            )
            for i, outcome in zip(passed, whole, strict=True):
                outcome.steps += found[i].steps
                found[i] = outcome
        self._confirm(places, evaluated, found, again)
        return found

    def _confirm(
        self, places: Sequence[int], evaluated: Sequence[CurriculumState], found: Sequence[Tested], again: int
    ) -> None:
        """Keep, of what tests have solved, the N that fresh sequences confirm."""
        config = self._configs[0]
        rule = config.training.confirm
        if rule is None:
            return
        claims = {
            i: Claims(rule, config.training.solved_accuracy, evaluated[i], outcome.solved)
            for i, outcome in enumerate(found)
            if outcome.solved
        }
        for stage in range(rule.max_stages):
            waiting = [i for i in claims if claims[i].open]
            if not waiting:
                break
            networks = self._evaluating([places[i] for i in waiting], [evaluated[i].heads for i in waiting])
            addresses = self._addresses([places[i] for i in waiting], f"confirm-{again}-{stage}")
            scores = end_scores(
                networks, config.task, addresses, rule.batches, rule.batch_size, config.time, config.generator, spread
            )
            for i, own in zip(waiting, scores, strict=True):
                claims[i].add(dict(zip(evaluated[i].heads, own, strict=False)))
                found[i].confirm_steps += rule.stage * self._mean_length(evaluated[i])
        for i, own_claims in claims.items():
            found[i].solved = own_claims.confirmed

    def _evaluating(self, places: Sequence[int], heads: Sequence[tuple[int, ...]]) -> Population:
        """Return the networks at some places of the population with the heads that are evaluated."""
        networks = self._networks
        if tuple(heads) != networks.heads:
            states = networks.states()
            networks = population(self._configs[0].network, [states[r] for r in places], heads, networks.products)
            networks.plan = self._networks.plan
        return networks

    def _addresses(self, places: Sequence[int], purpose: str) -> list[Address]:
        return [(self._configs[r].seed, purpose, self._progress[r].epoch + 1) for r in places]

    def _mean_length(self, evaluated: CurriculumState) -> float:
        """Return the time steps of a test's sequence, on average."""
        config = self._configs[0]
        return config.time.mean_k * sum(config.task.lengths_for(evaluated.newest)) / 2

    def _tested(
        self, places: Sequence[int], evaluated: Sequence[CurriculumState], purpose: str, count: int
    ) -> list[Tested]:
        """Test the networks at some places of the population on `count` batches from the epoch's stream."""
        if not places:
            return []
        config = self._configs[0]
        networks = self._evaluating(places, [state.heads for state in evaluated])
        addresses = self._addresses(places, purpose)
        batch, threshold = config.training.sequences_tested, config.training.solved_accuracy
        results = end_accuracy(networks, config.task, addresses, count, batch, config.time, config.generator)
        found = []
        for state, by_head in zip(evaluated, results, strict=True):
            accuracies = {n: head.accuracy for n, head in by_head.items()}
            # The mean test length stands for the lengths drawn.
            steps = count * self._mean_length(state)
            found.append(Tested(accuracies, state.newly_solved(accuracies, threshold), steps))
        return found
