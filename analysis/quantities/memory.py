"""What networks remember of their inputs: sums of capacities over products of past bits."""

from typing import Final

import pandas as pd

from analysis.quantities.base import MEMORY_COMMAND, quantity


@quantity("capacity for single past bits", "single bits", needs=MEMORY_COMMAND)
def memory_of_bits(memory: pd.DataFrame) -> pd.DataFrame:
    """Return the linear memory capacity: the sum over delays of the capacities for single past bits."""
    bits = memory[memory["bits"] == 1]
    totals = bits.groupby(["network_id", "n"])["capacity"].sum(min_count=1)
    return totals.rename("value").astype(float).reset_index()


@quantity("capacity for parities of the last bits", "parities of the last bits", needs=MEMORY_COMMAND)
def memory_of_parities(memory: pd.DataFrame) -> pd.DataFrame:
    """Return the sum over N' >= 2 of the capacities for the parity of the last N' bits."""
    parities = memory[(memory["nearest"] == 0) & (memory["bits"] > 1) & (memory["farthest"] == memory["bits"] - 1)]
    totals = parities.groupby(["network_id", "n"])["capacity"].sum(min_count=1)
    return totals.rename("value").astype(float).reset_index()


@quantity("capacity for the parity that was trained", "parity of N bits", needs=MEMORY_COMMAND)
def memory_of_trained_parity(memory: pd.DataFrame) -> pd.DataFrame:
    """Return the capacity for the parity of the last N bits, where N is the solved N."""
    trained = memory[
        (memory["nearest"] == 0) & (memory["bits"] == memory["n"]) & (memory["farthest"] == memory["n"] - 1)
    ]
    return trained[["network_id", "n"]].assign(value=trained["capacity"].astype(float))


MEMORY: Final = (memory_of_bits, memory_of_parities, memory_of_trained_parity)
"""The quantities that the command summarises and figure M1 shows."""
