"""Simulation of trained networks, and estimates from their activity."""
