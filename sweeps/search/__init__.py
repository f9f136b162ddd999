"""The hyperparameter study: what it varies, and its candidates as Tune trials."""
