"""The problems that verification found in a sweep's folder, and how to repair them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tsrnn.io.files import Location
from tsrnn.io.schemas import Row, Table

MADE_AGAIN: Final = "moved aside; the sweep's command writes it again"
TRAINED_AGAIN: Final = (
    "the network's rows and resume checkpoints moved aside; the sweep's command trains it again "
    "(equal but for rounding: see docs/reproducibility.md)"
)
MEASURED_AGAIN: Final = "moved aside; the command of its analysis measures the network again"
OLDER_USED: Final = "moved aside; an older checkpoint is used, or none needed"
REWRITTEN: Final = "written again, from what the other files say"


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        path: the file, relative to the sweep's folder.
        says: what is wrong with it.
        repair: what the repair does; empty if it can do nothing.
        aside: the files that the repair moves.
        rows: the rows that the repair writes: table, network_id, rows.
    """

    path: str
    says: str
    repair: str = ""
    aside: tuple[Location, ...] = ()
    rows: tuple[Table, str, Sequence[Row]] | None = None


@dataclass
class Verification:
    """The result of the verification of one sweep's folder.

    Attributes:
        folder: the folder of the sweep.
        networks: the number of networks in its record.
        files: the number of files of tables that were read.
        checkpoints: the number of checkpoints that were read.
        problems: the problems.
        leftovers: temporary files of processes that were killed, which are harmless.
        running: the process that is writing to the folder, if any; then each file was checked only by itself.
    """

    folder: Location
    networks: int = 0
    files: int = 0
    checkpoints: int = 0
    problems: list[Problem] = field(default_factory=list)
    leftovers: list[Location] = field(default_factory=list)
    running: str = ""
