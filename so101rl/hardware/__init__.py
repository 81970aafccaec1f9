"""Simulated and real arms and object trackers, with one interface."""
