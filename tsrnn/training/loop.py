"""The training loop: epochs, tests, curriculum steps and ends, for R networks at once.

The networks of a population are independent: each has its own random streams, curriculum, epoch count and end. Stacking
only combines their matrix products.
"""

import dataclasses
import math
import time
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from tsrnn.config import Library, RunConfig, stacking_key
from tsrnn.io.checkpoint import Checkpoint, Progress, new
from tsrnn.networks import Population, operations, population, product_dtype
from tsrnn.networks.choice import Computed, Plan, libraries, processor, require_bfloat16
from tsrnn.training.carrying import advanced, evaluated_weights
from tsrnn.training.gradients import losses_and_gradients
from tsrnn.training.optimizers import (
    StackedOptimizer,
    clip_scale,
    gradient_norms,
    stacked_optimizer,
    step_operations,
)
from tsrnn.training.reports import EpochReport, diverged, ended
from tsrnn.training.sampling import TaskBatch, batches, parts, untrained_steps
from tsrnn.training.testing import EpochTest, Tested


class Trainer:
    """Trains R networks as one population, one epoch at a time.

    `networks` becomes shorter as runs end; the trainer is done when it is empty. Denormal numbers are flushed to zero
    in the calling thread, because they slow a CPU down several times at large N.
    """

    def __init__(
        self,
        starts: Sequence[Checkpoint],
        device: str | torch.device = "cpu",
        products: Library | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        """Continue from R checkpoints (`tsrnn.io.checkpoint.new` makes those of new runs).

        Args:
            starts: the checkpoints.
            device: where to compute, as torch names it.
            products: what multiplies. None takes what the checkpoints were trained with on the same processor, and
                where they say nothing the fastest, which is measured.
            only: the parameters that steps change, by their names in `Population.trained`; the others are frozen. All
                by default.

        Raises:
            ValueError: if there are none, if they cannot be stacked, if the device cannot multiply as asked, or if
                `only` names none of the parameters that are trained, or another.
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
        self._only = only
        self._stack(starts)
        if only is not None and not 0 < len(set(only)) == len(set(only) & set(self._population.trained)):
            trained = ", ".join(self._population.trained)
            raise ValueError(f"only = {', '.join(only) or 'none'}: allowed are one or more of those trained: {trained}")
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
        """The hardware and the plan with which the networks are trained."""
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
        losses, gradients = losses_and_gradients(
            networks, task, batch, initial, weights=self._weights, names=self._only
        )
        with torch.no_grad():
            counts_diagonal = training.clip is not None and training.clip.counts == "parameters_and_diagonal"
            if not counts_diagonal:
                networks.remove_untrained_gradients_(gradients)
            norms = gradient_norms(gradients)
            if counts_diagonal:
                networks.remove_untrained_gradients_(gradients)
            self._optimizer.update_(networks.parameters, gradients, clip_scale(norms, training.clip))
            networks.project_()
        return losses.sum(1), norms

    def train_steps(self, steps: int) -> tuple[list[float], list[float], list[int]]:
        """Take `steps` optimiser steps on batches from the streams of the coming epoch, beginning at their start.

        Returns:
            Each network's mean loss and mean gradient norm before clipping, and the time steps it has seen.
        """
        config, networks = self._configs[0], self._population
        addresses = [(c.seed, "train", p.epoch + 1) for c, p in zip(self._configs, self._progress, strict=True)]
        loss_sum = torch.zeros(networks.replicates, dtype=torch.float64, device=networks.device)
        norm_sum = torch.zeros_like(loss_sum)
        time_steps = [0] * networks.replicates
        task, size, truncation = config.task_in_training, config.training.batch_size, config.training.truncation
        shown = (
            batches(task, networks, addresses, steps, size, config.time, config.generator)
            if truncation is None
            else parts(task, networks, addresses, steps, size, truncation, config.generator)
        )
        for batch, initial in shown:
            loss, norm = self.step(batch, initial)
            loss_sum += loss
            norm_sum += norm
            time_steps = [total + m for total, m in zip(time_steps, batch.lengths, strict=True)]
        return (loss_sum / steps).tolist(), (norm_sum / steps).tolist(), time_steps

    def run_epoch(self) -> list[EpochReport]:
        """Train and test for one epoch, advance the curricula, and drop the networks that have ended.

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
        tested = EpochTest(self._configs, self._progress, self._population).run()
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

    def _operations(self, train_steps: Sequence[int], tested: Sequence[Tested]) -> list[float]:
        """Count each network's useful operations of the epoch."""
        training = self._configs[0].training
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in self._population.parameters.items()}
        updates = training.steps_per_epoch * step_operations(training.optimizer, shapes)
        run_of = [
            training.sequences_tested * test.steps + training.batch_size * untrained_steps(training, max(heads))
            for heads, test in zip(self._population.heads, tested, strict=True)
        ]
        return [
            operations(config.network, training.batch_size * steps, run) + updates
            for config, steps, run in zip(self._configs, train_steps, run_of, strict=True)
        ]

    def _conclude(self, loss: list[float], norm: list[float], tested: Sequence[Tested]) -> list[EpochReport]:
        """Judge the epoch: solved or not, ended or not; then restack the networks that continue."""
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
            outcome = ended(config, progress) if finite else diverged(progress, loss[r])
            if outcome is None and newest in state.solved:
                step = config.curriculum.advance(state)
                if step is not None:
                    following = advanced(following, step)
                    changed = True
            reports.append(
                EpochReport(
                    checkpoint=following,
                    accuracies=accuracies,
                    loss=loss[r],
                    grad_norm=norm[r],
                    tau_mean=None if tau is None else float(tau[r].mean()),
                    tau_sd=None if tau is None else float(tau[r].std()),
                    solved=evaluated_weights(config, progress, current.network, tuple(accuracies)) if solved else None,
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


def train(
    configs: RunConfig | Sequence[RunConfig], device: str | torch.device = "cpu", products: Library | None = None
) -> Iterator[EpochReport]:
    """Train networks from the start and yield a report for every network and epoch.

    Several configurations are trained as one population. They may differ in the seed and in the value of a fixed tau.
    Products use as many threads as torch does. For small networks (H = 64 or 128), call `torch.set_num_threads(1)`
    before: on a busy machine, a second thread made training 15 to 30 times slower.

    Args:
        configs: one network, or R.
        device: where to compute, as torch names it.
        products: the implementation of matrix products; None to measure which is the fastest.

    Yields:
        EpochReport: for each epoch, one for each network still in training. A network's last has its `outcome`.

    Raises:
        TypeError: if `configs` is something else.
        ValueError: if the networks cannot be stacked, or `products` is not available on the device.
    """
    several = [configs] if isinstance(configs, RunConfig) else configs
    if not isinstance(several, Sequence) or not all(isinstance(one, RunConfig) for one in several):
        raise TypeError(f"configs = {configs!r:.100}: allowed are a RunConfig and a sequence of them")
    trainer = Trainer([new(one) for one in several], device, products)
    while trainer.networks:
        yield from trainer.run_epoch()
