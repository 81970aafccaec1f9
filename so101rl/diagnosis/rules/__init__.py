"""Rules by subject: each reads a run's facts and returns a finding or None."""
