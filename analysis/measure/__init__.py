"""Measurements of checkpoints: timescales, interventions, time steps, mechanisms."""
