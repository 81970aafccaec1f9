"""Held-out episodes: running, scoring and filming them."""
