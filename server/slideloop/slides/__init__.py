"""Slide files: opening, reading, gridding, filtering. Knows nothing of networks or studies."""
