"""The tables of sweeps as frames, and the study that they form."""
