"""The command line: `python -m analysis COMMAND RESULTS`.

The exit status is 0, 1 if the results cannot be read, or 2 if the command is wrong. Errors are one line. pandas, scipy,
matplotlib, torch and Ray take seconds to import, so the modules that a command needs are imported when it runs, and
`--help` does not wait.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from tsrnn import command_line
from tsrnn.command_line import Place, at_least
from tsrnn.io.files import Location
from tsrnn.untrusted import printable

if TYPE_CHECKING:
    from analysis.measure.jobs import Analysis

app = App(
    name="python -m analysis",
    help="Measure the results of a sweep, finished or still running.",
    version_flags=[],
)

AsJson = Annotated[bool, Parameter(name="--json", negative="")]
Yes = Annotated[bool, Parameter(negative="")]
InterventionKind = Literal["ablation", "perturb-weights", "perturb-taus", "inhibition", "heads-retraining"]
TimescaleMethod = Literal["paper", "robust"]


def _a_probability(_: type, value: float | str) -> None:
    if not isinstance(value, str) and not 0 <= value <= 1:
        raise ValueError("allowed are numbers from 0 to 1, and uniform")


@app.command
def max_n(results: Place, /, *, plugin: command_line.Plugins = None, as_json: AsJson = False) -> None:
    """Print the largest N solved for each task, curriculum and tau.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"rows": [...]}, with a row for each combination of the grid, as JSON.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.quantities import reach as measures

    frame = measures.max_n(results)
    if as_json:
        print(json.dumps({"rows": tables.json_rows(frame)}, indent=2))
    else:
        tables.print_max_n(frame)


@app.command
def verify(
    results: Place,
    /,
    *,
    repair: Annotated[bool, Parameter(negative="")] = False,
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Check every file of a sweep, and that files agree: schemas, keys, checksums, checkpoints, outcomes.

    The exit status is 1 if something is wrong and was not repaired. While the sweep runs, each file is checked by
    itself.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau, or one that holds several.
        repair: Move damaged files to _damaged/, so that the sweep's own command makes them again. Also write again what
            follows from other files, and delete temporary files that killed processes left.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"sweeps": [{"folder", "networks", "files", "checkpoints", "problems": [...], ...}]}.
    """
    from analysis.verify import verification

    command_line.import_plugins(plugin)
    found = [verification.verify(folder, repair=repair) for folder in verification.sweeps_below(results)]
    if as_json:
        print(json.dumps({"sweeps": [verification.as_json(one, repaired=repair) for one in found]}, indent=2))
    else:
        for one in found:
            print(printable("\n".join(verification.lines(one, repaired=repair))))
    return 1 if any(not (repair and problem.repair) for one in found for problem in one.problems) else 0


@app.command
def interventions(
    results: Place,
    /,
    *,
    kinds: Annotated[list[InterventionKind] | None, Parameter(consume_multiple=True, negative=())] = None,
    n: Annotated[int | None, at_least(2)] = None,
    trials: Annotated[int, at_least(1)] = 10,
    draws: Annotated[int, at_least(1)] = 10,
    common_directions: Annotated[bool, Parameter(negative=())] = False,
    heads: Annotated[list[Annotated[int, at_least(2)]] | None, Parameter(consume_multiple=True, negative=())] = None,
    workers: Annotated[int | None, at_least(1)] = None,
    address: str = "auto",
    yes: Yes = False,
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Ablate and perturb trained networks, and compare curricula (figures 7, S9, S17, S19; Tables 1, 2).

    The command measures all checkpoints that have not been measured yet, in parallel. If it is interrupted, the same
    command continues where it stopped. Accuracy is that of the newest head, in time: the network hears random bits with
    p = 0.5 and answers at every step; the first 100 steps are warm-up, and the next 1000 count.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        kinds: The interventions; all by default.
        n: The solved N to measure at. [default: the largest that all networks compared have solved; for
            heads-retraining every solved N]
        trials: Sequences for each changed copy of a network.
        draws: Random directions for each strength of a perturbation.
        common_directions: Use the same directions at every strength, instead of new ones.
        heads: The values N' that the readout is retrained on. [default: 2 to 20, or 2 to N + 5 if that is more]
        workers: Processes on this machine. [default: one for each CPU]
        address: Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this
            machine), or the HOST:PORT of a Ray cluster.
        yes: Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a
            terminal.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"kinds": {KIND: {"summary": [...], "tests": [...]}}, "notes": [...], "failed": [...]}.
    """
    command_line.import_plugins(plugin)
    from pandas import DataFrame

    from analysis import tables
    from analysis.measure import intervention_results
    from analysis.measure.interventions import InTime

    found = intervention_results.run(
        results,
        kinds or intervention_results.KINDS,
        n=n,
        protocol=InTime(trials=trials),
        draws=draws,
        common=common_directions,
        heads=heads,
        workers=workers,
        address=address,
        yes=yes,
        console=command_line.console(stderr=True),
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


@app.command
def timescales(
    results: Place,
    /,
    *,
    every: Annotated[int, at_least(1)] = 5,
    steps: Annotated[int, at_least(1)] = 100_000,
    trials: Annotated[int, at_least(1)] = 10,
    input_probability: Annotated[float | Literal["uniform"], Parameter(validator=_a_probability)] = 0.5,
    method: Annotated[list[TimescaleMethod] | None, Parameter(consume_multiple=True, negative=())] = None,
    workers: Annotated[int | None, at_least(1)] = None,
    address: str = "auto",
    yes: Yes = False,
    plugin: command_line.Plugins = None,
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
        workers: Processes on this machine. [default: one for each CPU]
        address: Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this
            machine), or the HOST:PORT of a Ray cluster.
        yes: Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a
            terminal.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"networks": [...], "summary": [...], "failed": [...]}.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.measure import dynamics_results
    from analysis.measure.dynamics import METHODS, Protocol

    found = dynamics_results.run(
        results,
        every=every,
        protocol=Protocol(steps=steps, trials=trials, input_probability=input_probability),
        methods=method or METHODS,
        workers=workers,
        address=address,
        yes=yes,
        console=command_line.console(stderr=True),
    )
    if as_json:
        listed = {"networks": tables.json_rows(found.networks), "summary": tables.json_rows(found.summary)}
        print(json.dumps(listed | {"failed": found.failed}, indent=2))
    else:
        tables.print_timescales(found.summary, [f"failed: {line}" for line in found.failed])
    return 1 if found.failed else 0


@app.command
def memory(
    results: Place,
    /,
    *,
    every: Annotated[int, at_least(1)] = 5,
    steps: Annotated[int, at_least(1)] = 20_000,
    trials: Annotated[int, at_least(2)] = 10,
    longest: Annotated[int, at_least(2)] = 64,
    workers: Annotated[int | None, at_least(1)] = None,
    address: str = "auto",
    yes: Yes = False,
    plugin: command_line.Plugins = None,
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
        workers: Processes on this machine. [default: one for each CPU]
        address: Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this
            machine), or the HOST:PORT of a Ray cluster.
        yes: Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a
            terminal.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"summary": [...], "failed": [...]}.
    """
    command_line.import_plugins(plugin)
    from analysis.measure.memory import Protocol, analysis

    protocol = Protocol(steps=steps, trials=trials, longest=longest, pairs=min(16, longest))
    return _mechanism(results, analysis(protocol), every, workers, address, yes, as_json)


@app.command
def spectra(
    results: Place,
    /,
    *,
    every: Annotated[int, at_least(1)] = 5,
    steps: Annotated[int, at_least(1)] = 5000,
    workers: Annotated[int | None, at_least(1)] = None,
    address: str = "auto",
    yes: Yes = False,
    plugin: command_line.Plugins = None,
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
        workers: Processes on this machine. [default: one for each CPU]
        address: Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this
            machine), or the HOST:PORT of a Ray cluster.
        yes: Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a
            terminal.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"summary": [...], "failed": [...]}.
    """
    command_line.import_plugins(plugin)
    from analysis.measure.spectra import Protocol, analysis

    return _mechanism(results, analysis(Protocol(steps=steps)), every, workers, address, yes, as_json)


@app.command
def gradients(
    results: Place,
    /,
    *,
    every: Annotated[int, at_least(1)] = 5,
    n: Annotated[list[Annotated[int, at_least(2)]] | None, Parameter(consume_multiple=True, negative=())] = None,
    batches: Annotated[int, at_least(1)] = 4,
    delays: Annotated[int | None, at_least(1)] = None,
    workers: Annotated[int | None, at_least(1)] = None,
    address: str = "auto",
    yes: Yes = False,
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Measure the gradients that the training of the solved checkpoints follows, and their curvature (figure M3).

    It measures how large the gradient of the loss is at past states of leaky networks, the cosines between the
    gradients of different heads, and the largest eigenvalue of the Hessian; also for the next N, before it is trained.
    See docs/mechanisms.md. If the command is interrupted, the same command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau.
        every: Measure each network at the solved N that are multiples of this number, and at its smallest and largest
            solved N; 1 measures every solved N.
        n: The solved N to measure at, instead.
        batches: Batches of 64 sequences that losses and gradients are averaged over.
        delays: The longest delay of the gradients at past states, in time steps. [default: N]
        workers: Processes on this machine. [default: one for each CPU]
        address: Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this
            machine), or the HOST:PORT of a Ray cluster.
        yes: Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a
            terminal.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"summary": [...], "failed": [...]}.
    """
    command_line.import_plugins(plugin)
    from analysis.measure.gradients import Protocol, analysis

    protocol = Protocol(batches=batches, delays=delays)
    return _mechanism(results, analysis(protocol), every, workers, address, yes, as_json, ns=n)


@app.command
def causes(
    results: Place,
    /,
    *,
    n: Annotated[list[Annotated[int, at_least(2)]] | None, Parameter(consume_multiple=True, negative=())] = None,
    steps: Annotated[int, at_least(1)] = 200,
    shuffles: Annotated[int, at_least(1)] = 3,
    trials: Annotated[int, at_least(1)] = 10,
    workers: Annotated[int | None, at_least(1)] = None,
    address: str = "auto",
    yes: Yes = False,
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Change the taus or W of trained networks, retrain a part of them, and compare curricula (figure M4).

    Taus are set to 1, shuffled, or taken from the network of the other curriculum with the same seed, as are weights; W
    is cut down to its leading singular values or Schur modes. Accuracy is measured at once, and after the readout, the
    weights, the taus or everything has been retrained. See docs/mechanisms.md. If the command is interrupted, the same
    command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/fixed_tau; it must have both curricula.
        n: The solved N to measure at. [default: the largest that all networks compared have solved]
        steps: Training steps of weights, taus and everything, each on a batch as in the network's own training.
        shuffles: Random orders of the taus.
        trials: Sequences for each changed copy of a network, with 1000 answers each.
        workers: Processes on this machine. [default: one for each CPU]
        address: Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this
            machine), or the HOST:PORT of a Ray cluster.
        yes: Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a
            terminal.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"summary": [...], "tests": [...], "notes": [...], "failed": [...]}.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.measure import causes_results
    from analysis.measure.causes import Protocol
    from analysis.measure.interventions import InTime

    found = causes_results.run(
        results,
        ns=n,
        protocol=Protocol(steps=steps, shuffles=shuffles, in_time=InTime(trials=trials)),
        workers=workers,
        address=address,
        yes=yes,
        console=command_line.console(stderr=True),
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
    workers: int | None,
    address: str,
    yes: bool,
    as_json: bool,
    ns: Sequence[int] | None = None,
) -> int:
    """Measure what `analysis` says, print what came of it, and return the exit status."""
    from analysis import tables
    from analysis.measure import mechanism_results

    console = command_line.console(stderr=True)
    summary, failed = mechanism_results.run(
        results, analysis, every=every, ns=ns, workers=workers, address=address, console=console, yes=yes
    )
    if as_json:
        print(json.dumps({"summary": tables.json_rows(summary), "failed": failed}, indent=2))
    else:
        tables.print_mechanism(analysis.name, summary, [f"failed: {line}" for line in failed])
    return 1 if failed else 0


@app.command
def time_steps(
    results: Place,
    /,
    *,
    ks: Annotated[list[Annotated[int, at_least(1)]] | None, Parameter(consume_multiple=True, negative=())] = None,
    n: Annotated[int | None, at_least(2)] = None,
    as_trained: Annotated[bool, Parameter(negative=())] = False,
    workers: Annotated[int | None, at_least(1)] = None,
    address: str = "auto",
    yes: Yes = False,
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Test networks that were trained with time steps of dt = 1/k at other k (figure S5).

    The command measures all checkpoints that have not been measured yet, in parallel. If it is interrupted, the same
    command continues where it stopped.

    Args:
        results: The sweep's folder, such as results/quick/time_discretisation.
        ks: The values of k to test: how many time steps each bit is held. [default: 1 to 10, 12, 15, 20, 30, 50, 100,
            200]
        n: The solved N to measure at. [default: the largest that all networks trained with the same k have solved]
        as_trained: Test all heads on sequences as in training (for parity with p ~ U(0, 1)), as the authors' code does,
            instead of the newest head on bits with p = 0.5. The claims assume that chance is 0.5, which holds only for
            p = 0.5.
        workers: Processes on this machine. [default: one for each CPU]
        address: Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this
            machine), or the HOST:PORT of a Ray cluster.
        yes: Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a
            terminal.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"rows": [...], "notes": [...], "failed": [...]}.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.measure import time_steps as measuring

    summary, notes, failed = measuring.run(
        results,
        ks=ks or measuring.KS,
        n=n,
        as_trained=as_trained,
        workers=workers,
        address=address,
        yes=yes,
        console=command_line.console(stderr=True),
    )
    if as_json:
        print(json.dumps({"rows": tables.json_rows(summary), "notes": notes, "failed": failed}, indent=2))
    else:
        lines = [*notes, *(f"failed: {line}" for line in failed)]
        tables.print_interventions([("accuracy with bits of k steps of 1/k", summary)], [], lines)
    return 1 if failed else 0


def known_figures(_: type, ids: list[str] | None) -> None:
    """Check `--only`."""
    from analysis.figures import FIGURES

    if unknown := [id for id in ids or () if id not in FIGURES]:
        raise ValueError(f"no figure {', '.join(unknown)}: allowed are {', '.join(FIGURES)}")


@app.command
def figures(
    results: Place,
    /,
    *,
    only: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=(), validator=known_figures)] = None,
    out: Path = Path("figures"),
    plugin: command_line.Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Draw the paper's figures as PNG and SVG, and write its tables as CSV and Markdown.

    If results for a figure are missing, the command names them, and the command that produces them.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        only: The figures and tables to make, such as 4a S11 table1; all by default.
        out: The folder for the files. Each file is named after its figure.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"figures": [{"id", "title", "caption", "missing", "files"}]}.
    """
    command_line.import_plugins(plugin)
    import time

    from analysis.data.study import Study
    from analysis.figures import FIGURES, build, write
    from analysis.measure.progress import JobProgress

    study, listed = Study(results), []
    ids = [id for id in FIGURES if only is None or id in only]
    with JobProgress("figures", {"figures": len(ids)}, command_line.console(stderr=True), quiet=True) as shown:
        for id in ids:
            began = time.monotonic()
            (figure,) = build(study, [id])
            files = [] if figure.missing else [str(path) for path in write(figure, out)]
            listed.append(
                {name: getattr(figure, name) for name in ("id", "title", "caption", "missing")} | {"files": files}
            )
            if not as_json:
                shown.say(f"{figure.id:7} {', '.join(files) or 'not drawn: ' + figure.missing}")
            shown.take("figures", time.monotonic() - began)
    if as_json:
        print(json.dumps({"figures": listed}, indent=2))


@app.command
def claims(results: Place, /, *, plugin: command_line.Plugins = None, as_json: AsJson = False) -> None:
    """Judge the paper's claims one by one: reproduced, contradicted, inconclusive or not run.

    The statistical unit is the network. Each verdict comes with its estimate, its 95 % interval, the smallest effect of
    interest, and a p-value corrected for the number of claims. An inconclusive verdict says what would decide it. See
    docs/claims.md.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"counts": {VERDICT: claims}, "claims": [...]}, with a row for each claim and training, as JSON.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.claims.catalogue import counts, judge_all
    from analysis.data.study import Study

    frame = judge_all(Study(results))
    if as_json:
        print(json.dumps({"counts": counts(frame), "claims": tables.json_rows(frame)}, indent=2))
    else:
        tables.print_claims(frame, counts(frame))


@app.command
def publish(
    results: Place,
    out: Place,
    /,
    *,
    n: Annotated[list[Annotated[int, at_least(2)]] | None, Parameter(consume_multiple=True, negative=())] = None,
    where: str = "",
    without: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    plugin: command_line.Plugins = None,
) -> None:
    """Copy results for publication: each table as one file, and checkpoints if you ask for them.

    Every other command reads such a folder like that of a sweep. A sweep refuses to train in it.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        out: The folder to write. It must not exist, be empty, or be one that this command wrote.
        n: Also copy the networks' checkpoints at these solved N; none by default.
        where: The networks whose checkpoints are copied, as a query of pandas.DataFrame.query, such as
            "task == 'parity' and tau == 'trained'"; all by default.
        without: Tables of measurements to leave out, such as autocorrelations, the largest.
        plugin: Python files that define tasks, networks or curricula of your own.
    """
    command_line.import_plugins(plugin)
    from analysis.data.publish import publish as copy

    files = copy(results, out, n or (), where, without or ())
    size = sum(len(path.read_bytes()) for path in files)
    print(printable(f"{out}: {command_line.counted(len(files), 'file')}, {size / 1e6:.1f} MB"))


@app.command
def pace(results: Place, /, *, plugin: command_line.Plugins = None, as_json: AsJson = False) -> None:
    """Compare how much training two kinds of networks need, at every N, for each claim of pace (figures 3c, 4a).

    A claim of pace is judged at one N, fixed by its rule. This shows the ratio of training with its 95 % interval at
    every N, and between which N the order of the two cells changes. Networks that have not solved N count with their
    whole training as a lower bound.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        plugin: Python files that define tasks, networks or curricula of your own.
        as_json: Print {"rows": [...]}, one row a claim, training and N.
    """
    command_line.import_plugins(plugin)
    from analysis import tables
    from analysis.claims.course import course
    from analysis.data.study import Study

    frame = course(Study(results))
    if as_json:
        print(json.dumps({"rows": tables.json_rows(frame)}, indent=2))
    else:
        tables.print_pace(frame)


@app.command
def report(
    results: Place,
    other: Place | None = None,
    /,
    *,
    out: Path = Path("report"),
    plugin: command_line.Plugins = None,
) -> int:
    """Write a report of the results: one page of HTML that works offline. With a second study, compare the two.

    The page has the claims, the largest N, every figure with the query behind it, a page for each network, deviations
    from the paper, run times, the machine, versions, and links to the tables. It lists the figures that cannot be
    drawn, and the commands that they wait for.

    Args:
        results: A sweep's folder, such as results/quick/fixed_tau, or the folder of several, such as results/quick.
        other: A second study; the page then shows the verdicts and estimates of both, side by side.
        out: The folder for index.html, or a file that ends in .html.
        plugin: Python files that define tasks, networks or curricula of your own.
    """
    command_line.import_plugins(plugin)
    from analysis import report as page
    from analysis.data.study import Study

    if other is not None:
        print(printable(str(page.write_comparison(Study(results), Study(other), out)[0])))
        return 0
    path, contents = page.write(Study(results), out, command_line.console(stderr=True))
    print(printable(str(path)))
    for line in contents.failed:
        print(f"failed: {printable(line)}", file=sys.stderr)
    return 1 if contents.failed else 0


def main(arguments: Sequence[str]) -> int:
    """Run a command, given as the words after the program's name, and return its exit status."""
    return command_line.run(app, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
