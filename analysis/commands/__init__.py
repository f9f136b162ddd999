"""The commands of `python -m analysis`: to measure networks or recordings, and to print or draw what is there."""
