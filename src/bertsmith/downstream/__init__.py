"""What is done with models: fine-tuning, prediction, scores, reports."""
