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


def fitting(hidden: int, itemsize: int) -> int:
    """Return how many networks' weights [H, H] fit in a core's cache, at least 1."""
    return max(1, CACHE // (hidden**2 * itemsize))


def rounded(steps: int, most: int) -> tuple[int, int]:
    """Return how many steps a buffer must have, and how many it is made for; neither is more than `most`."""
    return min(steps, most), min(most, -(-steps // ROOM) * ROOM)
