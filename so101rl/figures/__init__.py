"""Figures, one per file, in one style."""
