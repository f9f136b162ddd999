"""The commands of `python -m analysis`: those that measure, and those that print or draw what is there."""
