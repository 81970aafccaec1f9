"""Residual reinforcement learning for the SO-101 arm."""

__version__ = "0.1.0"
