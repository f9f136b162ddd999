"""Files: schemas, rows, the store of tables, checkpoints, locks, and the authors' checkpoints."""
