"""From an action in [-1, 1] to servo targets."""
