"""From raw text to a token store, and from the store to clean sequences."""
