"""The cross-entropy of heads and its gradient in compiled code, computed for one network after the other.

The states of a small network are still in the core's cache when its backward pass reads them, and all networks use
the same buffers. The numbers of a network do not depend on the networks that it is stacked with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from tsrnn.networks import _compiled, _memory, _readout
from tsrnn.networks._passage import Form, Parameters, Sequences
from tsrnn.networks.workspace import Workspace


@dataclass(frozen=True)
class Questions:
    """The heads of R networks, and the answers that are expected of them.

    Attributes:
        weight: [R, K, 2, H] the heads.
        bias: [R, K, 2].
        heads: [R] how many of the K heads each network has, always the first ones.
        readout_steps: [R] the number of last steps at which they are read; S is the largest.
        targets: [S, R, K, B] whether "yes" is right, or the probability of it.
        share: [R, K] the weight of each head's loss in the sum whose gradient is taken.
    """

    weight: Tensor
    bias: Tensor
    heads: Sequence[int]
    readout_steps: Sequence[int]
    targets: Tensor
    share: Tensor


def fit(form: Form, sequences: Sequences) -> bool:
    """Return whether the states of a block of sequences at all steps fit in the memory that they may take."""
    return len(sequences.inputs) <= _compiled.fitting(form, _block(sequences.initial))


def _block(initial: Tensor) -> Tensor:
    """Return the initial states of the first network's sequences that go forward and backward together, [1, C, H]."""
    _, batch, hidden = initial.shape
    return initial[:1, : _memory.block(batch, hidden, initial.element_size())]


def cross_entropy(
    form: Form, sequences: Sequences, parameters: Parameters, questions: Questions, workspace: Workspace[Any]
) -> tuple[Tensor, Parameters, Tensor, Tensor]:
    """Return each head's mean cross-entropy, and the gradients of the weighted sum; `fit` must be true.

    Returns:
        losses [R, K], 0 at places without a head; the gradients of `parameters`, and of the heads' weight and bias.
    """
    from tsrnn.networks import _kernels

    initial = sequences.initial
    like = _block(initial)
    storage = _compiled.Storage.taken(form, len(sequences.inputs), like, workspace)
    inputs = sequences.inputs.view(*sequences.inputs.shape[:2], -1, like.shape[1]).permute(1, 2, 0, 3).contiguous()
    targets, share = questions.targets.to(initial.dtype).contiguous(), questions.share.contiguous()
    losses, weight, bias = (initial.new_zeros(own.shape) for own in (share, questions.weight, questions.bias))
    found = Parameters(*(initial.new_empty(own.shape) for own in parameters))

    _kernels.differentiate(
        storage.settings, _compiled.arrays(parameters),
        _readout.arrays(questions.weight, questions.bias), 2 * np.array(questions.heads),
        inputs.numpy(), np.array(sequences.lengths), initial.contiguous().numpy(),
        np.array(questions.readout_steps), targets.numpy(), share.numpy(), storage.buffers, losses.numpy(),
        _compiled.arrays(found), _readout.arrays(weight, bias),
    )  # fmt: skip
    workspace.give(storage)
    return losses, found, weight, bias
