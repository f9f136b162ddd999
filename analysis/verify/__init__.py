"""Whether a sweep's files are whole and agree with each other."""
