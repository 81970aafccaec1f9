"""Measures the simulated friction and compares it with Coulomb's law."""
