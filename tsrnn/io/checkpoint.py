"""Checkpoints: a network as a safetensors file that contains everything needed to rebuild it.

The header of the file has JSON (configuration, progress, checksum). Nothing in the file can be executed. Loading is
strict: a tensor that is missing, unexpected, damaged or of the wrong shape is a `CheckpointError`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final, Self

import safetensors
import safetensors.torch
import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass
from torch import Tensor

from tsrnn.config import RunConfig, explain
from tsrnn.curricula import CurriculumState
from tsrnn.errors import Failure
from tsrnn.io.claims import Claim
from tsrnn.io.files import AnyLocation, Location, location, write_atomically
from tsrnn.kinds import MemoryN
from tsrnn.networks import NetworkState, Population, initial_network, parameter_dtype, population, shapes
from tsrnn.networks.choice import Computed
from tsrnn.training.optimizers import OptimizerState, initial_state
from tsrnn.untrusted import as_file_name, parse_json

FORMAT: Final = "tsrnn-2"


class CheckpointError(Failure):
    """A checkpoint cannot be read; the message names the file and says why."""


class DamagedCheckpointError(CheckpointError):
    """The file of a checkpoint does not have the content that was written: it is truncated or was changed."""


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Progress:
    """The state of a network's training.

    Attributes:
        heads: the N that are trained, ascending.
        solved: those of them that have been solved, ascending.
        epoch: epochs trained.
        epochs_on_newest: epochs trained since the newest N entered.
        max_n: the largest N solved; 0 where none was.
        steps: optimiser steps taken.
        steps_since_solved: optimiser steps since an N was last solved for the first time.
        operations: useful floating-point operations of the network's matrix products.
        confirm_operations: operations for the confirmation of solved N, which are not included in `operations`.
        wall_s: computing time in seconds: the network's share of the time of its population.
    """

    heads: Annotated[tuple[MemoryN, ...], Field(min_length=1)]
    solved: tuple[MemoryN, ...] = ()
    epoch: int = 0
    epochs_on_newest: int = 0
    max_n: int = 0
    steps: int = 0
    steps_since_solved: int = 0
    operations: float = 0.0
    confirm_operations: float = 0.0
    wall_s: float = 0.0

    @field_validator("heads")
    @classmethod
    def _ascending(cls, heads: tuple[int, ...]) -> tuple[int, ...]:
        if list(heads) != sorted(set(heads)):
            raise ValueError(f"heads = {heads}: allowed are different N in ascending order")
        return heads

    @model_validator(mode="after")
    def _solved_are_in_training(self) -> Self:
        if list(self.solved) != [n for n in self.heads if n in self.solved]:
            raise ValueError(f"solved = {self.solved}: allowed are N of heads = {self.heads}, ascending")
        return self

    @property
    def curriculum(self) -> CurriculumState:
        """The state of the curriculum."""
        return CurriculumState(self.heads, self.solved)


_PROGRESS: Final[TypeAdapter[Progress]] = TypeAdapter(Progress)
_COMPUTED: Final[TypeAdapter[Computed | None]] = TypeAdapter(Computed | None)


@dataclass(frozen=True)
class Checkpoint:
    """One network at the end of an epoch.

    Attributes:
        config: the network's run.
        progress: the state of its training.
        network: the network's tensors by name, with heads by their N.
        optimizer: the optimiser's state (see `tsrnn.training.optimizers.initial_state`); empty where no step was
            taken, or only the weights are kept.
        computed: the hardware and plan of its latest training; None if it has taken no step, or in older files.
    """

    config: RunConfig
    progress: Progress
    network: NetworkState = field(repr=False)
    optimizer: OptimizerState = field(default_factory=dict, repr=False)
    computed: Computed | None = None

    def population(self) -> Population:
        """Return the network as a population of one, whose products have the dtype of its parameters."""
        return population(self.config.network, [self.network], [self.progress.heads])


def new(config: RunConfig) -> Checkpoint:
    """Return the initial state of a run: epoch 0, initial weights, and the first heads of the curriculum.

    Raises:
        CheckpointError: if the run starts from a checkpoint instead.
    """
    if config.source:
        raise CheckpointError(f"{config.network_id}: starts from the checkpoint {config.source}, which is not there")
    heads = config.curriculum.first_heads
    return Checkpoint(config, Progress(heads=heads), initial_network(config, heads))


def save(checkpoint: Checkpoint, path: AnyLocation) -> None:
    """Write a checkpoint atomically.

    Raises:
        OSError: if the file cannot be written.
        TypeError: if it is no checkpoint.
    """
    if not isinstance(checkpoint, Checkpoint):
        raise TypeError(f"checkpoint = {checkpoint!r:.100}: allowed is a Checkpoint, such as a report's `checkpoint`")
    write_atomically(path, to_bytes(checkpoint))


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Return the whole content of a checkpoint's file."""
    tensors = {f"network/{name}": t for name, t in checkpoint.network.items()}
    for part, state in checkpoint.optimizer.items():
        tensors |= {f"optimizer/{part}/{name}": t for name, t in state.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {
        "format": FORMAT,
        "config": json.loads(checkpoint.config.to_json()),
        "progress": asdict(checkpoint.progress),
    }
    if checkpoint.computed is not None:
        about["computed"] = asdict(checkpoint.computed)
    text = json.dumps(about, sort_keys=True)
    metadata = {"tsrnn": text, "sha256": _digest(text, tensors)}
    return safetensors.torch.save(tensors, metadata)


def load(path: AnyLocation, n: int | None = None) -> Checkpoint:
    """Read a checkpoint: `population()` returns the network, `config` and `progress` describe it.

    Args:
        path: A file, or a network's folder, such as `results/quick/fixed_tau/checkpoints/NETWORK_ID`; or
            s3://BUCKET/PATH.
        n: In a network's folder, the solved N whose weights to load; the largest by default.

    Raises:
        CheckpointError: if the file is absent, damaged, not one of ours, or does not fit its own configuration; if the
            folder has no weights that solved N = n.
        ValueError: if n is given and `path` is a file.
    """
    path = location(path)
    if path.name.endswith(".safetensors") or not path.is_dir():
        if n is not None:
            raise ValueError(f"n = {n}: {path} is no folder of a network; leave n out")
    else:
        path = _solved(path, n)
    try:
        metadata, tensors = _read(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise DamagedCheckpointError(f"{path}: not a readable safetensors file ({error})") from None
    if "tsrnn" not in metadata:
        raise CheckpointError(f"{path}: not a tsrnn checkpoint (its header has no tsrnn entry)")
    if metadata.get("sha256") != _digest(metadata["tsrnn"], tensors):
        raise DamagedCheckpointError(f"{path}: damaged (its contents do not match its checksum)")
    config, progress, computed = _about(path, metadata["tsrnn"])
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part not in parts:
            raise CheckpointError(f"{path}: unknown tensor {name}; allowed are network/... and optimizer/...")
        parts[part][rest] = tensor
    dtype = parameter_dtype(config.training)
    described = shapes(config.network, progress.heads, config.task.head_width)
    _check(path, parts["network"], {name: (tuple(shape), dtype) for name, shape in described.items()}, "network")
    if parts["optimizer"]:
        state = initial_state(config.training.optimizer, parts["network"])
        flat = {
            f"{part}/{name}": (tuple(tensor.shape), tensor.dtype)
            for part, tensors in state.items()
            for name, tensor in tensors.items()
        }
        _check(path, parts["optimizer"], flat, "optimizer")
        optimizer = {part: {name: parts["optimizer"][f"{part}/{name}"] for name in state[part]} for part in state}
    else:
        optimizer = {}
    return Checkpoint(config, progress, parts["network"], optimizer, computed)


def _solved(folder: Location, n: int | None) -> Location:
    """Return the file with the weights that solved an N, the largest by default."""
    found = {int(path.stem[2:]): path for path in folder.glob("n-*.safetensors") if path.stem[2:].isdecimal()}
    if not found:
        raise CheckpointError(f"{folder}: no N was solved; give the file of a checkpoint")
    wanted = max(found) if n is None else n
    if wanted not in found:
        raise CheckpointError(f"{folder}: N = {n} was not solved; allowed are {', '.join(map(str, sorted(found)))}")
    return found[wanted]


def _read(path: Location) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the header's texts and the tensors of a safetensors file."""
    with path.as_file() as local, safetensors.safe_open(local, framework="pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _about(path: Location, text: str) -> tuple[RunConfig, Progress, Computed | None]:
    try:
        about: Any = parse_json(text)
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise CheckpointError(f"{path}: unknown format; this version reads {FORMAT}")
        config = RunConfig.from_json(json.dumps(about.get("config")))
        progress = _PROGRESS.validate_json(json.dumps(about.get("progress")))
        return config, progress, _COMPUTED.validate_json(json.dumps(about.get("computed")))
    except ValidationError as error:
        raise CheckpointError(f"{path}: {explain(error)}") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: its header is not JSON ({error})") from None


def _check(
    path: Location, found: Mapping[str, Tensor], expected: Mapping[str, tuple[tuple[int, ...], torch.dtype]], part: str
) -> None:
    """Hold the tensors against the shapes and dtypes that they have by the configuration.

    Nothing of these shapes is allocated: a configuration may ask for more than there is memory.
    """
    if expected.keys() != found.keys():
        wrong = sorted(expected.keys() ^ found.keys())
        raise CheckpointError(f"{path}: {part}: missing or unknown tensors: {', '.join(wrong)}")
    for name, (shape, dtype) in expected.items():
        tensor = found[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise CheckpointError(
                f"{path}: {part}/{name} is {tensor.dtype} {list(tensor.shape)}; "
                f"its configuration needs {dtype} {list(shape)}"
            )


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class CheckpointFolder:
    """The checkpoints of a network, in `checkpoints/<network_id>/` below the folder of a sweep.

    A run resumes from files such as "epoch-000012-4.1.safetensors", which the first attempt of the folder's fourth
    driver wrote ("epoch-000012.safetensors" if it was written without a claim). An attempt keeps its newest two, so
    that a damaged file costs one epoch and not the run. "n-005.safetensors" has the weights that solved N = 5.
    """

    def __init__(self, sweep: AnyLocation, network_id: str, claim: Claim | None = None) -> None:
        """Address the folder; nothing is made before the first save.

        Args:
            sweep: The sweep's folder.
            network_id: The network.
            claim: Through which the checkpoints are written; None where nothing else can be writing them.
        """
        self._folder = location(sweep) / "checkpoints" / as_file_name(network_id)
        self._claim = claim
        # What an earlier attempt writes from now on, if it still can, is not this one's past, and is left alone.
        self._past = self._resumes()
        self._own: list[Location] = []

    def save_resume(self, checkpoint: Checkpoint) -> None:
        """Write a resume checkpoint, and remove older ones of this attempt except the newest two.

        Raises:
            ClaimLostError: another process has claimed the network since.
            OSError: the file cannot be written.
        """
        attempt = f"-{self._claim.attempt}" if self._claim else ""
        path = self._folder / f"epoch-{checkpoint.progress.epoch:06d}{attempt}.safetensors"
        self._write(path, checkpoint)
        self._own = [*(own for own in self._own if own != path), path][-3:]
        if len(self._own) >= 2:
            for old in (*self._past, *self._own[:-2]):
                if old not in self._own[-2:]:
                    old.unlink(missing_ok=True)
            self._past = []

    def save_solved(self, checkpoint: Checkpoint, n: int) -> str:
        """Write the weights that solved N = n; return the path relative to the sweep's folder.

        Raises:
            ClaimLostError: another process has claimed the network since.
            OSError: the file cannot be written.
        """
        self._write(self._folder / f"n-{n:03d}.safetensors", checkpoint)
        return f"checkpoints/{self._folder.name}/n-{n:03d}.safetensors"

    def _write(self, path: Location, checkpoint: Checkpoint) -> None:
        if self._claim:
            self._claim.write(path, to_bytes(checkpoint))
        else:
            save(checkpoint, path)

    def newest(self, config: RunConfig, last_epoch: int | None = None) -> tuple[Checkpoint, list[str]]:
        """Return the newest valid checkpoint of this run, or a new one if there is none, and warnings.

        Checkpoints of later attempts are preferred. A checkpoint that is damaged, or that has another configuration, is
        skipped and named in the warnings.

        Args:
            config: The run.
            last_epoch: The last epoch that has rows. A checkpoint of a later epoch, which an attempt that had lost its
                claim may have left, is used only if there is no other.
        """
        warnings, ahead = [], []
        for path in self._resumes():
            try:
                found = load(path)
            except CheckpointError as error:
                warnings.append(str(error))
                continue
            if found.config != config:
                warnings.append(f"{path}: belongs to another configuration ({found.config.network_id})")
            elif last_epoch is not None and found.progress.epoch > last_epoch:
                ahead.append(found)
            else:
                return found, warnings
        return ahead[0] if ahead else new(config), warnings

    def _resumes(self) -> list[Location]:
        return sorted(self._folder.glob("epoch-*.safetensors"), key=_age, reverse=True)


def _age(path: Location) -> tuple[tuple[int, ...], str]:
    """Order resume checkpoints: by attempt, then by epoch."""
    _, epoch, *attempt = path.name.removesuffix(".safetensors").split("-")
    try:
        return tuple(int(part) for one in attempt for part in one.split(".")), epoch
    except ValueError:  # not one of ours; to be opened, it says so
        return (), epoch
