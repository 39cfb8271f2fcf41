"""Labelled tasks: readers, and what each kind of task is."""
