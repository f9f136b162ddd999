"""Simulation of trained networks and what is estimated from their activity."""
