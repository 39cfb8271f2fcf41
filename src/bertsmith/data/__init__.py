"""Which spans are hidden, how they are asked for, and how examples become batches.  NumPy only."""
