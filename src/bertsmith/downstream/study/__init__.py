"""A study: members at equal cost on one text, read on the same tasks; every pre-training and fine-tuning a cell that is computed once."""
