"""What the configurations of `objectives` build: heads and losses, all that needs torch."""
