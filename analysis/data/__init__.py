"""A sweep's tables as frames, and the study they make up."""
