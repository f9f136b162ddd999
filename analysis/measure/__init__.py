"""What is measured of a checkpoint: timescales, interventions, time steps."""
