"""One file per experiment of the study, run as `python sweeps/NAME.py`."""
