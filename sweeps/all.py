"""The whole study: every sweep of this folder, one after the other.

    python sweeps/all.py [--scale quick|laptop|paper] [--dry-run] [--replicates 4] [--storage results] ...

The order shows results early. It takes the options that all sweeps share (see `sweeps/fixed_tau.py --help`) and hands
them on; what has ended already is not trained again, so that the same command continues after any stop. Exit status:
0 all is done, 1 something failed or is unfinished (the other sweeps run all the same), 2 an option is not allowed.
"""

import subprocess
import sys
from pathlib import Path

SWEEPS = (
    "fixed_tau",
    "curricula",
    "no_curriculum",
    "all_heads",
    "sliding_window",
    "nonlinearities",
    "weight_decay",
    "temporal_patterns",
    "architectures",
    "input_duration",
    "time_discretisation",
)


def main(arguments: list[str]) -> int:
    """Run every sweep with these options and return the exit status."""
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    worst = 0
    for name in SWEEPS:
        print(f"== {name}", file=sys.stderr, flush=True)
        file = Path(__file__).with_name(f"{name}.py")
        status = subprocess.run([sys.executable, str(file), *arguments], check=False).returncode
        if status not in (0, 1):
            return status
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
