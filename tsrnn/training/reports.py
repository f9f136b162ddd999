"""Reports: the results of a network's epoch, and how its run ended."""

from dataclasses import dataclass

from tsrnn.config import EndState, RunConfig
from tsrnn.io.checkpoint import Checkpoint, Progress


@dataclass(frozen=True)
class Outcome:
    """The end of a network's run: the status, and a description in words.

    `EndState.FAILED` is for a run that ended with an error; the training loop itself never reports it.
    """

    status: EndState
    reason: str


@dataclass(frozen=True)
class EpochReport:
    """The results of one epoch of one network.

    Attributes:
        checkpoint: everything needed to continue the run from here, after the curriculum's step if there was one.
        accuracies: test accuracy (the task's score, at most 1) by head N, of the heads that were evaluated.
        loss: the task's (cross-entropy in nats, or squared error), sum over heads, mean over the epoch's steps.
        grad_norm: gradient norm before clipping, mean over the epoch's steps.
        tau_mean: mean of tau over neurons, in time steps; None for architectures without tau.
        tau_sd: their standard deviation.
        solved: the weights that solved some N for the first time, if this epoch's test did.
        newly_solved: these N, ascending; see `tsrnn.curricula.CurriculumState.newly_solved`.
        epochs_taken: epochs since the curriculum's last step, this one included; several N that one test solves
            share it.
        outcome: set in the network's last report.
    """

    checkpoint: Checkpoint
    accuracies: dict[int, float]
    loss: float
    grad_norm: float
    tau_mean: float | None
    tau_sd: float | None
    solved: Checkpoint | None
    newly_solved: tuple[int, ...]
    epochs_taken: int
    outcome: Outcome | None

    @property
    def config(self) -> RunConfig:
        """The network's run."""
        return self.checkpoint.config

    @property
    def epoch(self) -> int:
        """Epochs trained, counted from 1."""
        return self.checkpoint.progress.epoch

    @property
    def n(self) -> int:
        """The newest N that was evaluated."""
        return max(self.accuracies)

    @property
    def accuracy(self) -> float:
        """Test accuracy of the newest head."""
        return self.accuracies[self.n]

    @property
    def accuracy_mean(self) -> float:
        """Test accuracy, mean over heads."""
        return sum(self.accuracies.values()) / len(self.accuracies)


def diverged(progress: Progress, loss: float) -> Outcome:
    """Return the outcome of a run whose loss is no longer finite."""
    return Outcome(EndState.DIVERGED, f"the loss became {loss} in epoch {progress.epoch}")


def ended(config: RunConfig, progress: Progress) -> Outcome | None:
    """Apply the end rules, beginning with "all solved"; return None while training continues."""
    state = progress.curriculum
    if config.curriculum.is_complete(state, progress.max_n, config.end.max_n):
        several = len(state.heads) > 1 and state.solved == state.heads and config.curriculum.advance(state) is None
        solved = f"all of N = {state.heads[0]} to {state.newest} were" if several else f"N = {progress.max_n} was"
        return Outcome(EndState.SOLVED_ALL, f"{solved} solved")
    reached = config.end.reached(progress)
    return None if reached is None else Outcome(*reached)
