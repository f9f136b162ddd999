"""Reads the authors' published checkpoints, and converts them."""

from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tsrnn.config import Curriculum, MultiHead, RunConfig
from tsrnn.config.presets import with_preset
from tsrnn.io.checkpoint import Checkpoint, CheckpointError, Progress
from tsrnn.networks import NetworkState, shapes
from tsrnn.networks.leaky import BIAS, INPUT_BIAS, INPUT_WEIGHT, TAU, WEIGHT
from tsrnn.tasks import BitTask

# Their names: list positions of input layer, recurrent layer and heads in one module list, and tau.
_NAMES: Final = {
    TAU: "parameterlist.0",
    INPUT_WEIGHT: "modulelist.0.weight",
    INPUT_BIAS: "modulelist.0.bias",
    WEIGHT: "modulelist.1.weight",
    BIAS: "modulelist.1.bias",
}
_FIRST_HEAD: Final = 2
_FIRST_N: Final = 2


def read_reference(path: Path, task: BitTask, curriculum: Curriculum, n: int) -> Checkpoint:
    """Return a checkpoint of the authors as one of tsrnn, with their settings (preset "authors").

    Their files contain neither the curriculum nor N, so the caller has to give them. Head 0 of a single-head network is
    its head; head k of a multi-head network is that of N = k + 2. Some of their taus are slightly below 1; these are
    kept, and clamped in the forward pass as in their code. The duration of their training is not in the file, so the
    epoch is 0.

    Args:
        path: a .safetensors file of their tensors, or the file their torch.save wrote.
        task: what the network was trained on.
        curriculum: under which curriculum.
        n: the largest N it was trained for.

    Raises:
        CheckpointError: if the file is not such a checkpoint.
    """
    tensors = _tensors(path)
    heads = tuple(range(_FIRST_N, n + 1)) if isinstance(curriculum, MultiHead) else (n,)
    names = dict(_NAMES)
    for k, head in enumerate(heads):
        for part in ("weight", "bias"):
            names[f"heads.{head}.{part}"] = f"modulelist.{_FIRST_HEAD + k}.{part}"
    missing = sorted(theirs for theirs in names.values() if theirs not in tensors)
    if missing:
        raise CheckpointError(f"{path}: not an authors' network for N = {n}: it lacks {', '.join(missing)}")
    network: NetworkState = {ours: tensors[theirs].float() for ours, theirs in names.items()}
    hidden = network[TAU].numel()
    if hidden == 0:
        raise CheckpointError(f"{path}: not an authors' network: it has no neurons")
    network[INPUT_WEIGHT] = network[INPUT_WEIGHT].flatten()
    config = with_preset(RunConfig(task=task, curriculum=curriculum), "authors").with_hidden(hidden)
    expected = shapes(config.network, heads, task.head_width)
    if any(tuple(tensor.shape) != expected[name] for name, tensor in network.items()):
        raise CheckpointError(f"{path}: not an authors' network: its tensors do not fit {hidden} neurons")
    # Their forward pass zeroes the diagonal; before the first one it is not yet zero.
    network[WEIGHT] = network[WEIGHT].clone().fill_diagonal_(0.0)
    return Checkpoint(config, Progress(heads=heads, solved=heads, max_n=n), network)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        else:
            # weights_only admits tensors and plain containers, and calls nothing that the file names.
            found = torch.load(path, map_location="cpu", weights_only=True)
            found = found.get("state_dict", found) if isinstance(found, dict) else found
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except Exception as error:
        # torch.load raises whatever a damaged or hostile file makes it raise.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "weights_only" in reason:  # advice to load the file without this restriction, which would run what it names
            reason = "it is damaged, or holds other things than tensors"
        raise CheckpointError(f"{path}: not readable as a checkpoint ({reason})") from None
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise CheckpointError(f"{path}: not an authors' checkpoint: it holds other things than named tensors")
    return found
