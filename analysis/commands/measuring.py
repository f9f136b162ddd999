"""The commands that measure checkpoints and write what they find beside the results."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from analysis.options import DEFAULT, AsJson, Execution, InterventionKind, TimescaleMethod
from tsrnn import command_line
from tsrnn.command_line import Place, Several, at_least
from tsrnn.errors import UsageError
from tsrnn.io.files import Location

if TYPE_CHECKING:
    from analysis.measure.jobs import Analysis


def _a_probability(_: type, value: float | str) -> None:
    if not isinstance(value, str) and not 0 <= value <= 1:
        raise ValueError("allowed are numbers from 0 to 1, and uniform")


def interventions(
    results: Place,
    /,
    *,
    kinds: Annotated[list[InterventionKind] | None, Several] = None,
    n: Annotated[int | None, at_least(2)] = None,
    trials: Annotated[int, at_least(1)] = 10,
    draws: Annotated[int, at_least(1)] = 10,
    common_directions: Annotated[bool, Parameter(negative=())] = False,
    heads: Annotated[list[Annotated[int, at_least(2)]] | None, Several] = None,
    execution: Execution = DEFAULT,
    as_json: AsJson = False,
) -> int:
    """Ablate and perturb trained networks, and compare curricula (figures 7, S9, S17, S19; Tables 1, 2).

    The command measures all checkpoints that have not been measured yet, in parallel. If it is interrupted, the same
    command continues where it stopped. Accuracy is that of the newest head, in time: the network receives random bits
    with p = 0.5 and answers at every step; the first 100 steps are warm-up, and the next 1000 count.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        kinds: The interventions; all by default.
        n: The solved N to measure at. [default: the largest that all networks compared have solved; for
            heads-retraining every solved N]
        trials: Sequences for each changed copy of a network.
        draws: Random directions for each strength of a perturbation.
        common_directions: Use the same directions at every strength, instead of new ones.
        heads: The values N' that the readout is retrained on. [default: 2 to 20, or 2 to N + 5 if that is more]
        execution: See `Execution`.
        as_json: Print {"kinds": {KIND: {"summary": [...], "tests": [...]}}, "notes": [...], "failed": [...]}.
    """
    command_line.import_plugins(execution.plugin)
    from pandas import DataFrame

    from analysis import tables
    from analysis.measure import intervention_results
    from analysis.measure.interventions import InTime

    chosen = kinds or intervention_results.KINDS
    if heads and "heads-retraining" not in chosen:
        raise UsageError("heads: they are of heads-retraining, which is not among --kinds; leave --heads out")
    if common_directions and not {"perturb-weights", "perturb-taus"} & set(chosen):
        raise UsageError(
            "common-directions: they are of perturb-weights and perturb-taus, which are not among --kinds; leave it out"
        )
    found = intervention_results.run(
        results,
        chosen,
        n=n,
        protocol=InTime(trials=trials),
        draws=draws,
        common=common_directions,
        heads=heads,
        execution=execution,
    )
    if as_json:
        listed = {
            kind: {
                "summary": tables.json_rows(summary),
                "tests": tables.json_rows(found.tests.get(kind, DataFrame())),
            }
            for kind, summary in found.summaries.items()
        }
        print(json.dumps({"kinds": listed, "notes": found.notes, "failed": found.failed}, indent=2))
    else:
        tables.print_interventions(
            [(kind, frame) for kind, frame in found.summaries.items()],
            [(f"{kind}: curricula compared", frame) for kind, frame in found.tests.items()],
            [*found.notes, *(f"failed: {line}" for line in found.failed)],
        )
    return 1 if found.failed else 0


def timescales(
    results: Place,
    /,
    *,
    every: Annotated[int, at_least(1)] = 5,
    steps: Annotated[int, at_least(1)] = 100_000,
    trials: Annotated[int, at_least(1)] = 10,
    input_probability: Annotated[float | Literal["uniform"], Parameter(validator=_a_probability)] = 0.5,
    method: Annotated[list[TimescaleMethod] | None, Several] = None,
    execution: Execution = DEFAULT,
    as_json: AsJson = False,
) -> int:
    """Measure timescales, dimensionality and weights of the solved checkpoints (figures 5, 6, S1 to S4, S19, S20).

    The command measures all checkpoints that have not been measured yet, in parallel. If it is interrupted, the same
    command continues where it stopped. Each network is driven by independent random bits; the first 500 steps of a
    sequence are burn-in.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        every: Measure each network at the solved N that are multiples of this number, and at its smallest and largest
            solved N; 1 measures every solved N.
        steps: Time steps of a sequence that are recorded, after the burn-in.
        trials: Sequences for each network.
        input_probability: The probability that a bit is 1; "uniform" draws it from U(0, 1) for each sequence, as the
            authors' code does.
        method: How timescales are fitted; by both methods by default.
        execution: See `Execution`.
        as_json: Print {"networks": [...], "summary": [...], "failed": [...]}.
    """
    command_line.import_plugins(execution.plugin)
    from analysis import tables
    from analysis.measure import dynamics_results
    from analysis.measure.dynamics import METHODS, Protocol

    protocol = Protocol(steps=steps, trials=trials, input_probability=input_probability)
    if steps <= protocol.lags:
        raise UsageError(f"steps = {steps}: allowed are numbers above {protocol.lags}, the lags of autocorrelations")
    found = dynamics_results.run(
        results,
        every=every,
        protocol=protocol,
        methods=method or METHODS,
        execution=execution,
    )
    if as_json:
        listed = {"networks": tables.json_rows(found.networks), "summary": tables.json_rows(found.summary)}
        print(json.dumps(listed | {"failed": found.failed}, indent=2))
    else:
        tables.print_timescales(found.summary, [f"failed: {line}" for line in found.failed])
    return 1 if found.failed else 0


def memory(
    results: Place,
    /,
    *,
    every: Annotated[int, at_least(1)] = 5,
    steps: Annotated[int, at_least(1)] = 20_000,
    trials: Annotated[int, at_least(2)] = 10,
    longest: Annotated[int, at_least(2)] = 64,
    execution: Execution = DEFAULT,
    as_json: AsJson = False,
) -> int:
    """Measure what the solved checkpoints remember of their inputs: single bits, pairs and parities (figure M1).

    For each product of past bits, it measures how much of the variance a linear readout of the activity explains, on
    trials that the readout was not fitted to. See docs/mechanisms.md. If the command is interrupted, the same command
    continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        every: Measure each network at the solved N that are multiples of this number, and at its smallest and largest
            solved N; 1 measures every solved N.
        steps: Time steps of a sequence that are recorded, after the burn-in.
        trials: Sequences for each network, two or more.
        longest: The longest delay of a single bit, and the largest number of bits of a parity.
        execution: See `Execution`.
        as_json: Print {"summary": [...], "tests": [...], "changes": [...], "notes": [...], "failed": [...]}.
    """
    if steps <= longest:
        raise UsageError(f"steps = {steps}: allowed are numbers above the longest delay, --longest {longest}")
    command_line.import_plugins(execution.plugin)
    from analysis.measure.memory import Protocol, analysis

    protocol = Protocol(steps=steps, trials=trials, longest=longest, pairs=min(16, longest))
    return _mechanism(results, analysis(protocol), every, execution, as_json)


def spectra(
    results: Place,
    /,
    *,
    every: Annotated[int, at_least(1)] = 5,
    steps: Annotated[int, at_least(1)] = 5000,
    execution: Execution = DEFAULT,
    as_json: AsJson = False,
) -> int:
    """Measure how the solved checkpoints forget a change of their state (figure M2).

    It measures the largest Lyapunov exponent of leaky networks that are driven by random bits, and the eigenvalues,
    the departure from normality and the Fisher memory of their mean Jacobian. See docs/mechanisms.md. If the command is
    interrupted, the same command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        every: Measure each network at the solved N that are multiples of this number, and at its smallest and largest
            solved N; 1 measures every solved N.
        steps: Time steps that are recorded, after the burn-in.
        execution: See `Execution`.
        as_json: Print {"summary": [...], "tests": [...], "changes": [...], "notes": [...], "failed": [...]}.
    """
    command_line.import_plugins(execution.plugin)
    from analysis.measure.spectra import Protocol, analysis

    return _mechanism(results, analysis(Protocol(steps=steps)), every, execution, as_json)


def gradients(
    results: Place,
    /,
    *,
    every: Annotated[int, at_least(1)] = 5,
    n: Annotated[list[Annotated[int, at_least(2)]] | None, Several] = None,
    batches: Annotated[int, at_least(1)] = 4,
    delays: Annotated[int | None, at_least(1)] = None,
    execution: Execution = DEFAULT,
    as_json: AsJson = False,
) -> int:
    """Measure the gradients of the loss at the solved checkpoints, and its curvature (figure M3).

    It measures how large the gradient of the loss is at past states of leaky networks, the cosines between the
    gradients of different heads, and the largest eigenvalue of the Hessian; also for the next N, before it is trained.
    See docs/mechanisms.md. If the command is interrupted, the same command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        every: Measure each network at the solved N that are multiples of this number, and at its smallest and largest
            solved N; 1 measures every solved N.
        n: The solved N to measure at, instead of those that --every selects.
        batches: Batches of 64 sequences that losses and gradients are averaged over.
        delays: The longest delay of the gradients at past states, in time steps. [default: N]
        execution: See `Execution`.
        as_json: Print {"summary": [...], "tests": [...], "changes": [...], "notes": [...], "failed": [...]}.
    """
    command_line.import_plugins(execution.plugin)
    from analysis.measure.gradients import Protocol, analysis

    protocol = Protocol(batches=batches, delays=delays)
    return _mechanism(results, analysis(protocol), every, execution, as_json, ns=n)


def causes(
    results: Place,
    /,
    *,
    n: Annotated[list[Annotated[int, at_least(2)]] | None, Several] = None,
    steps: Annotated[int, at_least(1)] = 200,
    shuffles: Annotated[int, at_least(1)] = 3,
    trials: Annotated[int, at_least(1)] = 10,
    execution: Execution = DEFAULT,
    as_json: AsJson = False,
) -> int:
    """Change the taus or W of trained networks, retrain a part of them, and compare curricula (figure M4).

    Taus are set to 1, shuffled, or taken from the network of the other curriculum with the same seed, and so are
    weights; W is cut down to its leading singular values or Schur modes. Accuracy is measured at once, and after the
    readout, the weights, the taus or everything has been retrained. See docs/mechanisms.md. If the command is
    interrupted, the same command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau; it must have both curricula.
        n: The solved N to measure at. [default: the largest that all networks compared have solved]
        steps: Training steps of weights, taus and everything, each on a batch as in the network's own training.
        shuffles: Random orders of the taus.
        trials: Sequences for each changed copy of a network, with 1000 answers each.
        execution: See `Execution`.
        as_json: Print {"summary": [...], "tests": [...], "notes": [...], "failed": [...]}.
    """
    command_line.import_plugins(execution.plugin)
    from analysis import tables
    from analysis.measure import causes_results
    from analysis.measure.causes import Protocol
    from analysis.measure.interventions import InTime

    found = causes_results.run(
        results,
        ns=n,
        protocol=Protocol(steps=steps, shuffles=shuffles, in_time=InTime(trials=trials)),
        execution=execution,
    )
    if as_json:
        listed = {"summary": tables.json_rows(found.summary), "tests": tables.json_rows(found.tests)}
        print(json.dumps(listed | {"notes": found.notes, "failed": found.failed}, indent=2))
    else:
        tables.print_interventions(
            [("relative accuracy after changes of tau and W", found.summary)],
            [("curricula compared", found.tests)],
            [*found.notes, *(f"failed: {line}" for line in found.failed)],
        )
    return 1 if found.failed else 0


def _mechanism(
    results: Location,
    analysis: "Analysis",
    every: int,
    execution: Execution,
    as_json: bool,
    ns: Sequence[int] | None = None,
) -> int:
    """Measure what `analysis` says, print what came of it, and return the exit status."""
    from analysis import tables
    from analysis.measure import mechanism_results

    found = mechanism_results.run(
        results,
        analysis,
        every=every,
        ns=ns,
        execution=execution,
    )
    if as_json:
        listed = {name: tables.json_rows(getattr(found, name)) for name in ("summary", "tests", "changes")}
        print(json.dumps(listed | {"notes": found.notes, "failed": found.failed}, indent=2))
    else:
        notes = [*found.notes, *(f"failed: {line}" for line in found.failed)]
        tables.print_mechanism(analysis.name, found.summary, found.changes, found.tests, notes)
    return 1 if found.failed else 0


def time_steps(
    results: Place,
    /,
    *,
    ks: Annotated[list[Annotated[int, at_least(1)]] | None, Several] = None,
    n: Annotated[int | None, at_least(2)] = None,
    as_trained: Annotated[bool, Parameter(negative=())] = False,
    execution: Execution = DEFAULT,
    as_json: AsJson = False,
) -> int:
    """Test networks that were trained with time steps of dt = 1/k at other k (figure S5).

    The command measures all checkpoints that have not been measured yet, in parallel. If it is interrupted, the same
    command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/time_discretisation.
        ks: The values of k to test: how many time steps each bit is held. [default: 1 to 10, 12, 15, 20, 30, 50, 100,
            200]
        n: The solved N to measure at. [default: the largest that all networks compared have solved, whatever their k]
        as_trained: Test all heads on sequences as in training (for parity with p ~ U(0, 1)), as the authors' code does,
            instead of the newest head on bits with p = 0.5. The claims assume that chance is 0.5, which holds only for
            p = 0.5.
        execution: See `Execution`.
        as_json: Print {"rows": [...], "notes": [...], "failed": [...]}.
    """
    command_line.import_plugins(execution.plugin)
    from analysis import tables
    from analysis.measure import time_steps as measuring

    summary, notes, failed = measuring.run(
        results,
        ks=ks or measuring.KS,
        n=n,
        as_trained=as_trained,
        execution=execution,
    )
    if as_json:
        print(json.dumps({"rows": tables.json_rows(summary), "notes": notes, "failed": failed}, indent=2))
    else:
        lines = [*notes, *(f"failed: {line}" for line in failed)]
        tables.print_interventions([("accuracy with bits of k steps of 1/k", summary)], [], lines)
    return 1 if failed else 0
