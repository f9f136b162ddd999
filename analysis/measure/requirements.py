"""What measurements require of a checkpoint, and the errors if it is not so."""

from tsrnn.config import RunConfig, Time
from tsrnn.io.checkpoint import Checkpoint


def require_unit_steps(config: RunConfig) -> None:
    """Require that a network was trained with a new bit at every time step.

    Raises:
        ValueError: bits are held for several time steps.
    """
    if config.time != Time():
        raise ValueError(f"time.k = {config.time.k}: this measurement uses a new bit at every step; allowed is (1,)")


def require_head(checkpoint: Checkpoint, n: int) -> None:
    """Require that a network has a head for N.

    Raises:
        ValueError: it has none; the message names the heads that it has.
    """
    heads = checkpoint.progress.heads
    if n not in heads:
        raise ValueError(f"n = {n}: the checkpoint has no such head; it has {', '.join(map(str, heads))}")
