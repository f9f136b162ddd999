"""The training loop, the only one: epochs, tests, curriculum steps and ends, for R networks at once.

Networks of a population are independent: each has its own streams, curriculum, epoch count and end. Stacking
them only makes their matrix products share a call.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsrnn.config import EndState, Library, RunConfig, stacking_key
from tsrnn.curricula import Advance, CurriculumState
from tsrnn.io.checkpoint import Checkpoint, Progress, new
from tsrnn.networks import NetworkState, Population, initial_head, operations, population, product_dtype
from tsrnn.networks.choice import Computed, Plan, libraries, processor, require_bfloat16
from tsrnn.training.confirmation import Claims
from tsrnn.training.evaluation import end_accuracy, end_scores
from tsrnn.training.optimizers import (
    StackedOptimizer,
    clip_scale,
    gradient_norms,
    initial_state,
    stacked_optimizer,
    step_operations,
)
from tsrnn.training.sampling import Address, TaskBatch, batches, over_steps, spread


@dataclass(frozen=True)
class Outcome:
    """How a network's run ended: the status, and the same in words.

    `EndState.FAILED` is for a run that an error ended; the training loop itself never reports it.
    """

    status: EndState
    reason: str


@dataclass(frozen=True)
class EpochReport:
    """One network's epoch.

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


@dataclass
class _Tested:
    """What a test found: accuracy by N, the N solved for the first time, and the time steps of its sequences.

    `confirm_steps` are those of the sequences that confirmed what was solved.
    """

    accuracies: dict[int, float] = dataclasses.field(default_factory=dict)
    solved: tuple[int, ...] = ()
    steps: float = 0.0
    confirm_steps: float = 0.0


class Trainer:
    """Trains R networks as one population, an epoch at a time.

    `networks` shrinks as runs end; the trainer is done when it is empty. Denormal numbers are flushed to zero
    in the calling thread, since they slow a CPU several times over at large N.
    """

    def __init__(
        self, starts: Sequence[Checkpoint], device: str | torch.device = "cpu", products: Library | None = None
    ) -> None:
        """Continue from R checkpoints (`tsrnn.io.checkpoint.new` makes those of new runs).

        Args:
            starts: the checkpoints.
            device: where to compute, as torch names it.
            products: what multiplies. None takes what the checkpoints were trained with on the same processor, and
                where they say nothing the fastest, which is measured.

        Raises:
            ValueError: if there are none, if they cannot be stacked, or if the device cannot multiply as asked.
        """
        if not starts:
            raise ValueError("starts: an empty population; allowed is at least one network")
        keys = {stacking_key(start.config) for start in starts}
        if len(keys) > 1:
            raise ValueError("starts: networks of one population may differ in seed and in a fixed tau's value only")
        torch.set_flush_denormal(True)
        self._device = torch.device(device)
        self._configs: list[RunConfig] = []
        self._progress: list[Progress] = []
        self._population: Population
        self._optimizer: StackedOptimizer
        training = starts[0].config.training
        if training.precision == "bfloat16":
            require_bfloat16(self._device)
        self._plan: Plan | None = None
        self._stack(starts)
        before = {start.computed for start in starts}
        known = before.pop() if len(before) == 1 and products is None else None
        possible = libraries(self._population.products, self._device)
        if (
            known is not None
            and known.processor == processor(self._device)
            and (known.plan is None or known.plan.library in possible)
        ):
            self._plan = known.plan
        else:
            self._plan = self._population.plan_for(training.batch_size, products)
        self._population.plan = self._plan

    @property
    def networks(self) -> tuple[RunConfig, ...]:
        """The runs that have not ended."""
        return tuple(self._configs)

    @property
    def population(self) -> Population:
        """The networks in training, as they are now; training changes them in place."""
        return self._population

    @property
    def computed(self) -> Computed:
        """On what, and how, the networks are trained."""
        return Computed(processor(self._device), self._plan)

    def _checkpoints(self) -> list[Checkpoint]:
        return [
            Checkpoint(*parts, self.computed)
            for parts in zip(
                self._configs,
                self._progress,
                self._population.states(),
                self._optimizer.states(self._population.heads),
                strict=True,
            )
        ]

    def step(self, batch: TaskBatch, initial: Tensor) -> tuple[Tensor, Tensor]:
        """Take one optimiser step on a given batch; `run_epoch` draws its own.

        Args:
            batch: sequences and targets for the heads in training.
            initial: [R, B, S] states before the first time step.

        Returns:
            Each network's loss (sum over heads, all of weight 1) and its gradient norm before clipping, [R] each.
        """
        networks, task, training = self._population, self._configs[0].task_in_training, self._configs[0].training
        leaves = {name: networks.parameters[name].detach().requires_grad_() for name in networks.trained}
        networks.parameters.update(leaves)
        answers = networks.with_steps(batch.dt).answers(batch.inputs, batch.lengths, initial, batch.readout_steps)
        per_head = over_steps(task.loss(answers, batch.targets), batch.readout_steps) * (networks.head_table > 0)
        weighted = per_head if self._weights is None else per_head * self._weights
        gradients = dict(zip(leaves, torch.autograd.grad(weighted.sum(), list(leaves.values())), strict=True))
        with torch.no_grad():
            counts_diagonal = training.clip is not None and training.clip.counts == "parameters_and_diagonal"
            if not counts_diagonal:
                networks.remove_untrained_gradients_(gradients)
            norms = gradient_norms(gradients)
            if counts_diagonal:
                networks.remove_untrained_gradients_(gradients)
            networks.parameters.update({name: leaf.detach() for name, leaf in leaves.items()})
            self._optimizer.update_(networks.parameters, gradients, clip_scale(norms, training.clip))
            networks.project_()
        return per_head.detach().sum(1), norms

    def train_steps(self, steps: int) -> tuple[list[float], list[float], list[int]]:
        """Take `steps` optimiser steps on batches drawn from the coming epoch's streams, from their start.

        Returns:
            Each network's mean loss and mean gradient norm before clipping, and the time steps it has seen.
        """
        config, networks = self._configs[0], self._population
        addresses = [(c.seed, "train", p.epoch + 1) for c, p in zip(self._configs, self._progress, strict=True)]
        loss_sum = torch.zeros(networks.replicates, dtype=torch.float64, device=networks.device)
        norm_sum = torch.zeros_like(loss_sum)
        time_steps = [0] * networks.replicates
        task, batch_size = config.task_in_training, config.training.batch_size
        for batch, initial in batches(task, networks, addresses, steps, batch_size, config.time, config.generator):
            loss, norm = self.step(batch, initial)
            loss_sum += loss
            norm_sum += norm
            time_steps = [total + m for total, m in zip(time_steps, batch.lengths, strict=True)]
        return (loss_sum / steps).tolist(), (norm_sum / steps).tolist(), time_steps

    def run_epoch(self) -> list[EpochReport]:
        """Train and test one epoch; step the curricula; let go of the networks that ended.

        Returns:
            One report for each network that was in training.

        Raises:
            ValueError: if all networks have ended.
        """
        if not self._configs:
            raise ValueError("networks: all have ended")
        began = time.perf_counter()
        training = self._configs[0].training
        loss, norm, steps_of = self.train_steps(training.steps_per_epoch)
        tested = self._test()
        operations_of = self._operations(steps_of, tested)
        confirming_of = [
            operations(config.network, 0, test.confirm_steps)
            for config, test in zip(self._configs, tested, strict=True)
        ]
        total = sum(operations_of) + sum(confirming_of)
        wall_s = time.perf_counter() - began
        self._progress = [
            dataclasses.replace(
                progress,
                epoch=progress.epoch + 1,
                epochs_on_newest=progress.epochs_on_newest + 1,
                steps=progress.steps + training.steps_per_epoch,
                steps_since_solved=progress.steps_since_solved + training.steps_per_epoch,
                operations=progress.operations + own,
                confirm_operations=progress.confirm_operations + confirming,
                wall_s=progress.wall_s + wall_s * (own + confirming) / total,
            )
            for progress, own, confirming in zip(self._progress, operations_of, confirming_of, strict=True)
        ]
        return self._conclude(loss, norm, tested)

    def _test(self) -> list[_Tested]:
        """Test each network, and those that solve the newest evaluated N also on what is evaluated next."""
        states = [progress.curriculum for progress in self._progress]
        found = [_Tested() for _ in states]
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

    def _evaluate(self, places: Sequence[int], evaluated: Sequence[CurriculumState], again: int) -> list[_Tested]:
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
        self, places: Sequence[int], evaluated: Sequence[CurriculumState], found: Sequence[_Tested], again: int
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
        networks = self._population
        if tuple(heads) != networks.heads:
            states = networks.states()
            networks = population(self._configs[0].network, [states[r] for r in places], heads, networks.products)
            networks.plan = self._plan
        return networks

    def _addresses(self, places: Sequence[int], purpose: str) -> list[Address]:
        return [(self._configs[r].seed, purpose, self._progress[r].epoch + 1) for r in places]

    def _mean_length(self, evaluated: CurriculumState) -> float:
        """Return the time steps of a test's sequence, on average."""
        config = self._configs[0]
        return config.time.mean_k * sum(config.task.lengths_for(evaluated.newest)) / 2

    def _tested(
        self, places: Sequence[int], evaluated: Sequence[CurriculumState], purpose: str, count: int
    ) -> list[_Tested]:
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
            found.append(_Tested(accuracies, state.newly_solved(accuracies, threshold), steps))
        return found

    def _stack(self, starts: Sequence[Checkpoint]) -> None:
        self._configs = [start.config for start in starts]
        self._progress = [start.progress for start in starts]
        networks = [{k: v.to(self._device) for k, v in start.network.items()} for start in starts]
        states = [
            {part: {k: v.to(self._device) for k, v in state.items()} for part, state in start.optimizer.items()}
            for start in starts
        ]
        heads = [progress.heads for progress in self._progress]
        training = self._configs[0].training
        products = product_dtype(training)
        self._population = population(self._configs[0].network, networks, heads, products)
        self._population.plan = self._plan
        self._optimizer = stacked_optimizer(training.optimizer, states, networks, heads, products)
        decay = training.rate_decay
        if decay is not None:
            newest = [start.config.curriculum.evaluated(start.progress.curriculum).newest for start in starts]
            factors = [decay.factor(n) for n in newest]
            self._optimizer.rates = torch.tensor(factors, dtype=self._population.dtype, device=self._device)
        # [R, K], or None where all heads weigh the same.
        self._weights: Tensor | None = None
        if training.solved_weight != 1:
            self._weights = torch.ones_like(self._population.head_table, dtype=self._population.dtype)
            for r, progress in enumerate(self._progress):
                solved = [k for k, n in enumerate(progress.heads) if n in progress.solved]
                self._weights[r, solved] = training.solved_weight

    def _operations(self, train_steps: Sequence[int], tested: Sequence[_Tested]) -> list[float]:
        """Count each network's useful operations of the epoch."""
        training = self._configs[0].training
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in self._population.parameters.items()}
        updates = training.steps_per_epoch * step_operations(training.optimizer, shapes)
        return [
            operations(config.network, training.batch_size * steps, training.sequences_tested * test.steps) + updates
            for config, steps, test in zip(self._configs, train_steps, tested, strict=True)
        ]

    def _conclude(self, loss: list[float], norm: list[float], tested: Sequence[_Tested]) -> list[EpochReport]:
        """Judge the epoch: solved or not, ended or not; then restack what goes on."""
        reports, going_on = [], []
        changed = False
        tau = self._population.tau()
        for r, current in enumerate(self._checkpoints()):
            config, progress = current.config, current.progress
            finite = math.isfinite(loss[r])
            state, accuracies = progress.curriculum, tested[r].accuracies
            newest = config.curriculum.evaluated(state).newest
            solved = tested[r].solved if finite else ()
            taken, following = progress.epochs_on_newest, current
            if solved:
                state = state.solving(solved)
                max_n = max(progress.max_n, *solved)
                progress = dataclasses.replace(progress, solved=state.solved, max_n=max_n, steps_since_solved=0)
                following = dataclasses.replace(current, progress=progress)
            outcome = ended(config, progress) if finite else _diverged(progress, loss[r])
            if outcome is None and newest in state.solved:
                step = config.curriculum.advance(state)
                if step is not None:
                    following = _advanced(following, step)
                    changed = True
            reports.append(
                EpochReport(
                    checkpoint=following,
                    accuracies=accuracies,
                    loss=loss[r],
                    grad_norm=norm[r],
                    tau_mean=None if tau is None else float(tau[r].mean()),
                    tau_sd=None if tau is None else float(tau[r].std()),
                    solved=_evaluated_weights(config, progress, current.network, tuple(accuracies)) if solved else None,
                    newly_solved=solved,
                    epochs_taken=taken,
                    outcome=outcome,
                )
            )
            if outcome is None:
                going_on.append(following)
            # Weights of heads depend on what is solved.
            changed = changed or outcome is not None or bool(solved and self._weights is not None)
        if not going_on:
            self._configs, self._progress = [], []
        elif changed:
            self._stack(going_on)
        else:
            self._progress = [following.progress for following in going_on]
        return reports


def _evaluated_weights(
    config: RunConfig, progress: Progress, network: NetworkState, heads: tuple[int, ...]
) -> Checkpoint:
    """Return the weights that solved an N, with the heads that were evaluated."""
    return Checkpoint(config, dataclasses.replace(progress, heads=heads), _carried(network, heads, {}))


def _advanced(current: Checkpoint, step: Advance) -> Checkpoint:
    """Return a network after a step of its curriculum: heads kept, handed on, dropped or made."""
    heads = step.state.heads
    network = _carried(current.network, heads, step.inherits)
    optimizer = {part: _carried(state, heads, step.inherits) for part, state in current.optimizer.items()}
    example = next(iter(network.values()))
    for n in heads:
        if f"heads.{n}.weight" not in network:
            config = current.config
            head = initial_head(config.network.hidden, n, config.seed, config.task.head_width)
            head = {name: tensor.to(example) for name, tensor in head.items()}
            network |= head
            for part, state in initial_state(config.training.optimizer, head).items():
                optimizer[part] |= state
    progress = dataclasses.replace(current.progress, heads=heads, solved=step.state.solved, epochs_on_newest=0)
    return dataclasses.replace(current, progress=progress, network=network, optimizer=optimizer)


def _carried(state: NetworkState, heads: Sequence[int], inherits: Mapping[int, int]) -> NetworkState:
    """Return a network's tensors with the heads that a step of the curriculum keeps or hands on."""
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("heads.")}
    for n in heads:
        old = inherits.get(n, n)
        for part in ("weight", "bias"):
            if f"heads.{old}.{part}" in state:
                rest[f"heads.{n}.{part}"] = state[f"heads.{old}.{part}"]
    return rest


def _diverged(progress: Progress, loss: float) -> Outcome:
    return Outcome(EndState.DIVERGED, f"the loss became {loss} in epoch {progress.epoch}")


def ended(config: RunConfig, progress: Progress) -> Outcome | None:
    """Apply the end rules, all solved first; None while training goes on."""
    state = progress.curriculum
    if config.curriculum.is_complete(state, progress.max_n, config.end.max_n):
        several = len(state.heads) > 1 and state.solved == state.heads and config.curriculum.advance(state) is None
        solved = f"all of N = {state.heads[0]} to {state.newest} were" if several else f"N = {progress.max_n} was"
        return Outcome(EndState.SOLVED_ALL, f"{solved} solved")
    reached = config.end.reached(progress)
    return None if reached is None else Outcome(*reached)


def train(
    configs: RunConfig | Sequence[RunConfig], device: str | torch.device = "cpu", products: Library | None = None
) -> Iterator[EpochReport]:
    """Train networks from the start and yield a report for every network and epoch.

    Several configurations are trained as one population; they may differ in seed and in a fixed tau's value.
    Products take as many threads as torch has. For small networks (H = 64 or 128) call `torch.set_num_threads(1)`
    before: on a busy machine a second thread took 15 to 30 times the time.

    Args:
        configs: one network, or R.
        device: where to compute, as torch names it.
        products: what multiplies; None for the fastest, which is measured.

    Yields:
        EpochReport: for each epoch, one a network still in training. A network's last has its `outcome`.

    Raises:
        ValueError: if the networks cannot be stacked, or the device cannot multiply as asked.
    """
    trainer = Trainer([new(c) for c in ([configs] if isinstance(configs, RunConfig) else configs)], device, products)
    while trainer.networks:
        yield from trainer.run_epoch()
