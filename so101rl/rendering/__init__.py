"""Pictures and videos of states."""
