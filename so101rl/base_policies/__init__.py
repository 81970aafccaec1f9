"""Base policies: they map named observations to actions, without the simulator."""
