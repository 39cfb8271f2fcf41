"""Models that answer over HTTP, and a page to play with: `serve`."""
