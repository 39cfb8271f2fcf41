"""The verbs as Python has them: what an argument may be, what a notebook shows while one works, how a result is printed."""
