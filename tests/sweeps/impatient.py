"""Runs a sweep that takes over a bucket's lock after seconds: `python -m tests.sweeps.impatient [options]`.

By itself it would wait for two minutes in which the holder has not renewed it.
"""

import runpy
import sys

from tsrnn.io import objects

objects.LEASE_S = 3.0
sys.path.insert(0, "sweeps")
runpy.run_path("sweeps/fixed_tau.py", run_name="__main__")
