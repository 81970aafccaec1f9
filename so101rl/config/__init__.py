"""Composing and checking the config: all that touches Hydra."""
