"""Tests of networks with time steps that were not used in training (figure S5)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import pandas as pd

from analysis.data.frames import ResultsError
from analysis.data.study import Study
from analysis.measure import jobs as _jobs
from analysis.measure.cost import extrapolated
from analysis.measure.jobs import Analysis, Measure
from analysis.measure.values import finite
from analysis.options import Execution
from analysis.stats.comparison import choose, measured, summarise
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.files import Location
from tsrnn.io.schemas import SOLVED, TIME_STEPS, Row, Table
from tsrnn.networks import population
from tsrnn.training.evaluation import end_accuracy

KS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 200)
"""Time steps per bit; the paper tests 1 to 200."""

# Time steps per bit of the short tests from which the cost is estimated.
_PIECES: Final = (1, 8)


def measure(checkpoint: Checkpoint, n: int, *, ks: Sequence[int], as_trained: bool = False) -> dict[Table, list[Row]]:
    """Test the head for N with every bit held for k steps of 1/k, for any k.

    Each k is tested on its own sequences, as many as in a test during training. They have p = 0.5, so that chance is an
    accuracy of 0.5; with p ~ U(0, 1), a network that always gives the same answer is correct more often.

    Args:
        checkpoint: a network trained at dt = 1/k.
        n: the N that it solved.
        ks: time steps per bit.
        as_trained: test as in training, and as the authors' code does: all heads, on sequences with the p of the task.
            The accuracy is the mean over heads. The standard error is the mean of those of the heads, which is an upper
            bound, since all heads receive the same sequences.
    """
    config = checkpoint.config
    heads = checkpoint.progress.heads if as_trained else (n,)
    networks = population(config.network, [checkpoint.network], [heads])
    rows: list[Row] = []
    for k in ks:
        (found,) = end_accuracy(
            networks,
            config.task if as_trained else config.task.balanced(),
            [(config.seed, f"time steps {n}", k)],
            config.training.test_batches,
            config.training.sequences_tested,
            replace(config.time, k=(k,)),
        )
        accuracy, error = (
            float(np.mean([getattr(found[head], name) for head in heads])) for name in ("accuracy", "standard_error")
        )
        rows.append({"k": k, "accuracy": accuracy, "standard_error": finite(error)})
    return {TIME_STEPS: rows}


def cost(checkpoint: Checkpoint, n: int, *, ks: Sequence[int], as_trained: bool) -> float:
    """Estimate the seconds of one core that `measure` takes, which is proportional to the time steps of a bit."""
    short, longer = _PIECES
    return extrapolated(
        lambda k: measure(checkpoint, n, ks=(k,), as_trained=as_trained), short, longer, max(longer, sum(ks))
    )


def run(
    results: Location,
    *,
    ks: Sequence[int],
    n: int | None,
    execution: Execution,
    as_trained: bool = False,
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Measure the checkpoints that were not measured yet, and summarise the results.

    Args:
        results: a sweep's folder.
        ks: time steps per bit.
        n: the N to measure at; by default the largest that all networks that differ only in seed, curriculum and k have
            solved, so that networks trained with one k and with several can be compared.
        execution: which networks are measured, and where.
        as_trained: see `measure`.

    Returns:
        One row for each group, curriculum, n and k (see `analysis.stats.comparison.summarise`), notes on networks left
        out, and a line for each checkpoint that failed.

    Raises:
        ResultsError: no network was trained at dt = 1/k, or none has solved an N.
    """
    study = Study(results, execution.where)
    networks = study.networks[study.networks["dt"] == "1/k"]
    choice = choose(networks, study.load(SOLVED), n, but=("curriculum", "k"))
    if choice.checkpoints.empty:
        why = "; ".join(choice.notes) or "sweeps/time_discretisation.py trains networks at dt = 1/k"
        raise ResultsError(f"{results}: nothing to measure: {why}")
    step: Measure = partial(measure, ks=ks, as_trained=as_trained)
    settings = {"ks": list(ks)} | ({"as_trained": True} if as_trained else {})
    costs = partial(cost, ks=ks, as_trained=as_trained)
    analysis = Analysis("time-steps", step, (TIME_STEPS,), settings, cost=costs)
    only = _jobs.keys_of(choice.checkpoints)
    summary = _jobs.run(results, analysis, only=only, execution=execution)
    rows = measured(Study(results).load(TIME_STEPS), choice.checkpoints)
    return summarise(rows, ["k"], ["accuracy"]), list(choice.notes), summary.failures
