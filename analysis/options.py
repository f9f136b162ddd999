"""Options of the commands: what can be measured, where it runs, and how results are printed."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from tsrnn.command_line import Plugins, at_least
from tsrnn.distributed.discovery import require_address

InterventionKind = Literal["ablation", "perturb-weights", "perturb-taus", "inhibition", "heads-retraining"]
TimescaleMethod = Literal["paper", "robust"]
AsJson = Annotated[bool, Parameter(name="--json", negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a command measures, where, and with whose code.

    Raises:
        UsageError: The address is invalid.
    """

    where: str = ""
    """Measure only the networks for which this condition holds, as in pandas.DataFrame.query, such as "task == 'parity'
    and curriculum == 'single'"; the columns are those of the table runs, and max_n, status, epochs and sequences.
    [default: all networks]"""

    workers: Annotated[int | None, at_least(1)] = None
    """Processes on this machine. [default: one for each CPU]"""

    address: str = "auto"
    """Where to run: auto (on a running Ray cluster if there is one, else on this machine), local (on this machine), or
    the HOST:PORT of a Ray cluster."""

    yes: Annotated[bool, Parameter(negative="")] = False
    """Begin without asking. Without it, a command that takes an hour or more asks once, if it runs in a terminal."""

    plugin: Plugins = None
    """Python files that define tasks, networks or curricula of your own."""

    def __post_init__(self) -> None:
        require_address(self.address)


DEFAULT: Final = Execution()
