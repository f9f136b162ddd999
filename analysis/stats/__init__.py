"""Statistics whose unit is the network: intervals, tests and comparisons."""
