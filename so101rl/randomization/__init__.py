"""What differs from episode to episode: one small term per quantity."""
