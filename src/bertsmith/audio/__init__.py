"""Sound: files to frames, a store of them, and the layout that makes sequences of it."""
