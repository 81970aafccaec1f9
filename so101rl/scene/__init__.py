"""The simulated scene: table, object, contact pairs, and their appearance."""
