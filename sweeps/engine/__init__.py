"""What every sweep is made of: options, grids, scales, the runner and its Ray Tune trainable."""
