"""The memory that the recurrence may use, and the assumed size of a core's cache, in bytes."""

# A core's own cache: networks whose weights fit in it may be stepped together.
CACHE = 1 << 19
# States kept for the gradient of one run. A longer run keeps the state at the start of each segment of that size, and
# computes the segment again when its gradient is due.
KEPT = 1 << 29
# States that are held at the same time if no gradient is needed.
PASSING = 1 << 24
# Buffers are made for a multiple of this number of steps, so that slightly longer sequences can use them, too.
ROOM = 16
# Sequences of several steps, in all, whose products for the gradient of large weights are one product.
_GATHERED = 256

# Sequences that go forward and backward together, where this matters.
_BLOCK = 128


def fitting(hidden: int, itemsize: int) -> int:
    """Return how many networks' weights [H, H] fit in a core's cache, at least 1."""
    return max(1, CACHE // (hidden**2 * itemsize))


def gathered(batch: int, hidden: int, itemsize: int) -> int:
    """Return over how many steps the weights' gradient is one product, a divisor of `ROOM`.

    If the gradient does not fit in a core's cache, it is read and written less often. Small networks gain nothing.
    """
    if hidden**2 * itemsize <= CACHE:
        return 1
    steps = ROOM
    while steps > 1 and steps * batch > _GATHERED:
        steps //= 2
    return steps


def block(batch: int, hidden: int, itemsize: int) -> int:
    """Return how many sequences go forward and backward together, a divisor of the batch size.

    If the weights do not fit in a core's cache, fewer states at a time leave more room for them.
    """
    if hidden**2 * itemsize <= CACHE:
        return batch
    return next((size for size in range(_BLOCK, _BLOCK // 2, -1) if batch % size == 0), batch)


def rounded(steps: int, most: int) -> tuple[int, int]:
    """Return how many steps a buffer must have, and how many it is made for; neither is more than `most`.

    A buffer that `most` limits is made for a multiple of `ROOM`, unless that is too much: the steps that are `gathered`
    are then the same for every limit.
    """
    most = most - most % ROOM or most
    return min(steps, most), min(most, -(-steps // ROOM) * ROOM)
