"""Wrappers around a task: the residual, and the views of Gymnasium and SB3."""
