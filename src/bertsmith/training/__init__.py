"""One loop for every member: steps, rates, checkpoints, logs."""
