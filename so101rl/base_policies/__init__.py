"""What proposes: base policies see named observations, never the simulator."""
