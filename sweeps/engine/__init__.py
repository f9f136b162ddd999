"""The shared parts of sweeps: options, grids, scales, the runner and its Ray Tune trainable."""
