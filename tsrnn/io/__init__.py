"""Files: schemas, rows, the store of tables, checkpoints, locks, claims, and the authors' checkpoints."""
