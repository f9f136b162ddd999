"""The options every sweep takes on its command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeVar

from cyclopts import Parameter

from sweeps.engine.errors import UsageError
from sweeps.engine.scales import ScaleName
from tsrnn.command_line import Whole
from tsrnn.config import Library
from tsrnn.config.presets import PresetName

T = TypeVar("T")

Many = Parameter(consume_multiple=True, negative=())
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

AXES: Final = ("tasks", "curricula", "taus", "self_interactions")
"""The options that a grid may vary over."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may choose; None means the scale's (or, with --resume, the recorded) value."""

    scale: ScaleName | None = None
    """How large and how long: quick (minutes on 2 cores), laptop (hours), paper (days). [default: paper]"""

    preset: PresetName | None = None
    """How networks are trained: paper; authors to follow their code where it differs; tuned to train faster, judged
    alike. [default: paper]"""

    tasks: Annotated[list[str] | None, Many] = None
    """Tasks to train: parity, dms, sines, or one that the sweep's file defines. [default: the sweep's]"""

    curricula: Annotated[list[str] | None, Many] = None
    """Curricula to train under: single, multi, sliding-W (a window of W heads), none-N (N alone), all-N (N = 2..N at
    once). [default: the sweep's]"""

    taus: Annotated[list[str] | None, Many] = None
    """Tau constraints: fixed values in time steps (1 or more), or trained. [default: the sweep's]"""

    self_interactions: Annotated[list[Literal["inside", "outside"]] | None, Many] = None
    """Leak inside the nonlinearity (equation 1), outside (equation 5), or both. [default: the sweep's]"""

    replicates: Annotated[int | None, Whole] = None
    """Networks per combination, each with its own seed. [default: 4; laptop 8]"""

    seed: Annotated[int | None, Whole] = None
    """Seed of the first replicate; the others count up from it. [default: 0]"""

    hidden: Annotated[int | None, Whole] = None
    """Neurons of a network. [default: 500; laptop 128, quick 64]"""

    precision: Literal["float32", "bfloat16"] | None = None
    """Dtype of the recurrence's products: bfloat16 is faster where the processor has it. [default: float32]"""

    products: Library | None = None
    """What multiplies: blas (torch's own choice, MKL on x86) or onednn (float32 on a CPU). [default: the faster one,
    which each trial measures; a trial that goes on takes what it began with]"""

    storage: Annotated[str, Parameter(env_var="TSRNN_STORAGE")] = "results"
    """Folder for results; this sweep writes below STORAGE/<its name>/. On a cluster of several machines: a folder that
    all of them see, or s3://BUCKET/PATH."""

    address: str = "auto"
    """Ray to run on: auto (a running cluster if there is one, else this machine), local, or HOST:PORT."""

    cpus_per_trial: float = 1.0
    """CPUs of a trial (the replicates of one combination); whole CPUs become its threads."""

    gpus_per_trial: float | None = None
    """GPUs of a trial, a fraction shares one. [default: 0.25 where the cluster has GPUs, else 0]"""

    niceness: Annotated[int | None, Whole] = None
    """How far the trials stand back for other programs of this machine, from 0 (not at all: they share it as equals) to
    19. It is for Ray that this command starts; a cluster that it joins has that of its own start. [default: 0]"""

    resume: Flag = False
    """Finish the sweep recorded in the storage folder; options not given are taken from it."""

    dry_run: Flag = False
    """Print the grid with its operations and the time they take here, and run nothing. The time is estimated from a
    moment of training, within a factor of about 1.5."""

    verbose: Flag = False
    """Say of each trial what multiplies and how many networks are stepped together."""

    json: Flag = False
    """Print the result (or the dry run) as JSON on standard output."""

    varied: Annotated[set[str], Parameter(parse=False)] = field(default_factory=set, init=False, compare=False)
    """The grid's options that a grid has asked for."""

    def at_scale(self, *, quick: T, laptop: T, paper: T) -> T:
        """Return what a grid chooses at the scale that is asked for."""
        return {"quick": quick, "laptop": laptop, "paper": paper}[self.scale or "paper"]

    def axis(self, name: str, default: Sequence[str]) -> Sequence[str]:
        """Return the values of one of the grid's options, or its default.

        Raises:
            UsageError: if the option was given without a value.
        """
        self.varied.add(name)
        values: Sequence[str] | None = getattr(self, name)
        if values is None:
            return default
        if not values:
            raise UsageError(f"{name.replace('_', '-')}: an empty grid; give at least one of {', '.join(default)}")
        return values
