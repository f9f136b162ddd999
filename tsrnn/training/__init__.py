"""Training: the loop, optimisers, sampling and evaluation."""
