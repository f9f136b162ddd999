"""The command-line options of sweeps."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from sweeps.engine.scales import ScaleName
from tsrnn.command_line import Plugins, Several, Whole, at_least
from tsrnn.config import Library
from tsrnn.config.presets import PresetName
from tsrnn.curricula import CURRICULA
from tsrnn.distributed.discovery import require_address
from tsrnn.errors import UsageError
from tsrnn.tasks import TASKS

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

Tracker = Literal["tensorboard", "wandb", "mlflow"]
"""Trackers that show the trials of a sweep in addition to the tables."""

_PACKAGES: Final[dict[Tracker, str]] = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
"""The package that each tracker needs."""


def require_installed(trackers: Sequence[Tracker]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        UsageError: names the tracker, its package and the command that installs it.
    """
    for tracker in trackers:
        if find_spec(_PACKAGES[tracker]) is None:
            raise UsageError(
                f"log = {tracker}: the package {_PACKAGES[tracker]} is not installed; run "
                f"`pip install --editable '.[{tracker}]'`, or leave --log out"
            )


# Ray counts resources in units of 1/10,000.
_SMALLEST_SHARE: Final = 0.0001


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The options that the grid of a sweep varies, with their values; an option without values is not varied."""

    tasks: tuple[str, ...] = ()
    curricula: tuple[str, ...] = ()
    taus: tuple[str, ...] = ()
    self_interactions: tuple[Literal["inside", "outside"], ...] = ()

    @property
    def varied(self) -> dict[str, tuple[str, ...]]:
        """The values of the options that are varied, by the options' names."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: values for name, values in found.items() if values}


AXES: Final = tuple(field.name for field in dataclasses.fields(Axes))
"""The options that a grid may vary over."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where trials run, and their resources; numbers out of range raise an error on construction.

    Raises:
        UsageError: names the option, its value and the allowed values.
    """

    address: str = "auto"
    """Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this machine), or
    the HOST:PORT of a Ray cluster."""

    cpus_per_trial: float = 1.0
    """CPUs for each trial, that is, for the replicates of one combination, which are trained together. A trial uses as
    many threads as it has whole CPUs."""

    gpus_per_trial: float | None = None
    """GPUs for each trial; trials with a fraction share a GPU. [default: 0.25 if the cluster has GPUs, else 0]"""

    niceness: Annotated[int | None, Whole] = None
    """The niceness of the trials, from 0 (they share the machine with other programs as equals) to 19 (other programs
    go first). It is ignored on a Ray cluster that was started before. [default: 0]"""

    allow_other_code: Flag = False
    """Continue networks whose training began with a different version of the code of tsrnn or of a plugin. Their
    numbers then belong to neither version. Without this option that is an error. New and finished networks are not
    affected."""

    yes: Flag = False
    """Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a terminal."""

    def __post_init__(self) -> None:
        cpus, gpus, niceness = self.cpus_per_trial, self.gpus_per_trial, self.niceness
        require_address(self.address)
        if not cpus >= _SMALLEST_SHARE:
            raise UsageError(f"cpus-per-trial = {cpus:g}: allowed are numbers of at least {_SMALLEST_SHARE:g}")
        if gpus is not None and not (gpus == 0 or _SMALLEST_SHARE <= gpus <= 1 or (gpus > 1 and gpus % 1 == 0)):
            raise UsageError(
                f"gpus-per-trial = {gpus:g}: allowed are 0, shares of one of at least {_SMALLEST_SHARE:g}, and whole "
                f"numbers"
            )
        if niceness is not None and not 0 <= niceness <= 19:
            raise UsageError(f"niceness = {niceness}: allowed are whole numbers from 0 to 19")


def _listed(what: str, names: Iterable[str]) -> str:
    return f"{what}: {', '.join(names)}, or one that the sweep's file or --plugin defines. [default: the sweep's]"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options(Execution):
    """The options of a sweep; None means the value of the scale, or with --resume the recorded value."""

    scale: ScaleName | None = None
    """The size of the networks and the length of training: quick (minutes on 2 cores), overnight (all sweeps in a
    night), laptop (hours), paper (days). [default: paper on a Ray cluster that the sweep joins, quick on this machine
    alone]"""

    preset: PresetName | None = None
    """How networks are trained. paper: as the paper says, by SGD with the batch size of the scale. authors: as the
    authors' code does where it differs from the paper (sequences up to 4 N + 1, slope 0.01, tau clamped in the forward
    pass). tuned: by Muon with learning rates that fall with N, batches of 32 and a test every 20 steps; what counts as
    solved is the same. soap: like tuned, by SOAP with batches of 64; it is meant for --truncation 16. momentum: like
    paper, with a learning rate of 0.02 and a momentum of 0.9. [default: paper]"""

    tasks: Annotated[list[str] | None, Several, Parameter(help=_listed("Tasks to train", TASKS))] = None

    curricula: Annotated[
        list[str] | None,
        Several,
        Parameter(help=_listed("Curricula to train under", (CURRICULA[kind].usage or kind for kind in CURRICULA))),
    ] = None

    taus: Annotated[list[str] | None, Several] = None
    """The taus of the neurons: fixed values in time steps (1 or more), or trained. [default: the sweep's]"""

    self_interactions: Annotated[list[Literal["inside", "outside"]] | None, Several] = None
    """Where the leak term is: inside the nonlinearity (equation 1), outside (equation 5), or both, one after the
    other. [default: the sweep's]"""

    replicates: Annotated[int | None, Whole] = None
    """Networks for each combination of settings, each with its own seed. [default: 4; overnight and laptop 8, for some
    sweeps fewer]"""

    seed: Annotated[int | None, Whole] = None
    """The seed of the first replicate; the others have the next higher numbers. [default: 0]"""

    hidden: Annotated[int | None, Whole] = None
    """The number of neurons of a network. [default: 500; overnight and laptop 128, quick 64]"""

    precision: Literal["float32", "bfloat16"] | None = None
    """The dtype of the matrix products of the recurrence; bfloat16 is faster on processors that support it.
    [default: float32]"""

    truncation: Annotated[int | None, Whole] = None
    """Truncate backpropagation through time to this number of time steps: each optimiser step takes that many further
    steps of long sequences. Heads must be read out at all steps, as with the preset tuned. [default: not truncated]"""

    epochs: Annotated[int | None, at_least(1)] = None
    """The largest number of epochs of each network. If a sweep gives some networks a smaller budget than others,
    theirs changes in proportion. [default: paper 1000, overnight 225, laptop 150, quick 40; as many steps with the
    presets tuned and soap, whose epochs are shorter]"""

    max_n: Annotated[int | None, Whole] = None
    """The N at which training ends, once it is solved. [default: 101; overnight 31; temporal_patterns 10]"""

    stall: Annotated[int | None, at_least(1)] = None
    """End a network, as stalled, if it has not solved a new N for this many optimiser steps. [default: never]"""

    products: Library | None = None
    """The library for matrix products: compiled (a compiled loop over time), compiled-scipy (the same with scipy's
    BLAS), blas (torch's own, MKL on x86) or onednn (float32 on a CPU). [default: each trial measures which is fastest;
    a trial that is continued keeps its library]"""

    storage: Annotated[str | None, Parameter(env_var="TSRNN_STORAGE")] = None
    """The folder for results; this sweep writes to STORAGE/<its name>/. On a cluster of several machines it must be a
    folder that all of them see, or s3://BUCKET/PATH. [default: results/SCALE]"""

    plugin: Plugins = None
    """Python files that define tasks, networks or curricula of your own. Workers import them, too."""

    resume: Flag = False
    """Finish the sweep that is recorded in the storage folder, with its options unless you give others."""

    dry_run: Flag = False
    """Print the grid, its floating-point operations and the time it would take on this machine, and run nothing. The
    time is estimated from short pieces of training, to within a factor of about 1.5."""

    log: Annotated[list[Tracker] | None, Several] = None
    """Also show the trials in tensorboard, wandb (Weights & Biases) or mlflow. The tables are always written.
    [default: none]"""

    verbose: Flag = False
    """Print for each trial which library computes the matrix products, and how many networks are computed together."""

    json: Flag = False
    """Print the result (or the dry run) as JSON on standard output."""

    def words(self) -> list[str]:
        """Return the options as words of a command line, without options that have their default value."""
        found = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                values = () if value is True else value if isinstance(value, list) else (value,)
                found += [f"--{field.name.replace('_', '-')}", *map(str, values)]
        return found

    def over(self, axes: Axes, sweep: str) -> Axes:
        """Return the axes of a sweep, with its own values replaced by those that were given.

        Args:
            axes: The axes of the sweep.
            sweep: The name of the sweep.

        Raises:
            UsageError: an option was given that the sweep does not vary.
        """
        given = {name: values for name in AXES if (values := getattr(self, name)) is not None}
        for name, values in given.items():
            option = name.replace("_", "-")
            if name not in axes.varied:
                varied = ", ".join(axes.varied).replace("_", "-") or "none"
                raise UsageError(
                    f"{option} = {' '.join(values)}: the sweep {sweep} does not vary this option; leave it out "
                    f"(allowed here: {varied})"
                )
        return dataclasses.replace(axes, **{name: tuple(values) for name, values in given.items()})
