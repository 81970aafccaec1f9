"""Wrappers around a task: the residual, and adapters for Gymnasium and SB3."""
