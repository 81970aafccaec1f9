"""Domain randomization: one term per quantity, drawn for each episode."""
