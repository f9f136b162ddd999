"""Do networks remember by their taus or by W? Copies of a checkpoint are changed, tested, retrained and tested again.

All copies of a network form one population and receive the same sequences. A part of a copy is retrained by the
training loop, on the batches that the network's own training would have drawn next. Readouts are retrained by logistic
regression.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple

import torch

from analysis.measure.cost import extrapolated
from analysis.measure.interventions import InTime, in_time, newest_head, refitted
from analysis.measure.jobs import Analysis
from analysis.measure.values import accuracy_columns
from tsrnn.config import Leaky, NoCurriculum, TrainedTau
from tsrnn.interventions import PARTS, Modes, exchange, set_taus, shuffle_taus, truncate
from tsrnn.io import checkpoint as checkpoints
from tsrnn.io.checkpoint import Checkpoint
from tsrnn.io.files import Location
from tsrnn.io.schemas import CAUSES, Row, Table
from tsrnn.networks import NetworkState, population
from tsrnn.training.evaluation import Accuracy
from tsrnn.training.loop import Trainer

Partners = Mapping[tuple[str, int], Location]
"""The checkpoint of the network with which taus and weights are exchanged, by network_id and N."""

SHARES: Final = (0.5, 0.25, 0.125)
"""The shares of the modes of W that are kept."""

MODES: Final[Mapping[str, Modes]] = {"singular_values": "singular values", "schur_modes": "Schur modes"}
"""The modes to which W is reduced, by the name of the change."""

CHANGES: Final = ("none", "tau_1", "shuffled_taus", "other_taus", "other_weights", *MODES)
"""The changes of copies."""

RETRAINED: Final[Mapping[str, tuple[str, ...]]] = {
    "weights": PARTS["weights"],
    "taus": PARTS["taus"],
    "everything": tuple(name for part in PARTS.values() for name in part),
}
"""The parameters that training steps change, by the retrained part; the readout needs no training steps."""

# Training steps of the short measurements from which the cost is estimated.
_PIECES: Final = (2, 10)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How copies are tested and retrained.

    Attributes:
        steps: number of training steps, each on a batch as in the network's own training.
        shuffles: number of random orders of the taus.
        sequences: number of sequences to which a new readout is fitted.
        in_time: how accuracy is measured.
    """

    steps: int = 200
    shuffles: int = 3
    sequences: int = 20
    in_time: InTime = field(default_factory=InTime)


class _Copy(NamedTuple):
    """A changed copy: its tensors, and the part of its key that identifies the change."""

    change: str
    share: float
    draw: int
    state: NetworkState


def measure(checkpoint: Checkpoint, n: int, *, partners: Partners, protocol: Protocol) -> dict[Table, list[Row]]:
    """Measure one network.

    Args:
        checkpoint: the network.
        n: the N that it solved.
        partners: the networks with which taus and weights are exchanged.
        protocol: how copies are tested and retrained.

    Returns:
        rows of `causes`, without `network_id` and `n`.

    Raises:
        TypeError: if the network is not a leaky one.
        ValueError: if its taus are not trained, or see `analysis.measure.interventions.newest_head`.
    """
    config = checkpoint.config
    if isinstance(config.network, Leaky) and not isinstance(config.network.tau, TrainedTau):
        raise ValueError("network.tau: fixed; allowed are trained taus, since fixed taus are the same in all networks")
    torch.set_flush_denormal(True)
    copies = _changed(checkpoint, checkpoints.load(partners[config.network_id, n]), n, protocol)
    stacked = population(config.network, [copy.state for copy in copies], [(n,)] * len(copies))
    asked = [0] * len(copies)
    found: dict[str, Sequence[Accuracy | None]] = {
        "nothing": in_time(stacked, checkpoint, n, "causes", asked, protocol.in_time),
        "readout": [_with_new_readout(checkpoint, n, copy, protocol) for copy in copies],
    }
    start = replace(config, curriculum=NoCurriculum(n=n), source=f"{config.network_id}/{n}")
    progress = replace(checkpoint.progress, heads=(n,), solved=())
    for retrained, names in RETRAINED.items():
        trainer = Trainer([Checkpoint(start, progress, copy.state) for copy in copies], only=names)
        trainer.train_steps(protocol.steps)
        found[retrained] = in_time(trainer.population, checkpoint, n, "causes", asked, protocol.in_time)
    baseline = found["nothing"][0]
    assert baseline is not None
    return {
        CAUSES: [
            {"change": copy.change, "share": copy.share, "draw": copy.draw, "retrained": retrained}
            | _accuracy(accuracy, baseline)
            for retrained, accuracies in found.items()
            for copy, accuracy in zip(copies, accuracies, strict=True)
        ]
    }


def _changed(checkpoint: Checkpoint, other: Checkpoint, n: int, protocol: Protocol) -> list[_Copy]:
    """Return the copies of a network, beginning with the network itself."""
    networks, partner = newest_head(checkpoint, n), newest_head(other, n)
    hidden = checkpoint.config.network.hidden
    made = {
        "none": networks,
        "tau_1": set_taus(networks, 1.0),
        "shuffled_taus": shuffle_taus(networks, protocol.shuffles, [checkpoint.config.seed]),
        "other_taus": exchange(networks, partner, ["taus"]),
        "other_weights": exchange(networks, partner, ["weights"]),
    }
    copies = [
        _Copy(change, 1.0, draw, state) for change, one in made.items() for draw, state in enumerate(one.states())
    ]
    for change, modes in MODES.items():
        cut = truncate(networks, [max(1, round(share * hidden)) for share in SHARES], modes)
        copies += [_Copy(change, share, 0, state) for share, state in zip(SHARES, cut.states(), strict=True)]
    return copies


def _with_new_readout(checkpoint: Checkpoint, n: int, copy: _Copy, protocol: Protocol) -> Accuracy | None:
    """Return the accuracy of a copy with a newly fitted readout; None if its activity is not finite."""
    config = checkpoint.config
    one = population(config.network, [copy.state], [(n,)])
    address = config.seed, f"causes {n}"
    try:
        (found,), _ = refitted(
            one, config.task.balanced(), [n], *address, sequences=protocol.sequences, protocol=protocol.in_time
        )
    except ValueError:
        return None
    return found


def _accuracy(found: Accuracy | None, baseline: Accuracy) -> Row:
    if found is None:
        return dict.fromkeys(("accuracy", "standard_error", "relative_accuracy"))
    return accuracy_columns(found, baseline.accuracy)


def cost(checkpoint: Checkpoint, n: int, *, partners: Partners, protocol: Protocol) -> float:
    """Estimate the seconds of one core that `measure` takes, from runs with fewer steps and fewer answers."""
    whole, short, longer = protocol.in_time, *_PIECES

    def piece(steps: int) -> object:
        answers = max(20, whole.steps * steps // protocol.steps)
        fewer = replace(protocol, steps=steps, in_time=replace(whole, steps=answers))
        return measure(checkpoint, n, partners=partners, protocol=fewer)

    return extrapolated(piece, short, longer, protocol.steps)


def analysis(protocol: Protocol, partners: Partners) -> Analysis:
    """Return the analysis of `python -m analysis causes`, for `analysis.measure.jobs.run`."""
    return Analysis(
        name="causes",
        measure=partial(measure, partners=partners, protocol=protocol),
        tables=(CAUSES,),
        settings=asdict(protocol) | {"shares": SHARES},
        cost=partial(cost, partners=partners, protocol=protocol),
    )
