"""What the configurations of `nn` build: all that needs torch."""
