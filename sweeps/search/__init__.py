"""The hyperparameter study: its search space, and its candidates as Tune trials."""
