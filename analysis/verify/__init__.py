"""Verification: whether the files of a sweep are undamaged and agree with each other."""
