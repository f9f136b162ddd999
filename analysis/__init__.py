"""From a sweep's tables to numbers and figures: `python -m analysis` lists the commands."""
