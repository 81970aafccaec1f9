"""Measuring what is simulated, and comparing it with physics."""
